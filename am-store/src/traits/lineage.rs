//! Where derived readings come from, and what came of raw ones.

use am_core::{Ctx, Result};
use am_schema::{ReadingRef, v1};
use async_trait::async_trait;

use crate::model::Stored;

/// The inputs of a derived reading as its lineage names them.
pub type LineageInputs = v1::Lineage;

/// Lineage, both ways (P05). It outlives the raw.
#[async_trait]
pub trait Derivations: Send + Sync {
    /// What a derived reading was made from; `None` for a raw or unknown one.
    async fn inputs(&self, ctx: &Ctx, name: &ReadingRef) -> Result<Option<LineageInputs>>;

    /// What was made directly from a reading, named alone or within a span, all generations, in the order of scans; at most
    /// `limit`, 1 to 10,000.
    async fn outputs(&self, ctx: &Ctx, name: &ReadingRef, limit: usize) -> Result<Vec<Stored>>;

    /// All generations of a slot, oldest first.
    async fn generations(&self, ctx: &Ctx, slot: &[u8; 16]) -> Result<Vec<Stored>>;
}
