//! One row of the catalogue.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use am_core::{Code, Error, Result, Topic};

use crate::shapes::PAYLOADS;
use crate::spec::{FieldType, MessageSpec};

/// A kind of reading: a handle on its row of the catalogue, as cheap as a pointer.
#[derive(Clone, Copy)]
pub struct Kind(&'static KindSpec);

/// Where a kind stands in the flow of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Sent by a device or an account.
    Raw,
    /// Made here from others; carries a lineage.
    Derived,
}

/// How personal the content is; decides what errors and logs may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DataClass {
    /// The state of machines.
    Technical,
    /// What a person does, without content.
    Behaviour,
    /// Where a person is.
    Location,
    /// What a body does.
    Health,
    /// What a person wrote, read, said or saw; values are redacted in errors and logs.
    Content,
}

/// How often a device is expected to send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cadence {
    /// About every so often while on.
    Every(Duration),
    /// When something happens.
    OnEvent,
}

/// How long the store keeps it by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// For so many days.
    Days(u32),
    /// For ever.
    Forever,
}

/// The number within a payload that rollups count.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    /// Path of field names, such as `bpm`.
    pub path: String,
    /// The same as field numbers.
    pub numbers: Vec<u32>,
    /// UCUM unit.
    pub unit: &'static str,
}

/// A range that a number must lie in.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Bound {
    /// Path of field names, such as `latitude` or `segments.confidence`.
    pub path: String,
    /// The same as field numbers.
    pub numbers: Vec<u32>,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
    /// UCUM unit, or empty.
    pub unit: &'static str,
}

/// What the catalogue knows of a kind.
#[derive(Debug)]
pub struct KindSpec {
    topic: Topic,
    def: KindDef,
    field_name: &'static str,
    message: &'static MessageSpec,
    required: Vec<Vec<u32>>,
    text: Vec<Vec<u32>>,
}

/// The definition of a kind, before it is checked against its message.
#[derive(Debug, Clone)]
#[must_use = "register it with Catalogue::with"]
pub struct KindDef {
    topic: String,
    stage: Stage,
    field: u32,
    title: String,
    class: DataClass,
    cadence: Cadence,
    retention: Retention,
    future_tolerance: Duration,
    bounds: Vec<Bound>,
    required: Vec<String>,
    text: Vec<String>,
    max_text: usize,
    scalar: Option<Scalar>,
    signal: Option<Signal>,
    schema: Option<String>,
}

/// What the channels of a sample block must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// The names of the channels, in order; empty when any names will do.
    pub channels: &'static [&'static str],
    /// The unit of every channel.
    pub unit: &'static str,
    /// The greatest absolute value.
    pub max_abs: f64,
}

impl KindDef {
    fn new(topic: &str, stage: Stage, field: u32) -> Self {
        KindDef {
            topic: topic.into(),
            stage,
            field,
            title: String::new(),
            class: DataClass::Technical,
            cadence: Cadence::OnEvent,
            retention: Retention::Days(730),
            future_tolerance: Duration::from_secs(86_400),
            bounds: Vec::new(),
            required: Vec::new(),
            text: Vec::new(),
            max_text: 1 << 20,
            scalar: None,
            signal: None,
            schema: None,
        }
    }

    /// A kind that devices or accounts send, carried in this field of the envelope.
    pub fn raw(topic: &str, field: u32) -> Self {
        Self::new(topic, Stage::Raw, field)
    }

    /// A kind that is made here.
    pub fn derived(topic: &str, field: u32) -> Self {
        Self::new(topic, Stage::Derived, field)
    }

    /// A kind of an embedder: JSON or bytes in `Custom`, with a JSON Schema for the former.
    pub fn custom(topic: &str, json_schema: Option<String>) -> Self {
        KindDef { schema: json_schema, ..Self::new(topic, Stage::Raw, 45) }
    }

    /// A name for people.
    pub fn title(mut self, title: &str) -> Self {
        self.title = title.into();
        self
    }

    /// How personal it is.
    pub fn class(mut self, class: DataClass) -> Self {
        self.class = class;
        self
    }

    /// The expected time between readings, in seconds.
    pub fn every(mut self, seconds: f64) -> Self {
        self.cadence = Cadence::Every(Duration::from_secs_f64(seconds));
        self
    }

    /// Days to keep it.
    pub fn keep_days(mut self, days: u32) -> Self {
        self.retention = Retention::Days(days);
        self
    }

    /// How far in the future it may lie.
    pub fn future(mut self, tolerance: Duration) -> Self {
        self.future_tolerance = tolerance;
        self
    }

    /// A range for a number; the path runs through messages and repeated fields.
    pub fn bound(mut self, path: &str, min: f64, max: f64, unit: &'static str) -> Self {
        self.bounds.push(Bound { path: path.into(), numbers: Vec::new(), min, max, unit });
        self
    }

    /// A field that must be there and not be empty.
    pub fn require(mut self, path: &str) -> Self {
        self.required.push(path.into());
        self
    }

