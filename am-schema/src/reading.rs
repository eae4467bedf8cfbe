//! The reading itself.

use std::sync::Arc;

use am_core::{Code, DeviceId, Error, ReadingId, Record, Result, Timestamp};
use bytes::{BufMut, Bytes};

use crate::wire::{self, Fields, Value};
use crate::{Kind, ReadingBuilder, v1};

/// A message that can be a reading's payload. Implemented by generated code.
pub trait Payload: prost::Message + Default {
    /// Its field number in the envelope.
    const FIELD: u32;
}

/// What `recorded_at` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeBasis {
    /// A point in time.
    #[default]
    Utc,
    /// A point in time, and the zone offset where it was recorded.
    OffsetKnown,
    /// A local time in an unknown zone.
    Floating,
}

/// One thing that a device, an account or a processor recorded; valid by construction, cheap to clone.
///
/// Whose it is, is not part of it: the scope comes with the call.
#[derive(Clone)]
pub struct Reading {
    pub(crate) kind: Kind,
    pub(crate) device: DeviceId,
    pub(crate) id: ReadingId,
    pub(crate) recorded_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
    /// The envelope as received, without device, id, time and kind.
    pub(crate) body: Bytes,
    /// Where the payload's bytes are within the body.
    pub(crate) payload: (u32, u32),
    pub(crate) lineage: Option<Arc<v1::Lineage>>,
}

/// Names one reading within a scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadingRef {
    /// The device.
    pub device: DeviceId,
    /// The kind.
    pub kind: Kind,
    /// The time.
    pub recorded_at: Timestamp,
    /// The id.
    pub id: ReadingId,
}

impl Reading {
    /// Starts a reading of our own.
    pub fn builder(kind: Kind, device: DeviceId, recorded_at: Timestamp) -> ReadingBuilder {
        ReadingBuilder::new(kind, device, recorded_at)
    }

    /// What kind of reading it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What recorded it.
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// Its id.
    pub fn id(&self) -> ReadingId {
        self.id
    }

    /// When it was recorded, or when its span began.
    pub fn recorded_at(&self) -> Timestamp {
        self.recorded_at
    }

