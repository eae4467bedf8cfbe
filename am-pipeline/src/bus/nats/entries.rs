//! Values by key in a bucket as NATS KV has them, so that `nats kv` shows them.
//!
//! Read from the stream's leader, never from a copy: a value is as new as any write that returned before. The bucket is therefore made
//! without "direct get", which the usual client turns on.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use am_core::{Clock, Code, Error, Result};
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, Config as ConsumerConfig, DeliverPolicy, Info};
use async_nats::jetstream::stream::{Config, DiscardPolicy, LastRawMessageErrorKind, Stream};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;

use super::api::{Api, Nothing, down, refusal};
use super::group::{Create, create_subject};
use super::options::NatsOptions;
use super::publish::failed;
use super::pull::{Heard, Pull};
use super::{envelope, streams};
use crate::bus::{Entries, Entry, LARGEST_VALUE, check_key, check_value};

const OP: &str = "bus.entries";
const OPERATION: &str = "KV-Operation";
const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
/// How often a write is tried against a key that others remove and write all the time.
const TRIES: usize = 8;
/// Keys asked for at a time.
const PAGE: usize = 512;

pub(super) struct Bucket {
    api: Api,
    clock: Arc<dyn Clock>,
    name: String,
    stream: Stream<()>,
    within: Duration,
}

/// The last message of a key: a value, or the mark that it was removed.
struct Last {
    revision: u64,
    value: Option<Bytes>,
}

fn wanted(options: &NatsOptions, cluster: bool) -> Config {
    Config {
        name: format!("KV_{}", options.bucket()),
        subjects: vec![format!("$KV.{}.>", options.bucket())],
        description: Some("AM: see docs/nats.md".into()),
        max_messages_per_subject: 1,
        max_messages: -1,
        max_bytes: -1,
        max_consumers: -1,
        max_message_size: i32::try_from(LARGEST_VALUE + envelope::HEAD).unwrap_or(i32::MAX),
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        num_replicas: streams::replicas(options.streams.readings.replicas, cluster),
        ..Config::default()
    }
}

/// A bucket that forgets by age, or keeps less or fewer copies, does not do.
fn compare(there: &Config, want: &Config) -> Result<()> {
    let limits = there.max_message_size > 0 && there.max_message_size < want.max_message_size;
    let wrong = [
        ("ttl", !there.max_age.is_zero()),
        ("replicas", there.num_replicas < want.num_replicas),
        ("storage", there.storage != want.storage),
        ("max_value_size", limits),
        ("mirror", there.mirror.is_some()),
        ("no_ack", there.no_ack),
    ];
    match wrong.into_iter().find(|(_, is)| *is) {
        None => Ok(()),
        Some((name, _)) => {
            let text = format!("the bucket {} has a {name} with which it would lose values; change it, or name another bucket", want.name);
            Err(Error::new(Code::BUS_MISMATCH, text).op(OP).with("setting", name))
        }
    }
}

impl Bucket {
    pub(super) async fn open(options: &NatsOptions, api: &Api, clock: &Arc<dyn Clock>, cluster: bool) -> Result<Bucket> {
        let want = wanted(options, cluster);
        let info = streams::ensure(api, &want, compare).await?;
        let stream =
            api.js.get_stream_no_info(&info.config.name).await.map_err(|e| {
                Error::new(Code::BUS_MISMATCH, format!("the bucket's stream {} cannot be named: {e}", info.config.name)).op(OP)
            })?;
        Ok(Bucket { api: api.clone(), clock: clock.clone(), name: options.bucket(), stream, within: options.answer_within })
    }

    fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name)
    }

    async fn last(&self, key: &str) -> Result<Option<Last>> {
        if !self.api.link.is_up() {
            return Err(down(OP));
        }
        match self.stream.get_last_raw_message_by_subject(&self.subject(key)).await {
            Ok(m) => {
                let gone = matches!(m.headers.get(OPERATION).map(|v| v.as_str()), Some("DEL" | "PURGE"));
                Ok(Some(Last { revision: m.sequence, value: (!gone).then_some(m.payload) }))
            }
            Err(e) => match e.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(said) => Err(refusal(OP, &said)),
                _ => Err(Error::new(Code::BUS_UNAVAILABLE, e.to_string()).op(OP).source(e)),
            },
        }
    }

    /// Writes a message of a key, only over a revision when one is expected.
    async fn write(&self, key: &str, value: Bytes, mut headers: HeaderMap, expected: Option<u64>) -> Result<u64> {
        if !self.api.link.is_up() {
            return Err(down(OP));
        }
        if let Some(revision) = expected {
            headers.insert(EXPECTED, revision.to_string());
        }
        let sent = self.api.js.publish_with_headers(self.subject(key), headers, value).await.map_err(|e| failed(&e).op(OP))?;
        sent.await.map(|ack| ack.sequence).map_err(|e| failed(&e).op(OP))
    }

    /// Removes the mark of a removed key, so that the bucket does not grow by them. It stays when that fails, and does no harm.
    async fn sweep(&self, key: &str, mark: u64) {
        let request = json!({ "filter": self.subject(key), "seq": mark + 1 });
        let _ = self.api.ask::<serde_json::Value>(OP, format!("STREAM.PURGE.KV_{}", self.name), &request).await;
    }
}

