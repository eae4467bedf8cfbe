//! Values at a path of field numbers, found in wire bytes.

use crate::spec::{Card, FieldSpec, FieldType, MessageSpec};
use crate::wire::{Fields, Value, read_varint};

/// Calls `found` with every value at the path, in wire order; packed numbers are handed over one by one.
pub(crate) fn visit<'a>(spec: &'static MessageSpec, bytes: &'a [u8], path: &[u32], found: &mut impl FnMut(&'static FieldSpec, Value<'a>)) {
    let Some((&number, rest)) = path.split_first() else { return };
    let Some(field) = spec.field(number) else { return };
    let mut fields = Fields::new(bytes);
    while let Ok(Some(f)) = fields.next() {
        if f.number != number {
            continue;
        }
        match (field.ty, f.value) {
            (FieldType::Message(m), Value::Len(b)) if !rest.is_empty() => visit(m(), b, rest, found),
            (ty, Value::Len(b)) if field.card == Card::Repeated && ty.is_packable() => unpack(ty, b, &mut |v| found(field, v)),
            (_, v) => found(field, v),
        }
    }
}

/// The numbers of a packed field, until the bytes are no more.
pub(crate) fn unpack<'a>(ty: FieldType, mut bytes: &'a [u8], each: &mut impl FnMut(Value<'a>)) {
    while let Some((v, n)) = first_packed(ty, bytes) {
        each(v);
        bytes = bytes.get(n..).unwrap_or_default();
    }
}

/// The first number of a packed field, and its length; `None` at the end or where it is cut off.
#[inline]
pub(crate) fn first_packed<'a>(ty: FieldType, bytes: &[u8]) -> Option<(Value<'a>, usize)> {
    match ty.wire_type() {
        1 => bytes.first_chunk::<8>().map(|b| (Value::Fixed64(u64::from_le_bytes(*b)), 8)),
        5 => bytes.first_chunk::<4>().map(|b| (Value::Fixed32(u32::from_le_bytes(*b)), 4)),
        _ => read_varint(bytes).map(|(v, n)| (Value::Varint(v), n)),
    }
}

/// The last number at the path; 0 where the field's default is meant by its absence, `None` where absence means unknown.
pub(crate) fn number(spec: &'static MessageSpec, bytes: &[u8], path: &[u32]) -> Option<f64> {
    let mut last = None;
    visit(spec, bytes, path, &mut |f, v| last = f.ty.number(v).or(last));
    last.or_else(|| default_number(spec, path))
}

fn default_number(spec: &'static MessageSpec, path: &[u32]) -> Option<f64> {
    let (&number, rest) = path.split_first()?;
    let field = spec.field(number)?;
    (field.card == Card::Implicit && rest.is_empty() && field.ty.is_packable()).then_some(0.0)
}

/// Whether a value says something: not an empty text, and not a 0 that absence would mean too.
pub(crate) fn is_set(field: &FieldSpec, value: Value<'_>) -> bool {
    match value {
        Value::Len(b) => !b.is_empty() || matches!(field.ty, FieldType::Message(_) | FieldType::Timestamp),
        v => field.card != Card::Implicit || field.ty.number(v).is_some_and(|n| n != 0.0),
    }
}

impl FieldType {
    /// The wire type of one value.
    #[inline]
    pub fn wire_type(self) -> u8 {
        use FieldType as T;
        match self {
            T::Double | T::Fixed64 | T::Sfixed64 => 1,
            T::Float | T::Fixed32 | T::Sfixed32 => 5,
            T::String | T::Bytes | T::Message(_) | T::Timestamp | T::StringMap => 2,
            T::Int32 | T::Int64 | T::Uint32 | T::Uint64 | T::Sint32 | T::Sint64 | T::Bool | T::Enum(_) => 0,
        }
    }

    /// Whether repeated values may stand in one length-delimited field: all numbers.
    #[inline]
    pub fn is_packable(self) -> bool {
        self.wire_type() != 2
    }

    /// The value as a number, read by this type; `None` for text, bytes and messages.
    #[inline]
    pub fn number(self, value: Value<'_>) -> Option<f64> {
        use FieldType as T;
        Some(match (self, value) {
            (T::Double, Value::Fixed64(v)) => f64::from_bits(v),
            (T::Float, Value::Fixed32(v)) => f64::from(f32::from_bits(v)),
            (T::Int32 | T::Enum(_), Value::Varint(v)) => f64::from(v as i32),
            (T::Int64, Value::Varint(v)) => v as i64 as f64,
            (T::Uint32, Value::Varint(v)) => f64::from(v as u32),
            (T::Uint64, Value::Varint(v)) => v as f64,
            (T::Bool, Value::Varint(v)) => f64::from(u8::from(v != 0)),
            (T::Sint32, Value::Varint(v)) => f64::from(unzigzag(v) as i32),
            (T::Sint64, Value::Varint(v)) => unzigzag(v) as f64,
            (T::Fixed32, Value::Fixed32(v)) => f64::from(v),
            (T::Sfixed32, Value::Fixed32(v)) => f64::from(v as i32),
            (T::Fixed64, Value::Fixed64(v)) => v as f64,
            (T::Sfixed64, Value::Fixed64(v)) => v as i64 as f64,
            _ => return None,
        })
    }
}

/// Whether a varint is a value of the type; others would be cut to it by some decoders and not by others.
#[inline]
pub(crate) fn fits(ty: FieldType, raw: u64) -> bool {
    use FieldType as T;
    match ty {
        T::Int32 | T::Enum(_) => i32::try_from(raw as i64).is_ok(),
        T::Uint32 | T::Sint32 => u32::try_from(raw).is_ok(),
        _ => true,
    }
}

/// Undoes the zigzag encoding of `sint32` and `sint64`.
#[inline]
pub(crate) fn unzigzag(v: u64) -> i64 {
    ((v >> 1) as i64) ^ -((v & 1) as i64)
}
