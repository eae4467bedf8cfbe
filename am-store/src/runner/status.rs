//! How a flow is doing.

use std::sync::Arc;
use std::time::Duration;

use am_core::Timestamp;
use parking_lot::Mutex;

use crate::model::Seq;

/// A flow in numbers, since the runner was made.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct FlowStatus {
    /// Its name.
    pub flow: String,
    /// The version that runs, with the digest of its definition.
    pub version: String,
    /// Everything up to and including this place of the feed was looked at.
    pub cursor: Seq,
    /// The newest place of the feed when it was last read.
    pub head: Seq,
    /// Readings taken from the feed.
    pub taken: u64,
    /// Those of them that came as backfill.
    pub backfilled: u64,
    /// Derived readings that were stored.
    pub derived: u64,
    /// Derived readings that were there already.
    pub duplicates: u64,
    /// Older generations that gave way.
    pub superseded: u64,
    /// Readings that processors let go.
    pub discarded: u64,
    /// Dead letters.
    pub parked: u64,
    /// Failed tries.
    pub failures: u64,
    /// Commits.
    pub commits: u64,
    /// How often someone else had committed first.
    pub reloads: u64,
    /// From reading the feed to the commit, the last time.
    pub step_time: Duration,
    /// From the arrival of the oldest raw reading of the last step to its commit, by the store's clock.
    pub latency: Option<Duration>,
    /// The longest of these.
    pub worst_latency: Option<Duration>,
    /// What went wrong last, and when.
    pub last_error: Option<(Timestamp, String)>,
}

impl FlowStatus {
    /// How many places of the feed are to be looked at.
    pub fn lag(&self) -> u64 {
        self.head.saturating_sub(self.cursor)
    }
}

/// Reads a flow's status while it runs. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct StatusHandle(Arc<Mutex<FlowStatus>>);

impl StatusHandle {
    /// The numbers of now.
    pub fn get(&self) -> FlowStatus {
        self.0.lock().clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut FlowStatus)) {
        change(&mut self.0.lock());
    }
}
