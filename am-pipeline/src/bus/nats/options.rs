//! How to reach the servers, and what the streams should be like.

use std::path::PathBuf;
use std::time::Duration;

use am_core::config::SecretRef;
use am_core::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use super::units::{size, time, time_or_none};
use crate::bus::Area;

/// Everything about a bus on NATS. As a table of a configuration: `[bus.nats]`, see `deploy/nats/bus.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct NatsOptions {
    /// `nats://host:port` or `tls://host:port`, one or some servers of the cluster. Without user and password.
    pub urls: Vec<String>,
    /// The first part of every subject, stream and consumer; letters, digits, `-` and `_`.
    pub prefix: String,
    /// Who connects.
    pub auth: AuthOptions,
    /// How the connection is sealed.
    pub tls: TlsOptions,
    /// The subject under which answers arrive, for users whose permissions name it; the server's users usually have `_INBOX`.
    pub inbox: String,
    /// The streams.
    pub streams: StreamsOptions,
    /// The bucket of [`crate::bus::Entries`]; `<prefix>-state` when empty.
    pub bucket: String,
    /// The operator's word that the one server has `sync_interval: always`: then its acknowledgement is a sync. A client cannot see it.
    pub single_node_sync: bool,
    /// The share of a stream's age or bytes, not settled by the slowest durable consumer, beyond which a warning names that consumer.
    /// A gateway refuses beyond it too.
    pub pressure_limit: f64,
    /// The share of a stream's bytes beyond which messages that every durable consumer has settled are removed, so that a stream does not
    /// refuse because of what everybody has; 0 leaves that to `max_age`.
    pub trim_settled_at: f64,
    /// Bytes of messages that were sent and not acknowledged yet, of all callers together; more wait.
    #[serde(with = "size")]
    pub in_flight_bytes: u64,
    /// How long to wait for the acknowledgement of a message.
    #[serde(with = "time")]
    pub publish_within: Duration,
    /// How long to wait for an answer about streams, consumers and entries.
    #[serde(with = "time")]
    pub answer_within: Duration,
    /// How often a tail that has nothing to do notes with its consumer how far the stream holds nothing for it, so that it can tell later
    /// that nothing it wanted was removed.
    #[serde(with = "time")]
    pub note_every: Duration,
}

impl Default for NatsOptions {
    fn default() -> Self {
        NatsOptions {
            urls: vec!["nats://127.0.0.1:4222".into()],
            prefix: "am".into(),
            auth: AuthOptions::default(),
            tls: TlsOptions::default(),
            inbox: "_INBOX".into(),
            streams: StreamsOptions::default(),
            bucket: String::new(),
            single_node_sync: false,
            pressure_limit: 0.7,
            trim_settled_at: 0.5,
            in_flight_bytes: 32 << 20,
            publish_within: Duration::from_secs(10),
            answer_within: Duration::from_secs(10),
            note_every: Duration::from_secs(60),
        }
    }
}

/// Who connects: a user with a password, a token, an nkey, or a credentials file; nobody when all are empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AuthOptions {
    /// The user.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<SecretRef>,
    /// A token.
    pub token: Option<SecretRef>,
    /// The seed of an nkey.
    pub nkey: Option<SecretRef>,
    /// A credentials file: JWT and seed.
    pub credentials: Option<SecretRef>,
}

/// How the connection is sealed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsOptions {
    /// Refuses a connection that is not sealed; `tls://` in an address does that too.
    pub required: bool,
    /// Certificates that are trusted besides those of the system, in PEM.
    pub root: Option<PathBuf>,
    /// The own certificate, where the server asks for one.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// The streams, by area.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StreamsOptions {
    /// `<prefix>.r.>`: readings.
    #[serde(deserialize_with = "readings")]
    pub readings: StreamOptions,
    /// `<prefix>.w.>`: jobs; a message is gone once it is acknowledged.
    #[serde(deserialize_with = "work")]
    pub work: StreamOptions,
    /// `<prefix>.e.>`: what failed.
    #[serde(deserialize_with = "errors")]
    pub errors: StreamOptions,
}

