//! The rules that hold for every message, checked in one pass over its bytes.

use am_core::Timestamp;

use super::place::{Place, type_name, wire_name};
use super::{MAX_DEPTH, MAX_ELEMENTS, push};
use crate::catalogue::{Bound, DataClass};
use crate::path::{first_packed, fits};
use crate::spec::{Card, FieldSpec, FieldType, MessageSpec};
use crate::wire::{Field, Fields, Value, is_plain, read_timestamp};
use crate::{Finding, Kind, Payload, shapes, v1};

/// The walk through one payload. Allocates only for findings.
pub(super) struct Walk<'f> {
    bounds: &'static [Bound],
    required: &'static [Vec<u32>],
    max_text: usize,
    redact: bool,
    /// Values of repeated fields so far.
    elements: usize,
    /// The numbers of the fields that lead to the message at hand.
    way: [u32; MAX_DEPTH],
    findings: &'f mut Vec<Finding>,
}

impl<'f> Walk<'f> {
    /// By the rules of a kind.
    pub(super) fn of(kind: Kind, findings: &'f mut Vec<Finding>) -> Self {
        Walk {
            // The range of a quantity holds for its canonical unit; see the rules.
            bounds: if kind.field() == <v1::Quantity as Payload>::FIELD { &[] } else { kind.bounds() },
            required: kind.required(),
            max_text: kind.max_text(),
            redact: kind.class() == DataClass::Content,
            elements: 0,
            way: [0; MAX_DEPTH],
            findings,
        }
    }

    /// By the general rules alone.
    pub(super) fn plain(max_text: usize, findings: &'f mut Vec<Finding>) -> Self {
        Walk { bounds: &[], required: &[], max_text, redact: false, elements: 0, way: [0; MAX_DEPTH], findings }
    }

    /// Checks one message and what is nested in it.
    pub(super) fn message(&mut self, spec: &'static MessageSpec, bytes: &[u8], place: &Place<'_>, depth: usize) {
        // One bit per field, by position in the table.
        let (mut seen, mut filled) = (0u64, 0u64);
        let mut fields = Fields::new(bytes);
        loop {
            let f = match fields.step() {
                Ok(Some(f)) => f,
                Ok(None) => break,
                Err(m) => return push(self.findings, place.spell(0), m, "well-formed protobuf"),
            };
            let Some(at) = spec.position(f.number) else { continue };
            let Some(field) = spec.fields.get(at) else { continue };
            let bit = 1u64 << (at & 63);
            if let Card::OneOf(group) = field.card {
                self.one_of(spec, seen & !bit, group, place);
            }
            seen |= bit;
            if self.field(field, &f, bytes, place, depth) {
                filled |= bit;
            }
            if self.elements > MAX_ELEMENTS {
                return;
            }
        }
        self.absent(spec, seen, filled, place, depth);
        if std::ptr::eq(spec, &shapes::BLOB_REF) {
            self.blob(bytes, place);
        }
    }

    /// A blob is named by the BLAKE3 digest of its bytes.
    fn blob(&mut self, bytes: &[u8], place: &Place<'_>) {
        let mut len = 0;
        let mut fields = Fields::new(bytes);
        while let Ok(Some(f)) = fields.next() {
            if let (1, Value::Len(b)) = (f.number, f.value) {
                len = b.len();
            }
        }
        if len != 32 {
            push(self.findings, place.spell(0) + ".digest", format!("{len} bytes"), "32 bytes");
        }
    }

