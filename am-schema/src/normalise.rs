//! What a reading means, in the units of the catalogue.
//!
//! The payload is stored as it was sent; these functions are applied when it is read, and never overwrite it. They are pure
//! and versioned: [`VERSION`] changes whenever one of them gives another answer for the same bytes.
//!
//! What version 1 does: the value of a `Quantity` is converted from the unit that was sent to the canonical unit of its kind or code
//! ([`measure`]). Everything else stays as it is.

use std::borrow::Cow;

use bytes::BufMut;

use crate::catalogue::vitals::{convert, vital};
use crate::spec::FieldType;
use crate::wire::{Fields, Value, put_len, put_varint};
use crate::{Kind, Payload, Reading, path, v1};

/// The version of the functions of this module.
pub const VERSION: u32 = 1;

/// The field number of `Quantity` in the envelope.
const QUANTITY: u32 = <v1::Quantity as Payload>::FIELD;

/// What a quantity measures: its canonical unit and range.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Measure {
    /// UCUM.
    pub unit: &'static str,
    /// The least value, in that unit.
    pub min: f64,
    /// The greatest value, in that unit.
    pub max: f64,
}

impl Measure {
    /// A value in the canonical unit; an empty unit means that it is in it already. `None` when the unit does not convert.
    pub fn canonical(&self, value: f64, unit: &str) -> Option<f64> {
        if unit.is_empty() { Some(value) } else { convert(value, unit, self.unit) }
    }
}

/// What a quantity of this kind and code measures; `None` for kinds without quantities and for codes that are no vital sign.
pub fn measure(kind: Kind, code: &str) -> Option<Measure> {
    if kind.field() != QUANTITY {
        return None;
    }
    if kind.unit().is_empty() {
        return vital(code).map(|v| Measure { unit: v.unit, min: v.min, max: v.max });
    }
    let (min, max) = kind.bounds().iter().find(|b| b.numbers == [1]).map_or((f64::NEG_INFINITY, f64::INFINITY), |b| (b.min, b.max));
    Some(Measure { unit: kind.unit(), min, max })
}

/// The parts of an encoded `Quantity`.
pub(crate) fn quantity(payload: &[u8]) -> (f64, &str, &str) {
    let (mut value, mut unit, mut code) = (0.0, "", "");
    let mut fields = Fields::new(payload);
    while let Ok(Some(f)) = fields.next() {
        match (f.number, f.value) {
            (1, Value::Fixed64(v)) => value = f64::from_bits(v),
            (2, Value::Len(b)) => unit = std::str::from_utf8(b).unwrap_or_default(),
            (3, Value::Len(b)) => code = std::str::from_utf8(b).unwrap_or_default(),
            _ => {}
        }
    }
    (value, unit, code)
}

/// The value of a quantity in its canonical unit, and that unit.
fn canonical(kind: Kind, payload: &[u8]) -> Option<(f64, &'static str)> {
    let (value, unit, code) = quantity(payload);
    let m = measure(kind, code)?;
    m.canonical(value, unit).map(|v| (v, m.unit))
}

/// The payload of a quantity in its canonical unit, unknown fields kept; `None` when it is there already.
fn converted(kind: Kind, payload: &[u8]) -> Option<Vec<u8>> {
    let (value, unit) = canonical(kind, payload)?;
    let (_, sent, _) = quantity(payload);
    if sent.is_empty() || sent == unit {
        return None;
    }
    let mut out = Vec::with_capacity(payload.len() + 16);
    put_varint(&mut out, 1 << 3 | 1);
    out.put_f64_le(value);
    put_len(&mut out, 2, unit.as_bytes());
    let mut fields = Fields::new(payload);
    while let Ok(Some(f)) = fields.next() {
        if !matches!(f.number, 1 | 2) {
            out.extend_from_slice(payload.get(f.start..f.end).unwrap_or_default());
        }
    }
    Some(out)
}

impl Reading {
    /// The same reading with its payload in the units of the catalogue; borrowed where it is in them already.
    pub fn normalised(&self) -> Cow<'_, Reading> {
        let Some(payload) = (self.kind.field() == QUANTITY).then(|| converted(self.kind, self.payload_bytes())).flatten() else {
            return Cow::Borrowed(self);
        };
        let mut body = Vec::with_capacity(self.body.len() + 16);
        let mut fields = Fields::new(&self.body);
        while let Ok(Some(f)) = fields.next() {
            if f.number != QUANTITY {
                body.extend_from_slice(self.body.get(f.start..f.end).unwrap_or_default());
            }
        }
        put_len(&mut body, QUANTITY, &payload);
        let end = body.len() as u32;
        let start = end.saturating_sub(payload.len() as u32);
        Cow::Owned(Reading { body: body.into(), payload: (start, end), ..self.clone() })
    }

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
        let value = if self.kind.field() == QUANTITY {
            canonical(self.kind, self.payload_bytes()).map(|(v, _)| v)
        } else {
            path::number(self.kind.message(), self.payload_bytes(), &scalar.numbers)
        };
        value.filter(|v| v.is_finite())
    }
}
