//! What a reading means, in the units of the catalogue.
//!
//! The payload is stored as it was sent; these functions are applied when it is read, and never overwrite it. They are pure
//! and versioned: [`VERSION`] changes whenever one of them gives another answer for the same bytes.

use crate::spec::FieldType;
use crate::wire::Value;
use crate::{Reading, path};

/// The version of the functions of this module.
pub const VERSION: u32 = 1;

impl Reading {
    /// The searchable texts of the payload, in the order of the kind's text fields; empty ones are left out.
    pub fn texts(&self) -> Vec<&str> {
        let mut texts = Vec::new();
        for p in self.kind.text_fields() {
            path::visit(self.kind.message(), self.payload_bytes(), p, &mut |f, v| match (f.ty, v) {
                (FieldType::String, Value::Len(b)) if !b.is_empty() => texts.extend(std::str::from_utf8(b).ok()),
                _ => {}
            });
        }
        texts
    }

    /// The number that rollups count, in the kind's unit; `None` when the kind has none or the reading leaves it open.
    pub fn scalar(&self) -> Option<f64> {
        let scalar = self.kind.scalar()?;
        path::number(self.kind.message(), self.payload_bytes(), &scalar.numbers).filter(|v| v.is_finite())
    }
}
