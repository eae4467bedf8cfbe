//! Ids that follow from content.

use am_core::{DeviceId, ReadingId, Timestamp};

use crate::{Kind, json};

/// The id of a reading whose sender gave none: UUIDv8 of BLAKE3 over device, kind, time in nanoseconds and canonical JSON of the
/// payload as sent. Each text part is preceded by its length as 8 bytes, little-endian.
pub fn content_id(kind: Kind, device: &DeviceId, recorded_at: Timestamp, payload: &[u8]) -> ReadingId {
    let mut h = blake3::Hasher::new_derive_key("am 2026 reading id v1");
    let mut part = |b: &[u8]| {
        h.update(&(b.len() as u64).to_le_bytes());
        h.update(b);
    };
    part(device.as_str().as_bytes());
    part(kind.topic().as_bytes());
    part(&recorded_at.as_nanos().to_le_bytes());
    part(json::canonical(kind.message(), payload).as_bytes());
    ReadingId::v8_from(h.finalize().as_bytes())
}