fn mismatch(key: &str, found: u64, expected: u64) -> Error {
    Error::new(Code::CAS_MISMATCH, format!("{key} is at revision {found}, not {expected}")).op(OP)
}

fn is_mismatch(e: &Error) -> bool {
    e.code() == Code::CAS_MISMATCH
}

#[async_trait]
impl Entries for Bucket {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        check_key(key)?;
        let last = self.last(key).await?;
        Ok(last.and_then(|l| Some(Entry { value: l.value?, revision: l.revision })))
    }

    async fn put(&self, key: &str, value: Bytes, expected: Option<u64>) -> Result<u64> {
        check_key(key)?;
        check_value(key, &value)?;
        match self.write(key, value.clone(), HeaderMap::new(), expected).await {
            // "None is there" also holds for a key whose last message is the mark of its removal.
            Err(e) if expected == Some(0) && is_mismatch(&e) => {}
            done => return done,
        }
        for _ in 0..TRIES {
            let over = match self.last(key).await? {
                Some(Last { value: Some(_), revision }) => return Err(mismatch(key, revision, 0)),
                Some(mark) => mark.revision,
                None => 0,
            };
            match self.write(key, value.clone(), HeaderMap::new(), Some(over)).await {
                Err(e) if is_mismatch(&e) => {}
                done => return done,
            }
        }
        Err(mismatch(key, 0, 0))
    }

    async fn delete(&self, key: &str, expected: Option<u64>) -> Result<bool> {
        check_key(key)?;
        for _ in 0..TRIES {
            let found = self.last(key).await?.filter(|l| l.value.is_some()).map_or(0, |l| l.revision);
            if let Some(wanted) = expected.filter(|e| *e != found) {
                return Err(mismatch(key, found, wanted));
            }
            if found == 0 {
                return Ok(false);
            }
            let mut headers = HeaderMap::new();
            headers.insert(OPERATION, "PURGE");
            headers.insert("Nats-Rollup", "sub");
            match self.write(key, Bytes::new(), headers, Some(found)).await {
                Ok(mark) => {
                    self.sweep(key, mark).await;
                    return Ok(true);
                }
                Err(e) if is_mismatch(&e) && expected.is_none() => {}
                Err(e) => return Err(e),
            }
        }
        Err(Error::new(Code::CAS_MISMATCH, format!("{key} is written by others all the time")).op(OP))
    }

    async fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        if prefix.is_empty() {
            return Ok(self.listed(self.subject(">")).await?.into_iter().collect());
        }
        check_key(prefix)?;
        // Two questions: a server counts wrongly what is to come when one consumer has both as its filters.
        let mut keys = self.listed(self.subject(&format!("{prefix}.>"))).await?;
        if self.last(prefix).await?.is_some_and(|l| l.value.is_some()) {
            keys.insert(prefix.to_owned());
        }
        Ok(keys.into_iter().collect())
    }
}

impl Bucket {
    /// The keys under a subject that have a value, from a consumer that shows the last message of each without its body.
    async fn listed(&self, subject: String) -> Result<BTreeSet<String>> {
        let name = self.api.js.client().new_inbox().replace('.', "-");
        let config = ConsumerConfig {
            name: Some(name.clone()),
            filter_subject: subject,
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            headers_only: true,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: Duration::from_secs(30),
            ..ConsumerConfig::default()
        };
        let stream = format!("KV_{}", self.name);
        let create = Create { stream_name: &stream, config: &config, action: "create" };
        let info: Info = self.api.must(OP, create_subject(&stream, &config), &create).await?;
        let mut keys: BTreeMap<String, bool> = BTreeMap::new();
        let mut left = info.num_pending;
        let mut pull = Pull::open(&self.api, &self.clock, &stream, &name).await?;
        let until = self.clock.monotonic() + self.within;
        let strip = self.subject("");
        while left > 0 {
            let rest = until.saturating_sub(self.clock.monotonic());
            if rest.is_zero() {
                return Err(Error::new(Code::BUS_UNAVAILABLE, "the keys of the bucket did not come in time").op(OP));
            }
            pull.ask(PAGE, rest).await?;
            let heard = tokio::select! {
                heard = poll_fn(|cx| pull.poll(cx)) => heard,
                () = self.clock.sleep(rest) => continue,
            };
            match heard {
                Heard::Message(d) => {
                    let operation = d.message.headers.as_ref().and_then(|h| h.get(OPERATION)).map(|v| v.as_str());
                    if let Some(key) = d.message.subject.strip_prefix(&strip) {
                        keys.insert(key.to_owned(), operation.is_none_or(|o| o != "DEL" && o != "PURGE"));
                    }
                    left = d.pending;
                }
                Heard::Over => {}
                Heard::Gone | Heard::Lost => return Err(down(OP)),
            }
        }
        let _ = self.api.ask::<serde_json::Value>(OP, format!("CONSUMER.DELETE.{stream}.{name}"), &Nothing {}).await;
        Ok(keys.into_iter().filter(|(_, there)| *there).map(|(key, _)| key).collect())
    }
}
