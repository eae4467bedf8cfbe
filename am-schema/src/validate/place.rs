//! Where a value stands, spelled out only when something is wrong with it.

use crate::path::unpack;
use crate::spec::{FieldSpec, FieldType};
use crate::wire::{Fields, Value};

/// One step of the way from the payload to a value; the steps before it live in the callers' frames.
#[derive(Clone, Copy)]
pub(super) struct Place<'p> {
    parent: Option<&'p Place<'p>>,
    name: &'static str,
    index: Index<'p>,
}

/// Which one of a repeated field; counted when it is asked for, so that good items pay nothing.
#[derive(Clone, Copy)]
enum Index<'p> {
    Single,
    /// The field that begins at this byte of its message.
    At {
        message: &'p [u8],
        field: &'static FieldSpec,
        start: usize,
    },
}

impl<'p> Place<'p> {
    /// The payload itself.
    pub(super) fn root(name: &'static str) -> Self {
        Place { parent: None, name, index: Index::Single }
    }

    /// A field of the message at this place.
    pub(super) fn single(&'p self, field: &'static FieldSpec) -> Self {
        Place { parent: Some(self), name: field.name, index: Index::Single }
    }

    /// One value of a repeated field, which begins at `start` of its message's bytes.
    pub(super) fn repeated(&'p self, field: &'static FieldSpec, message: &'p [u8], start: usize) -> Self {
        Place { parent: Some(self), name: field.name, index: Index::At { message, field, start } }
    }

    /// The path, such as `sleep_stages.segments[3].stage`; `packed` is the position within a packed field.
    pub(super) fn spell(&self, packed: usize) -> String {
        let mut out = match self.parent {
            Some(p) => p.spell(0) + ".",
            None => String::new(),
        };
        out.push_str(self.name);
        if let Index::At { message, field, start } = self.index {
            out.push_str(&format!("[{}]", packed.saturating_add(count_before(message, field, start))));
        }
        out
    }
}

fn count_before(message: &[u8], field: &'static FieldSpec, start: usize) -> usize {
    let mut n = 0usize;
    let mut fields = Fields::new(message);
    while let Ok(Some(f)) = fields.next() {
        if f.start >= start {
            break;
        }
        match f.value {
            _ if f.number != field.number => {}
            Value::Len(b) if field.ty.is_packable() => unpack(field.ty, b, &mut |_| n += 1),
            _ => n += 1,
        }
    }
    n
}

/// What a field of this type is called in a finding.
pub(super) fn type_name(ty: FieldType) -> &'static str {
    use FieldType as T;
    match ty {
        T::Double | T::Float => "a floating-point number",
        T::Int32 | T::Sint32 | T::Sfixed32 => "a 32-bit integer",
        T::Int64 | T::Sint64 | T::Sfixed64 => "a 64-bit integer",
        T::Uint32 | T::Fixed32 => "an unsigned 32-bit integer",
        T::Uint64 | T::Fixed64 => "an unsigned 64-bit integer",
        T::Bool => "true or false",
        T::String => "text",
        T::Bytes => "bytes",
        T::Enum(_) => "a value of its enum",
        T::Message(_) => "a message",
        T::Timestamp => "a timestamp",
        T::StringMap => "a map of texts",
    }
}

/// What stands on the wire instead.
pub(super) fn wire_name(value: Value<'_>) -> &'static str {
    match value {
        Value::Varint(_) => "a varint",
        Value::Fixed64(_) => "8 fixed bytes",
        Value::Fixed32(_) => "4 fixed bytes",
        Value::Len(_) => "length-delimited bytes",
    }
}
