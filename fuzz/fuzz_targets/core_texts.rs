//! Topics, timestamps, reading ids, trace parents, secret references and configurations from arbitrary text.
#![no_main]

use std::collections::BTreeMap;

use am_core::config::{Loader, SecretRef};
use am_core::policy::Backoff;
use am_core::{ReadingId, Timestamp, Topic, TopicFilter, TraceParent};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;

/// A configuration with every shape a field can have.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(dead_code)]
struct Config {
    text: String,
    port: u16,
    on: bool,
    ratio: f64,
    maybe: Option<i64>,
    list: Vec<u32>,
    table: BTreeMap<String, Backoff>,
    retry: Backoff,
    secret: Option<SecretRef>,
    choice: Choice,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code)]
enum Choice {
    #[default]
    None,
    Named {
        name: String,
    },
    Port(u16),
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(topic) = Topic::parse(text) {
        assert_eq!(topic.as_str(), text);
    }
    if let Ok(filter) = TopicFilter::parse(text) {
        let _ = filter.matches(text);
    }
    if let Ok(at) = Timestamp::parse(text) {
        assert_eq!(Timestamp::parse(&at.to_string()).ok(), Some(at));
    }
    if let Ok(id) = ReadingId::parse(text) {
        assert_eq!(ReadingId::parse_ascii(&id.to_ascii()), Some(id));
    }
    let _ = TraceParent::parse(text);
    let _ = SecretRef::parse(text);

    // The first line is a flag, the second the value of a variable, the rest a TOML text.
    let mut parts = text.splitn(3, '\n');
    let flag = parts.next().unwrap_or_default();
    let value = parts.next().unwrap_or_default();
    let toml = parts.next().unwrap_or_default();
    let variables = [("AM__LIST", value), ("AM__CHOICE", value), ("AM__TABLE__A", value)];
    if let Err(problems) = Loader::new().toml("fuzz.toml", toml).variables(variables).flags([flag]).check::<Config>() {
        assert!(!problems.is_empty());
    }
});
