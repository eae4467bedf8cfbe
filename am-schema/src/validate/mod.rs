//! The rules of the catalogue, checked over wire bytes.
//!
//! One pass over a payload checks types, texts, numbers, times and required fields by the shape tables ([`payload()`] walks,
//! nothing is decoded or allocated); a small table of functions checks what concerns several fields at once.

mod place;
mod rules;
mod walk;

use am_core::Timestamp;
use prost::Message;

use crate::spec::MessageSpec;
use crate::wire::{Fields, Malformed, Value, is_plain};
use crate::{Finding, Kind, v1};

/// The most messages within messages.
pub const MAX_DEPTH: usize = 32;

/// The most values in all repeated fields of a payload.
pub const MAX_ELEMENTS: usize = 100_000;

/// The most findings of one item; what is wrong beyond them shows when these are corrected.
pub const MAX_FINDINGS: usize = 64;

/// Stands for values of kinds that hold what a person wrote, read, said or saw.
pub const REDACTED: &str = "(redacted)";

/// What the rules of a payload need of its envelope.
#[derive(Debug, Clone, Copy, Default)]
pub struct EnvelopeView {
    /// When it was recorded, or when its span began.
    pub recorded_at: Option<Timestamp>,
    /// When its span ended.
    pub ended_at: Option<Timestamp>,
}

/// Checks a payload against its kind; adds what is wrong.
pub fn payload(kind: Kind, bytes: &[u8], envelope: EnvelopeView, findings: &mut Vec<Finding>) {
    let before = findings.len();
    walk::Walk::of(kind, findings).message(kind.message(), bytes, &place::Place::root(kind.field_name()), 0);
    if findings.len() == before {
        rules::check(kind, bytes, envelope, findings);
    }
}

/// Checks a message by the general rules alone: types, texts, finite numbers, times.
pub fn message(name: &'static str, spec: &'static MessageSpec, bytes: &[u8], max_text: usize, findings: &mut Vec<Finding>) {
    walk::Walk::plain(max_text, findings).message(spec, bytes, &place::Place::root(name), 0);
}

/// Adds a finding, unless there are plenty.
pub(crate) fn push(findings: &mut Vec<Finding>, field: impl Into<String>, value: impl std::fmt::Display, rule: impl Into<String>) {
    if findings.len() < MAX_FINDINGS {
        findings.push(Finding::new(field, value, rule));
    }
}

/// An encoded metadata entry.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

/// Reads and checks one encoded metadata entry.
///
/// # Errors
/// [`Malformed`] when it is not an entry at all.
#[inline]
pub fn metadata_entry<'a>(bytes: &'a [u8], max_key: usize, max_value: usize, findings: &mut Vec<Finding>) -> Result<Entry<'a>, Malformed> {
    if let Some(entry) = usual_entry(bytes)
        && !entry.key.is_empty()
        && entry.key.len() <= max_key
        && entry.value.len() <= max_value
        && is_plain(entry.key)
        && is_plain(entry.value)
    {
        return Ok(entry);
    }
    let mut entry = Entry::default();
    let mut fields = Fields::new(bytes);
    while let Some(f) = fields.next()? {
        match (f.number, f.value) {
            (1, Value::Len(b)) => entry.key = b,
            (2, Value::Len(b)) => entry.value = b,
            (1 | 2, _) => return Err(Malformed { at: f.start, why: "map entry of another type" }),
            _ => {}
        }
    }
    let Entry { key, value } = entry;
    let good = |b: &[u8], max: usize| b.len() <= max && std::str::from_utf8(b).is_ok() && !b.contains(&0);
    if key.is_empty() || !good(key, max_key) || !good(value, max_value) {
        bad_entry(entry, max_key, max_value, findings);
    }
    Ok(entry)
}

/// The entry as every encoder writes it: key, then value, both of one-byte length, nothing else.
#[inline]
fn usual_entry(bytes: &[u8]) -> Option<Entry<'_>> {
    let [0x0a, k @ 0..128, rest @ ..] = bytes else { return None };
    let (key, rest) = rest.split_at_checked(usize::from(*k))?;
    let [0x12, v @ 0..128, value @ ..] = rest else { return None };
    (value.len() == usize::from(*v)).then_some(Entry { key, value })
}

#[cold]
fn bad_entry(Entry { key, value }: Entry<'_>, max_key: usize, max_value: usize, findings: &mut Vec<Finding>) {
    if key.is_empty() || key.len() > max_key {
        return push(findings, "metadata", format!("a key of {} bytes", key.len()), format!("keys of 1 to {max_key} bytes"));
    }
    let Ok(name) = std::str::from_utf8(key) else {
        return push(findings, "metadata", "a key that is not text", "UTF-8");
    };
    let field = format!("metadata[{name:?}]");
    if key.contains(&0) {
        push(findings, field, "a key with NUL", "text without NUL");
    } else if value.len() > max_value {
        push(findings, field, format!("{} bytes", value.len()), format!("at most {max_value} bytes"));
    } else if std::str::from_utf8(value).is_err() {
        push(findings, field, "bytes", "UTF-8 text");
    } else {
        push(findings, field, "text with NUL", "text without NUL");
    }
}

/// Decodes and checks a lineage.
pub fn lineage(bytes: &[u8], findings: &mut Vec<Finding>) -> Option<v1::Lineage> {
    let before = findings.len();
    message("lineage", &crate::shapes::LINEAGE, bytes, 4 << 10, findings);
    if findings.len() > before {
        return None;
    }
    let l = match v1::Lineage::decode(bytes) {
        Ok(l) => l,
        Err(e) => {
            push(findings, "lineage", e, "a protobuf am.v1.Lineage");
            return None;
        }
    };
    if l.processor.is_empty() {
        push(findings, "lineage.processor", "", "a processor");
    }
    if l.version.is_empty() {
        push(findings, "lineage.version", "", "a version");
    }
    if l.inputs.is_empty() || l.inputs.len() > 64 {
        push(findings, "lineage.inputs", format!("{} inputs", l.inputs.len()), "1 to 64 inputs");
    }
    if l.slot.len() != 16 {
        push(findings, "lineage.slot", format!("{} bytes", l.slot.len()), "16 bytes");
    }
    (findings.len() == before).then_some(l)
}