    /// Checks one field as it stands on the wire; true when it is not empty.
    #[inline]
    fn field(&mut self, field: &'static FieldSpec, f: &Field<'_>, message: &[u8], parent: &Place<'_>, depth: usize) -> bool {
        let place = match field.card {
            Card::Repeated => {
                self.count(&parent.repeated(field, message, f.start), 0);
                parent.repeated(field, message, f.start)
            }
            _ => parent.single(field),
        };
        match (field.ty, f.value) {
            (FieldType::String, Value::Len(b)) => self.text(b, &place),
            (FieldType::Bytes, Value::Len(b)) => !b.is_empty(),
            (FieldType::Message(nested), Value::Len(b)) => {
                match self.way.get_mut(depth) {
                    Some(step) => *step = field.number,
                    None => push(self.findings, place.spell(0), "nested deeper", format!("at most {MAX_DEPTH} levels")),
                }
                if depth < MAX_DEPTH {
                    self.message(nested(), b, &place, depth + 1);
                }
                true
            }
            (FieldType::Timestamp, Value::Len(b)) => {
                self.timestamp(b, &place);
                true
            }
            (FieldType::StringMap, Value::Len(b)) => {
                self.entry(b, &place);
                true
            }
            (ty, Value::Len(b)) if field.card == Card::Repeated && ty.is_packable() => {
                self.packed(field, b, &place, depth);
                !b.is_empty()
            }
            (_, value) => {
                let set = self.number(field, value, &place, 0, depth);
                set || matches!(field.card, Card::Optional | Card::Repeated | Card::OneOf(_))
            }
        }
    }

    fn packed(&mut self, field: &'static FieldSpec, bytes: &[u8], place: &Place<'_>, depth: usize) {
        let (mut rest, mut n) = (bytes, 0usize);
        while !rest.is_empty() {
            let Some((v, len)) = first_packed(field.ty, rest) else {
                return push(self.findings, place.spell(n), "cut off", "whole packed numbers");
            };
            if n > 0 {
                self.count(place, n);
                if self.elements > MAX_ELEMENTS {
                    return;
                }
            }
            self.number(field, v, place, n, depth);
            rest = rest.get(len..).unwrap_or_default();
            n += 1;
        }
    }

    fn count(&mut self, place: &Place<'_>, packed: usize) {
        self.elements += 1;
        if self.elements == MAX_ELEMENTS + 1 {
            push(self.findings, place.spell(packed), "more values", format!("at most {MAX_ELEMENTS} values in repeated fields"));
        }
    }

    /// Checks a number; true when it is not 0.
    #[inline]
    fn number(&mut self, field: &'static FieldSpec, value: Value<'_>, place: &Place<'_>, packed: usize, depth: usize) -> bool {
        let Some(v) = field.ty.number(value) else {
            push(self.findings, place.spell(packed), wire_name(value), type_name(field.ty));
            return true;
        };
        if let Value::Varint(raw) = value
            && !fits(field.ty, raw)
        {
            push(self.findings, place.spell(packed), self.shown(raw as i64), type_name(field.ty));
            return true;
        }
        if !v.is_finite() {
            push(self.findings, place.spell(packed), self.shown(v), "a finite number");
            return true;
        }
        for b in self.bounds {
            // The range first: it holds for all but the bad ones, and is the cheapest to look at.
            if !(b.min..=b.max).contains(&v)
                && let Some((last, way)) = b.numbers.split_last()
                && *last == field.number
                && self.way.get(..depth) == Some(way)
            {
                push(self.findings, place.spell(packed), self.shown(display(field.ty, value, v)), range(b));
            }
        }
        v != 0.0
    }

    /// Checks a text; true when it is not empty.
    #[inline]
    fn text(&mut self, b: &[u8], place: &Place<'_>) -> bool {
        if is_plain(b) && b.len() <= self.max_text {
            return !b.is_empty();
        }
        if b.len() > self.max_text {
            push(self.findings, place.spell(0), format!("{} bytes", b.len()), format!("at most {} bytes", self.max_text));
        } else if let Err(e) = std::str::from_utf8(b) {
            push(self.findings, place.spell(0), format!("not UTF-8 at byte {}", e.valid_up_to()), "UTF-8 text");
        } else if b.contains(&0) {
            push(self.findings, place.spell(0), "text with NUL", "text without NUL");
        }
        !b.is_empty()
    }

