//! How the bus on Kafka is set up.

use std::collections::BTreeMap;
use std::path::PathBuf;

use am_core::config::SecretRef;
use am_core::{Code, Error, Result};
use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};

/// Room for headers and the broker's own bytes, besides a body.
pub(super) const HEAD_BYTES: usize = 32 << 10;

/// Where the brokers are and how they are used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KafkaOptions {
    /// `host:port` of some brokers, joined by commas; `127.0.0.1:9092`.
    pub brokers: String,
    /// Before every topic and group, so that several programs can share a cluster; none. Letters, digits and `._-`.
    pub prefix: String,
    /// How topics come to be.
    pub topics: Topics,
    /// Partitions of a new topic; 6. They bound how many members share a topic.
    pub partitions: u16,
    /// Servers that have a copy of each message; 3. With 1, a power cut may take what was acknowledged.
    pub replication: u16,
    /// How many of them have it before it is acknowledged; 2, or 1 when there is one copy.
    pub in_sync: u16,
    /// Hours that messages are kept, settled or not; 168.
    pub retention_hours: u64,
    /// Bytes that a partition keeps at most; 0 for no limit, which is the default.
    pub retention_bytes: u64,
    /// Bytes of one body at most; 1,000,000. Brokers take a little more than 1 MiB unless they are told otherwise.
    pub body_bytes: usize,
    /// Milliseconds that a message waits for others to share a request; 5.
    pub linger_ms: u64,
    /// How requests are compressed.
    pub compression: Compression,
    /// Milliseconds until a message that nobody acknowledged is given up; 30,000.
    pub publish_ms: u64,
    /// Kibibytes of messages that wait to be sent; 65,536. Beyond it publishing waits, then says `OVERLOADED`.
    pub buffer_kib: u32,
    /// Kibibytes that a member reads ahead; 16,384.
    pub read_ahead_kib: u32,
    /// Milliseconds between two commits of offsets; 200. A killed member's group repeats what was acknowledged since the last one.
    pub commit_ms: u64,
    /// Milliseconds after which a member that is not heard of has died; 10,000.
    pub session_ms: u64,
    /// Milliseconds between two looks for new topics and leaders; 5,000.
    pub discover_ms: u64,
    /// Milliseconds for one question to the brokers; 10,000.
    pub ask_ms: u64,
    /// Who AM is to the brokers.
    pub security: Security,
    /// More settings of librdkafka, but none that AM's promises hang on.
    pub more: BTreeMap<String, String>,
}

/// How topics come to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topics {
    /// AM creates those it needs.
    #[default]
    Auto,
    /// An operator does; a topic that is missing is an error that says so.
    Off,
}

/// How requests are compressed; what this build of librdkafka has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the methods' own")]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    #[default]
    Lz4,
}

/// Who AM is to the brokers. The build that AM has by default speaks plain text, with or without SASL PLAIN: see `docs/kafka.md`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Security {
    /// How it talks.
    pub protocol: Protocol,
    /// The SASL mechanism; `PLAIN`.
    pub mechanism: Option<String>,
    /// The SASL user.
    pub username: Option<String>,
    /// The SASL password: `file:/path` or `env:NAME`.
    pub password: Option<SecretRef>,
    /// Certificates of the authority, PEM.
    pub ca: Option<PathBuf>,
    /// AM's own certificate, PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
}

/// How it talks to the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Plain text.
    #[default]
    Plaintext,
    /// Plain text, with a user.
    SaslPlaintext,
    /// TLS; only with a librdkafka that was built with OpenSSL.
    Ssl,
    /// TLS and a user; likewise.
    SaslSsl,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        KafkaOptions {
            brokers: "127.0.0.1:9092".into(),
            prefix: String::new(),
            topics: Topics::Auto,
            partitions: 6,
            replication: 3,
            in_sync: 2,
            retention_hours: 168,
            retention_bytes: 0,
            body_bytes: 1_000_000,
            linger_ms: 5,
            compression: Compression::default(),
            publish_ms: 30_000,
            buffer_kib: 65_536,
            read_ahead_kib: 16_384,
            commit_ms: 200,
            session_ms: 10_000,
            discover_ms: 5_000,
            ask_ms: 10_000,
            security: Security::default(),
            more: BTreeMap::new(),
        }
    }
}

/// What AM's promises hang on; nobody else sets it.
const OURS: &[&str] = &[
    "acks",
    "request.required.acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "sasl.password",
];

fn bad(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Code::BAD_CONFIG, text).op("kafka.open")
}

impl KafkaOptions {
    /// At some brokers.
    pub fn new(brokers: impl Into<String>) -> Self {
        KafkaOptions { brokers: brokers.into(), ..Default::default() }
    }

    /// How many copies are there before a message is acknowledged.
    pub(super) fn acknowledged_by(&self) -> u16 {
        self.in_sync.clamp(1, self.replication.max(1))
    }

