//! The definition of a kind, and its check against the message.

use std::time::Duration;

use am_core::{Code, Error, Result, Topic};

use super::custom::JsonSchema;
use super::kind::{Bound, Cadence, DataClass, KindSpec, Rate, Retention, Scalar, Signal, Stage};
use crate::shapes::PAYLOADS;
use crate::spec::{FieldType, MessageSpec};

/// The field of the envelope that carries embedders' kinds.
const CUSTOM_FIELD: u32 = 45;

/// The definition of a kind, before it is checked against its message.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "register it with Catalogue::with"]
pub struct KindDef {
    pub(super) topic: String,
    pub(super) stage: Stage,
    pub(super) field: u32,
    pub(super) title: String,
    pub(super) class: DataClass,
    pub(super) cadence: Cadence,
    pub(super) retention: Retention,
    pub(super) future_tolerance: Duration,
    pub(super) unit: &'static str,
    pub(super) bounds: Vec<Bound>,
    pub(super) required: Vec<String>,
    pub(super) one_of: Vec<String>,
    pub(super) span: bool,
    pub(super) max_rate: Option<Rate>,
    pub(super) text: Vec<String>,
    pub(super) max_text: usize,
    pub(super) scalar: Option<Scalar>,
    pub(super) signal: Option<Signal>,
    pub(super) schema: Option<String>,
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
            unit: "",
            bounds: Vec::new(),
            required: Vec::new(),
            one_of: Vec::new(),
            span: false,
            max_rate: None,
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

    /// A kind of an embedder, `custom.<vendor>.<name>.<stage>`: bytes, or JSON that the JSON Schema describes. With the stage `raw`
    /// devices send it; with any other it is derived.
    pub fn custom(topic: &str, json_schema: Option<String>) -> Self {
        let stage = if topic.ends_with(".raw") { Stage::Raw } else { Stage::Derived };
        KindDef { schema: json_schema, ..Self::new(topic, stage, CUSTOM_FIELD) }.require_one(&["json", "data"])
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
        self.cadence = Cadence::Every(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        self
    }

    /// Days to keep it.
    pub fn keep_days(mut self, days: u32) -> Self {
        self.retention = Retention::Days(days);
        self
    }

    /// Keep it until somebody deletes it.
    pub fn keep_forever(mut self) -> Self {
        self.retention = Retention::Forever;
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

    /// Numbers that lie between 0 and 1.
    pub fn ratios(self, paths: &[&str]) -> Self {
        paths.iter().fold(self, |k, p| k.bound(p, 0.0, 1.0, "1"))
    }

    /// Fields `latitude` and `longitude` in degrees.
    pub fn position(self) -> Self {
        self.bound("latitude", -90.0, 90.0, "deg").bound("longitude", -180.0, 180.0, "deg")
    }

    /// One scalar of `Quantity`: its range and its canonical unit (UCUM), into which other units are converted.
    pub fn quantity(self, min: f64, max: f64, unit: &'static str) -> Self {
        KindDef { unit, ..self }.bound("value", min, max, unit).scalar("value", unit)
    }

    /// A field that must be there and not be empty.
    pub fn require(mut self, path: &str) -> Self {
        self.required.push(path.into());
        self
    }

    /// Fields of which at least one must be there and not be empty.
    pub fn require_one(mut self, paths: &[&str]) -> Self {
        self.one_of = paths.iter().map(|p| (*p).into()).collect();
        self
    }

    /// It describes a span: `ended_at` must be there.
    pub fn span(mut self) -> Self {
        self.span = true;
        self
    }

    /// The most of a number per minute of the span.
    pub fn max_per_minute(mut self, path: &str, most: f64) -> Self {
        self.max_rate = Some(Rate { path: path.into(), numbers: Vec::new(), per_minute: most });
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
        self.unit = unit;
        self
    }

    /// Checks it against its message.
    pub(super) fn resolve(mut self) -> Result<KindSpec> {
        let topic = Topic::parse(&self.topic)?;
        let bad = |why: String| Error::new(Code::BAD_KIND, format!("{topic}: {why}"));
        let (_, field_name, message) =
            PAYLOADS.iter().find(|p| p.0 == self.field).copied().ok_or_else(|| bad(format!("no payload field {}", self.field)))?;
        if (topic.category() == "custom") != (self.field == CUSTOM_FIELD) {
            return Err(bad("topics custom.<vendor>.<name>.<stage> belong to KindDef::custom, and no others do".into()));
        }
        if self.field == CUSTOM_FIELD && topic.as_str().split('.').count() != 4 {
            return Err(bad("a custom topic is custom.<vendor>.<name>.<stage>".into()));
        }
        for b in &mut self.bounds {
            let (numbers, ty) = path(message, &b.path).map_err(&bad)?;
            if !is_number(ty) || b.min.is_nan() || b.max.is_nan() || b.min > b.max {
                return Err(bad(format!("{} cannot have the range {} to {}", b.path, b.min, b.max)));
            }
            b.numbers = numbers;
        }
        if let Some(s) = &mut self.scalar {
            let (numbers, ty) = path(message, &s.path).map_err(&bad)?;
            if !is_number(ty) {
                return Err(bad(format!("{} is not a number", s.path)));
            }
            s.numbers = numbers;
        }
        if let Some(r) = &mut self.max_rate {
            r.numbers = path(message, &r.path).map_err(&bad)?.0;
        }
        let all = |paths: &[String]| paths.iter().map(|p| path(message, p).map(|x| x.0)).collect::<Result<Vec<_>, _>>().map_err(&bad);
        let (required, one_of, text) = (all(&self.required)?, all(&self.one_of)?, all(&self.text)?);
        let schema = self.schema.as_deref().map(JsonSchema::parse).transpose().map_err(&bad)?;
        Ok(KindSpec { field_name, message, required, one_of, text, schema, def: self, topic })
    }
}

fn is_number(ty: FieldType) -> bool {
    !matches!(
        ty,
        FieldType::Bool
            | FieldType::String
            | FieldType::Bytes
            | FieldType::Enum(_)
            | FieldType::Message(_)
            | FieldType::Timestamp
            | FieldType::StringMap
    )
}

/// A path of names as numbers, with the type at its end.
fn path(message: &'static MessageSpec, path: &str) -> Result<(Vec<u32>, FieldType), String> {
    let mut at = Some(message);
    let mut numbers = Vec::new();
    let mut end = None;
    for name in path.split('.') {
        let f = at.and_then(|m| m.field_named(name)).ok_or_else(|| format!("{} has no field {path:?}", message.name))?;
        at = match f.ty {
            FieldType::Message(m) => Some(m()),
            _ => None,
        };
        numbers.push(f.number);
        end = Some(f.ty);
    }
    end.map(|ty| (numbers, ty)).ok_or_else(|| format!("{path:?} is no path"))
}
