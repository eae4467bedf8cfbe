//! TLS 1.3 for the gRPC port.

use std::sync::Arc;

use am_core::config::SecretRef;
use am_core::{Code, Error, Result};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, version};

use crate::TlsConfig;

/// Reads certificate and key.
pub(crate) fn acceptor(config: &TlsConfig) -> Result<TlsAcceptor> {
    let bad = |why: String| Error::new(Code::BAD_CONFIG, why).op("server.tls");
    let path = config.certificate.display();
    let pem = std::fs::read(&config.certificate).map_err(|e| bad(format!("the certificate {path} cannot be read: {e}")))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|e| bad(format!("the certificate {path} is not PEM: {e}")))?;
    if chain.is_empty() {
        return Err(bad(format!("{path} holds no certificate")));
    }
    let secret = config.key.resolve(|r| match r {
        SecretRef::File(path) => std::fs::read_to_string(path).map_err(|e| e.to_string()),
        SecretRef::Env(name) => std::env::var(name).map_err(|e| e.to_string()),
        _ => Err("this kind of reference is not supported".into()),
    })?;
    let key = PrivateKeyDer::from_pem_slice(secret.expose().as_bytes())
        .map_err(|_| bad(format!("{} holds no private key in PEM", config.key)))?;
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|e| bad(e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| bad(format!("certificate and key do not fit together: {e}")))?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(tls)))
}
