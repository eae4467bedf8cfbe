//! The change feed.

use am_core::{Result, Scope};
use async_trait::async_trait;

use crate::model::{FeedPage, FeedQuery, Seq};

/// Everything that changed, in order. A place that was read never gets new entries before it.
#[async_trait]
pub trait Feed: Send + Sync {
    /// Entries of one person, or of all for the process's own flows (`scope` is `None`). At most 4,096.
    async fn read(&self, scope: Option<&Scope>, query: &FeedQuery) -> Result<FeedPage>;

    /// The newest place there is; 0 when nothing was ever stored.
    async fn head(&self) -> Result<Seq>;

    /// Ready once the head is beyond `after`.
    ///
    /// # Cancel safety
    /// Safe.
    async fn wait(&self, after: Seq) -> Result<()>;
}
