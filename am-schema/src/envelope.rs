//! The envelope, read in one pass.

use am_core::TraceParent;
use bytes::{Bytes, BytesMut};

use crate::shapes::PAYLOADS;
use crate::validate::{metadata_entry, push};
use crate::wire::{Fields, Malformed, Value, read_timestamp};
use crate::{Finding, Limits, Payload, v1};

/// How much memory bodies share that are not in one piece on the wire. A kept reading keeps its share's neighbours.
const ARENA: usize = 16 << 10;

/// The field of the single samples that old devices send.
pub(crate) const SINGLE_SAMPLE: u32 = <v1::Accelerometer as Payload>::FIELD;
/// The field of sample blocks.
pub(crate) const BLOCK: u32 = <v1::SampleBlock as Payload>::FIELD;

/// The envelope's fields, borrowed from the wire.
#[derive(Default)]
pub(crate) struct Envelope<'a> {
    pub device: Option<&'a [u8]>,
    pub id: Option<&'a [u8]>,
    pub recorded_at: Option<(i64, i32)>,
    pub ended_at: Option<(i64, i32)>,
    pub kind: Option<&'a [u8]>,
    pub payload: Option<Sent<'a>>,
    /// The single sample that the block beside it was made from.
    pub original: Option<&'a [u8]>,
    pub lineage: Option<&'a [u8]>,
    /// The metadata call the picture a screenshot.
    pub screenshot: bool,
    metadata: usize,
    basis: u64,
    offset: bool,
}

/// A payload as it stands in the envelope.
#[derive(Clone, Copy)]
pub(crate) struct Sent<'a> {
    /// The number of its field.
    pub field: u32,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Where they are within the body.
    pub range: (u32, u32),
}

/// Collects the body: a piece of the wire as long as it is one piece, a copy in the arena from then on.
struct Body<'m> {
    wire: &'m Bytes,
    arena: &'m mut BytesMut,
    from: usize,
    to: usize,
    copied: bool,
}

impl Body<'_> {
    #[inline]
    fn len(&self) -> usize {
        if self.copied { self.arena.len() } else { self.to - self.from }
    }

    #[inline]
    fn push(&mut self, start: usize, end: usize) {
        if self.copied {
            self.arena.extend_from_slice(self.wire.get(start..end).unwrap_or_default());
        } else if self.from == self.to {
            (self.from, self.to) = (start, end);
        } else if start == self.to {
            self.to = end;
        } else {
            // Room for the whole rest at once: a body is never longer than its wire.
            let room = self.wire.len();
            if self.arena.capacity() < room {
                *self.arena = BytesMut::with_capacity(room.max(ARENA));
            }
            self.arena.extend_from_slice(self.wire.get(self.from..self.to).unwrap_or_default());
            self.arena.extend_from_slice(self.wire.get(start..end).unwrap_or_default());
            self.copied = true;
        }
    }

    fn finish(self) -> Bytes {
        if self.copied { self.arena.split().freeze() } else { self.wire.slice(self.from..self.to) }
    }
}

/// Whether this field number of the envelope is a payload.
#[inline]
fn is_payload(number: u32) -> bool {
    matches!(number, 10..=14) || (number > 18 && PAYLOADS.binary_search_by_key(&number, |p| p.0).is_ok())
}

fn trace(b: &[u8], findings: &mut Vec<Finding>) {
    if !b.is_empty() && std::str::from_utf8(b).ok().and_then(TraceParent::parse).is_none() {
        push(findings, "traceparent", String::from_utf8_lossy(b).escape_debug(), "a W3C traceparent, version 00");
    }
}

impl<'a> Envelope<'a> {
    /// Reads and checks the envelope; returns it with its body: all fields but those of the key, as they were sent.
    pub(crate) fn read(
        wire: &'a Bytes,
        limits: &Limits,
        arena: &mut BytesMut,
        findings: &mut Vec<Finding>,
    ) -> Result<(Self, Bytes), Malformed> {
        // What a refused reading left behind.
        arena.clear();
        if arena.capacity() > ARENA {
            *arena = BytesMut::new();
        }
        let mut env = Envelope::default();
        let mut body = Body { wire, arena, from: 0, to: 0, copied: false };
        let mut fields = Fields::new(wire);
        while let Some(f) = fields.step()? {
            match (f.number, f.value) {
                (1, Value::Len(b)) => env.device = Some(b),
                (2, Value::Len(b)) => env.id = Some(b),
                (3, Value::Len(b)) => env.recorded_at = Some(read_timestamp(b)?),
                (5, Value::Len(b)) => env.kind = Some(b),
                (number, value) => {
                    let value_at = body.len() + (f.end - f.start);
                    env.extra(number, value, value_at, limits, findings)?;
                    body.push(f.start, f.end);
                }
            }
        }
        match (env.basis, env.offset) {
            (2, false) => push(findings, "zone_offset_minutes", "", "the offset, because time_basis is OFFSET_KNOWN"),
            (2, true) | (_, false) => {}
            (_, true) => push(findings, "time_basis", env.basis, "OFFSET_KNOWN, because there is an offset"),
        }
        Ok((env, body.finish()))
    }

