//! Rows and feed entries.

use am_core::{ReadingId, Scope, Timestamp};
use am_schema::Reading;

use super::{Origin, Predicate};

/// A position in the feed: 1 for the first entry, never reused.
pub type Seq = u64;

/// An interned (tenant, user, device, kind). Only meaningful within one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// The identity of a reading within one store; leads every key and index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadingKey {
    /// Whose, from which device, of which kind.
    pub stream: StreamId,
    /// When.
    pub recorded_at: Timestamp,
    /// Which.
    pub id: ReadingId,
}

/// A reading as the store holds it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Stored {
    /// Its place in the feed.
    pub seq: Seq,
    /// Its key.
    pub key: ReadingKey,
    /// Why it arrived when it did.
    pub origin: Origin,
    /// The ingest batch it came with; 0 for derived readings.
    pub batch: u64,
    /// How many times its slot was derived before; 0 for raw readings.
    pub generation: u32,
    /// The reading.
    pub reading: Reading,
}

impl Stored {
    /// Of its parts; for backends.
    pub fn new(seq: Seq, key: ReadingKey, origin: Origin, batch: u64, generation: u32, reading: Reading) -> Self {
        Stored { seq, key, origin, batch, generation, reading }
    }
}

/// One entry of the change feed.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedEntry {
    /// Its place.
    pub seq: Seq,
    /// Whose data changed.
    pub scope: Scope,
    /// What happened.
    pub event: FeedEvent,
}

/// What happened to the data.
#[derive(Debug, Clone, PartialEq)]
pub enum FeedEvent {
    /// A reading was stored.
    Put(Box<Stored>),
    /// A derived reading gave its slot to a newer generation.
    Superseded {
        /// The one that is no longer read.
        old: ReadingKey,
        /// The slot, 16 bytes.
        slot: [u8; 16],
    },
    /// Readings were erased.
    Erased(Predicate),
}

/// A run of feed entries.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FeedPage {
    /// In order of `seq`; only those the query asked for.
    pub entries: Vec<FeedEntry>,
    /// Everything up to and including this place was looked at: where to go on.
    pub next: Seq,
    /// The newest place there is.
    pub head: Seq,
}
