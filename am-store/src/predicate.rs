//! Conditions on readings, decided over wire bytes by the shape tables.

use am_core::Timestamp;
use am_schema::spec::{Card, FieldSpec, FieldType, MessageSpec};
use am_schema::wire::{self, Fields, Value as Wire};
use am_schema::{Kind, Reading};

use crate::model::{Op, Predicate, Value};

/// Whether a reading lies in `[from, to)`: it begins there, or its span began earlier and reaches in.
pub fn in_span(reading: &Reading, from: Timestamp, to: Timestamp) -> bool {
    reading.recorded_at() < to && (reading.recorded_at() >= from || reading.ended_at().is_some_and(|e| e > from))
}

/// Whether the kind's payload has a field at this path of names.
pub fn has_field(kind: Kind, path: &str) -> bool {
    let mut at = Some(kind.message());
    path.split('.').all(|name| match at.and_then(|m| m.field_named(name)) {
        Some(f) => {
            at = match f.ty {
                FieldType::Message(m) => Some(m()),
                _ => None,
            };
            true
        }
        None => false,
    })
}

impl Predicate {
    /// Whether it holds for a reading. A field that the payload's kind does not have makes no comparison true.
    pub fn matches(&self, r: &Reading) -> bool {
        match self {
            Predicate::True => true,
            Predicate::Device(d) => d.contains(r.device()),
            Predicate::Kind(k) => k.contains(&r.kind()),
            Predicate::Time { from, to } => in_span(r, *from, *to),
            Predicate::Metadata { key, value } => r.metadata_value(key) == Some(value.as_str()),
            Predicate::Field { path, op, value } => field_matches(r, path, *op, value),
            Predicate::And(all) => all.iter().all(|p| p.matches(r)),
            Predicate::Or(any) => any.iter().any(|p| p.matches(r)),
            Predicate::Not(p) => !p.matches(r),
        }
    }
}

/// A repeated field matches when one of its values does; `Ne` when none is equal.
fn field_matches(r: &Reading, path: &str, op: Op, value: &Value) -> bool {
    if !has_field(r.kind(), path) {
        return false;
    }
    let positive = if op == Op::Ne { Op::Eq } else { op };
    let mut hit = false;
    let mut seen = false;
    visit(r.kind().message(), r.payload_bytes(), path, &mut |f, v| {
        seen = true;
        hit |= compare(f, v, positive, value);
    });
    if !seen && let Some((f, v)) = default_of(r.kind().message(), path) {
        hit = compare(f, v, positive, value);
    }
    hit != (op == Op::Ne)
}

fn visit<'a>(spec: &'static MessageSpec, bytes: &'a [u8], path: &str, found: &mut dyn FnMut(&'static FieldSpec, Wire<'a>)) {
    let (name, rest) = path.split_once('.').map_or((path, None), |(n, r)| (n, Some(r)));
    let Some(field) = spec.field_named(name) else { return };
    let mut fields = Fields::new(bytes);
    // A field that may stand once counts with its last value, as protobuf has it.
    let mut last = None;
    while let Ok(Some(f)) = fields.next() {
        if f.number != field.number {
            continue;
        }
        match (field.ty, f.value, rest) {
            (FieldType::Message(m), Wire::Len(b), Some(rest)) => visit(m(), b, rest, found),
            (_, _, Some(_)) => {}
            (ty, Wire::Len(b), None) if field.card == Card::Repeated && ty.is_packable() => unpack(ty, b, &mut |v| found(field, v)),
            (_, v, None) if field.card == Card::Repeated => found(field, v),
            (_, v, None) => last = Some(v),
        }
    }
    if let Some(v) = last {
        found(field, v);
    }
}

fn unpack<'a>(ty: FieldType, mut bytes: &'a [u8], each: &mut dyn FnMut(Wire<'a>)) {
    loop {
        let one = match ty.wire_type() {
            1 => bytes.first_chunk::<8>().map(|b| (Wire::Fixed64(u64::from_le_bytes(*b)), 8)),
            5 => bytes.first_chunk::<4>().map(|b| (Wire::Fixed32(u32::from_le_bytes(*b)), 4)),
            _ => wire::read_varint(bytes).map(|(v, n)| (Wire::Varint(v), n)),
        };
        let Some((v, n)) = one else { return };
        each(v);
        bytes = bytes.get(n..).unwrap_or_default();
    }
}

/// What the absence of a top-level field means, where it means a default.
fn default_of(spec: &'static MessageSpec, path: &str) -> Option<(&'static FieldSpec, Wire<'static>)> {
    let field = spec.field_named(path).filter(|f| f.card == Card::Implicit)?;
    let v = match field.ty {
        FieldType::String | FieldType::Bytes => Wire::Len(&[]),
        ty if ty.is_packable() => match ty.wire_type() {
            1 => Wire::Fixed64(0),
            5 => Wire::Fixed32(0),
            _ => Wire::Varint(0),
        },
        _ => return None,
    };
    Some((field, v))
}

