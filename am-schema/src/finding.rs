//! What is wrong with an item.

use am_core::{Code, Error};
use bytes::Bytes;

/// The most characters of a value that a finding shows.
const MAX_VALUE: usize = 80;

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
        Finding { field: field.into(), value: shorten(value), rule: rule.into() }
    }
}

/// The first 80 characters of a value's text; the rest of it is never written out.
pub(crate) fn shorten(value: impl std::fmt::Display) -> String {
    struct Short(String, usize);
    impl std::fmt::Write for Short {
        fn write_str(&mut self, s: &str) -> std::fmt::Result {
            for c in s.chars() {
                self.1 += 1;
                if self.1 > MAX_VALUE {
                    self.0.push('…');
                    return Err(std::fmt::Error);
                }
                self.0.push(c);
            }
            Ok(())
        }
    }
    let mut out = Short(String::new(), 0);
    // The only error is the cut itself.
    let _ = std::fmt::write(&mut out, format_args!("{value}"));
    out.0
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut_at_80_characters_whatever_their_width() {
        assert_eq!(Finding::new("f", "ä".repeat(80), "r").value, "ä".repeat(80));
        assert_eq!(Finding::new("f", "ä".repeat(1 << 20), "r").value, "ä".repeat(80) + "…");
    }

    #[test]
    fn a_rejection_names_every_field_value_and_rule() {
        let r = Rejected::new(
            Code::INVALID_ITEM,
            vec![Finding::new("heart_rate.bpm", 500, "20 to 300 /min"), Finding::new("device_id", "", "an id")],
            Bytes::new(),
        );
        assert_eq!(r.to_string(), "AM-1001: heart_rate.bpm is 500, expected 20 to 300 /min; device_id is empty, expected an id");
    }
}
