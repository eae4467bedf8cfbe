//! JSON into wire bytes.

use am_core::Timestamp;

use super::lexer::{Lexer, Next, Syntax};
use super::{MAX_DEPTH, base64, number, tree};
use crate::Finding;
use crate::path::fits;
use crate::spec::{Card, EnumSpec, FieldSpec, FieldType, MessageSpec};
use crate::validate::{MAX_FINDINGS, push};
use crate::wire::{put_len, put_timestamp, put_varint};

/// What became of a text: bytes of all that was good, and what was not.
pub(crate) struct Transcoded {
    pub bytes: Vec<u8>,
    pub findings: Vec<Finding>,
    /// The text is not JSON; the bytes end where it stopped being so.
    pub broken: bool,
}

/// Reads a message from JSON.
pub(crate) fn transcode(spec: &'static MessageSpec, text: &str) -> Transcoded {
    let mut r = Reader { lexer: Lexer::new(text), findings: Vec::new(), segments: Vec::new() };
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let done = r.message(spec, &Place::Root, 0, &mut bytes).and_then(|()| r.lexer.end());
    let broken = done.is_err();
    if let Err(e) = done {
        r.findings.truncate(MAX_FINDINGS - 1);
        r.findings.push(tree::syntax("reading", e, &r.lexer));
    }
    Transcoded { bytes, findings: r.findings, broken }
}

/// Where a value stands; spelled out only for findings.
#[derive(Clone, Copy)]
enum Place<'p> {
    Root,
    Name(&'p Place<'p>, &'p str),
    Index(&'p Place<'p>, usize),
    Key(&'p Place<'p>, &'p str),
}

impl Place<'_> {
    fn spell(&self) -> String {
        match self {
            Place::Root => String::new(),
            Place::Name(Place::Root, name) => crate::finding::shorten(name.escape_debug()),
            Place::Name(p, name) => format!("{}.{}", p.spell(), crate::finding::shorten(name.escape_debug())),
            Place::Index(p, i) => format!("{}[{i}]", p.spell()),
            Place::Key(p, key) => format!("{}[\"{}\"]", p.spell(), crate::finding::shorten(key.escape_debug())),
        }
    }
}

/// A field as it was written: its number, and where it begins and ends.
type Segment = (u32, usize, usize);

struct Reader<'a> {
    lexer: Lexer<'a>,
    findings: Vec<Finding>,
    /// The fields of the messages that are being written, the innermost last.
    segments: Vec<Segment>,
}

type Done = Result<(), Syntax>;

/// A number by wire type.
#[derive(Clone, Copy)]
enum Bits {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
}

