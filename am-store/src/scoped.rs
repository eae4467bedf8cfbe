//! One person's readings.

use std::time::Duration;

use am_core::{Ctx, Result};
use am_pipeline::DeadLetter;
use am_schema::{Reading, ReadingRef};

use crate::limits;
use crate::model::{
    AggregateQuery, Bucket, FeedPage, FeedQuery, Ingest, IngestOutcome, LatestQuery, NewVector, Page, Provenance, ScanQuery, Stored,
    TextHits, TextQuery, VectorDelete, VectorHits, VectorOutcome, VectorQuery,
};
use crate::store::Store;
use crate::traits::{Counts, DeadLetterQuery, DeadLetterRow, DeviceRow, KindCount, LineageInputs, Resolution, Versioned};

/// The readings of one scope: what [`Store::scoped`] gives. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ScopedStore {
    store: Store,
    ctx: Ctx,
}

impl ScopedStore {
    pub(crate) fn new(store: Store, ctx: Ctx) -> Self {
        ScopedStore { store, ctx }
    }

    /// The store behind it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whose readings, until when.
    pub fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    /// Takes in readings of this program's own. Durable on return; taking them in again adds nothing (P04).
    ///
    /// # Errors
    /// `STORE_FULL`, `STORE_UNAVAILABLE` or `STORE_READ_ONLY`; nothing was taken in then.
    ///
    /// # Cancel safety
    /// The batch is stored whole or not at all.
    pub async fn put(&self, readings: Vec<Reading>) -> Result<IngestOutcome> {
        let provenance = Provenance {
            client: "embedded".into(),
            client_version: env!("CARGO_PKG_VERSION").into(),
            traceparent: Some(self.ctx.trace()).filter(|t| t.is_some()).map(|t| t.to_string()).unwrap_or_default(),
            received_at: self.ctx.now(),
            ..Default::default()
        };
        self.ingest(Ingest { provenance, readings, ..Default::default() }).await
    }

    /// Takes in a batch with its provenance and what could not become a reading.
    ///
    /// # Errors
    /// As [`ScopedStore::put`].
    pub async fn ingest(&self, batch: Ingest) -> Result<IngestOutcome> {
        self.store.backend().readings.put(&self.ctx, batch).await
    }

    /// One reading by name.
    ///
    /// # Errors
    /// What keeps the backend from answering, as for all questions here.
    pub async fn get(&self, name: &ReadingRef) -> Result<Option<Stored>> {
        let found = self.store.backend().readings.get(&self.ctx, std::slice::from_ref(name)).await?;
        Ok(found.into_iter().next().flatten())
    }

    /// Readings by name, in order; `None` where there is none.
    ///
    /// # Errors
    /// `BAD_QUERY` for more than 100,000 names.
    pub async fn get_all(&self, names: &[ReadingRef]) -> Result<Vec<Option<Stored>>> {
        limits::names(names.len())?;
        self.store.backend().readings.get(&self.ctx, names).await
    }

    /// A page of readings in order of time.
    ///
    /// # Errors
    /// `BAD_QUERY` names the limit, condition or cursor that cannot be answered.
    pub async fn scan(&self, query: &ScanQuery) -> Result<Page<Stored>> {
        limits::scan(query)?;
        self.store.backend().readings.scan(&self.ctx, query).await
    }

    /// The latest reading of each device and kind.
    ///
    /// # Errors
    /// What keeps the backend from answering.
    pub async fn latest(&self, query: &LatestQuery) -> Result<Vec<Stored>> {
        self.store.backend().readings.latest(&self.ctx, query).await
    }

    /// Statistics per bucket.
    ///
    /// # Errors
    /// `BAD_QUERY` when the kind has no number to count or there would be too many buckets.
    pub async fn aggregate(&self, query: &AggregateQuery) -> Result<Vec<Bucket>> {
        limits::aggregate(query)?;
        self.store.backend().readings.aggregate(&self.ctx, query).await
    }

    /// The best hits for some words.
    ///
    /// # Errors
    /// `BAD_QUERY` when no word is left to look for.
    pub async fn search(&self, query: &TextQuery) -> Result<TextHits> {
        limits::text(query)?;
        self.store.backend().text.search(&self.ctx, query).await
    }

    /// Stores vectors of readings that are stored, one outcome each. Storing them again replaces them.
    ///
    /// # Errors
    /// `STORE_UNFIT` when this store keeps no vectors, `NOT_FOUND` for an unknown model, `TOO_LARGE` for more than 10,000 vectors or
    /// 64 MiB; otherwise as [`ScopedStore::put`].
    pub async fn put_vectors(&self, model: &str, vectors: Vec<NewVector>) -> Result<Vec<VectorOutcome>> {
        limits::vector_batch(&vectors)?;
        self.store.vectors()?.upsert(&self.ctx, model, vectors).await
    }

    /// The readings whose vectors are most alike to one.
    ///
    /// # Errors
    /// `STORE_UNFIT` when this store keeps no vectors, `NOT_FOUND` for an unknown model, `BAD_QUERY` for what cannot be compared.
    pub async fn search_similar(&self, query: &VectorQuery) -> Result<VectorHits> {
        limits::vectors(query)?;
        self.store.vectors()?.search(&self.ctx, query).await
    }

    /// Removes vectors; gives how many there were.
    ///
    /// # Errors
    /// `STORE_UNFIT` when this store keeps no vectors, `NOT_FOUND` for an unknown model.
    pub async fn delete_vectors(&self, which: &VectorDelete) -> Result<u64> {
        self.store.vectors()?.delete(&self.ctx, which).await
    }

