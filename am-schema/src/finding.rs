//! What is wrong with an item.

use am_core::{Code, Error};
use bytes::Bytes;

/// One broken rule: which field, which value, which rule (P09).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Path of the field, such as `heart_rate.bpm` or `metadata["room"]`.
    pub field: String,
    /// The value, at most 80 characters; `(redacted)` for classes of personal text.
    pub value: String,
    /// The rule, as a phrase: `20 to 300 1/min`.
    pub rule: String,
}

impl Finding {
    /// A finding; long values are cut.
    pub fn new(field: impl Into<String>, value: impl std::fmt::Display, rule: impl Into<String>) -> Self {
        let mut value = value.to_string();
        if let Some((cut, _)) = value.char_indices().nth(80) {
            value.truncate(cut);
            value.push('…');
        }
        Finding { field: field.into(), value, rule: rule.into() }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is {}, expected {}", self.field, if self.value.is_empty() { "empty" } else { &self.value }, self.rule)
    }
}

/// An item that cannot become a reading: why, and its bytes for the dead letters.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Rejected {
    /// The code of the first finding.
    pub code: Code,
    /// All findings, at least one.
    pub findings: Vec<Finding>,
    /// The item as it came; empty when it was being built.
    pub wire: Bytes,
    /// The device it names, if that could be read.
    pub device: Option<String>,
    /// The kind it names, if that could be read.
    pub kind: Option<String>,
}

impl Rejected {
    /// Of findings about bytes.
    pub fn new(code: Code, findings: Vec<Finding>, wire: Bytes) -> Self {
        Rejected { code, findings, wire, device: None, kind: None }
    }
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.code)?;
        for (i, x) in self.findings.iter().enumerate() {
            write!(f, "{}{x}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejected {}

impl From<Rejected> for Error {
    fn from(r: Rejected) -> Error {
        let text = r.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        Error::new(r.code, text).op("schema.validate")
    }
}
