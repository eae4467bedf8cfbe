//! Flows: durable cursors, state, and the one commit.

use am_core::Result;
use async_trait::async_trait;

use crate::model::{FlowCommit, FlowCommitted, Seq};

/// Where a flow stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlowState {
    /// Everything up to and including this place is done.
    pub cursor: Seq,
    /// Grows with every commit and reset; goes into the next commit.
    pub epoch: u64,
    /// Which version of the flow made the state.
    pub version: String,
    /// The processors' state by key.
    pub state: Vec<(String, Vec<u8>)>,
}

/// A flow in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowInfo {
    /// Its name.
    pub flow: String,
    /// Everything up to and including this place is done.
    pub cursor: Seq,
    /// Which version of the flow runs.
    pub version: String,
}

/// Flows and their commits.
#[async_trait]
pub trait Flows: Send + Sync {
    /// Where a flow stands; begins it at the start of the feed when it is new.
    async fn load(&self, flow: &str) -> Result<FlowState>;

    /// Derived readings, state and cursor in one transaction: all or nothing, durable on return.
    ///
    /// # Errors
    /// `STALE_COMMIT` when someone else committed or reset the flow since it was loaded. `MISSING_LINEAGE` when a derived reading
    /// has none. `BAD_QUERY` when the cursor is beyond the head of the feed.
    async fn commit(&self, commit: FlowCommit) -> Result<FlowCommitted>;

    /// Forgets the state and goes back to the place after `cursor`, under a version: what follows re-derives.
    async fn reset(&self, flow: &str, version: &str, cursor: Seq) -> Result<FlowState>;

    /// All flows, by name.
    async fn list(&self) -> Result<Vec<FlowInfo>>;
}
