//! Values of a reading's fields, by name.

use am_core::Timestamp;
use am_schema::spec::{Card, FieldType, MessageSpec};
use am_schema::wire::{Fields, Value, read_timestamp, read_varint};
use am_schema::{Catalogue, Reading};

/// Which field is meant: of the envelope, of the metadata, or of the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FieldPath {
    Kind,
    Device,
    RecordedAt,
    EndedAt,
    Sequence,
    Quality,
    Metadata(String),
    /// Names of fields from the payload's message on.
    Payload(Vec<String>),
}

/// A value as conditions compare it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FieldValue {
    Number(f64),
    Text(String),
    /// An enum's value: by name or by number.
    Name(String, f64),
    Time(Timestamp),
    Bytes,
}

impl FieldPath {
    /// Reads a path: `kind`, `device`, `recorded_at`, `ended_at`, `sequence`, `quality`, `metadata.KEY`, or a path of the payload such
    /// as `bpm` or `segments.confidence`, with or without `payload.` before it.
    pub(crate) fn parse(text: &str) -> Option<FieldPath> {
        Some(match text {
            "kind" => FieldPath::Kind,
            "device" | "device_id" => FieldPath::Device,
            "recorded_at" => FieldPath::RecordedAt,
            "ended_at" => FieldPath::EndedAt,
            "sequence" => FieldPath::Sequence,
            "quality" => FieldPath::Quality,
            _ => match text.strip_prefix("metadata.") {
                Some(key) if !key.is_empty() => FieldPath::Metadata(key.to_owned()),
                Some(_) => return None,
                None => {
                    let names: Vec<String> = text.strip_prefix("payload.").unwrap_or(text).split('.').map(str::to_owned).collect();
                    if names.iter().any(String::is_empty) {
                        return None;
                    }
                    FieldPath::Payload(names)
                }
            },
        })
    }

    /// Whether some kind of the catalogue has such a field.
    pub(crate) fn is_known(&self, catalogue: &Catalogue) -> bool {
        match self {
            FieldPath::Payload(names) => catalogue.kinds().any(|k| has(k.message(), names)),
            _ => true,
        }
    }

    /// Calls `each` with every value that the reading has there.
    pub(crate) fn visit(&self, r: &Reading, each: &mut dyn FnMut(FieldValue)) {
        match self {
            FieldPath::Kind => each(FieldValue::Text(r.kind().topic().to_owned())),
            FieldPath::Device => each(FieldValue::Text(r.device().as_str().to_owned())),
            FieldPath::RecordedAt => each(FieldValue::Time(r.recorded_at())),
            FieldPath::EndedAt => r.ended_at().into_iter().for_each(|t| each(FieldValue::Time(t))),
            FieldPath::Sequence => each(FieldValue::Number(r.sequence() as f64)),
            FieldPath::Quality => r.quality().into_iter().for_each(|q| each(FieldValue::Number(f64::from(q)))),
            FieldPath::Metadata(key) => {
                r.metadata_value(key).into_iter().for_each(|v| each(FieldValue::Text(v.to_owned())));
            }
            FieldPath::Payload(names) => walk(r.kind().message(), r.payload_bytes(), names, each),
        }
    }

    /// What is meant by a field's absence, where that is a value: 0 or an empty text of a plain field.
    pub(crate) fn default_of(&self, r: &Reading) -> Option<FieldValue> {
        let FieldPath::Payload(names) = self else { return None };
        let [name] = names.as_slice() else { return None };
        let field = r.kind().message().field_named(name)?;
        match field.ty {
            _ if field.card != Card::Implicit => None,
            FieldType::String => Some(FieldValue::Text(String::new())),
            FieldType::Enum(e) => Some(FieldValue::Name(e.name_of(0).unwrap_or_default().to_owned(), 0.0)),
            ty if ty.is_packable() => Some(FieldValue::Number(0.0)),
            _ => None,
        }
    }
}

fn has(message: &'static MessageSpec, names: &[String]) -> bool {
    let Some((name, rest)) = names.split_first() else { return false };
    match message.field_named(name).map(|f| f.ty) {
        None => false,
        Some(FieldType::Message(m)) => rest.is_empty() || has(m(), rest),
        Some(FieldType::StringMap) => rest.len() == 1,
        Some(_) => rest.is_empty(),
    }
}

fn walk(message: &'static MessageSpec, bytes: &[u8], names: &[String], each: &mut dyn FnMut(FieldValue)) {
    let Some((name, rest)) = names.split_first() else { return };
    let Some(field) = message.field_named(name) else { return };
    let mut fields = Fields::new(bytes);
    while let Ok(Some(f)) = fields.next() {
        if f.number != field.number {
            continue;
        }
        match (field.ty, f.value) {
            (FieldType::Message(m), Value::Len(b)) if !rest.is_empty() => walk(m(), b, rest, each),
            (FieldType::StringMap, Value::Len(b)) => map_entry(b, rest, each),
            (_, _) if !rest.is_empty() => {}
            (ty, Value::Len(b)) if field.card == Card::Repeated && ty.is_packable() => packed(ty, b, each),
            (ty, v) => each(value_of(ty, v)),
        }
    }
}

fn map_entry(entry: &[u8], rest: &[String], each: &mut dyn FnMut(FieldValue)) {
    let [wanted] = rest else { return };
    let (mut key, mut value) = ("", "");
    let mut fields = Fields::new(entry);
    while let Ok(Some(f)) = fields.next() {
        if let Value::Len(b) = f.value {
            let text = std::str::from_utf8(b).unwrap_or_default();
            if f.number == 1 { key = text } else { value = text }
        }
    }
    if key == wanted {
        each(FieldValue::Text(value.to_owned()));
    }
}

fn packed(ty: FieldType, mut bytes: &[u8], each: &mut dyn FnMut(FieldValue)) {
    loop {
        let next = match ty.wire_type() {
            1 => bytes.first_chunk::<8>().map(|b| (Value::Fixed64(u64::from_le_bytes(*b)), 8)),
            5 => bytes.first_chunk::<4>().map(|b| (Value::Fixed32(u32::from_le_bytes(*b)), 4)),
            _ => read_varint(bytes).map(|(v, n)| (Value::Varint(v), n)),
        };
        let Some((value, n)) = next else { return };
        each(value_of(ty, value));
        bytes = bytes.get(n..).unwrap_or_default();
    }
}

fn value_of(ty: FieldType, value: Value<'_>) -> FieldValue {
    match (ty, value) {
        (FieldType::String, Value::Len(b)) => FieldValue::Text(String::from_utf8_lossy(b).into_owned()),
        (FieldType::Timestamp, Value::Len(b)) => match read_timestamp(b).ok().and_then(|(s, n)| Timestamp::from_parts(s, n)) {
            Some(t) => FieldValue::Time(t),
            None => FieldValue::Bytes,
        },
        (FieldType::Enum(e), v) => {
            let n = ty.number(v).unwrap_or_default();
            FieldValue::Name(e.name_of(n as i32).unwrap_or_default().to_owned(), n)
        }
        (ty, v) => ty.number(v).map_or(FieldValue::Bytes, FieldValue::Number),
    }
}
