//! Starting, draining, TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test program may fail loudly")]

mod support;

use am_core::Code;
use am_core::config::SecretRef;
use am_schema::v1::Outcome;
use am_server::{Server, TlsConfig};
use futures_util::stream;
use support::stores::{Gated, Mode};
use support::*;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

#[tokio::test]
async fn custody_p02_a_drain_settles_what_is_in_flight_and_says_that_it_stops() {
    let (store, gate) = Gated::over(&memory());
    let server = serve(&store, open()).await;
    gate.set(Mode::Hold);
    let (tx, rx) = tokio::sync::mpsc::channel(4);
    let batches = stream::unfold(rx, |mut rx| async { rx.recv().await.map(|m| (m, rx)) });
    let mut client = connect(&server).await;
    let mut answers = client.stream_batches(batches).await.unwrap().into_inner();
    for n in 0..3 {
        tx.send(batch(&format!("b{n}"), beats(n * 10..n * 10 + 10))).await.unwrap();
    }
    until("three batches to wait", || async { gate.held() == 3 }).await;
    let (grpc, http) = (server.grpc_addr(), server.http_addr().unwrap());
    let stopping = tokio::spawn(server.shutdown());
    until("readyz to turn", || async { readyz(http).await == Some(503) }).await;
    until("new connections to be refused", || async { tokio::net::TcpStream::connect(grpc).await.is_err() }).await;
    assert!(!stopping.is_finished());
    gate.set(Mode::Work);
    for n in 0..3 {
        let a = within("an answer", answers.message()).await.unwrap().unwrap();
        assert_eq!((a.batch_id, outcomes(&a.outcomes)), (format!("b{n}"), vec![Outcome::Stored; 10]));
    }
    let e = within("the end", answers.message()).await.unwrap_err();
    assert!(e.code() == tonic::Code::Unavailable && e.message().contains("AM-4007"), "{e}");
    within("the shutdown", stopping).await.unwrap().unwrap();
    assert_eq!(readyz(http).await, None);
    let c = counts(&store).await;
    assert!(c.balanced() && c.stored == 30, "{c:?}");
}

/// The status of `/readyz`, or `None` when nobody listens.
async fn readyz(addr: std::net::SocketAddr) -> Option<u16> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut s = tokio::net::TcpStream::connect(addr).await.ok()?;
    s.write_all(b"GET /readyz HTTP/1.1\r\nHost: am\r\nConnection: close\r\n\r\n").await.ok()?;
    let mut text = String::new();
    s.read_to_string(&mut text).await.ok()?;
    text.split(' ').nth(1)?.parse().ok()
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let (store, gate) = Gated::over(&memory());
    let mut config = open();
    config.times.drain_ms = 200;
    let server = serve(&store, config).await;
    gate.set(Mode::Hold);
    let mut client = connect(&server).await;
    let call = tokio::spawn(async move { client.batch_upload(batch("b", beats(0..1))).await });
    until("the batch to wait", || async { gate.held() == 1 }).await;
    let e = within("the shutdown", server.shutdown()).await.unwrap_err();
    assert!(e.code() == Code::TIMED_OUT && e.message().contains("200 ms"), "{e}");
    assert!(within("the call", call).await.unwrap().is_err());
}

#[tokio::test]
async fn idle_streams_do_not_hold_a_drain_up() {
    let store = memory();
    let server = serve(&store, open()).await;
    let mut client = connect(&server).await;
    let mut answers = client.stream_data(stream::pending()).await.unwrap().into_inner();
    let mut watch = tonic_health::pb::health_client::HealthClient::new(channel(server.grpc_addr()).await)
        .watch(tonic_health::pb::HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    watch.message().await.unwrap();
    within("the shutdown", server.shutdown()).await.unwrap();
    assert_eq!(answers.message().await.unwrap_err().code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let store = memory();
    let server = serve(&store, open()).await;
    let mut config = open();
    config.grpc = server.grpc_addr();
    let e = Server::builder(&handle(&store)).config(config).bind().await.unwrap_err();
    assert!(e.code() == Code::IO && e.message().contains(&server.grpc_addr().to_string()), "{e}");
}

struct Pem {
    _dir: tempfile::TempDir,
    config: TlsConfig,
    certificate: String,
}

fn self_signed() -> Pem {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let config = TlsConfig { certificate, key: SecretRef::File(key.display().to_string()) };
    Pem { _dir: dir, config, certificate: made.cert.pem() }
}

#[tokio::test]
async fn readings_go_over_tls_1_3_and_older_versions_and_plain_text_are_refused() {
    let pem = self_signed();
    let store = memory();
    let mut config = open();
    config.tls = Some(pem.config.clone());
    let server = serve(&store, config).await;
    let trust = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&pem.certificate)).domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://{}", server.grpc_addr())).unwrap().tls_config(trust).unwrap();
    let mut client = Client::new(within("the handshake", endpoint.connect()).await.unwrap());
    let a = client.batch_upload(batch("b", beats(0..10))).await.unwrap().into_inner();
    assert_eq!(outcomes(&a.outcomes), [Outcome::Stored; 10]);

    assert!(handshake(&server, &pem.certificate, &tokio_rustls::rustls::version::TLS13).await.is_ok());
    let e = handshake(&server, &pem.certificate, &tokio_rustls::rustls::version::TLS12).await.unwrap_err();
    assert!(e.to_string().to_lowercase().contains("protocol"), "{e}");

    let plain = try_channel(server.grpc_addr()).await.map(Client::new);
    let refused = match plain {
        Ok(mut c) => within("the plain call", c.batch_upload(batch("b", beats(0..1)))).await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
    within("the shutdown", server.shutdown()).await.unwrap();
}

async fn handshake(server: &Server, pem: &str, version: &'static tokio_rustls::rustls::SupportedProtocolVersion) -> std::io::Result<()> {
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types};
    let mut roots = RootCertStore::empty();
    roots.add(pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(std::sync::Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = tokio::net::TcpStream::connect(server.grpc_addr()).await?;
    let name = pki_types::ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)).connect(name, tcp).await.map(drop)
}

#[tokio::test]
async fn a_broken_certificate_is_named_and_the_key_is_not_shown() {
    let pem = self_signed();
    let bind = |tls: TlsConfig| async {
        let mut config = open();
        config.tls = Some(tls);
        Server::builder(&handle(&memory())).config(config).bind().await.unwrap_err()
    };
    let e = bind(TlsConfig { certificate: "/nowhere.pem".into(), ..pem.config.clone() }).await;
    assert!(e.code() == Code::BAD_CONFIG && e.message().contains("/nowhere.pem"), "{e}");
    let e = bind(TlsConfig { key: SecretRef::File("/nowhere.key".into()), ..pem.config.clone() }).await;
    assert!(e.message().contains("/nowhere.key"), "{e}");
    let e = bind(TlsConfig { key: SecretRef::File(pem.config.certificate.display().to_string()), ..pem.config.clone() }).await;
    assert!(e.message().contains("no private key"), "{e}");
    let other = self_signed();
    let e = bind(TlsConfig { key: other.config.key.clone(), ..pem.config }).await;
    assert!(e.message().contains("do not fit together"), "{e}");
}
