//! The body of a message: readings with their provenance, or dead letters.

use am_core::{Code, Error, Result};
use am_schema::v1;
use bytes::Bytes;
use prost::Message as _;

/// What a message of the bus carries: encoded readings of one person and topic and who brought them, or encoded dead letters.
pub type Parcel = v1::Parcel;

/// Encodes and decodes parcels.
pub trait Parcels: Sized {
    /// The bytes for a message's body.
    fn to_body(&self) -> Bytes;

    /// From a message's body; the readings share its memory.
    ///
    /// # Errors
    /// `UNDECODABLE` when it is none.
    fn from_body(body: Bytes) -> Result<Self>;

    /// Names the content: 22 letters, digits, `-` and `_`; the same readings in the same order have the same.
    fn content_id(&self) -> String;
}

impl Parcels for Parcel {
    fn to_body(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    fn from_body(body: Bytes) -> Result<Self> {
        Parcel::decode(body).map_err(|e| Error::new(Code::UNDECODABLE, format!("the body is not a parcel: {e}")).op("bus.parcel"))
    }

    fn content_id(&self) -> String {
        let mut h = blake3::Hasher::new_derive_key("am 2026 bus parcel id v1");
        for part in self.readings.iter().chain(&self.letters) {
            h.update(&(part.len() as u64).to_le_bytes());
            h.update(part);
        }
        let digest = h.finalize();
        super::subject::base64url(digest.as_bytes().get(..16).unwrap_or_default())
    }
}