    /// A field that stays in the body, where its value ends at `end`.
    #[inline]
    fn extra(&mut self, number: u32, value: Value<'a>, end: usize, limits: &Limits, findings: &mut Vec<Finding>) -> Result<(), Malformed> {
        match (number, value) {
            (4, Value::Len(b)) => return self.entry(b, limits, findings),
            (n, Value::Len(b)) if is_payload(n) => self.sent(n, b, end, findings),
            (6, Value::Len(b)) => self.ended_at = Some(read_timestamp(b)?),
            (7, Value::Varint(v)) => {
                self.basis = v;
                if v > 3 {
                    push(findings, "time_basis", v, "UTC, OFFSET_KNOWN or FLOATING");
                }
            }
            (8, Value::Varint(v)) => {
                self.offset = true;
                let minutes = crate::path::unzigzag(v);
                if !(-1_080..=1_080).contains(&minutes) {
                    push(findings, "zone_offset_minutes", minutes, "-1080 to 1080");
                }
            }
            (9 | 15, Value::Varint(_)) => {}
            (16, Value::Len(b)) => trace(b, findings),
            (17, Value::Len(b)) => self.lineage = Some(b),
            (18, Value::Fixed32(v)) => {
                let q = f32::from_bits(v);
                if !(0.0..=1.0).contains(&q) {
                    push(findings, "quality", q, "0 to 1");
                }
            }
            (n, _) if n <= 18 || is_payload(n) => {
                let name = crate::shapes::READING.field(n).map_or("reading", |f| f.name);
                push(findings, name, "a value of another wire type", "the type of the field");
            }
            // A field of a newer client: kept with the body.
            _ => {}
        }
        Ok(())
    }

    #[inline]
    fn entry(&mut self, b: &'a [u8], limits: &Limits, findings: &mut Vec<Finding>) -> Result<(), Malformed> {
        self.metadata += 1;
        if self.metadata > limits.metadata_entries {
            if self.metadata == limits.metadata_entries + 1 {
                push(findings, "metadata", "more entries", format!("at most {} entries", limits.metadata_entries));
            }
            return Ok(());
        }
        let entry = metadata_entry(b, limits.metadata_key_bytes, limits.metadata_value_bytes, findings)?;
        if matches!(entry.key, b"type" | b"kind" | b"source") && entry.value.eq_ignore_ascii_case(b"screenshot") {
            self.screenshot = true;
        }
        Ok(())
    }

    #[inline]
    fn sent(&mut self, field: u32, bytes: &'a [u8], end: usize, findings: &mut Vec<Finding>) {
        let sent = Sent { field, bytes, range: ((end - bytes.len()) as u32, end as u32) };
        match (&self.payload, field) {
            (None, _) => self.payload = Some(sent),
            // A block made here from a single sample, which stays beside it.
            (Some(p), BLOCK) if p.field == SINGLE_SAMPLE && self.original.is_none() => {
                self.original = Some(p.bytes);
                self.payload = Some(sent);
            }
            (Some(_), _) => push(findings, "data", "more than one payload", "exactly one payload"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{put_int, put_len};

    fn read(wire: Vec<u8>, arena: &mut BytesMut) -> Bytes {
        Envelope::read(&wire.into(), &Limits::default(), arena, &mut Vec::new()).map(|x| x.1).unwrap()
    }

    #[test]
    fn a_body_in_one_piece_shares_the_memory_of_the_wire_and_another_is_copied() {
        let (mut whole, mut split) = (Vec::new(), Vec::new());
        put_len(&mut whole, 1, b"d");
        put_int(&mut whole, 15, 7);
        put_len(&mut whole, 10, b"");
        put_int(&mut split, 15, 7);
        put_len(&mut split, 1, b"d");
        put_len(&mut split, 10, b"");
        let wire = Bytes::from(whole);
        let mut arena = BytesMut::new();
        let (env, body) = Envelope::read(&wire, &Limits::default(), &mut arena, &mut Vec::new()).unwrap();
        assert!(wire.as_ptr_range().contains(&body.as_ptr()));
        assert_eq!(env.payload.map(|p| p.range), Some((body.len() as u32, body.len() as u32)));
        assert_eq!(read(split, &mut arena), body);
    }

    #[test]
    fn the_arena_holds_at_most_one_reading_more_than_its_size() {
        let mut arena = BytesMut::new();
        for n in 0..2_000 {
            let mut wire = Vec::new();
            put_int(&mut wire, 15, n);
            put_len(&mut wire, 1, b"d");
            put_len(&mut wire, 99, &[7; 300]);
            assert_eq!(read(wire, &mut arena).len(), 306 + usize::from(n > 127));
            assert!(arena.capacity() <= ARENA, "{}", arena.capacity());
        }
        let mut large = Vec::new();
        put_int(&mut large, 15, 1);
        put_len(&mut large, 1, b"d");
        put_len(&mut large, 99, &vec![7; 1 << 20]);
        read(large, &mut arena);
        assert!(arena.capacity() <= ARENA, "the room for a large body goes with it: {}", arena.capacity());
    }
}
