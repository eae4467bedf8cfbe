//! Every kind of reading there is, in one table.

mod derived;
mod kind;
mod raw;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use am_core::{Code, Error, Result};

pub use kind::{Bound, Cadence, DataClass, Kind, KindDef, KindSpec, Retention, Scalar, Signal, Stage};

use crate::shapes::PAYLOADS;

/// The most kinds a process can know, built-in ones included.
const MAX_KINDS: usize = 4_096;

/// A set of kinds: the built-in ones and those an embedder adds. Cheap to clone.
#[derive(Clone)]
pub struct Catalogue(Arc<Table>);

#[derive(Clone)]
struct Table {
    by_topic: HashMap<&'static str, Kind>,
    aliases: HashMap<&'static str, &'static str>,
    in_order: Vec<Kind>,
}

static BUILTIN: LazyLock<Catalogue> = LazyLock::new(|| {
    let mut t = Table { by_topic: HashMap::new(), aliases: HashMap::new(), in_order: Vec::new() };
    for def in raw::kinds().into_iter().chain(derived::kinds()) {
        // Refused definitions would be missing from the table, which a test of this module finds.
        let _ = t.add(def);
    }
    t.aliases.extend(raw::ALIASES.iter().copied());
    Catalogue(Arc::new(t))
});

impl Table {
    fn add(&mut self, def: KindDef) -> Result<Kind> {
        if self.in_order.len() >= MAX_KINDS {
            return Err(Error::new(Code::TOO_LARGE, format!("more than {MAX_KINDS} kinds")));
        }
        let spec = def.resolve()?;
        if self.by_topic.contains_key(spec.topic()) {
            return Err(Error::new(Code::BAD_TOPIC, format!("{} is registered already", spec.topic())));
        }
        let kind = Kind::intern(spec);
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
    /// `BAD_TOPIC` when the topic is taken or malformed, `BAD_QUERY` when a bound names no field.
    pub fn with(&self, def: KindDef) -> Result<Catalogue> {
        let mut t = (*self.0).clone();
        t.add(def)?;
        Ok(Catalogue(Arc::new(t)))
    }

    /// The kind of a topic or of one of its aliases.
    pub fn get(&self, topic: &str) -> Option<Kind> {
        self.0.by_topic.get(topic).copied().or_else(|| self.0.by_topic.get(self.0.aliases.get(topic)?).copied())
    }

    /// All kinds, raw ones first, in the order of the table.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        self.0.in_order.iter().copied()
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
