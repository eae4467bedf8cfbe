//! Canonical JSON of messages, written from and read into wire bytes.
//!
//! It is the JSON mapping of protobuf with the names of the proto: one text for each content.
//!
//! - Keys are sorted; fields at their default are left out, unless their absence says something else.
//! - 32-bit integers are numbers, 64-bit ones strings of digits. Floats have the fewest digits that give the same value again, laid out
//!   as ECMAScript does (RFC 8785), `f32` as `f32`; `"NaN"`, `"Infinity"` and `"-Infinity"` are strings.
//! - Bytes are base64, enums their names (a number when unknown), timestamps RFC 3339 in UTC with 0, 3, 6 or 9 decimals.
//! - Fields that the tables do not know, and values that are not what the tables say, are kept as base64 of their bytes under
//!   `"@unknown"`, so that no text loses anything.
//!
//! Input may spell names in either way (`source_app`, `sourceApp`), keys in any order, integers as numbers or strings (`61`, `61.0`,
//! `"61"`), enums by name, short name (`RESTING`) or number, and say `null` for absent. What is wrong is reported all at once, each with
//! its path; duplicate keys, unknown names and more than [`MAX_DEPTH`] levels are refused. Fields come out in order of number,
//! whatever the order of keys.

mod base64;
mod lexer;
mod number;
mod read;
mod time;
mod tree;
mod write;

use crate::spec::MessageSpec;
pub use crate::validate::MAX_DEPTH;
use crate::{Finding, Reading, shapes};

pub(crate) use read::transcode;
pub(crate) use tree::parse;

/// Writes the canonical JSON of a message.
pub fn write(spec: &'static MessageSpec, bytes: &[u8], out: &mut String) {
    write::message(spec, bytes, out);
}

/// The canonical JSON of a message.
pub fn canonical(spec: &'static MessageSpec, bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 3 + 16);
    write(spec, bytes, &mut out);
    out
}

/// The wire bytes of a message given as JSON.
///
/// # Errors
/// Everything that is wrong, each with its path.
pub fn read(spec: &'static MessageSpec, text: &str) -> Result<Vec<u8>, Vec<Finding>> {
    let read = transcode(spec, text);
    if read.findings.is_empty() { Ok(read.bytes) } else { Err(read.findings) }
}

/// As [`read()`], of a value that is parsed already.
///
/// # Errors
/// As [`read()`].
pub fn read_value(spec: &'static MessageSpec, value: &serde_json::Value) -> Result<Vec<u8>, Vec<Finding>> {
    read(spec, &value.to_string())
}

impl Reading {
    /// The whole reading as canonical JSON: the envelope, with the payload under the name of its field.
    pub fn to_json(&self) -> String {
        canonical(&shapes::READING, &self.to_wire())
    }

    /// The payload alone as canonical JSON.
    pub fn payload_json(&self) -> String {
        canonical(self.kind.message(), self.payload_bytes())
    }
}
