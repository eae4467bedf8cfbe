//! Vectors of readings, and the search for what is alike.

use am_core::{Ctx, Result};
use async_trait::async_trait;

use crate::model::{NewVector, VectorDelete, VectorHits, VectorModel, VectorOutcome, VectorQuery};

/// Vectors that belong to stored readings, by model. Models are the store's, vectors are the scope's in `ctx`.
///
/// `crate::vectors` has the parts that backends share, so that they give the same scores to the bit.
#[async_trait]
pub trait Vectors: Send + Sync {
    /// Makes a model known; true when it is new. The same model again changes nothing.
    ///
    /// # Errors
    /// `BAD_QUERY` for a name, a number of dimensions or a number of models out of range; `CLOCK_CONFLICT` when the name is taken by
    /// a model that differs in anything.
    async fn register(&self, model: VectorModel) -> Result<bool>;

    /// The known models by name.
    async fn models(&self) -> Result<Vec<VectorModel>>;

    /// Forgets a model and every scope's vectors of it; true when there was one. May go in several steps: broken off, it goes on
    /// when it is called again.
    async fn retire(&self, model: &str) -> Result<bool>;

    /// Stores vectors, one outcome each. One of the same reading, part and model takes the place of the one before. Durable on
    /// return.
    ///
    /// # Errors
    /// `NOT_FOUND` for an unknown model, `TOO_LARGE` for too many at once, or as `Readings::put`; nothing was taken then.
    ///
    /// # Cancel safety
    /// The batch is stored whole or not at all, but for what is refused item by item.
    async fn upsert(&self, ctx: &Ctx, model: &str, vectors: Vec<NewVector>) -> Result<Vec<VectorOutcome>>;

    /// The vectors most alike, with their readings. Equal scores come in the order of scans, then by part.
    ///
    /// # Errors
    /// `NOT_FOUND` for an unknown model; `BAD_QUERY` for a limit out of range or a vector that cannot be compared.
    async fn search(&self, ctx: &Ctx, query: &VectorQuery) -> Result<VectorHits>;

    /// Removes vectors of the scope; gives how many there were. Their readings stay. May go in several steps, as `retire`.
    ///
    /// # Errors
    /// `NOT_FOUND` for an unknown model, `BAD_QUERY` for too many names.
    async fn delete(&self, ctx: &Ctx, which: &VectorDelete) -> Result<u64>;
}