    pub(super) fn check(&self) -> Result<()> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if self.prefix.len() > 64 || !self.prefix.bytes().all(plain) {
            return Err(bad("kafka.prefix has up to 64 letters, digits, '.', '_' and '-'"));
        }
        if self.partitions == 0 || self.replication == 0 || self.retention_hours == 0 || self.body_bytes == 0 {
            return Err(bad("kafka.partitions, replication, retention_hours and body_bytes are at least 1"));
        }
        if self.body_bytes > 64 << 20 {
            return Err(bad("kafka.body_bytes is more than 64 MiB"));
        }
        match self.more.keys().find(|k| OURS.contains(&k.as_str())) {
            Some(ours) => Err(bad(format!("kafka.more cannot set {ours}: AM's promises hang on it"))),
            None => Ok(()),
        }
    }

    /// What every client is set up with.
    pub(super) fn client(&self) -> Result<ClientConfig> {
        let mut c = ClientConfig::new();
        for (name, value) in &self.more {
            c.set(name, value);
        }
        c.set("bootstrap.servers", &self.brokers);
        c.set("client.id", "am");
        c.set("socket.keepalive.enable", "true");
        c.set("socket.nagle.disable", "true");
        c.set("reconnect.backoff.max.ms", "2000");
        c.set("topic.metadata.refresh.interval.ms", self.discover_ms.clamp(100, 3_600_000).to_string());
        c.set("message.max.bytes", (self.body_bytes + HEAD_BYTES).to_string());
        self.security.apply(&mut c)?;
        Ok(c)
    }

    /// What publishing adds. Idempotence keeps the order of a partition and adds nothing twice over lost answers.
    pub(super) fn producer(&self) -> Result<ClientConfig> {
        let mut c = self.client()?;
        c.set("acks", "all");
        c.set("enable.idempotence", "true");
        c.set("linger.ms", self.linger_ms.min(60_000).to_string());
        c.set("message.timeout.ms", self.publish_ms.clamp(1_000, 3_600_000).max(self.linger_ms + 1).to_string());
        c.set("queue.buffering.max.kbytes", self.buffer_kib.clamp(64, 2_000_000).to_string());
        // As the Java client does, so that both put a device into the same partition.
        c.set("partitioner", "murmur2_random");
        c.set(
            "compression.type",
            serde_json::to_value(self.compression).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default(),
        );
        Ok(c)
    }

    /// What a member adds. Offsets are committed by librdkafka, but only those that were handed to it after an acknowledgement.
    pub(super) fn member(&self, group: &str, settle_ms: u64) -> Result<ClientConfig> {
        let mut c = self.client()?;
        c.set("group.id", group);
        c.set("enable.auto.commit", "true");
        c.set("enable.auto.offset.store", "false");
        c.set("auto.commit.interval.ms", self.commit_ms.clamp(10, 60_000).to_string());
        c.set("auto.offset.reset", "earliest");
        c.set("enable.partition.eof", "true");
        // A broker answers a connection's questions one after the other, and an idle fetch would hold up those about offsets for 500 ms.
        c.set("fetch.wait.max.ms", "100");
        c.set("partition.assignment.strategy", "cooperative-sticky");
        c.set("session.timeout.ms", self.session_ms.clamp(1_000, 3_600_000).to_string());
        c.set("heartbeat.interval.ms", (self.session_ms.clamp(1_000, 3_600_000) / 4).to_string());
        let poll = settle_ms.saturating_mul(2).clamp(300_000.max(self.session_ms), 86_400_000);
        c.set("max.poll.interval.ms", poll.to_string());
        c.set("queued.max.messages.kbytes", self.read_ahead_kib.clamp(64, 2_000_000).to_string());
        c.set("fetch.message.max.bytes", (self.body_bytes + HEAD_BYTES).to_string());
        Ok(c)
    }
}

impl Security {
    fn apply(&self, c: &mut ClientConfig) -> Result<()> {
        let (name, user) = match self.protocol {
            Protocol::Plaintext => ("plaintext", false),
            Protocol::SaslPlaintext => ("sasl_plaintext", true),
            Protocol::Ssl => ("ssl", false),
            Protocol::SaslSsl => ("sasl_ssl", true),
        };
        c.set("security.protocol", name);
        for (setting, path) in
            [("ssl.ca.location", &self.ca), ("ssl.certificate.location", &self.certificate), ("ssl.key.location", &self.key)]
        {
            if let Some(path) = path {
                c.set(setting, path.display().to_string());
            }
        }
        if !user {
            return Ok(());
        }
        let (Some(username), Some(password)) = (&self.username, &self.password) else {
            return Err(bad("kafka.security needs username and password with this protocol"));
        };
        let secret = password.resolve(|r| match r {
            SecretRef::File(path) => std::fs::read_to_string(path).map_err(|e| e.to_string()),
            SecretRef::Env(name) => std::env::var(name).map_err(|e| e.to_string()),
            _ => Err("it is neither a file nor a variable".into()),
        })?;
        c.set("sasl.mechanism", self.mechanism.as_deref().unwrap_or("PLAIN"));
        c.set("sasl.username", username);
        c.set("sasl.password", secret.expose());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_with_defaults_and_refuse_what_promises_hang_on() {
        let o: KafkaOptions = serde_json::from_str(r#"{"brokers":"a:1","topics":"off","compression":"gzip"}"#).unwrap();
        assert_eq!((o.topics, o.compression, o.partitions), (Topics::Off, Compression::Gzip, 6));
        assert!(serde_json::from_str::<KafkaOptions>(r#"{"broker":"a"}"#).is_err());
        let mut o = KafkaOptions::default();
        o.more.insert("acks".into(), "1".into());
        assert_eq!(o.check().unwrap_err().code(), Code::BAD_CONFIG);
        let o = KafkaOptions { prefix: "a b".into(), ..Default::default() };
        assert!(o.check().is_err());
        assert_eq!(KafkaOptions { replication: 1, ..Default::default() }.acknowledged_by(), 1);
    }

    #[test]
    fn a_password_is_not_shown_with_the_settings() {
        let security = Security {
            protocol: Protocol::SaslPlaintext,
            username: Some("ada".into()),
            password: Some(SecretRef::Env("PATH".into())),
            ..Default::default()
        };
        let c = KafkaOptions { security, ..Default::default() }.client().unwrap();
        assert!(!format!("{c:?}").contains(&std::env::var("PATH").unwrap()));
    }
}
