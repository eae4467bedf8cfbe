//! How a pipeline's nodes run.

use std::time::Duration;

use am_core::policy::Backoff;

use crate::{Attempts, Partition};

/// When a node's input is put together to a batch: as soon as one of the limits is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batching {
    /// So many items. Figures show no gain above 512.
    pub items: usize,
    /// So many bytes of readings.
    pub bytes: usize,
    /// So long after the first item; zero means that only what is waiting already is put together.
    pub age: Duration,
}

impl Default for Batching {
    fn default() -> Self {
        Batching { items: 512, bytes: 1 << 20, age: Duration::ZERO }
    }
}

impl Batching {
    /// Up to so many items, waiting for them at most so long.
    pub fn new(items: usize, age: Duration) -> Self {
        Batching { items: items.max(1), age, ..Batching::default() }
    }

    /// Up to so many bytes.
    #[must_use]
    pub fn bytes(mut self, n: usize) -> Self {
        self.bytes = n;
        self
    }
}

/// How a processor or sink runs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NodeOptions {
    /// How many run at the same time. Items of one key always take the same lane, so they stay in order.
    pub lanes: usize,
    /// The key. Of processors made by a factory, each key has its own.
    pub key: Partition,
    /// The most keys per lane that have a processor at the same time; the one unused for longest is flushed and let go.
    pub max_keys: usize,
    /// How its batches are put together.
    pub batching: Batching,
    /// How often a batch is tried.
    pub attempts: Attempts,
    /// How many batches may wait before a lane.
    pub queue: usize,
}

impl Default for NodeOptions {
    fn default() -> Self {
        NodeOptions {
            lanes: 1,
            key: Partition::Device,
            max_keys: 10_000,
            batching: Batching::default(),
            attempts: Attempts::default(),
            queue: 8,
        }
    }
}

impl NodeOptions {
    /// So many lanes.
    pub fn lanes(n: usize) -> Self {
        NodeOptions { lanes: n, ..NodeOptions::default() }
    }

    /// The key.
    #[must_use]
    pub fn key(mut self, key: Partition) -> Self {
        self.key = key;
        self
    }

    /// How its batches are put together.
    #[must_use]
    pub fn batching(mut self, b: Batching) -> Self {
        self.batching = b;
        self
    }

    /// How often a batch is tried.
    #[must_use]
    pub fn attempts(mut self, a: Attempts) -> Self {
        self.attempts = a;
        self
    }

    /// The most keys per lane that have a processor at the same time.
    #[must_use]
    pub fn max_keys(mut self, n: usize) -> Self {
        self.max_keys = n.max(1);
        self
    }
}

/// How a source is asked.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SourceOptions {
    /// The most items that may be on their way: the memory that a stalled sink costs.
    pub in_flight: usize,
    /// The most items of one poll.
    pub batch: usize,
    /// The waits after a failed poll.
    pub backoff: Backoff,
}

impl Default for SourceOptions {
    fn default() -> Self {
        SourceOptions { in_flight: 8_192, batch: 512, backoff: Backoff::default() }
    }
}

impl SourceOptions {
    /// At most so many items on their way.
    pub fn in_flight(n: usize) -> Self {
        SourceOptions { in_flight: n.max(1), ..SourceOptions::default() }
    }

    /// The most items of one poll.
    #[must_use]
    pub fn batch(mut self, n: usize) -> Self {
        self.batch = n.max(1);
        self
    }
}