impl Default for StreamsOptions {
    fn default() -> Self {
        StreamsOptions {
            readings: StreamOptions::of(Area::Readings),
            work: StreamOptions::of(Area::Work),
            errors: StreamOptions::of(Area::Errors),
        }
    }
}

impl StreamsOptions {
    /// Of an area.
    pub fn of(&self, area: Area) -> &StreamOptions {
        match area {
            Area::Readings => &self.readings,
            Area::Work => &self.work,
            Area::Errors => &self.errors,
        }
    }
}

/// When a message leaves a stream besides by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retention {
    /// When a limit is reached.
    Limits,
    /// When it is acknowledged; each message has one group at most.
    WorkQueue,
}

/// What a stream should be like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct StreamOptions {
    /// Its name; `<prefix>-readings`, `-work` or `-errors` when empty.
    pub name: String,
    /// Subjects that it keeps besides AM's own, for other programs; AM's consumers do not see them.
    pub subjects: Vec<String>,
    /// When a message leaves it.
    pub retention: Retention,
    /// The age at which a message is removed, settled or not.
    #[serde(with = "time")]
    pub max_age: Duration,
    /// Bytes at which it refuses new messages.
    #[serde(with = "size")]
    pub max_bytes: u64,
    /// Bytes of the largest message, headers included.
    #[serde(with = "size")]
    pub max_msg_size: u64,
    /// Servers that keep each message; 0 for three on a cluster and one on a single server.
    pub replicas: u8,
    /// For so long the same id is the same message.
    #[serde(with = "time")]
    pub duplicate_window: Duration,
    /// Groups have at least this much time to settle a message of this stream.
    #[serde(with = "time_or_none")]
    pub ack_wait: Option<Duration>,
    /// Which delivery is the last one, for groups that do not say.
    pub max_deliver: u32,
}

impl StreamOptions {
    /// What is usual for an area.
    pub fn of(area: Area) -> Self {
        let readings = StreamOptions {
            name: String::new(),
            subjects: Vec::new(),
            retention: Retention::Limits,
            max_age: Duration::from_secs(7 * 86_400),
            max_bytes: 100_000_000_000,
            max_msg_size: 1_000_000,
            replicas: 0,
            duplicate_window: Duration::from_secs(1_800),
            ack_wait: None,
            max_deliver: 0,
        };
        match area {
            Area::Readings => readings,
            Area::Work => StreamOptions {
                retention: Retention::WorkQueue,
                max_bytes: 10_000_000_000,
                ack_wait: Some(Duration::from_secs(300)),
                max_deliver: 3,
                ..readings
            },
            Area::Errors => StreamOptions { max_age: Duration::from_secs(30 * 86_400), max_bytes: 10_000_000_000, ..readings },
        }
    }
}

/// What a table of a configuration sets; the rest stays as is usual for the area.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    name: Option<String>,
    subjects: Option<Vec<String>>,
    retention: Option<Retention>,
    max_age: Option<Time>,
    max_bytes: Option<Size>,
    max_msg_size: Option<Size>,
    replicas: Option<u8>,
    duplicate_window: Option<Time>,
    ack_wait: Option<Time>,
    max_deliver: Option<u32>,
}

