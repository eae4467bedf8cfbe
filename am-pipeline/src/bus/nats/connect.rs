//! The connection: who, where, how sealed.

use std::time::Duration;

use am_core::config::SecretRef;
use am_core::{Code, Error, Result, Secret};
use async_nats::{Client, ConnectErrorKind, ConnectOptions};

use super::link::Link;
use super::options::NatsOptions;

/// A dead connection is noticed after two of these.
const PING: Duration = Duration::from_secs(5);
/// Messages that one subscription holds unread before more are dropped (and come again). A pull never asks for so many.
const UNREAD: usize = 16_384;

fn secret(r: &SecretRef) -> Result<Secret<String>> {
    r.resolve(|r| match r {
        SecretRef::File(path) => std::fs::read_to_string(path).map_err(|e| e.to_string()),
        SecretRef::Env(name) => std::env::var(name).map_err(|e| e.to_string()),
        _ => Err("this kind of reference is not supported".into()),
    })
}

fn settings(options: &NatsOptions, link: &Link) -> Result<ConnectOptions> {
    let bad = |why: String| Error::new(Code::BAD_CONFIG, why).op("nats.connect");
    let heard = link.clone();
    let mut c = ConnectOptions::new()
        .name(format!("am {}", env!("CARGO_PKG_VERSION")))
        .ping_interval(PING)
        .connection_timeout(options.answer_within)
        .request_timeout(Some(options.answer_within))
        .subscription_capacity(UNREAD)
        .custom_inbox_prefix(&options.inbox)
        .reconnect_delay_callback(|tries| Duration::from_millis(50 << tries.min(5)))
        .event_callback(move |event| {
            heard.hear(&event);
            std::future::ready(())
        });
    let auth = &options.auth;
    if let (Some(user), Some(password)) = (&auth.user, &auth.password) {
        c = c.user_and_password(user.clone(), secret(password)?.expose().clone());
    }
    if let Some(token) = &auth.token {
        c = c.token(secret(token)?.expose().clone());
    }
    if let Some(nkey) = &auth.nkey {
        c = c.nkey(secret(nkey)?.expose().trim().to_owned());
    }
    if let Some(creds) = &auth.credentials {
        // The parser's own message may repeat the text.
        c = c.credentials(secret(creds)?.expose()).map_err(|_| bad(format!("auth.credentials: {creds} is no credentials file")))?;
    }
    let tls = &options.tls;
    for path in [&tls.root, &tls.certificate, &tls.key].into_iter().flatten() {
        std::fs::metadata(path).map_err(|e| bad(format!("tls: {}: {e}", path.display())))?;
    }
    if let Some(root) = &tls.root {
        c = c.add_root_certificates(root.clone());
    }
    match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => c = c.add_client_certificate(certificate.clone(), key.clone()),
        (None, None) => {}
        _ => return Err(bad("tls: certificate and key belong together".into())),
    }
    Ok(c.require_tls(tls.required || tls.root.is_some()))
}

/// Connects, and goes on connecting whenever the connection is lost.
pub(super) async fn connect(options: &NatsOptions, link: &Link) -> Result<Client> {
    let c = settings(options, link)?;
    let at = options.urls.join(", ");
    let client = c.connect(options.urls.as_slice()).await.map_err(|e| {
        let (code, what) = match e.kind() {
            ConnectErrorKind::ServerParse => (Code::BAD_CONFIG, "the address is not understood; write nats://host:port"),
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                (Code::BUS_REFUSED, "the credentials are refused; see auth in the configuration")
            }
            ConnectErrorKind::Tls => (Code::BUS_UNAVAILABLE, "the connection cannot be sealed; see tls in the configuration"),
            _ => (Code::BUS_UNAVAILABLE, "nothing answers; check that the server runs and that the address is right"),
        };
        Error::new(code, format!("NATS at {at}: {what} ({e})")).op("nats.connect")
    })?;
    // The event comes through a queue; whoever asks right after opening must not be told that there is no connection.
    link.hear(&async_nats::Event::Connected);
    Ok(client)
}
