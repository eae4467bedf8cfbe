//! The streams: made when they are missing, compared when they are there.

use am_core::{Code, Error, Result};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::account::Account;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};

use super::api::{Api, Nothing, Refusal, refusal};
use super::options::{NatsOptions, Retention};
use crate::bus::{Area, Durability};

const OP: &str = "nats.streams";

/// The configuration that an area's stream should have.
pub(super) fn wanted(options: &NatsOptions, area: Area, cluster: bool) -> Config {
    let s = options.streams.of(area);
    let mut subjects = vec![format!("{}.{}.>", options.prefix, area.letter())];
    subjects.extend(s.subjects.iter().cloned());
    Config {
        name: options.stream(area),
        subjects,
        description: Some("AM: see docs/nats.md".into()),
        max_bytes: i64::try_from(s.max_bytes).unwrap_or(i64::MAX),
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        max_message_size: i32::try_from(s.max_msg_size).unwrap_or(i32::MAX),
        max_age: s.max_age,
        discard: DiscardPolicy::New,
        retention: match s.retention {
            Retention::Limits => RetentionPolicy::Limits,
            Retention::WorkQueue => RetentionPolicy::WorkQueue,
        },
        storage: StorageType::File,
        num_replicas: replicas(s.replicas, cluster),
        duplicate_window: s.duplicate_window,
        ..Config::default()
    }
}

/// How many servers keep a message: as told, or three where there is a cluster.
pub(super) fn replicas(told: u8, cluster: bool) -> usize {
    match told {
        0 if cluster => 3,
        0 => 1,
        n => usize::from(n),
    }
}

