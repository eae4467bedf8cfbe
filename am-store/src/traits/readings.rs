//! Readings in and out.

use am_core::{Ctx, Result};
use am_schema::ReadingRef;
use async_trait::async_trait;

use crate::model::{AggregateQuery, Bucket, Ingest, IngestOutcome, LatestQuery, Page, Provenance, ScanQuery, Stored};

/// The readings of the scope in `ctx`.
#[async_trait]
pub trait Readings: Send + Sync {
    /// Takes in a batch: rows, feed entries, text postings, dead letters and counts in one transaction. Returns once it is durable.
    ///
    /// A key counts within the batch too: the second of two equal readings is a duplicate of the first. A conflict and a rejected
    /// item are parked under an id that follows from their content; one that is parked already adds no letter and counts as a
    /// duplicate. A derived reading with a new id in a slot that is taken becomes the slot's newest generation, numbered one
    /// higher than the one before (or as its lineage says, if that is more).
    ///
    /// A batch of a flow ([`Ingest::flow`]) is stored by the same rules and counts nowhere.
    ///
    /// # Errors
    /// `STORE_FULL`, `STORE_UNAVAILABLE`, `STORE_READ_ONLY`: nothing of the batch was taken in. A derived reading without lineage
    /// cannot come here, because it cannot be built.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the batch stored whole or not at all; putting it again adds nothing (P04).
    async fn put(&self, ctx: &Ctx, batch: Ingest) -> Result<IngestOutcome>;

    /// The readings under these names, in order; `None` where there is none.
    async fn get(&self, ctx: &Ctx, names: &[ReadingRef]) -> Result<Vec<Option<Stored>>>;

    /// A page of readings in order of time, see [`crate::model::Order`]; ties count in every component, and descending is the
    /// exact reverse.
    ///
    /// # Errors
    /// `BAD_QUERY` for a limit or cursor out of range.
    async fn scan(&self, ctx: &Ctx, query: &ScanQuery) -> Result<Page<Stored>>;

    /// The latest reading of each device and kind by (recorded_at, id), newest generations only; in order of (kind, device).
    async fn latest(&self, ctx: &Ctx, query: &LatestQuery) -> Result<Vec<Stored>>;

    /// Statistics per bucket, empty buckets left out; newest generations only. From rollups where they are, from rows for the tail.
    ///
    /// # Errors
    /// `BAD_QUERY` when the kind has no scalar.
    async fn aggregate(&self, ctx: &Ctx, query: &AggregateQuery) -> Result<Vec<Bucket>>;

    /// Who brought an ingest batch of the scope; `None` for an unknown one.
    async fn provenance(&self, ctx: &Ctx, batch: u64) -> Result<Option<Provenance>>;
}