    /// Fields whose text is searched.
    pub fn text(mut self, paths: &[&str]) -> Self {
        self.text = paths.iter().map(|p| (*p).into()).collect();
        self
    }

    /// The longest text of any field, in bytes.
    pub fn max_text(mut self, bytes: usize) -> Self {
        self.max_text = bytes;
        self
    }

    /// The number that rollups count.
    pub fn scalar(mut self, path: &str, unit: &'static str) -> Self {
        self.scalar = Some(Scalar { path: path.into(), numbers: Vec::new(), unit });
        self
    }

    /// What the channels of its sample block hold.
    pub fn signal(mut self, channels: &'static [&'static str], unit: &'static str, max_abs: f64) -> Self {
        self.signal = Some(Signal { channels, unit, max_abs });
        self
    }

    /// Checks it against its message.
    pub(super) fn resolve(mut self) -> Result<KindSpec> {
        let topic = Topic::parse(&self.topic)?;
        let (_, field_name, message) = PAYLOADS
            .iter()
            .find(|p| p.0 == self.field)
            .copied()
            .ok_or_else(|| Error::new(Code::BAD_QUERY, format!("{topic}: no payload field {}", self.field)))?;
        for b in &mut self.bounds {
            b.numbers = path(message, &b.path, &topic)?;
        }
        if let Some(s) = &mut self.scalar {
            s.numbers = path(message, &s.path, &topic)?;
        }
        let required = self.required.iter().map(|p| path(message, p, &topic)).collect::<Result<_>>()?;
        let text = self.text.iter().map(|p| path(message, p, &topic)).collect::<Result<_>>()?;
        Ok(KindSpec { topic, field_name, message, required, text, def: self })
    }
}

fn path(message: &'static MessageSpec, path: &str, topic: &Topic) -> Result<Vec<u32>> {
    let mut at = Some(message);
    path.split('.')
        .map(|name| {
            let f =
                at.and_then(|m| m.field_named(name)).ok_or_else(|| Error::new(Code::BAD_QUERY, format!("{topic}: no field {path:?}")))?;
            at = match f.ty {
                FieldType::Message(m) => Some(m()),
                _ => None,
            };
            Ok(f.number)
        })
        .collect()
}

impl KindSpec {
    /// The topic.
    pub fn topic(&self) -> &str {
        self.topic.as_str()
    }
}

impl Kind {
    pub(super) fn intern(spec: KindSpec) -> Kind {
        Kind(Box::leak(Box::new(spec)))
    }

    /// The topic.
    pub fn topic(self) -> &'static str {
        self.0.topic.as_str()
    }

    /// The number of the envelope's field that carries the payload.
    pub fn field(self) -> u32 {
        self.0.def.field
    }

    /// The name of that field.
    pub fn field_name(self) -> &'static str {
        self.0.field_name
    }

    /// The shape of the payload.
    pub fn message(self) -> &'static MessageSpec {
        self.0.message
    }

    /// Raw or derived.
    pub fn stage(self) -> Stage {
        self.0.def.stage
    }

    /// A name for people.
    pub fn title(self) -> &'static str {
        &self.0.def.title
    }

    /// How personal it is.
    pub fn class(self) -> DataClass {
        self.0.def.class
    }

    /// How often it is expected.
    pub fn cadence(self) -> Cadence {
        self.0.def.cadence
    }

    /// How long it is kept by default.
    pub fn retention(self) -> Retention {
        self.0.def.retention
    }

    /// How far in the future it may lie.
    pub fn future_tolerance(self) -> Duration {
        self.0.def.future_tolerance
    }

    /// The ranges of its numbers.
    pub fn bounds(self) -> &'static [Bound] {
        &self.0.def.bounds
    }

    /// The fields that must be there, as paths of field numbers.
    pub fn required(self) -> &'static [Vec<u32>] {
        &self.0.required
    }

    /// The fields whose text is searched, as paths of field numbers.
    pub fn text_fields(self) -> &'static [Vec<u32>] {
        &self.0.text
    }

    /// The longest text of any field, in bytes.
    pub fn max_text(self) -> usize {
        self.0.def.max_text
    }

    /// The number that rollups count.
    pub fn scalar(self) -> Option<&'static Scalar> {
        self.0.def.scalar.as_ref()
    }

    /// What the channels of its sample block hold.
    pub fn signal(self) -> Option<&'static Signal> {
        self.0.def.signal.as_ref()
    }

    /// The JSON Schema of an embedder's kind.
    pub fn schema(self) -> Option<&'static str> {
        self.0.def.schema.as_deref()
    }
}

impl Stage {
    /// Whether it is made here.
    pub fn is_derived(self) -> bool {
        self == Stage::Derived
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Kind {}

impl Hash for Kind {
    fn hash<H: Hasher>(&self, h: &mut H) {
        std::ptr::from_ref(self.0).hash(h);
    }
}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.topic().cmp(other.topic())
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.topic())
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.topic())
    }
}
