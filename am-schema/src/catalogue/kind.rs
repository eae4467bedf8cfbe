//! One row of the catalogue.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use am_core::Topic;

use super::custom::JsonSchema;
use super::def::KindDef;
use crate::spec::MessageSpec;

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

/// The most of a number per minute of a reading's span.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Rate {
    /// Path of field names, such as `count`.
    pub path: String,
    /// The same as field numbers.
    pub numbers: Vec<u32>,
    /// The most per minute.
    pub per_minute: f64,
}

/// What the catalogue knows of a kind.
#[derive(Debug)]
pub struct KindSpec {
    pub(super) topic: Topic,
    pub(super) def: KindDef,
    pub(super) field_name: &'static str,
    pub(super) message: &'static MessageSpec,
    pub(super) required: Vec<Vec<u32>>,
    pub(super) one_of: Vec<Vec<u32>>,
    pub(super) text: Vec<Vec<u32>>,
    pub(super) schema: Option<JsonSchema>,
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

impl KindSpec {
    /// The topic.
    pub fn topic(&self) -> &str {
        self.topic.as_str()
    }
}

impl Kind {
    pub(super) fn leak(spec: KindSpec) -> Kind {
        Kind(Box::leak(Box::new(spec)))
    }

    pub(super) fn def(self) -> &'static KindDef {
        &self.0.def
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

    /// The fields that must be there, as paths of names.
    pub fn required_names(self) -> &'static [String] {
        &self.0.def.required
    }

    /// Fields of which at least one must be there, as paths of field numbers; empty without such a rule.
    pub fn one_of(self) -> &'static [Vec<u32>] {
        &self.0.one_of
    }

    /// The same as paths of names.
    pub fn one_of_names(self) -> &'static [String] {
        &self.0.def.one_of
    }

    /// Whether it describes a span, so that `ended_at` must be there.
    pub fn needs_span(self) -> bool {
        self.0.def.span
    }

    /// The most of a number per minute of the span.
    pub fn max_rate(self) -> Option<&'static Rate> {
        self.0.def.max_rate.as_ref()
    }

    /// The canonical unit (UCUM) of a quantity or signal; empty where fields have units of their own.
    pub fn unit(self) -> &'static str {
        self.0.def.unit
    }

    /// The fields whose text is searched, as paths of field numbers.
    pub fn text_fields(self) -> &'static [Vec<u32>] {
        &self.0.text
    }

    /// The same as paths of names.
    pub fn text_names(self) -> &'static [String] {
        &self.0.def.text
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

    /// The same, ready to check values with.
    pub fn json_schema(self) -> Option<&'static JsonSchema> {
        self.0.schema.as_ref()
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