/// A setting of a stream that does not do: its name, what is there, what was wanted.
type Difference = (&'static str, String, String);

/// What of a stream that is there does not do. Larger limits than wanted do; so do more subjects.
fn difference(there: &Config, want: &Config) -> Option<Difference> {
    let differ = |name, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| Some((name, format!("{a:?}"), format!("{b:?}")));
    // Limits of the server: 0 and -1 mean none.
    let smaller = |a: i64, b: i64| a > 0 && (b <= 0 || a < b);
    if let Some(missing) = want.subjects.iter().find(|s| !there.subjects.contains(s)) {
        return Some(("subjects", format!("{:?}", there.subjects), format!("{missing:?} among them")));
    }
    if there.retention != want.retention {
        return differ("retention", &there.retention, &want.retention);
    }
    // "Discard old" and a limit per subject both remove what nobody has read yet, without a word.
    if there.discard != want.discard {
        return differ("discard", &there.discard, &want.discard);
    }
    if there.max_messages_per_subject > 0 {
        return differ("max_msgs_per_subject", &there.max_messages_per_subject, &-1);
    }
    if there.storage != want.storage {
        return differ("storage", &there.storage, &want.storage);
    }
    if there.num_replicas < want.num_replicas {
        return differ("num_replicas", &there.num_replicas, &want.num_replicas);
    }
    if smaller(there.max_bytes, want.max_bytes) {
        return differ("max_bytes", &there.max_bytes, &want.max_bytes);
    }
    if smaller(there.max_messages, want.max_messages) {
        return differ("max_msgs", &there.max_messages, &want.max_messages);
    }
    if smaller(i64::from(there.max_message_size), i64::from(want.max_message_size)) {
        return differ("max_msg_size", &there.max_message_size, &want.max_message_size);
    }
    if !there.max_age.is_zero() && (want.max_age.is_zero() || there.max_age < want.max_age) {
        return differ("max_age", &there.max_age, &want.max_age);
    }
    if there.duplicate_window < want.duplicate_window {
        return differ("duplicate_window", &there.duplicate_window, &want.duplicate_window);
    }
    let flags = [("no_ack", there.no_ack), ("sealed", there.sealed), ("mirror", there.mirror.is_some())];
    if let Some((name, _)) = flags.into_iter().find(|(_, set)| *set) {
        return differ(name, &true, &false);
    }
    there.subject_transform.is_some().then(|| ("subject_transform", "one".into(), "none".into()))
}

/// Refuses a stream that would not keep its promises.
pub(super) fn compare(there: &Config, want: &Config) -> Result<()> {
    match difference(there, want) {
        None => Ok(()),
        Some((name, is, should)) => {
            let text = format!("the stream {} has {name} {is}, and {should} is wanted", want.name);
            Err(Error::new(Code::BUS_MISMATCH, text).op(OP).with("stream", &want.name).with("setting", name))
        }
    }
}

/// Information about a stream; `None` when it is not there.
pub(super) async fn info(api: &Api, name: &str) -> Result<Option<Info>> {
    match api.ask::<Info>(OP, format!("STREAM.INFO.{name}"), &Nothing {}).await? {
        Ok(info) => Ok(Some(info)),
        Err(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
        Err(e) => Err(refusal(OP, &e)),
    }
}

/// Makes sure that a stream is there and as wanted, as `compare` sees it.
pub(super) async fn ensure(api: &Api, want: &Config, compare: fn(&Config, &Config) -> Result<()>) -> Result<Info> {
    let found = match info(api, &want.name).await? {
        Some(found) => found,
        None => match api.ask::<Info>(OP, format!("STREAM.CREATE.{}", want.name), want).await? {
            Ok(made) => made,
            // Another process made it in the same moment, with the same settings or with other ones.
            Err(e) if e.error_code() == ErrorCode::STREAM_NAME_EXIST => info(api, &want.name).await?.ok_or_else(|| refusal(OP, &e))?,
            Err(e) => return Err(explained(&e, want)),
        },
    };
    compare(&found.config, want)?;
    Ok(found)
}

/// Why a stream could not be made, with what to do about it.
fn explained(e: &Refusal, want: &Config) -> Error {
    let advice = match e.error_code() {
        ErrorCode::STORAGE_RESOURCES_EXCEEDED | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED | ErrorCode::INSUFFICIENT_RESOURCES => {
            format!(
                "lower max_bytes of {} ({}), or give JetStream more room (max_file_store, or the account's limit)",
                want.name, want.max_bytes
            )
        }
        ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED => "this is a single server: set replicas to 1".into(),
        ErrorCode::STREAM_SUBJECT_OVERLAP => format!("another stream has some of {:?}: remove it, or choose another prefix", want.subjects),
        _ if e.to_string().contains("no suitable peers") => {
            format!("the cluster has fewer than {} servers with JetStream and room for {} bytes", want.num_replicas, want.max_bytes)
        }
        _ => return refusal(OP, e),
    };
    Error::new(Code::BUS_MISMATCH, format!("the stream {} cannot be made ({e}): {advice}", want.name)).op(OP)
}

/// Checks that JetStream is there for this account.
pub(super) async fn account(api: &Api) -> Result<Account> {
    let code = |e: &Refusal| matches!(e.error_code(), ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT);
    match api.ask::<Account>(OP, "INFO".into(), &Nothing {}).await {
        Ok(Ok(account)) => Ok(account),
        Ok(Err(e)) if code(&e) => {
            let text = format!("JetStream is off ({e}): start the server with -js or a jetstream block, and enable it for the account");
            Err(Error::new(Code::BUS_MISMATCH, text).op(OP))
        }
        Ok(Err(e)) => Err(refusal(OP, &e)),
        Err(e) if e.message().contains("does not answer") => {
            let text =
                "the server answers, but no JetStream does: start it with -js or a jetstream block, or wait for the cluster's leader";
            Err(Error::new(Code::BUS_UNAVAILABLE, text).op(OP).source(e))
        }
        Err(e) => Err(e),
    }
}

/// What an acknowledgement of a stream stands for. Whether a single server syncs is not visible to clients: the operator's word counts.
pub(super) fn durability(stream: &Config, single_node_sync: bool) -> Durability {
    match stream.num_replicas {
        n if n >= 2 => Durability::Replicas(u8::try_from(n).unwrap_or(u8::MAX)),
        _ if single_node_sync => Durability::Synced,
        _ => Durability::Unsynced,
    }
}

/// Fails while a stream cannot take messages: no leader, or fewer current copies than a majority.
pub(super) fn healthy(info: &Info) -> Result<()> {
    let Some(cluster) = &info.cluster else { return Ok(()) };
    let bad = |why: String| Err(Error::new(Code::BUS_UNAVAILABLE, format!("the stream {} {why}", info.config.name)).op(OP));
    if cluster.leader.is_none() {
        return bad("has no leader at the moment".into());
    }
    let current = 1 + cluster.replicas.iter().filter(|r| r.current && !r.offline).count();
    let all = info.config.num_replicas;
    if current <= all / 2 { bad(format!("has {current} of {all} copies up to date")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn readings() -> Config {
        wanted(&NatsOptions::default(), Area::Readings, true)
    }

    #[test]
    fn the_streams_are_those_of_the_design() {
        let r = readings();
        assert_eq!((r.name.as_str(), r.subjects[0].as_str(), r.num_replicas), ("am-readings", "am.r.>", 3));
        assert_eq!((r.max_bytes, r.max_age, r.discard), (100_000_000_000, Duration::from_secs(7 * 86_400), DiscardPolicy::New));
        let w = wanted(&NatsOptions::default(), Area::Work, false);
        assert_eq!((w.retention, w.num_replicas), (RetentionPolicy::WorkQueue, 1));
    }

    #[test]
    fn a_larger_stream_does_and_a_forgetful_one_is_refused_by_the_setting() {
        let want = readings();
        let with = |change: fn(&mut Config)| {
            let mut there = readings();
            change(&mut there);
            compare(&there, &want).map_err(|e| e.fields()[1].1.clone())
        };
        assert_eq!(with(|_| ()), Ok(()));
        assert_eq!(with(|c| c.max_bytes *= 2), Ok(()));
        assert_eq!(with(|c| c.max_bytes = -1), Ok(()));
        assert_eq!(with(|c| c.max_age = Duration::ZERO), Ok(()));
        assert_eq!(with(|c| c.num_replicas = 5), Ok(()));
        assert_eq!(with(|c| c.subjects.push("other.>".into())), Ok(()));
        assert_eq!(with(|c| c.discard = DiscardPolicy::Old), Err("discard".into()));
        assert_eq!(with(|c| c.max_age /= 2), Err("max_age".into()));
        assert_eq!(with(|c| c.max_bytes /= 2), Err("max_bytes".into()));
        assert_eq!(with(|c| c.max_messages = 1_000), Err("max_msgs".into()));
        assert_eq!(with(|c| c.max_messages_per_subject = 1), Err("max_msgs_per_subject".into()));
        assert_eq!(with(|c| c.num_replicas = 1), Err("num_replicas".into()));
        assert_eq!(with(|c| c.storage = StorageType::Memory), Err("storage".into()));
        assert_eq!(with(|c| c.retention = RetentionPolicy::Interest), Err("retention".into()));
        assert_eq!(with(|c| c.subjects = vec!["am.r.x.>".into()]), Err("subjects".into()));
        assert_eq!(with(|c| c.no_ack = true), Err("no_ack".into()));
        assert_eq!(with(|c| c.duplicate_window = Duration::from_secs(1)), Err("duplicate_window".into()));
    }

    #[test]
    fn only_copies_or_a_sync_are_custody() {
        let mut c = readings();
        assert!(durability(&c, false).is_custody());
        c.num_replicas = 1;
        assert!(!durability(&c, false).is_custody());
        assert!(durability(&c, true).is_custody());
    }
}
