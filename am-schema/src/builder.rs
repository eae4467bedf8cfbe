//! Readings of our own.

use am_core::{DeviceId, ReadingId, Timestamp, TraceParent};
use bytes::{BufMut, Bytes};
use prost::Message;

use crate::{Decoder, Kind, Payload, ProcessorIdentity, Reading, Rejected, TimeBasis, lineage::Inputs, wire};

/// Collects the parts of a reading; [`ReadingBuilder::build`] validates them as if they had come over the wire.
#[derive(Debug, Clone)]
#[must_use = "call build"]
pub struct ReadingBuilder {
    kind: Kind,
    device: DeviceId,
    recorded_at: Timestamp,
    id: Option<ReadingId>,
    body: Vec<u8>,
    payload: Option<(u32, Vec<u8>)>,
    from_processor: Option<(ProcessorIdentity, Inputs, u32)>,
    ended_at: Option<Timestamp>,
}

impl ReadingBuilder {
    pub(crate) fn new(kind: Kind, device: DeviceId, recorded_at: Timestamp) -> Self {
        ReadingBuilder { kind, device, recorded_at, id: None, body: Vec::new(), payload: None, from_processor: None, ended_at: None }
    }

    /// The payload.
    pub fn payload<P: Payload>(mut self, payload: &P) -> Self {
        self.payload = Some((P::FIELD, payload.encode_to_vec()));
        self
    }

    /// The payload as bytes of the kind's message.
    pub fn payload_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.payload = Some((self.kind.field(), bytes.into()));
        self
    }

    /// The id; without one it is derived from the content.
    pub fn id(mut self, id: ReadingId) -> Self {
        self.id = Some(id);
        self
    }

    /// Adds a metadata entry.
    pub fn metadata(mut self, key: &str, value: &str) -> Self {
        let mut entry = Vec::with_capacity(key.len() + value.len() + 8);
        wire::put_len(&mut entry, 1, key.as_bytes());
        wire::put_len(&mut entry, 2, value.as_bytes());
        wire::put_len(&mut self.body, 4, &entry);
        self
    }

    /// The end of the span that began at `recorded_at`.
    pub fn ended_at(mut self, t: Timestamp) -> Self {
        wire::put_timestamp(&mut self.body, 6, t);
        self.ended_at = Some(t);
        self
    }

    /// What `recorded_at` means; the offset in minutes east of UTC goes with [`TimeBasis::OffsetKnown`].
    pub fn time_basis(mut self, basis: TimeBasis, offset_minutes: Option<i32>) -> Self {
        wire::put_int(
            &mut self.body,
            7,
            match basis {
                TimeBasis::Utc => 1,
                TimeBasis::OffsetKnown => 2,
                TimeBasis::Floating => 3,
            },
        );
        if let Some(m) = offset_minutes {
            wire::put_int(&mut self.body, 8, u64::from(((m << 1) ^ (m >> 31)) as u32));
        }
        self
    }

    /// How far `recorded_at` may be off, in nanoseconds.
    pub fn uncertainty_ns(mut self, ns: u64) -> Self {
        wire::put_int(&mut self.body, 9, ns);
        self
    }

    /// The device's count of readings of this kind.
    pub fn sequence(mut self, n: u64) -> Self {
        wire::put_int(&mut self.body, 15, n);
        self
    }

    /// The trace it belongs to.
    pub fn trace(mut self, trace: TraceParent) -> Self {
        if trace.is_some() {
            wire::put_len(&mut self.body, 16, trace.to_string().as_bytes());
        }
        self
    }

    /// 0 to 1.
    pub fn quality(mut self, q: f32) -> Self {
        wire::put_varint(&mut self.body, 18 << 3 | 5);
        self.body.put_u32_le(q.to_bits());
        self
    }

    /// Makes it a derived reading: which processor made it, from what, as its how-manyeth output. Id and slot follow from these.
    pub fn derived_from(mut self, processor: &ProcessorIdentity, inputs: Inputs, ordinal: u32) -> Self {
        self.from_processor = Some((processor.clone(), inputs, ordinal));
        self
    }

    /// Validates everything.
    ///
    /// # Errors
    /// All broken rules at once.
    pub fn build(self) -> Result<Reading, Rejected> {
        let mut body = self.body;
        let mut id = self.id;
        if let Some((processor, inputs, ordinal)) = self.from_processor {
            let (lineage, derived) = inputs.into_lineage(&processor, self.kind, &self.device, ordinal);
            wire::put_len(&mut body, 17, &lineage.encode_to_vec());
            id.get_or_insert(derived);
        }
        if let Some((field, bytes)) = self.payload {
            wire::put_len(&mut body, field, &bytes);
        }
        Decoder::check_built(self.kind, self.device, self.recorded_at, id, Bytes::from(body))
    }
}