#[derive(Deserialize)]
struct Time(#[serde(with = "time")] Duration);

#[derive(Deserialize)]
struct Size(#[serde(with = "size")] u64);

fn over<'de, D: serde::Deserializer<'de>>(d: D, area: Area) -> std::result::Result<StreamOptions, D::Error> {
    let (given, usual) = (Given::deserialize(d)?, StreamOptions::of(area));
    Ok(StreamOptions {
        name: given.name.unwrap_or(usual.name),
        subjects: given.subjects.unwrap_or(usual.subjects),
        retention: given.retention.unwrap_or(usual.retention),
        max_age: given.max_age.map_or(usual.max_age, |t| t.0),
        max_bytes: given.max_bytes.map_or(usual.max_bytes, |s| s.0),
        max_msg_size: given.max_msg_size.map_or(usual.max_msg_size, |s| s.0),
        replicas: given.replicas.unwrap_or(usual.replicas),
        duplicate_window: given.duplicate_window.map_or(usual.duplicate_window, |t| t.0),
        ack_wait: given.ack_wait.map(|t| t.0).or(usual.ack_wait),
        max_deliver: given.max_deliver.unwrap_or(usual.max_deliver),
    })
}

fn readings<'de, D: serde::Deserializer<'de>>(d: D) -> std::result::Result<StreamOptions, D::Error> {
    over(d, Area::Readings)
}

fn work<'de, D: serde::Deserializer<'de>>(d: D) -> std::result::Result<StreamOptions, D::Error> {
    over(d, Area::Work)
}

fn errors<'de, D: serde::Deserializer<'de>>(d: D) -> std::result::Result<StreamOptions, D::Error> {
    over(d, Area::Errors)
}

impl NatsOptions {
    /// The default settings for some servers.
    pub fn at(urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        NatsOptions { urls: urls.into_iter().map(Into::into).collect(), ..NatsOptions::default() }
    }

    /// Checks what can be checked without a server.
    ///
    /// # Errors
    /// `BAD_CONFIG` names the setting.
    pub fn check(&self) -> Result<()> {
        let bad = |why: String| Err(Error::new(Code::BAD_CONFIG, why).op("nats.options"));
        if self.urls.is_empty() {
            return bad("urls: there is no server".into());
        }
        if self.urls.iter().any(|u| u.contains('@')) {
            return bad("urls: an address holds a user or a password; name them under auth, as references".into());
        }
        if !is_name(&self.prefix) {
            return bad(format!("prefix: {:?} is not 1 to 32 letters, digits, - and _", self.prefix));
        }
        if !(0.0..=1.0).contains(&self.pressure_limit) || !(0.0..=1.0).contains(&self.trim_settled_at) {
            return bad("pressure_limit and trim_settled_at are shares between 0 and 1".into());
        }
        let auth = &self.auth;
        let ways = [auth.password.is_some(), auth.token.is_some(), auth.nkey.is_some(), auth.credentials.is_some()];
        if ways.iter().filter(|w| **w).count() > 1 {
            return bad("auth: password, token, nkey and credentials exclude each other".into());
        }
        if auth.user.is_some() != auth.password.is_some() {
            return bad("auth: user and password belong together".into());
        }
        for area in Area::ALL {
            let s = self.streams.of(area);
            if !s.name.is_empty() && !is_name(&s.name) {
                return bad(format!("streams: {:?} is not a stream's name: 1 to 32 letters, digits, - and _", s.name));
            }
            if s.max_msg_size < 16 << 10 || s.max_msg_size > i32::MAX as u64 {
                return bad(format!("streams: max_msg_size of {} is below 16 KiB or too large", self.stream(area)));
            }
            if s.replicas > 5 || (s.duplicate_window > s.max_age && !s.max_age.is_zero()) {
                return bad(format!(
                    "streams: {} has more than 5 replicas, or a duplicate_window longer than its max_age",
                    self.stream(area)
                ));
            }
        }
        Ok(())
    }

    /// The name of an area's stream.
    pub fn stream(&self, area: Area) -> String {
        let noun = match area {
            Area::Readings => "readings",
            Area::Work => "work",
            Area::Errors => "errors",
        };
        match self.streams.of(area).name.as_str() {
            "" => format!("{}-{noun}", self.prefix),
            name => name.to_owned(),
        }
    }

    /// The name of the bucket.
    pub fn bucket(&self) -> String {
        if self.bucket.is_empty() { format!("{}-state", self.prefix) } else { self.bucket.clone() }
    }
}

/// A name as streams, consumers and groups may have it.
pub(super) fn is_name(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}
