//! The rules of the catalogue, checked over wire bytes.

use prost::Message;

use crate::wire::{Fields, Malformed, Value};
use crate::{Finding, Kind, v1};

/// Checks a payload against its kind; adds what is wrong.
pub fn payload(kind: Kind, bytes: &[u8], findings: &mut Vec<Finding>) {
    let mut fields = Fields::new(bytes);
    loop {
        match fields.next() {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(m) => {
                findings.push(Finding::new(kind.field_name(), m, "a protobuf message"));
                break;
            }
        }
    }
}

/// Checks one encoded metadata entry.
///
/// # Errors
/// [`Malformed`] when it is not an entry at all.
pub fn metadata_entry(bytes: &[u8], max_key: usize, max_value: usize, findings: &mut Vec<Finding>) -> Result<(), Malformed> {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut fields = Fields::new(bytes);
    while let Some(f) = fields.next()? {
        match (f.number, f.value) {
            (1, Value::Len(b)) => key = b,
            (2, Value::Len(b)) => value = b,
            _ => {}
        }
    }
    let Ok(name) = std::str::from_utf8(key) else {
        findings.push(Finding::new("metadata", "a key that is not text", "UTF-8"));
        return Ok(());
    };
    if key.is_empty() || key.len() > max_key {
        findings.push(Finding::new("metadata", format!("a key of {} bytes", key.len()), format!("keys of 1 to {max_key} bytes")));
    }
    let field = || format!("metadata[{name:?}]");
    if value.len() > max_value {
        findings.push(Finding::new(field(), format!("{} bytes", value.len()), format!("at most {max_value} bytes")));
    } else if std::str::from_utf8(value).is_err() {
        findings.push(Finding::new(field(), "bytes", "UTF-8 text"));
    } else if value.contains(&0) || key.contains(&0) {
        findings.push(Finding::new(field(), "text with NUL", "text without NUL"));
    }
    Ok(())
}

/// Decodes and checks a lineage.
pub fn lineage(bytes: &[u8], findings: &mut Vec<Finding>) -> Option<v1::Lineage> {
    match v1::Lineage::decode(bytes) {
        Ok(l) if l.processor.is_empty() || l.version.is_empty() => {
            findings.push(Finding::new("lineage.processor", "", "a processor and its version"));
            None
        }
        Ok(l) if l.inputs.is_empty() || l.inputs.len() > 64 => {
            findings.push(Finding::new("lineage.inputs", l.inputs.len(), "1 to 64 inputs"));
            None
        }
        Ok(l) if l.slot.len() != 16 => {
            findings.push(Finding::new("lineage.slot", format!("{} bytes", l.slot.len()), "16 bytes"));
            None
        }
        Ok(l) => Some(l),
        Err(e) => {
            findings.push(Finding::new("lineage", e, "a protobuf am.v1.Lineage"));
            None
        }
    }
}
