//! Bytes kept apart, and vectors.

use super::{Item, each, last, unsigned};
use crate::path::unpack;
use crate::spec::FieldType;
use crate::wire::{Fields, Value};

/// The bytes do not stand both in the reading and in a blob.
pub(super) fn not_twice(item: &mut Item<'_, '_>, data: u32, blob: u32) {
    if !item.bytes_of(data).is_empty() && item.last(blob).is_some() {
        item.find("data", "present", "no bytes beside a blob");
    }
}

/// Vectors are as long as they say.
pub(super) fn vectors(item: &mut Item<'_, '_>, dimensions: u32, vectors: u32) {
    let expected = unsigned(item.bytes, dimensions);
    let mut wrong = Vec::new();
    for (i, v) in each(item.bytes, vectors).enumerate() {
        let n = values(v);
        if n != expected {
            wrong.push((i, n));
        }
        if unsigned(v, 2) < unsigned(v, 1) {
            item.find(&format!("vectors[{i}].end"), unsigned(v, 2), "not before start");
        }
    }
    for (i, n) in wrong {
        item.find(&format!("vectors[{i}].values"), format!("{n} values"), format!("{expected} values, as dimensions says"));
    }
    if expected == 0 || last(item.bytes, vectors).is_none() {
        item.find("vectors", "", "at least one vector of at least one dimension");
    }
}

fn values(vector: &[u8]) -> u64 {
    let (mut fields, mut n) = (Fields::new(vector), 0);
    while let Ok(Some(f)) = fields.next() {
        match f.value {
            Value::Len(b) if f.number == 3 => unpack(FieldType::Float, b, &mut |_| n += 1),
            Value::Fixed32(_) if f.number == 3 => n += 1,
            _ => {}
        }
    }
    n
}