    /// Who brought an ingest batch.
    ///
    /// # Errors
    /// What keeps the backend from answering.
    pub async fn provenance(&self, batch: u64) -> Result<Option<Provenance>> {
        self.store.backend().readings.provenance(&self.ctx, batch).await
    }

    /// A page of this scope's changes.
    ///
    /// # Errors
    /// `BAD_QUERY` for a limit out of range.
    pub async fn feed(&self, query: &FeedQuery) -> Result<FeedPage> {
        limits::feed(query)?;
        self.store.backend().feed.read(Some(self.ctx.scope()), query).await
    }

    /// What a derived reading was made from.
    ///
    /// # Errors
    /// What keeps the backend from answering.
    pub async fn inputs(&self, name: &ReadingRef) -> Result<Option<LineageInputs>> {
        self.store.backend().derivations.inputs(&self.ctx, name).await
    }

    /// What was made directly from a reading.
    ///
    /// # Errors
    /// `BAD_QUERY` for a limit out of range.
    pub async fn outputs(&self, name: &ReadingRef, limit: usize) -> Result<Vec<Stored>> {
        limits::outputs(limit)?;
        self.store.backend().derivations.outputs(&self.ctx, name, limit).await
    }

    /// All generations of a slot, oldest first, so that old and new can be compared.
    ///
    /// # Errors
    /// What keeps the backend from answering.
    pub async fn generations(&self, slot: &[u8; 16]) -> Result<Vec<Stored>> {
        self.store.backend().derivations.generations(&self.ctx, slot).await
    }

    /// Parks letters.
    ///
    /// # Errors
    /// As [`ScopedStore::put`].
    pub async fn park(&self, letters: Vec<DeadLetter>) -> Result<()> {
        self.store.backend().dead_letters.park(&self.ctx, letters).await
    }

    /// A page of dead letters.
    ///
    /// # Errors
    /// What keeps the backend from answering.
    pub async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetterRow>> {
        self.store.backend().dead_letters.list(&self.ctx, query).await
    }

    /// One dead letter, to be inspected.
    ///
    /// # Errors
    /// What keeps the backend from answering.
    pub async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetterRow>> {
        self.store.backend().dead_letters.get(&self.ctx, id).await
    }

    /// Lets a dead letter go.
    ///
    /// # Errors
    /// `NOT_FOUND` when there is none under that id.
    pub async fn drop_letter(&self, id: &str) -> Result<()> {
        self.store.backend().dead_letters.resolve(&self.ctx, id, Resolution::Dropped).await
    }

    /// A value of the scope's key-value space.
    ///
    /// # Errors
    /// `BAD_QUERY` for a key out of bounds.
    pub async fn value(&self, key: &str) -> Result<Option<Versioned>> {
        limits::key(key)?;
        self.store.backend().key_value.get(&self.ctx, key).await
    }

    /// Writes a value; returns its version.
    ///
    /// # Errors
    /// `BAD_QUERY` for a key out of bounds, `TOO_LARGE` for a value beyond 1 MiB.
    pub async fn set_value(&self, key: &str, value: Vec<u8>, ttl: Option<Duration>) -> Result<u64> {
        limits::key(key)?;
        limits::value(&value)?;
        self.store.backend().key_value.put(&self.ctx, key, value, ttl).await
    }

    /// Writes a value if it is still at the version `expected`, 0 for absent.
    ///
    /// # Errors
    /// `CAS_MISMATCH` when it is not; as [`ScopedStore::set_value`] otherwise.
    pub async fn compare_and_set(&self, key: &str, expected: u64, value: Vec<u8>, ttl: Option<Duration>) -> Result<u64> {
        limits::key(key)?;
        limits::value(&value)?;
        self.store.backend().key_value.compare_and_put(&self.ctx, key, expected, value, ttl).await
    }

    /// Removes a value; true when there was one.
    ///
    /// # Errors
    /// `BAD_QUERY` for a key out of bounds.
    pub async fn delete_value(&self, key: &str) -> Result<bool> {
        limits::key(key)?;
        self.store.backend().key_value.delete(&self.ctx, key).await
    }

    /// Keys that begin so, in order, after `after`.
    ///
    /// # Errors
    /// `BAD_QUERY` for a limit out of range.
    pub async fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        limits::keys(limit)?;
        self.store.backend().key_value.keys(&self.ctx, prefix, after, limit).await
    }

    /// Adds or updates a device; true when it is new.
    ///
    /// # Errors
    /// What keeps the backend from writing.
    pub async fn register(&self, device: DeviceRow) -> Result<bool> {
        self.store.backend().devices.register(&self.ctx, device).await
    }

    /// The scope's devices.
    ///
    /// # Errors
    /// What keeps the backend from answering.
    pub async fn devices(&self) -> Result<Vec<DeviceRow>> {
        self.store.backend().devices.list(&self.ctx).await
    }

    /// The balance of custody.
    ///
    /// # Errors
    /// What keeps the backend from answering.
    pub async fn counts(&self) -> Result<Counts> {
        self.store.backend().maintenance.counts(&self.ctx).await
    }

    /// How many readings there are of each kind.
    ///
    /// # Errors
    /// What keeps the backend from answering.
    pub async fn by_kind(&self) -> Result<Vec<KindCount>> {
        self.store.backend().maintenance.by_kind(&self.ctx).await
    }
}
