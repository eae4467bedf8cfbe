//! What can be set.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use am_core::config::SecretRef;
use am_core::{Code, Error, Result, Scope};
use serde::{Deserialize, Serialize};

/// The settings of a server; `[server]` in the configuration file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Where gRPC listens; port 0 takes a free one.
    pub grpc: SocketAddr,
    /// Where health and metrics listen, without a key: keep it on loopback or an inner network. `None` for nowhere.
    pub http: Option<SocketAddr>,
    /// Who may call.
    pub auth: Auth,
    /// TLS 1.3 on the gRPC port; plain text when absent.
    pub tls: Option<TlsConfig>,
    /// Other names that the ingestion service answers to, such as `loom.gateway.v1.DataIngestionService`.
    pub legacy_services: Vec<String>,
    /// How much is taken in at once.
    pub limits: Limits,
    /// How long things may take.
    pub times: Times,
}

/// Who may call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Holders of a device key; the key decides the scope.
    #[default]
    Keys,
    /// Everybody, into this scope. Only on a loopback address.
    Open(Scope),
}

/// Where certificate and key are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file of the certificate and its chain.
    pub certificate: PathBuf,
    /// The private key in PEM: `file:/path` or `env:NAME`.
    pub key: SecretRef,
}

/// How much is taken in at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one message, packed and unpacked.
    pub message_bytes: usize,
    /// Readings of one batch.
    pub batch_items: usize,
    /// Readings of one group of `StreamData`.
    pub group_items: usize,
    /// Batches of one stream that wait for their commit.
    pub batches_per_stream: usize,
    /// Bytes of all messages that are being taken in, counted twice because they are decoded.
    pub in_flight_bytes: usize,
    /// Open connections of the gRPC port.
    pub connections: usize,
    /// Open streams of all connections.
    pub streams: usize,
    /// Open streams of one connection.
    pub streams_per_connection: u32,
    /// Bytes of the headers of one call.
    pub header_bytes: u32,
    /// Bytes that one stream may send ahead of what was read.
    pub stream_window_bytes: u32,
    /// Bytes that one connection may send ahead of what was read.
    pub connection_window_bytes: u32,
}

/// How long things may take, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Times {
    /// How long a group of `StreamData` waits for more readings.
    pub group_ms: u64,
    /// How long a batch may take to be committed before it is answered RETRY.
    pub accept_ms: u64,
    /// How long a message waits for room before its call ends as overloaded.
    pub overload_ms: u64,
    /// How long a client may leave a message half sent, or an answer unread, before its connection is cut.
    pub stall_ms: u64,
    /// How long what is in flight has to settle at shutdown.
    pub drain_ms: u64,
    /// Between HTTP/2 pings on a quiet connection.
    pub ping_ms: u64,
    /// How long the answer to a ping may take.
    pub ping_timeout_ms: u64,
    /// How long a TLS handshake may take.
    pub handshake_ms: u64,
    /// How long a key is believed before it is looked up again: revoking takes this long.
    pub key_cache_ms: u64,
    /// For how much longer a key that was believed is believed while the store does not answer, so that a gateway goes on taking in.
    pub key_stale_ms: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            grpc: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_051)),
            http: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 8_080))),
            auth: Auth::default(),
            tls: None,
            legacy_services: Vec::new(),
            limits: Limits::default(),
            times: Times::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            message_bytes: 4 << 20,
            batch_items: 10_000,
            group_items: 512,
            batches_per_stream: 8,
            in_flight_bytes: 128 << 20,
            connections: 12_288,
            streams: 12_288,
            streams_per_connection: 256,
            header_bytes: 16 << 10,
            stream_window_bytes: 256 << 10,
            connection_window_bytes: 1 << 20,
        }
    }
}

impl Default for Times {
    fn default() -> Self {
        Times {
            group_ms: 20,
            accept_ms: 30_000,
            overload_ms: 5_000,
            stall_ms: 30_000,
            drain_ms: 10_000,
            ping_ms: 30_000,
            ping_timeout_ms: 20_000,
            handshake_ms: 10_000,
            key_cache_ms: 2_000,
            key_stale_ms: 900_000,
        }
    }
}

impl ServerConfig {
    /// On free ports of the loopback address, open to everybody on this machine, into one scope.
    pub fn local(scope: Scope) -> Self {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        ServerConfig { grpc: free, http: Some(free), auth: Auth::Open(scope), ..Default::default() }
    }

