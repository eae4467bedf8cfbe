//! Topics: which there are, making those that are missing, checking that they are as they should be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use am_core::{Code, Error, Result};
use rdkafka::admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;

use super::errors::explain;
use super::{Shared, Topics, blocking, topics};

/// Topics whose settings are looked at in one check.
const CHECKED: usize = 256;
const HOUR_MS: u64 = 3_600_000;

/// A topic as the brokers describe it.
pub(super) struct Seen {
    /// Its name.
    pub(super) name: String,
    /// Its partitions and how many copies the poorest has; none without a leader.
    pub(super) partitions: Vec<i32>,
    pub(super) copies: usize,
    pub(super) leaderless: usize,
}

/// The settings of a topic that AM's promises hang on.
fn wanted(options: &super::KafkaOptions) -> Vec<(&'static str, String)> {
    let mut out = vec![
        ("cleanup.policy", "delete".to_owned()),
        ("retention.ms", options.retention_hours.saturating_mul(HOUR_MS).to_string()),
        ("min.insync.replicas", options.acknowledged_by().to_string()),
        ("max.message.bytes", (options.body_bytes + super::options::HEAD_BYTES).to_string()),
    ];
    if options.retention_bytes > 0 {
        out.push(("retention.bytes", options.retention_bytes.to_string()));
    }
    out
}

/// What of a topic's settings is not as it must be.
fn unfit(options: &super::KafkaOptions, topic: &str, found: impl Fn(&str) -> Option<String>) -> Option<String> {
    let number = |name: &str| found(name)?.parse::<i64>().ok();
    let least = |name: &'static str, want: u64| {
        let have = number(name)?;
        // -1 is no limit.
        (have >= 0 && have.unsigned_abs() < want).then(|| format!("the topic {topic} has {name} {have}, but needs at least {want}"))
    };
    if found("cleanup.policy").is_some_and(|p| p != "delete") {
        return Some(format!(
            "the topic {topic} is compacted: messages of the same device would take each other's place; set cleanup.policy to delete"
        ));
    }
    least("retention.ms", options.retention_hours.saturating_mul(HOUR_MS))
        .or_else(|| least("retention.bytes", options.retention_bytes))
        .or_else(|| least("min.insync.replicas", u64::from(options.acknowledged_by())))
        .or_else(|| least("max.message.bytes", options.body_bytes as u64))
}

impl Shared {
    /// All topics of the cluster that are AM's.
    pub(super) async fn look_around(self: &Arc<Self>) -> Result<Vec<Seen>> {
        let me = self.clone();
        blocking("kafka.topics", move || {
            let fail = |e: KafkaError| explain("kafka.topics", false, &me.health, &e);
            let found = me.producer()?.client().fetch_metadata(None, me.ask_within()).map_err(fail)?;
            let ours = found.topics().iter().filter(|t| topics::parse(&me.options.prefix, t.name()).is_some() && t.error().is_none());
            let seen: Vec<Seen> = ours
                .map(|t| Seen {
                    name: t.name().to_owned(),
                    partitions: t.partitions().iter().map(|p| p.id()).collect(),
                    copies: t.partitions().iter().map(|p| p.replicas().len()).min().unwrap_or(0),
                    leaderless: t.partitions().iter().filter(|p| p.leader() < 0).count(),
                })
                .collect();
            *me.known.lock() = seen.iter().map(|s| s.name.clone()).collect();
            Ok(seen)
        })
        .await
    }

    /// Sees to it that topics are there; says for each that is not why.
    pub(super) async fn ensure(self: &Arc<Self>, names: BTreeSet<String>) -> BTreeMap<String, (Code, String)> {
        let missing = |me: &Self| -> Vec<String> {
            let known = me.known.lock();
            names.iter().filter(|n| !known.contains(*n)).cloned().collect()
        };
        if missing(self).is_empty() {
            return BTreeMap::new();
        }
        let all = |names: Vec<String>, e: &Error| names.into_iter().map(|n| (n, (e.code(), e.message().to_owned()))).collect();
        if let Err(e) = self.look_around().await {
            return all(missing(self), &e);
        }
        let absent = missing(self);
        if absent.is_empty() {
            return BTreeMap::new();
        }
        if self.options.topics == Topics::Off {
            let text = |n: &String| format!("the topic {n} is not there; create it, or set kafka.topics to auto");
            return absent.into_iter().map(|n| (n.clone(), (Code::BUS_MISMATCH, text(&n)))).collect();
        }
        match self.create(&absent).await {
            Ok(failed) => failed,
            Err(e) => all(absent, &e),
        }
    }

