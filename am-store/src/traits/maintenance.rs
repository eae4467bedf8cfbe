//! The store as a whole.

use am_core::{Ctx, Result};
use async_trait::async_trait;

use crate::model::Seq;

/// The balance of custody (P02): `received = stored + duplicate + discarded + dead_lettered`, always. Over what came through
/// [`super::Readings::put`]; what flows derive or park is not received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are the promise's own")]
pub struct Counts {
    pub received: u64,
    pub stored: u64,
    pub duplicate: u64,
    pub discarded: u64,
    pub dead_lettered: u64,
}

impl Counts {
    /// Whether the balance holds.
    pub fn balanced(&self) -> bool {
        self.received == self.stored + self.duplicate + self.discarded + self.dead_lettered
    }
}

/// How many readings of a kind are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindCount {
    /// The topic.
    pub topic: String,
    /// How many, all generations.
    pub readings: u64,
}

/// The store in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// The newest place of the feed.
    pub head: Seq,
    /// Rollups hold everything up to this place.
    pub rolled_up_to: Seq,
    /// Bytes on disk, write-ahead log included; 0 in memory.
    pub bytes_on_disk: u64,
}

/// Numbers and upkeep.
#[async_trait]
pub trait Maintenance: Send + Sync {
    /// The scope's balance over all ingest batches.
    async fn counts(&self, ctx: &Ctx) -> Result<Counts>;

    /// The scope's readings by kind, by topic.
    async fn by_kind(&self, ctx: &Ctx) -> Result<Vec<KindCount>>;

    /// The store in numbers.
    async fn stats(&self) -> Result<Stats>;

    /// Brings rollups up to the head, trims what is expired and folds the write-ahead log.
    async fn tidy(&self) -> Result<()>;

    /// Checks that it can answer and write now.
    ///
    /// # Errors
    /// What keeps it from that.
    async fn ready(&self) -> Result<()>;

    /// Finishes what is in flight and lets go of files. Calls after it fail as `CLOSED`.
    async fn close(&self) -> Result<()>;
}