fn compare(f: &FieldSpec, v: Wire<'_>, op: Op, want: &Value) -> bool {
    match (f.ty, v, want) {
        (FieldType::Enum(e), Wire::Varint(n), Value::Text(t)) => match op {
            Op::Eq => e.number_of(t) == Some(n as i32),
            Op::Contains => e.name_of(n as i32).is_some_and(|name| name.contains(t.as_str())),
            _ => false,
        },
        (FieldType::Bool, Wire::Varint(n), Value::Bool(b)) => op == Op::Eq && (n != 0) == *b,
        (FieldType::Bool, ..) => false,
        (FieldType::String, Wire::Len(b), Value::Text(t)) => {
            let Ok(have) = std::str::from_utf8(b) else { return false };
            if op == Op::Contains { have.contains(t.as_str()) } else { ordered(Some(have.cmp(t.as_str())), op) }
        }
        (FieldType::Timestamp, Wire::Len(b), Value::Text(t)) => {
            let have = wire::read_timestamp(b).ok().and_then(|(s, n)| Timestamp::from_parts(s, n));
            match (have, Timestamp::parse(t)) {
                (Some(h), Ok(w)) => ordered(Some(h.cmp(&w)), op),
                _ => false,
            }
        }
        (ty, v, Value::Number(n)) => ty.number(v).is_some_and(|have| ordered(have.partial_cmp(n), op)),
        _ => false,
    }
}

fn ordered(o: Option<std::cmp::Ordering>, op: Op) -> bool {
    let Some(o) = o else { return false };
    match op {
        Op::Eq => o.is_eq(),
        Op::Ne => o.is_ne(),
        Op::Lt => o.is_lt(),
        Op::Le => o.is_le(),
        Op::Gt => o.is_gt(),
        Op::Ge => o.is_ge(),
        Op::Contains => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use am_core::DeviceId;
    use am_schema::{Catalogue, v1};

    fn heart(bpm: i32) -> Reading {
        let kind = Catalogue::builtin().get("device.health.heartrate.raw").unwrap();
        Reading::builder(kind, DeviceId::new("watch").unwrap(), Timestamp::from_second(100))
            .metadata("room", "kitchen")
            .ended_at(Timestamp::from_second(110))
            .payload(&v1::HeartRate { bpm, confidence: 0.5, zone: v1::heart_rate::Zone::Cardio as i32, ..Default::default() })
            .build()
            .unwrap()
    }

    fn field(path: &str, op: Op, value: Value) -> Predicate {
        Predicate::Field { path: path.into(), op, value }
    }

    #[test]
    fn fields_compare_as_numbers_texts_and_names() {
        let r = heart(61);
        for (path, op, value, holds) in [
            ("bpm", Op::Eq, Value::Number(61.0), true),
            ("bpm", Op::Gt, Value::Number(61.0), false),
            ("bpm", Op::Ne, Value::Number(60.0), true),
            ("bpm", Op::Eq, Value::Text("61".into()), false),
            ("confidence", Op::Le, Value::Number(0.5), true),
            ("zone", Op::Eq, Value::Text("CARDIO".into()), true),
            ("zone", Op::Contains, Value::Text("CARD".into()), true),
            ("source", Op::Eq, Value::Text(String::new()), true),
            ("source", Op::Contains, Value::Text("strap".into()), false),
            ("nothing", Op::Ne, Value::Number(1.0), false),
            ("bpm.deeper", Op::Eq, Value::Number(61.0), false),
            ("", Op::Eq, Value::Number(61.0), false),
            ("bpm", Op::Lt, Value::Number(f64::NAN), false),
        ] {
            assert_eq!(field(path, op, value.clone()).matches(&r), holds, "{path} {op:?} {value:?}");
        }
    }

    #[test]
    fn conditions_join_and_spans_overlap() {
        let r = heart(61);
        let at = |from, to| Predicate::Time { from: Timestamp::from_second(from), to: Timestamp::from_second(to) };
        assert!(at(100, 101).matches(&r) && at(105, 200).matches(&r) && !at(110, 200).matches(&r) && !at(0, 100).matches(&r));
        let room = |v: &str| Predicate::Metadata { key: "room".into(), value: v.into() };
        assert!(Predicate::And(vec![room("kitchen"), Predicate::Not(Box::new(room("hall")))]).matches(&r));
        assert!(!Predicate::Or(vec![room("hall"), Predicate::Kind(vec![])]).matches(&r));
    }
}