impl Reader<'_> {
    fn wrong(&mut self, place: &Place<'_>, value: impl std::fmt::Display, rule: impl Into<String>) {
        push(&mut self.findings, place.spell(), value, rule);
    }

    /// Passes over a value that is not what it should be, and says so.
    fn refuse(&mut self, place: &Place<'_>, depth: usize, rule: impl Into<String>) -> Done {
        self.lexer.next()?;
        let from = self.lexer.at();
        self.lexer.skip(depth)?;
        let value = self.lexer.since(from);
        self.wrong(place, value, rule);
        Ok(())
    }

    fn message(&mut self, spec: &'static MessageSpec, place: &Place<'_>, depth: usize, out: &mut Vec<u8>) -> Done {
        if self.lexer.next()? != Next::Object {
            return self.refuse(place, depth, format!("an object, am.v1.{}", spec.name));
        }
        if depth >= MAX_DEPTH {
            return self.lexer.too_deep();
        }
        self.lexer.take(b'{');
        let (base, start) = (self.segments.len(), out.len());
        let (mut seen, mut raw, mut first) = (0u128, false, true);
        while self.lexer.more(b'}', &mut first)? {
            let key = self.lexer.key()?;
            let at = Place::Name(place, &key);
            if key == "@unknown" {
                if std::mem::replace(&mut raw, true) {
                    self.wrong(&at, "a second time", "each key once");
                }
                self.unknown(&at, depth, out)?;
                continue;
            }
            let Some((i, field)) = spec.fields.iter().enumerate().find(|(_, f)| f.name == key || f.json_name == key) else {
                let known = format!("a field of am.v1.{}", spec.name);
                self.lexer.skip(depth + 1)?;
                self.wrong(&at, "an unknown name", known);
                continue;
            };
            let at = Place::Name(place, field.name);
            let bit = 1u128 << (i & 127);
            if seen & bit != 0 {
                self.wrong(&at, "a second time", "each key once");
                self.lexer.skip(depth + 1)?;
                continue;
            }
            seen |= bit;
            let from = out.len();
            self.field(field, &at, depth + 1, out)?;
            self.segments.push((field.number, from, out.len()));
        }
        in_order(self.segments.get_mut(base..).unwrap_or_default(), start, out);
        self.segments.truncate(base);
        Ok(())
    }

    /// Fields that the tables do not know, as they were on the wire.
    fn unknown(&mut self, at: &Place<'_>, depth: usize, out: &mut Vec<u8>) -> Done {
        if self.lexer.next()? != Next::Text {
            return self.refuse(at, depth + 1, "base64 text");
        }
        let text = self.lexer.string()?;
        let from = out.len();
        match base64::decode(&text) {
            Some(b) => out.extend_from_slice(&b),
            None => self.wrong(at, text, "base64 text"),
        }
        self.segments.push((u32::MAX, from, out.len()));
        Ok(())
    }

    fn field(&mut self, field: &'static FieldSpec, at: &Place<'_>, depth: usize, out: &mut Vec<u8>) -> Done {
        let next = self.lexer.next()?;
        if next == Next::Null {
            return self.lexer.word("null");
        }
        match (field.card, field.ty) {
            (_, FieldType::StringMap) => self.map(field, at, depth, out),
            (Card::Repeated, _) => self.list(field, at, depth, out),
            _ => self.one(field, at, depth, out, field.card != Card::Implicit),
        }
    }

    /// One value with its tag; a default is left out unless `keep`.
    fn one(&mut self, field: &'static FieldSpec, at: &Place<'_>, depth: usize, out: &mut Vec<u8>, keep: bool) -> Done {
        match field.ty {
            FieldType::String | FieldType::Bytes | FieldType::Timestamp => {
                if self.lexer.next()? != Next::Text {
                    let rule = match field.ty {
                        FieldType::String => "text",
                        FieldType::Bytes => "base64 text",
                        _ => "an RFC 3339 time, such as 2026-03-01T08:00:00Z",
                    };
                    return self.refuse(at, depth, rule);
                }
                let text = self.lexer.string()?;
                self.text(field, at, &text, out, keep);
                Ok(())
            }
            FieldType::Message(nested) => {
                let start = out.len();
                put_varint(out, u64::from(field.number) << 3 | 2);
                let body = out.len();
                let object = self.lexer.next()? == Next::Object;
                self.message(nested(), at, depth, out)?;
                if object {
                    with_length(out, body)
                } else {
                    out.truncate(start)
                }
                Ok(())
            }
            ty => {
                if let Some(bits) = self.number(ty, at, depth)?
                    && (keep || !matches!(bits, Bits::Varint(0) | Bits::Fixed32(0) | Bits::Fixed64(0)))
                {
                    put_varint(out, u64::from(field.number) << 3 | u64::from(ty.wire_type()));
                    put_bits(out, bits);
                }
                Ok(())
            }
        }
    }

    fn text(&mut self, field: &'static FieldSpec, at: &Place<'_>, text: &str, out: &mut Vec<u8>, keep: bool) {
        match field.ty {
            FieldType::Bytes => match base64::decode(text) {
                Some(b) if b.is_empty() && !keep => {}
                Some(b) => put_len(out, field.number, &b),
                None => self.wrong(at, text, "base64 text"),
            },
            FieldType::Timestamp => match Timestamp::parse(text) {
                Ok(t) => put_timestamp(out, field.number, t),
                Err(_) => self.wrong(at, text, "an RFC 3339 time between 1678 and 2262, such as 2026-03-01T08:00:00Z"),
            },
            _ if text.is_empty() && !keep => {}
            _ => put_len(out, field.number, text.as_bytes()),
        }
    }

    fn list(&mut self, field: &'static FieldSpec, at: &Place<'_>, depth: usize, out: &mut Vec<u8>) -> Done {
        if self.lexer.next()? != Next::Array {
            return self.refuse(at, depth, "a list");
        }
        if depth >= MAX_DEPTH {
            return self.lexer.too_deep();
        }
        self.lexer.take(b'[');
        let start = out.len();
        let packed = field.ty.is_packable();
        if packed {
            put_varint(out, u64::from(field.number) << 3 | 2);
        }
        let body = out.len();
        let (mut first, mut i) = (true, 0);
        while self.lexer.more(b']', &mut first)? {
            let here = Place::Index(at, i);
            i += 1;
            if self.lexer.next()? == Next::Null {
                self.lexer.word("null")?;
                self.wrong(&here, "null", "a value");
            } else if packed {
                if let Some(bits) = self.number(field.ty, &here, depth + 1)? {
                    put_bits(out, bits);
                }
            } else {
                self.one(field, &here, depth + 1, out, true)?;
            }
        }
        match packed {
            true if out.len() == body => out.truncate(start),
            true => with_length(out, body),
            false => {}
        }
        Ok(())
    }

    /// A map of texts; its entries come out in order of their keys.
    fn map(&mut self, field: &'static FieldSpec, at: &Place<'_>, depth: usize, out: &mut Vec<u8>) -> Done {
        if self.lexer.next()? != Next::Object {
            return self.refuse(at, depth, "an object of texts");
        }
        if depth >= MAX_DEPTH {
            return self.lexer.too_deep();
        }
        self.lexer.take(b'{');
        let mut entries = std::collections::BTreeMap::new();
        let mut first = true;
        while self.lexer.more(b'}', &mut first)? {
            let key = self.lexer.key()?;
            let here = Place::Key(at, &key);
            if self.lexer.next()? != Next::Text {
                self.refuse(&here, depth + 1, "text")?;
                continue;
            }
            let value = self.lexer.string()?;
            if entries.contains_key(&key) {
                self.wrong(&here, "a second time", "each key once");
                continue;
            }
            entries.insert(key, value);
        }
        let mut entry = Vec::new();
        for (key, value) in entries {
            entry.clear();
            put_len(&mut entry, 1, key.as_bytes());
            put_len(&mut entry, 2, value.as_bytes());
            put_len(out, field.number, &entry);
        }
        Ok(())
    }

    /// A number, truth value or enum; `None` with a finding when it is not one of the type.
    fn number(&mut self, ty: FieldType, at: &Place<'_>, depth: usize) -> Result<Option<Bits>, Syntax> {
        let rule = || match ty {
            FieldType::Bool => "true or false".to_owned(),
            FieldType::Enum(e) => names(e),
            FieldType::Float | FieldType::Double => "a number".to_owned(),
            FieldType::Int32 | FieldType::Sint32 | FieldType::Sfixed32 => format!("an integer from {} to {}", i32::MIN, i32::MAX),
            FieldType::Uint32 | FieldType::Fixed32 => format!("an integer from 0 to {}", u32::MAX),
            FieldType::Uint64 | FieldType::Fixed64 => format!("an integer from 0 to {}", u64::MAX),
            _ => format!("an integer from {} to {}", i64::MIN, i64::MAX),
        };
        let (owned, borrowed);
        let (text, quoted): (&str, bool) = match self.lexer.next()? {
            Next::True | Next::False if matches!(ty, FieldType::Bool) => {
                let yes = self.lexer.next()? == Next::True;
                self.lexer.word(if yes { "true" } else { "false" })?;
                return Ok(Some(Bits::Varint(u64::from(yes))));
            }
            Next::Text if !matches!(ty, FieldType::Bool) => {
                owned = self.lexer.string()?;
                (&owned, true)
            }
            Next::Number if !matches!(ty, FieldType::Bool) => {
                borrowed = self.lexer.number()?;
                (borrowed, false)
            }
            _ => return self.refuse(at, depth, rule()).map(|()| None),
        };
        let bits = match ty {
            FieldType::Enum(e) if quoted => e.number_of(text).map(|n| Bits::Varint(i64::from(n) as u64)),
            FieldType::Float | FieldType::Double => float(ty, text, quoted),
            _ if !Lexer::is_number(text) => None,
            _ => number::integer(text).and_then(|v| integer(ty, v)),
        };
        if bits.is_none() {
            self.wrong(at, text, rule());
        }
        Ok(bits)
    }
}