    async fn create(&self, names: &[String]) -> Result<BTreeMap<String, (Code, String)>> {
        let settings = wanted(&self.options);
        let fresh: Vec<NewTopic<'_>> = names
            .iter()
            .map(|n| {
                let topic =
                    NewTopic::new(n, i32::from(self.options.partitions), TopicReplication::Fixed(i32::from(self.options.replication)));
                settings.iter().fold(topic, |t, (name, value)| t.set(name, value))
            })
            .collect();
        let within = AdminOptions::new().operation_timeout(Some(self.ask_within())).request_timeout(Some(self.ask_within()));
        let fail = |e| explain("kafka.topics", false, &self.health, &e);
        let answers = self.admin.create_topics(&fresh, &within).await.map_err(fail)?;
        let mut failed = BTreeMap::new();
        for answer in answers {
            match answer {
                Ok(name) | Err((name, RDKafkaErrorCode::TopicAlreadyExists)) => {
                    self.known.lock().insert(name);
                }
                Err((name, code)) => {
                    let e = fail(KafkaError::AdminOp(code));
                    let hint = match code {
                        RDKafkaErrorCode::InvalidReplicationFactor => "; there are fewer brokers than kafka.replication",
                        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
                            "; allow Create, or create it and set kafka.topics to off"
                        }
                        _ => "",
                    };
                    failed.insert(name.clone(), (e.code(), format!("the topic {name} cannot be created: {}{hint}", e.message())));
                }
            }
        }
        Ok(failed)
    }

    /// A topic that a broker does not know any more is looked for again.
    pub(super) fn forget(&self, name: &str) {
        self.known.lock().remove(name);
    }

    /// Checks what is there against the options.
    pub(super) async fn check_topics(self: &Arc<Self>) -> Result<()> {
        let mismatch = |text: String| Err(Error::new(Code::BUS_MISMATCH, text).op("kafka.ready"));
        let seen = self.look_around().await?;
        for t in &seen {
            if t.leaderless > 0 {
                let text = format!("{} partitions of the topic {} have no leader: their brokers are down", t.leaderless, t.name);
                return Err(Error::new(Code::BUS_UNAVAILABLE, text).op("kafka.ready"));
            }
            if t.copies < usize::from(self.options.replication) {
                let want = self.options.replication;
                return mismatch(format!("the topic {} has {} copies, but kafka.replication is {want}", t.name, t.copies));
            }
        }
        let asked: Vec<ResourceSpecifier<'_>> = seen.iter().take(CHECKED).map(|t| ResourceSpecifier::Topic(&t.name)).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let within = AdminOptions::new().request_timeout(Some(self.ask_within()));
        let fail = |e| explain("kafka.ready", false, &self.health, &e);
        for (topic, answer) in seen.iter().zip(self.admin.describe_configs(&asked, &within).await.map_err(fail)?) {
            // A user who may not ask is no reason to stop.
            let Ok(found) = answer else { continue };
            if let Some(why) = unfit(&self.options, &topic.name, |name| found.get(name)?.value.clone()) {
                return mismatch(why);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::KafkaOptions;
    use super::*;

    #[test]
    fn a_topic_is_unfit_when_a_promise_cannot_be_kept_with_it() {
        let options = KafkaOptions { retention_hours: 1, ..Default::default() };
        let judge = |change: (&'static str, &'static str)| {
            let settings: BTreeMap<&str, String> = wanted(&options).into_iter().collect();
            unfit(&options, "t", move |name| if name == change.0 { Some(change.1.to_owned()) } else { settings.get(name).cloned() })
        };
        assert_eq!(judge(("x", "")), None);
        assert_eq!(judge(("retention.ms", "-1")), None);
        assert_eq!(judge(("retention.ms", "7200000")), None);
        for (change, why) in [
            (("retention.ms", "1000"), "at least 3600000"),
            (("cleanup.policy", "compact"), "compacted"),
            (("min.insync.replicas", "1"), "at least 2"),
            (("max.message.bytes", "1000"), "max.message.bytes"),
        ] {
            assert!(judge(change).is_some_and(|text| text.contains(why)), "{change:?}");
        }
    }
}
