//! Wire bytes into canonical JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use am_core::Timestamp;

use super::{MAX_DEPTH, base64, number, time};
use crate::path::{first_packed, fits, unpack, unzigzag};
use crate::spec::{Card, FieldSpec, FieldType, MessageSpec};
use crate::wire::{Fields, Malformed, Value, read_timestamp};

/// Writes a message; what follows a break in the bytes is kept with the unknown fields.
pub(super) fn message(spec: &'static MessageSpec, bytes: &[u8], out: &mut String) {
    let (mut fields, mut good) = (Fields::new(bytes), 0);
    while let Ok(Some(f)) = fields.next() {
        good = f.end;
    }
    let (whole, broken) = bytes.split_at_checked(good).unwrap_or((bytes, &[]));
    object(spec, whole, broken, out, 0);
}

fn object(spec: &'static MessageSpec, bytes: &[u8], broken: &[u8], out: &mut String, depth: usize) {
    let mut known: Vec<(&'static FieldSpec, Value<'_>)> = Vec::new();
    let mut unknown: Vec<u8> = Vec::new();
    let mut fields = Fields::new(bytes);
    while let Ok(Some(f)) = fields.next() {
        match spec.field(f.number) {
            Some(field) if is_of(field, f.value, depth) => known.push((field, f.value)),
            _ => unknown.extend_from_slice(bytes.get(f.start..f.end).unwrap_or_default()),
        }
    }
    unknown.extend_from_slice(broken);
    // Stable: occurrences of one field stay in the order of the wire.
    known.sort_by_key(|k| k.0.name);
    out.push('{');
    let mut comma = "";
    if !unknown.is_empty() {
        out.push_str("\"@unknown\":\"");
        base64::encode(&unknown, out);
        out.push('"');
        comma = ",";
    }
    for group in known.chunk_by(|a, b| a.0.number == b.0.number) {
        let Some((field, last)) = group.last() else { continue };
        let start = out.len();
        let _ = write!(out, "{comma}\"{}\":", field.name);
        if value_of(field, *last, group, out, depth) {
            comma = ",";
        } else {
            out.truncate(start);
        }
    }
    out.push('}');
}

/// Writes the value of a field from all its occurrences; false when it says no more than its absence would.
fn value_of(field: &'static FieldSpec, last: Value<'_>, all: &[(&'static FieldSpec, Value<'_>)], out: &mut String, depth: usize) -> bool {
    match (field.card, field.ty, last) {
        (_, FieldType::StringMap, _) => map(all, out),
        (Card::Repeated, _, _) => return list(field, all, out, depth),
        // Singular messages that stand several times are merged, which is what their bytes one after the other mean.
        (_, FieldType::Message(nested), _) => match all {
            [(_, Value::Len(b))] => object(nested(), b, &[], out, depth + 1),
            _ => {
                let mut merged = Vec::new();
                for (_, v) in all {
                    if let Value::Len(b) = v {
                        merged.extend_from_slice(b);
                    }
                }
                object(nested(), &merged, &[], out, depth + 1);
            }
        },
        (Card::Implicit, FieldType::Timestamp, _) => one(field.ty, last, out, depth),
        (Card::Implicit, _, Value::Varint(0) | Value::Fixed32(0) | Value::Fixed64(0) | Value::Len([])) => return false,
        _ => one(field.ty, last, out, depth),
    }
    true
}

fn list(field: &'static FieldSpec, all: &[(&'static FieldSpec, Value<'_>)], out: &mut String, depth: usize) -> bool {
    let mut open = '[';
    let mut push = |v: Value<'_>| {
        out.push(open);
        open = ',';
        one(field.ty, v, out, depth);
    };
    for (_, v) in all {
        match v {
            Value::Len(b) if field.ty.is_packable() => unpack(field.ty, b, &mut push),
            v => push(*v),
        }
    }
    if open == '[' {
        return false;
    }
    out.push(']');
    true
}

fn map(all: &[(&'static FieldSpec, Value<'_>)], out: &mut String) {
    let mut entries: BTreeMap<&str, &str> = BTreeMap::new();
    for (_, v) in all {
        if let Value::Len(b) = v {
            let (key, value) = crate::reading::read_entry(b);
            entries.insert(key, value);
        }
    }
    let mut open = '{';
    for (k, v) in entries {
        out.push(open);
        open = ',';
        push_text(out, k);
        out.push(':');
        push_text(out, v);
    }
    if open == '{' {
        out.push('{');
    }
    out.push('}');
}