fn names(e: &EnumSpec) -> String {
    e.values.iter().map(|v| v.1).collect::<Vec<_>>().join(", ")
}

fn float(ty: FieldType, text: &str, quoted: bool) -> Option<Bits> {
    let special = match text {
        "NaN" if quoted => Some((f32::NAN, f64::NAN)),
        "Infinity" if quoted => Some((f32::INFINITY, f64::INFINITY)),
        "-Infinity" if quoted => Some((f32::NEG_INFINITY, f64::NEG_INFINITY)),
        _ => None,
    };
    match (ty, special) {
        (FieldType::Float, Some((v, _))) => Some(Bits::Fixed32(v.to_bits())),
        (_, Some((_, v))) => Some(Bits::Fixed64(v.to_bits())),
        (_, None) if !Lexer::is_number(text) => None,
        (FieldType::Float, None) => text.parse::<f32>().ok().filter(|v| v.is_finite()).map(|v| Bits::Fixed32(v.to_bits())),
        (_, None) => text.parse::<f64>().ok().filter(|v| v.is_finite()).map(|v| Bits::Fixed64(v.to_bits())),
    }
}

fn integer(ty: FieldType, v: i128) -> Option<Bits> {
    use FieldType as T;
    let zigzag = |v: i64| Bits::Varint(((v << 1) ^ (v >> 63)) as u64);
    match ty {
        T::Int32 | T::Enum(_) => i32::try_from(v).ok().map(|v| Bits::Varint(i64::from(v) as u64)),
        T::Int64 => i64::try_from(v).ok().map(|v| Bits::Varint(v as u64)),
        T::Uint32 => u32::try_from(v).ok().map(|v| Bits::Varint(u64::from(v))),
        T::Uint64 => u64::try_from(v).ok().map(Bits::Varint),
        T::Sint32 => i32::try_from(v).ok().map(|v| zigzag(i64::from(v))),
        T::Sint64 => i64::try_from(v).ok().map(zigzag),
        T::Fixed32 => u32::try_from(v).ok().map(Bits::Fixed32),
        T::Sfixed32 => i32::try_from(v).ok().map(|v| Bits::Fixed32(v as u32)),
        T::Fixed64 => u64::try_from(v).ok().map(Bits::Fixed64),
        T::Sfixed64 => i64::try_from(v).ok().map(|v| Bits::Fixed64(v as u64)),
        _ => None,
    }
    .filter(|b| !matches!(b, Bits::Varint(raw) if !fits(ty, *raw)))
}

fn put_bits(out: &mut Vec<u8>, bits: Bits) {
    match bits {
        Bits::Varint(v) => put_varint(out, v),
        Bits::Fixed32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Bits::Fixed64(v) => out.extend_from_slice(&v.to_le_bytes()),
    }
}

/// Puts the length of what stands from `body` on before it.
fn with_length(out: &mut Vec<u8>, body: usize) {
    let mut length = Vec::with_capacity(5);
    put_varint(&mut length, (out.len() - body) as u64);
    out.splice(body..body, length);
}

/// Sorts the fields of a message, which stand from `start` on, by number.
fn in_order(segments: &mut [Segment], start: usize, out: &mut Vec<u8>) {
    if segments.is_sorted_by_key(|s| s.0) {
        return;
    }
    segments.sort_by_key(|s| s.0);
    let unsorted = out.split_off(start);
    for (_, from, to) in segments {
        out.extend_from_slice(unsorted.get(*from - start..*to - start).unwrap_or_default());
    }
}