    /// Checks what a type cannot say.
    ///
    /// # Errors
    /// `BAD_CONFIG` names the setting.
    pub fn check(&self) -> Result<()> {
        let bad = |why: String| Err(Error::new(Code::BAD_CONFIG, why).op("server.config"));
        if matches!(self.auth, Auth::Open(_)) && !self.grpc.ip().to_canonical().is_loopback() {
            return bad(format!("auth = open takes data from everybody and needs a loopback address, not {}; use auth = keys", self.grpc));
        }
        let l = &self.limits;
        let ranges = [
            ("limits.message_bytes", l.message_bytes, 1 << 10, 64 << 20),
            ("limits.batch_items", l.batch_items, 1, 1_000_000),
            ("limits.group_items", l.group_items, 1, 10_000),
            ("limits.batches_per_stream", l.batches_per_stream, 1, 64),
            ("limits.in_flight_bytes", l.in_flight_bytes, 4 << 10, 1 << 31),
            ("limits.connections", l.connections, 1, 1 << 20),
            ("limits.streams", l.streams, 1, 1 << 20),
            ("limits.streams_per_connection", l.streams_per_connection as usize, 1, 1 << 20),
            ("limits.header_bytes", l.header_bytes as usize, 1 << 10, 1 << 20),
            ("limits.stream_window_bytes", l.stream_window_bytes as usize, 16 << 10, 64 << 20),
            ("limits.connection_window_bytes", l.connection_window_bytes as usize, 64 << 10, 256 << 20),
        ];
        for (key, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return bad(format!("{key} is {value}, expected {least} to {most}"));
            }
        }
        if l.in_flight_bytes < 2 * l.message_bytes + 1_024 {
            return bad(format!("limits.in_flight_bytes is {}, less than one message needs", l.in_flight_bytes));
        }
        for s in &self.legacy_services {
            let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !s.split('.').all(word) || s.len() > 256 {
                return bad(format!("legacy_services: {s:?} is not a service name such as loom.gateway.v1.DataIngestionService"));
            }
        }
        Ok(())
    }
}

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use am_core::config::Loader;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct File {
        server: ServerConfig,
    }

    #[test]
    fn a_file_sets_what_it_names_and_leaves_the_rest() {
        let text = "[server]\ngrpc = \"127.0.0.1:0\"\nauth = { open = { tenant = \"acme\", user = \"ada\" } }\nlegacy_services = [\"loom.gateway.v1.DataIngestionService\"]\n\
                    [server.tls]\ncertificate = \"/c.pem\"\nkey = \"file:/k.pem\"\n[server.limits]\nbatch_items = 7\n";
        let c: File = Loader::new().toml("am.toml", text).variables([("AM__SERVER__TIMES__DRAIN_MS", "5")]).load().unwrap();
        c.server.check().unwrap();
        assert_eq!(c.server.auth, Auth::Open(Scope::new("acme", "ada").unwrap()));
        assert_eq!((c.server.limits.batch_items, c.server.limits.group_items, c.server.times.drain_ms), (7, 512, 5));
        assert_eq!(c.server.tls.unwrap().key, SecretRef::File("/k.pem".into()));
    }

    #[test]
    fn an_open_server_is_refused_beyond_loopback() {
        let mut c = ServerConfig::local(Scope::local());
        c.check().unwrap();
        for beyond in ["0.0.0.0:1", "[::]:1", "192.168.1.2:1"] {
            c.grpc = beyond.parse().unwrap();
            let e = c.check().unwrap_err();
            assert_eq!(e.code(), Code::BAD_CONFIG);
            assert!(e.message().contains("loopback"), "{e}");
        }
        c.grpc = "[::1]:1".parse().unwrap();
        c.check().unwrap();
    }

    #[test]
    fn senseless_limits_are_named() {
        let mut c = ServerConfig::local(Scope::local());
        c.limits.batches_per_stream = 0;
        assert!(c.check().unwrap_err().message().contains("limits.batches_per_stream"));
        let mut c = ServerConfig::local(Scope::local());
        c.limits.in_flight_bytes = 4 << 20;
        assert!(c.check().unwrap_err().message().contains("in_flight_bytes"));
        let mut c = ServerConfig::local(Scope::local());
        c.legacy_services.push("a/b".into());
        assert!(c.check().unwrap_err().message().contains("a/b"));
    }
}