fn one(ty: FieldType, value: Value<'_>, out: &mut String, depth: usize) {
    use FieldType as T;
    let _ = match (ty, value) {
        (T::Double, Value::Fixed64(v)) => float(f64::from_bits(v), f64::from_bits(v), out),
        (T::Float, Value::Fixed32(v)) => float(f32::from_bits(v), f64::from(f32::from_bits(v)), out),
        (T::Int32, Value::Varint(v)) => write!(out, "{}", v as i32),
        (T::Uint32, Value::Varint(v)) => write!(out, "{}", v as u32),
        (T::Sint32, Value::Varint(v)) => write!(out, "{}", unzigzag(v) as i32),
        (T::Fixed32, Value::Fixed32(v)) => write!(out, "{v}"),
        (T::Sfixed32, Value::Fixed32(v)) => write!(out, "{}", v as i32),
        (T::Int64, Value::Varint(v)) => write!(out, "\"{}\"", v as i64),
        (T::Uint64, Value::Varint(v)) => write!(out, "\"{v}\""),
        (T::Sint64, Value::Varint(v)) => write!(out, "\"{}\"", unzigzag(v)),
        (T::Fixed64, Value::Fixed64(v)) => write!(out, "\"{v}\""),
        (T::Sfixed64, Value::Fixed64(v)) => write!(out, "\"{}\"", v as i64),
        (T::Bool, Value::Varint(v)) => write!(out, "{}", v != 0),
        (T::Enum(e), Value::Varint(v)) => match e.name_of(v as i32) {
            Some(name) => write!(out, "\"{name}\""),
            None => write!(out, "{}", v as i32),
        },
        (T::String, Value::Len(b)) => {
            push_text(out, std::str::from_utf8(b).unwrap_or_default());
            Ok(())
        }
        (T::Bytes, Value::Len(b)) => {
            out.push('"');
            base64::encode(b, out);
            out.push('"');
            Ok(())
        }
        (T::Timestamp, Value::Len(b)) => {
            out.push('"');
            if let Ok(Some(t)) = read_timestamp(b).map(|(s, n)| Timestamp::from_parts(s, n)) {
                time::push_time(out, t);
            }
            out.push('"');
            Ok(())
        }
        (T::Message(nested), Value::Len(b)) => {
            object(nested(), b, &[], out, depth + 1);
            Ok(())
        }
        _ => Ok(()),
    };
}

fn float(v: impl std::fmt::LowerExp, as_double: f64, out: &mut String) -> std::fmt::Result {
    match as_double {
        d if d.is_nan() => out.push_str("\"NaN\""),
        f64::INFINITY => out.push_str("\"Infinity\""),
        f64::NEG_INFINITY => out.push_str("\"-Infinity\""),
        _ => number::push_float(out, v),
    }
    Ok(())
}

/// Writes a JSON string, escaping no more than JSON asks for.
pub(super) fn push_text(out: &mut String, text: &str) {
    out.push('"');
    let mut from = 0;
    for (i, b) in text.bytes().enumerate() {
        let short = match b {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            8 => "\\b",
            12 => "\\f",
            0..32 => "",
            _ => continue,
        };
        out.push_str(text.get(from..i).unwrap_or_default());
        out.push_str(short);
        if short.is_empty() {
            let _ = write!(out, "\\u{b:04x}");
        }
        from = i + 1;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out.push('"');
}

/// Whether the value can be written by its type without losing anything; what cannot is kept as an unknown field.
fn is_of(field: &FieldSpec, value: Value<'_>, depth: usize) -> bool {
    match (field.ty, value) {
        (FieldType::String, Value::Len(b)) => std::str::from_utf8(b).is_ok(),
        (FieldType::Bytes, Value::Len(_)) => true,
        (FieldType::Timestamp, Value::Len(b)) => {
            only(b, &[0, 0]) && read_timestamp(b).is_ok_and(|(s, n)| Timestamp::from_parts(s, n).is_some())
        }
        (FieldType::StringMap, Value::Len(b)) => only(b, &[2, 2]) && texts(b),
        (FieldType::Message(_), Value::Len(b)) => depth + 1 < MAX_DEPTH && well_formed(b).is_ok(),
        (ty, Value::Len(b)) if field.card == Card::Repeated && ty.is_packable() => packed(ty, b),
        (ty, v) => number_is_of(ty, v),
    }
}

fn number_is_of(ty: FieldType, value: Value<'_>) -> bool {
    match (ty, value) {
        // One text stands for one not-a-number only.
        (FieldType::Double, Value::Fixed64(v)) => !f64::from_bits(v).is_nan() || v == f64::NAN.to_bits(),
        (FieldType::Float, Value::Fixed32(v)) => !f32::from_bits(v).is_nan() || v == f32::NAN.to_bits(),
        (ty, Value::Varint(v)) => ty.wire_type() == 0 && fits(ty, v),
        (ty, v) => ty.number(v).is_some(),
    }
}

fn packed(ty: FieldType, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match first_packed(ty, bytes) {
            Some((v, n)) if number_is_of(ty, v) => bytes = bytes.get(n..).unwrap_or_default(),
            _ => return false,
        }
    }
    true
}

/// Whether a message has no other fields than 1, 2 ... of these wire types.
fn only(bytes: &[u8], types: &[u8]) -> bool {
    let mut fields = Fields::new(bytes);
    loop {
        match fields.next() {
            Ok(None) => return true,
            Ok(Some(f)) => {
                let ty = match f.value {
                    Value::Varint(_) => 0,
                    Value::Fixed64(_) => 1,
                    Value::Len(_) => 2,
                    Value::Fixed32(_) => 5,
                };
                if types.get(f.number as usize - 1) != Some(&ty) {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
}

fn texts(entry: &[u8]) -> bool {
    let mut fields = Fields::new(entry);
    while let Ok(Some(f)) = fields.next() {
        if matches!(f.value, Value::Len(b) if std::str::from_utf8(b).is_err()) {
            return false;
        }
    }
    true
}

/// Whether the bytes are fields to the end; what is nested in them is asked in its turn.
fn well_formed(bytes: &[u8]) -> Result<(), Malformed> {
    let mut fields = Fields::new(bytes);
    while fields.next()?.is_some() {}
    Ok(())
}
