//! Ids that follow from content.
//!
//! A reading whose sender gave it no id gets the same one wherever and whenever it is taken in, so that sending it again adds nothing.
//!
//! # The algorithm
//! BLAKE3 in its key-derivation mode (context `am 2026 reading id v1`) over four parts, each preceded by its length in bytes as an
//! unsigned 64-bit little-endian integer:
//! 1. the device id, UTF-8;
//! 2. the topic of the kind as the catalogue spells it, not an alias of it;
//! 3. `recorded_at` in nanoseconds since 1970, a signed 64-bit little-endian integer;
//! 4. the canonical JSON ([`crate::json`]) of the payload as it was sent, before any normalisation.
//!
//! The first 16 bytes of the digest, with version (8) and variant (RFC 9562) stamped in, are the id. Because the JSON is canonical,
//! neither the order of fields nor the spelling of numbers nor the encoding (protobuf or JSON) makes a difference. Metadata and the
//! rest of the envelope are left out: a second upload with other metadata is the same reading.

use am_core::{DeviceId, ReadingId, Timestamp};

use crate::spec::MessageSpec;
use crate::{Kind, json};

/// The id of a reading whose sender gave none.
pub fn content_id(kind: Kind, device: &DeviceId, recorded_at: Timestamp, payload: &[u8]) -> ReadingId {
    content_id_of(kind, device, recorded_at, kind.message(), payload)
}

/// The same for a payload that was sent as another message than the kind's.
pub(crate) fn content_id_of(
    kind: Kind,
    device: &DeviceId,
    recorded_at: Timestamp,
    message: &'static MessageSpec,
    payload: &[u8],
) -> ReadingId {
    let mut h = blake3::Hasher::new_derive_key("am 2026 reading id v1");
    let mut part = |b: &[u8]| {
        h.update(&(b.len() as u64).to_le_bytes());
        h.update(b);
    };
    part(device.as_str().as_bytes());
    part(kind.topic().as_bytes());
    part(&recorded_at.as_nanos().to_le_bytes());
    part(json::canonical(message, payload).as_bytes());
    ReadingId::v8_from(h.finalize().as_bytes())
}