    /// When its span ended.
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.ended_at
    }

    /// What it was made from; always there on derived readings, never on raw ones.
    pub fn lineage(&self) -> Option<&Arc<v1::Lineage>> {
        self.lineage.as_ref()
    }

    /// Its name within the scope.
    pub fn reference(&self) -> ReadingRef {
        ReadingRef { device: self.device.clone(), kind: self.kind, recorded_at: self.recorded_at, id: self.id }
    }

    /// The payload's bytes as received.
    pub fn payload_bytes(&self) -> &[u8] {
        self.body.get(self.payload.0 as usize..self.payload.1 as usize).unwrap_or_default()
    }

    /// The payload as a message.
    ///
    /// # Errors
    /// `UNDECODABLE` when the kind carries another message.
    pub fn payload<P: Payload>(&self) -> Result<P> {
        if self.kind.field() != P::FIELD {
            return Err(Error::new(Code::UNDECODABLE, format!("{} carries field {}, not {}", self.kind, self.kind.field(), P::FIELD)));
        }
        P::decode(self.payload_bytes()).map_err(|e| Error::new(Code::UNDECODABLE, format!("{}: {e}", self.kind)))
    }

    /// The metadata, in the order received.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields(4).filter_map(|v| match v {
            Value::Len(b) => Some(read_entry(b)),
            _ => None,
        })
    }

    /// One metadata value; the last one wins, as in protobuf.
    pub fn metadata_value(&self, key: &str) -> Option<&str> {
        self.metadata().filter(|(k, _)| *k == key).last().map(|(_, v)| v)
    }

    /// What `recorded_at` means.
    pub fn time_basis(&self) -> TimeBasis {
        match self.fields(7).last() {
            Some(Value::Varint(2)) => TimeBasis::OffsetKnown,
            Some(Value::Varint(3)) => TimeBasis::Floating,
            _ => TimeBasis::Utc,
        }
    }

    /// Minutes east of UTC where it was recorded.
    pub fn zone_offset_minutes(&self) -> Option<i32> {
        match self.fields(8).last() {
            Some(Value::Varint(v)) => Some(((v >> 1) as i32) ^ -((v & 1) as i32)),
            _ => None,
        }
    }

    /// Counts the readings of a device and kind; 0 when the device does not count.
    pub fn sequence(&self) -> u64 {
        match self.fields(15).last() {
            Some(Value::Varint(v)) => v,
            _ => 0,
        }
    }

    /// 0 to 1, or `None` when unknown.
    pub fn quality(&self) -> Option<f32> {
        match self.fields(18).last() {
            Some(Value::Fixed32(v)) => Some(f32::from_bits(v)),
            _ => None,
        }
    }

    /// The envelope's bytes without device, id, time and kind: what a store keeps beside the key.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Puts a stored reading together again. Trusts its parts: they were a valid reading before.
    ///
    /// # Errors
    /// `UNDECODABLE` when the body has no payload of the kind, which means the store is damaged.
    pub fn from_parts(kind: Kind, device: DeviceId, recorded_at: Timestamp, id: ReadingId, body: Bytes) -> Result<Self> {
        let damaged = |why: &str| Error::new(Code::UNDECODABLE, format!("stored body of {kind} {id}: {why}"));
        let (mut payload, mut ended_at, mut lineage) = (None, None, None);
        let base = body.as_ptr() as usize;
        let mut fields = Fields::new(&body);
        while let Some(f) = fields.next().map_err(|e| damaged(&e.to_string()))? {
            match f.value {
                Value::Len(b) if f.number == kind.field() => {
                    let start = (b.as_ptr() as usize).wrapping_sub(base);
                    payload = Some((start as u32, (start + b.len()) as u32));
                }
                Value::Len(b) if f.number == 6 => {
                    ended_at = wire::read_timestamp(b).ok().and_then(|(s, n)| Timestamp::from_parts(s, n));
                }
                Value::Len(b) if f.number == 17 => {
                    lineage = Some(Arc::new(<v1::Lineage as prost::Message>::decode(b).map_err(|e| damaged(&e.to_string()))?));
                }
                _ => {}
            }
        }
        let payload = payload.ok_or_else(|| damaged("no payload"))?;
        Ok(Reading { kind, device, id, recorded_at, ended_at, body, payload, lineage })
    }

    /// Reads what a [`am_core::Lookup`] handed over.
    ///
    /// # Errors
    /// As [`crate::Decoder::decode`].
    pub fn from_record(catalogue: &crate::Catalogue, record: Record) -> Result<Self> {
        crate::Decoder::new(catalogue.clone()).trusted().decode(record.wire.into(), Timestamp::MAX).map_err(Error::from)
    }

    /// Writes it as an `am.v1.Reading`, the key first, then the body as received.
    pub fn encode(&self, out: &mut impl BufMut) {
        wire::put_len(out, 1, self.device.as_str().as_bytes());
        wire::put_len(out, 2, &self.id.to_ascii());
        wire::put_timestamp(out, 3, self.recorded_at);
        wire::put_len(out, 5, self.kind.topic().as_bytes());
        out.put_slice(&self.body);
    }

    /// The bytes of [`Reading::encode`].
    pub fn to_wire(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + 128);
        self.encode(&mut out);
        out
    }

    /// Same content: the same bytes, or other bytes that mean the same, such as fields in another order.
    pub fn same_content(&self, other: &Reading) -> bool {
        self.body == other.body || {
            let canonical = |r: &Reading| crate::json::canonical(&crate::shapes::READING, &r.body);
            self.kind == other.kind && canonical(self) == canonical(other)
        }
    }

    /// The same reading in memory of its own. A decoded reading shares the memory of the request it came in; call this before
    /// keeping one for long.
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.body = Bytes::copy_from_slice(&self.body);
        self
    }

    fn fields(&self, number: u32) -> impl Iterator<Item = Value<'_>> {
        let mut fields = Fields::new(&self.body);
        std::iter::from_fn(move || fields.next().ok().flatten()).filter(move |f| f.number == number).map(|f| f.value)
    }
}

/// The key and value of an encoded `map<string, string>` entry; empty texts where they are absent or not UTF-8.
pub(crate) fn read_entry(b: &[u8]) -> (&str, &str) {
    let (mut key, mut value) = ("", "");
    let mut fields = Fields::new(b);
    while let Ok(Some(f)) = fields.next() {
        match (f.number, f.value) {
            (1, Value::Len(b)) => key = std::str::from_utf8(b).unwrap_or_default(),
            (2, Value::Len(b)) => value = std::str::from_utf8(b).unwrap_or_default(),
            _ => {}
        }
    }
    (key, value)
}

impl PartialEq for Reading {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.device == other.device
            && self.recorded_at == other.recorded_at
            && self.id == other.id
            && self.body == other.body
    }
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reading({} {} {} {}, {} bytes)", self.kind, self.device, self.recorded_at, self.id, self.body.len())
    }
}
