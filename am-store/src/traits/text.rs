//! Ranked full-text search.

use am_core::{Ctx, Result};
use async_trait::async_trait;

use crate::model::{TextHits, TextQuery};

/// Search over the text fields of the scope's readings.
#[async_trait]
pub trait Text: Send + Sync {
    /// The best hits by Okapi BM25 (Robertson et al., TREC-3, 1994; k1 1.2, b 0.75) with the statistics of the scope alone.
    /// Newest generations only, in statistics too. Equal scores come in the order of scans. `crate::text` has the shared parts.
    ///
    /// # Errors
    /// `BAD_QUERY` when no word is left after reading the query.
    async fn search(&self, ctx: &Ctx, query: &TextQuery) -> Result<TextHits>;
}
