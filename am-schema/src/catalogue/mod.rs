//! Every kind of reading there is, in one table.
//!
//! A kind that is not in the table does not exist. Topics, validation, retention, JSON Schema and the docs follow from its row.
//!
//! # Adding a kind
//! One message and one row:
//! 1. a message in `proto/am/v1` with a comment on every field, and a field for it in `Reading.data` (the next free number);
//! 2. a row in `catalogue/raw_*.rs` or `catalogue/derived_*.rs`: topic, field number, title, class, ranges with UCUM units, required
//!    fields, texts to search, the number that rollups count.
//!
//! `cargo xtask codegen` then renews the messages, the shape tables, the JSON Schema and the docs, and refuses changes that would
//! break devices in the field. A path that names no field is found by the tests of this module.
//!
//! # Registering one from outside
//! An embedder adds `custom.<vendor>.<name>.<stage>` to a catalogue of their own. Its JSON is checked against the given JSON Schema
//! (see [`JsonSchema`] for the keywords), and it validates, stores and exports like any other kind.
//!
//! ```
//! use am_schema::{Catalogue, DataClass, KindDef};
//! let schema = r#"{"type": "object", "required": ["cups"], "properties": {"cups": {"type": "integer", "minimum": 1}}}"#;
//! let coffee = KindDef::custom("custom.acme.coffee.raw", Some(schema.into())).title("Coffee").class(DataClass::Behaviour).keep_days(90);
//! let catalogue = Catalogue::builtin().with(coffee)?;
//! let kind = catalogue.get("custom.acme.coffee.raw").ok_or("not registered")?;
//! let schema = kind.json_schema().ok_or("no schema")?;
//! assert!(schema.check(&serde_json::json!({"cups": 2})).is_empty());
//! assert_eq!(schema.check(&serde_json::json!({"cups": 0}))[0].to_string(), "cups is 0, expected at least 1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod custom;
mod def;
mod derived_context;
mod derived_external;
mod derived_insight;
mod derived_media;
mod derived_signal;
pub mod docs;
mod kind;
mod patterns;
mod raw_account;
mod raw_device;
pub mod vitals;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use am_core::{Code, Error, Result};
use parking_lot::Mutex;

pub use custom::JsonSchema;
pub use def::KindDef;
pub use kind::{Bound, Cadence, DataClass, Kind, KindSpec, Rate, Retention, Scalar, Signal, Stage};
pub use patterns::{PATTERNS, TopicPattern};

use crate::shapes::PAYLOADS;

/// The most kinds a process can know, built-in ones included.
const MAX_KINDS: usize = 4_096;

/// Topics accepted on input for another.
static ALIASES: &[(&str, &str)] = &[
    ("external.email.raw", "external.email.events.raw"),
    ("external.calendar.raw", "external.calendar.events.raw"),
    ("media.image.preprocessed", "media.image.camera.preprocessed"),
];

/// A set of kinds: the built-in ones and those an embedder adds. Cheap to clone.
#[derive(Clone)]
pub struct Catalogue(Arc<Table>);

#[derive(Clone)]
struct Table {
    by_topic: HashMap<&'static str, Kind>,
    aliases: HashMap<&'static str, &'static str>,
    in_order: Vec<Kind>,
}

/// The rows of the built-in table, raw ones first, in the order of the docs.
fn rows() -> impl Iterator<Item = KindDef> {
    raw_device::kinds()
        .into_iter()
        .chain(raw_account::kinds())
        .chain(derived_media::kinds())
        .chain(derived_signal::kinds())
        .chain(derived_context::kinds())
        .chain(derived_external::kinds())
        .chain(derived_insight::kinds())
        .chain(patterns::named())
}

static BUILTIN: LazyLock<Catalogue> = LazyLock::new(|| {
    let mut t = Table { by_topic: HashMap::new(), aliases: HashMap::new(), in_order: Vec::new() };
    for def in rows() {
        // Refused definitions would be missing from the table, which a test of this module finds.
        let _ = t.add(def);
    }
    t.aliases.extend(ALIASES.iter().copied());
    Catalogue(Arc::new(t))
});

/// All kinds of this process, so that the same definition gives the same kind.
static KNOWN: Mutex<Vec<Kind>> = Mutex::new(Vec::new());

fn intern(def: KindDef) -> Result<Kind> {
    let spec = def.resolve()?;
    let mut known = KNOWN.lock();
    if let Some(kind) = known.iter().find(|k| *k.def() == spec.def) {
        return Ok(*kind);
    }
    if known.len() >= MAX_KINDS {
        return Err(Error::new(Code::TOO_LARGE, format!("more than {MAX_KINDS} kinds")));
    }
    let kind = Kind::leak(spec);
    known.push(kind);
    Ok(kind)
}

impl Table {
    fn add(&mut self, def: KindDef) -> Result<Kind> {
        if self.by_topic.contains_key(def.topic.as_str()) || self.aliases.contains_key(def.topic.as_str()) {
            return Err(Error::new(Code::BAD_TOPIC, format!("{} is registered already", def.topic)));
        }
        let kind = intern(def)?;
        self.by_topic.insert(kind.topic(), kind);
        self.in_order.push(kind);
        Ok(kind)
    }
}

