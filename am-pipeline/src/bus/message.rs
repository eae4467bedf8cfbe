//! What is on a bus.

use am_core::{DeviceId, Scope, TraceParent};
use bytes::Bytes;

/// Which stream of the bus a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Area {
    /// Readings, raw and derived: `am.r.…`.
    Readings,
    /// Jobs for remote services: `am.w.…`.
    Work,
    /// What could not be taken in or processed: `am.e.…`.
    Errors,
}

impl Area {
    /// All there are.
    pub const ALL: [Area; 3] = [Area::Readings, Area::Work, Area::Errors];

    /// The letter in subjects.
    pub const fn letter(self) -> &'static str {
        match self {
            Area::Readings => "r",
            Area::Work => "w",
            Area::Errors => "e",
        }
    }
}

/// One message. Its subject says whose it is and which topic, so that a bus can be divided by permissions (P08).
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Which stream.
    pub area: Area,
    /// Whose.
    pub scope: Scope,
    /// The catalogue's topic; in [`Area::Errors`] `processing.errors.<processor>`.
    pub topic: String,
    /// The device, where all of the message is of one; keeps the order of a device on buses with partitions.
    pub device: Option<DeviceId>,
    /// The same id of the same person again within the bus's window is the same message. At most 64 letters, digits, `-` and `_`.
    pub id: String,
    /// The trace it continues.
    pub trace: TraceParent,
    /// An encoded [`super::Parcel`].
    pub body: Bytes,
}
