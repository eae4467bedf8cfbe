//! The flow runner: reads the feed, runs a flow's processors, and ends every step in one commit.
//!
//! A step reads a run of feed entries, parts it by person and device, processes the parts side by side, waits for all, and commits what
//! was derived, the processors' state, the dead letters and the cursor together. A kill at any moment repeats nothing and loses nothing.
//!
//! What a processor sees hangs on the feed alone: within a part, items come one by one in the order of the feed, and the history that
//! `ctx.lookup()` answers from ends at the item's own place. So it makes no difference where one step ends and the next begins. Only
//! processors without state (`Partition::None`) get whole batches.
//!
//! A failing item is tried again as its error advises and then parked. A panic parks the item that caused it: the processors of its part
//! are put back to the state before the step and the rest is processed again.

mod call;
mod flow;
mod forget;
#[cfg(feature = "flow-files")]
mod from_file;
mod history;
mod lane;
mod run;
mod status;

pub use flow::{Flow, FlowStep};
pub use run::FlowRunner;
pub use status::{FlowStatus, StatusHandle};

use std::time::Duration;

use am_core::policy::Backoff;

/// How a flow runs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RunnerOptions {
    /// At most so many feed entries in one step, 1 to 4,096.
    pub batch: usize,
    /// At most so many parts are processed at a time.
    pub parallelism: usize,
    /// At most so many parts keep their processors between steps; the others' are made anew from the state.
    pub live: usize,
    /// At least so long from commit to commit when only little comes in, at most 200 ms. A backlog is not held up.
    pub linger: Duration,
    /// The waits when the store does not take a commit.
    pub backoff: Backoff,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        RunnerOptions { batch: 512, parallelism: 4, live: 1_024, linger: Duration::from_millis(100), backoff: Backoff::new(100, 10_000) }
    }
}

impl RunnerOptions {
    /// The same with other steps.
    #[must_use]
    pub fn batch(mut self, entries: usize) -> Self {
        self.batch = entries;
        self
    }

    /// The same with so many parts at a time.
    #[must_use]
    pub fn parallelism(mut self, parts: usize) -> Self {
        self.parallelism = parts;
        self
    }

    /// The same with so many parts kept alive.
    #[must_use]
    pub fn live(mut self, parts: usize) -> Self {
        self.live = parts;
        self
    }

    /// The same with another least time between commits.
    #[must_use]
    pub fn linger(mut self, d: Duration) -> Self {
        self.linger = d;
        self
    }

    fn bounded(mut self) -> Self {
        self.batch = self.batch.clamp(1, crate::limits::MAX_FEED);
        self.parallelism = self.parallelism.clamp(1, 256);
        self.live = self.live.max(1);
        self.linger = self.linger.min(Duration::from_millis(200));
        self
    }
}