impl Catalogue {
    /// The kinds of AM itself.
    pub fn builtin() -> Catalogue {
        BUILTIN.clone()
    }

    /// The same with one more kind. Its memory stays for the life of the process.
    ///
    /// # Errors
    /// `BAD_TOPIC` when the topic is taken or malformed, `BAD_KIND` when a path names no field or the JSON Schema is not one.
    pub fn with(&self, def: KindDef) -> Result<Catalogue> {
        let mut t = (*self.0).clone();
        t.add(def)?;
        Ok(Catalogue(Arc::new(t)))
    }

    /// The kind of a topic or of one of its aliases. Topics of a pattern, such as `prediction.<model>.scored`, come into being here.
    pub fn get(&self, topic: &str) -> Option<Kind> {
        self.find(topic).or_else(|| patterns::get(topic))
    }

    /// As [`Catalogue::get`], but a topic of a pattern must have been used before: for names that strangers send, who could
    /// otherwise use up the room for new ones.
    pub fn find(&self, topic: &str) -> Option<Kind> {
        let t = &self.0;
        t.by_topic.get(topic).or_else(|| t.by_topic.get(t.aliases.get(topic)?)).copied().or_else(|| patterns::find(topic))
    }

    /// All kinds, raw ones first, in the order of the table.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        self.0.in_order.iter().copied()
    }

    /// The topics accepted on input for another, with that other.
    pub fn aliases(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        ALIASES.iter().copied()
    }

    /// The kind that a payload field means when the reading names none: the five frozen fields.
    pub fn legacy(&self, field: u32, is_screenshot: impl FnOnce() -> bool) -> Option<Kind> {
        let topic = match field {
            10 => "device.health.heartrate.raw",
            11 => "device.sensor.gps.raw",
            12 => "device.sensor.accelerometer.raw",
            13 => "device.audio.raw",
            14 if is_screenshot() => "device.image.screenshot.raw",
            14 => "device.image.camera.raw",
            _ => return None,
        };
        self.get(topic)
    }

    /// Whether this field number of the envelope is a payload.
    #[inline]
    pub fn is_payload(&self, number: u32) -> bool {
        number >= 10 && PAYLOADS.binary_search_by_key(&number, |p| p.0).is_ok()
    }

    /// The name of a payload field.
    pub fn payload_name(&self, number: u32) -> &'static str {
        PAYLOADS.iter().find(|p| p.0 == number).map_or("an unknown payload", |p| p.1)
    }
}

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Catalogue({} kinds)", self.0.in_order.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_accepted() {
        for def in rows() {
            let topic = def.topic.clone();
            let kind = intern(def).unwrap_or_else(|e| panic!("{topic}: {e}"));
            assert_eq!(Catalogue::builtin().get(&topic), Some(kind), "{topic} is in the table once");
        }
        assert_eq!(Catalogue::builtin().kinds().count(), rows().count());
    }

    #[test]
    fn the_same_definition_gives_the_same_kind_and_a_taken_topic_is_refused() {
        let def = || KindDef::custom("custom.acme.same.raw", None);
        let a = Catalogue::builtin().with(def()).unwrap();
        let b = Catalogue::builtin().with(def()).unwrap();
        assert_eq!(a.get("custom.acme.same.raw"), b.get("custom.acme.same.raw"));
        assert_eq!(a.with(def()).unwrap_err().code(), Code::BAD_TOPIC);
        assert_eq!(a.with(KindDef::custom("external.email.raw", None)).unwrap_err().code(), Code::BAD_TOPIC);
        assert_eq!(Catalogue::builtin().get("custom.acme.same.raw"), None);
    }

    #[test]
    fn definitions_that_fit_no_message_are_refused_with_the_reason() {
        let refused = |def: KindDef| {
            let e = Catalogue::builtin().with(def).unwrap_err();
            assert_eq!(e.code(), Code::BAD_KIND);
            e.to_string()
        };
        assert!(refused(KindDef::raw("device.x.y.raw", 10).bound("pulse", 0.0, 1.0, "")).contains("HeartRate has no field \"pulse\""));
        assert!(refused(KindDef::raw("device.x.y.raw", 10).bound("source", 0.0, 1.0, "")).contains("source cannot have the range"));
        assert!(refused(KindDef::raw("device.x.y.raw", 10).bound("bpm", 2.0, 1.0, "")).contains("range 2 to 1"));
        assert!(refused(KindDef::raw("device.x.y.raw", 99)).contains("no payload field 99"));
        assert!(refused(KindDef::raw("device.x.y.raw", 45)).contains("KindDef::custom"));
        assert!(refused(KindDef::custom("device.x.y.raw", None)).contains("KindDef::custom"));
        assert!(refused(KindDef::custom("custom.acme.raw", None)).contains("custom.<vendor>"));
        assert!(refused(KindDef::custom("custom.acme.x.raw", Some("{".into()))).contains("JSON"));
    }
}
