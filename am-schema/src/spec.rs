//! The shape of every message, as static tables generated from the protos.
//!
//! Validation, canonical JSON, JSON Schema and the docs walk these tables over wire bytes; no message is decoded for it.

/// A message: its fields in order of number.
#[derive(Debug)]
pub struct MessageSpec {
    /// Name within `am.v1`, such as `HeartRate` or `SleepStages.Segment`.
    pub name: &'static str,
    /// What the proto's comment says.
    pub doc: &'static str,
    /// Sorted by number.
    pub fields: &'static [FieldSpec],
}

/// A field of a message.
#[derive(Debug)]
pub struct FieldSpec {
    /// The number on the wire.
    pub number: u32,
    /// The name in the proto and in canonical JSON.
    pub name: &'static str,
    /// The lowerCamelCase name, accepted in JSON input.
    pub json_name: &'static str,
    /// What the proto's comment says.
    pub doc: &'static str,
    /// The type.
    pub ty: FieldType,
    /// How often it may stand.
    pub card: Card,
}

/// The type of a field.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the names of protobuf's scalar types")]
pub enum FieldType {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    /// An enum.
    Enum(&'static EnumSpec),
    /// A message; behind a function because messages may nest in themselves.
    Message(fn() -> &'static MessageSpec),
    /// `google.protobuf.Timestamp`.
    Timestamp,
    /// `map<string, string>`, the only map in use.
    StringMap,
}

/// How often a field may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Card {
    /// Absent means the default.
    Implicit,
    /// Absent differs from the default.
    Optional,
    /// Any number of times; numbers may be packed.
    Repeated,
    /// At most one of the named group.
    OneOf(&'static str),
}

/// An enum: its values in order of number.
#[derive(Debug)]
pub struct EnumSpec {
    /// Name within `am.v1`.
    pub name: &'static str,
    /// The number and full name of each value, sorted by number.
    pub values: &'static [(i32, &'static str)],
}

impl MessageSpec {
    /// The field with this number.
    #[inline]
    pub fn field(&self, number: u32) -> Option<&'static FieldSpec> {
        self.position(number).and_then(|i| self.fields.get(i))
    }

    /// The position in the table of the field with this number.
    #[inline]
    pub fn position(&self, number: u32) -> Option<usize> {
        // Most messages count their fields from 1 without a gap.
        let guess = number.wrapping_sub(1) as usize;
        match self.fields.get(guess) {
            Some(f) if f.number == number => Some(guess),
            _ => self.fields.binary_search_by_key(&number, |f| f.number).ok(),
        }
    }

    /// The field with this name, in either spelling.
    pub fn field_named(&self, name: &str) -> Option<&'static FieldSpec> {
        self.fields.iter().find(|f| f.name == name || f.json_name == name)
    }
}

impl EnumSpec {
    /// The name of a value.
    pub fn name_of(&self, number: i32) -> Option<&'static str> {
        self.values.binary_search_by_key(&number, |v| v.0).ok().and_then(|i| self.values.get(i)).map(|v| v.1)
    }

    /// The number of a name; the enum's own prefix may be left out.
    pub fn number_of(&self, name: &str) -> Option<i32> {
        let prefix = self.values.first().and_then(|v| v.1.strip_suffix("UNSPECIFIED")).unwrap_or_default();
        self.values.iter().find(|v| v.1 == name || v.1.strip_prefix(prefix) == Some(name)).map(|v| v.0)
    }
}