    fn timestamp(&mut self, b: &[u8], place: &Place<'_>) {
        match read_timestamp(b) {
            Ok((s, n)) if Timestamp::from_parts(s, n).is_some() => {}
            Ok((s, n)) => push(
                self.findings,
                place.spell(0),
                self.shown(format!("{s} s, {n} ns")),
                "a time between 1678 and 2262, nanos 0 to 999999999",
            ),
            Err(m) => push(self.findings, place.spell(0), m, "a timestamp"),
        }
    }

    fn entry(&mut self, b: &[u8], place: &Place<'_>) {
        let mut fields = Fields::new(b);
        loop {
            match fields.next() {
                Ok(None) => return,
                Ok(Some(Field { number: 1 | 2, value: Value::Len(t), .. })) => {
                    self.text(t, place);
                }
                Ok(Some(Field { number: 1 | 2, value, .. })) => push(self.findings, place.spell(0), wire_name(value), "text"),
                Ok(Some(_)) => {}
                Err(m) => return push(self.findings, place.spell(0), m, "a map entry"),
            }
        }
    }

    fn one_of(&mut self, spec: &'static MessageSpec, others: u64, group: &'static str, place: &Place<'_>) {
        let other = spec.fields.iter().enumerate().find(|(i, f)| others >> (i & 63) & 1 == 1 && f.card == Card::OneOf(group));
        if let Some((_, f)) = other {
            push(self.findings, place.single(f).spell(0), "present", format!("only one of {group}"));
        }
    }

    /// What is missing: required fields, and numbers whose absence means a 0 that is out of range.
    fn absent(&mut self, spec: &'static MessageSpec, seen: u64, filled: u64, place: &Place<'_>, depth: usize) {
        let here = |numbers: &[u32], way: &[u32; MAX_DEPTH]| match numbers.split_last() {
            Some((last, before)) if way.get(..depth) == Some(before) => spec.position(*last),
            _ => None,
        };
        let mut said = 0u64;
        for numbers in self.required {
            if let Some(at) = here(numbers, &self.way)
                && filled >> (at & 63) & 1 == 0
                && let Some(field) = spec.fields.get(at)
            {
                said |= 1 << (at & 63);
                push(self.findings, place.single(field).spell(0), "", required(field.ty));
            }
        }
        for b in self.bounds {
            if let Some(at) = here(&b.numbers, &self.way)
                && (seen | said) >> (at & 63) & 1 == 0
                && !(b.min..=b.max).contains(&0.0)
                && let Some(field) = spec.fields.get(at)
                && field.card == Card::Implicit
                && field.ty.is_packable()
            {
                push(self.findings, place.single(field).spell(0), "0 (absent)", range(b));
            }
        }
    }

    fn shown(&self, value: impl std::fmt::Display) -> String {
        if self.redact { super::REDACTED.to_owned() } else { value.to_string() }
    }
}

/// The number as its sender knows it: 0.9, not 0.8999999761581421.
fn display(ty: FieldType, value: Value<'_>, v: f64) -> String {
    match (ty, value) {
        (FieldType::Float, Value::Fixed32(bits)) => f32::from_bits(bits).to_string(),
        (FieldType::Uint64, Value::Varint(raw)) => raw.to_string(),
        _ => v.to_string(),
    }
}

pub(super) fn range(b: &Bound) -> String {
    let unit = if b.unit.is_empty() { String::new() } else { format!(" {}", b.unit) };
    match (b.min == f64::NEG_INFINITY, b.max == f64::INFINITY) {
        (false, true) => format!("at least {}{unit}", b.min),
        (true, false) => format!("at most {}{unit}", b.max),
        _ => format!("{} to {}{unit}", b.min, b.max),
    }
}

fn required(ty: FieldType) -> &'static str {
    match ty {
        FieldType::Enum(_) => "a value other than UNSPECIFIED",
        FieldType::String => "some text",
        _ => "a value",
    }
}
