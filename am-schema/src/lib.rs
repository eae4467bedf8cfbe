//! Every kind of reading AM knows: messages, catalogue, validation, canonical JSON, sample blocks.
//!
//! A [`Reading`] is valid by construction: it comes out of a [`Decoder`] (bytes of others) or a [`ReadingBuilder`]
//! (our own), and keeps the payload as the bytes received, so that fields of newer clients survive.
//!
//! ```
//! use am_core::{DeviceId, Timestamp};
//! use am_schema::{Catalogue, Reading, v1};
//! let catalogue = Catalogue::builtin();
//! let kind = catalogue.get("device.health.heartrate.raw").ok_or("unknown kind")?;
//! let reading = Reading::builder(kind, DeviceId::new("watch")?, Timestamp::parse("2026-03-01T08:00:00Z")?)
//!     .payload(&v1::HeartRate { bpm: 61, confidence: 0.9, ..Default::default() })
//!     .build()?;
//! assert_eq!(reading.payload::<v1::HeartRate>()?.bpm, 61);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod block;
mod builder;
pub mod catalogue;
mod complete;
mod decode;
mod envelope;
mod finding;
pub mod id;
pub mod json;
mod legacy;
mod lineage;
pub mod normalise;
mod path;
mod reading;
pub mod schema_json;
pub mod spec;
pub mod validate;
pub mod wire;

/// The messages of `am.v1`, generated from `proto/am/v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v1 {
    include!("generated/am.v1.rs");
}

/// Shape tables of the messages, generated from `proto/am/v1`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod shapes {
    include!("generated/shapes.rs");
}

pub use builder::ReadingBuilder;
pub use catalogue::{Catalogue, DataClass, Kind, KindDef, KindSpec, Stage};
pub use decode::{Decoder, Limits};
pub use finding::{Finding, Rejected};
pub use lineage::{Inputs, ProcessorIdentity};
pub use reading::{Payload, Reading, ReadingRef, TimeBasis};
