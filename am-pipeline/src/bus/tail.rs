//! Off the bus, in order from a place on.

use std::time::Duration;

use am_core::{Result, Scope};
use async_trait::async_trait;

use super::{Area, Foreign, Message};

/// What a tail reads.
#[derive(Debug, Clone, PartialEq)]
pub struct TailSpec {
    /// Names the reader; durable: progress is kept under it, and it counts for [`super::Pressure`]. Letters, digits, `-` and `_`.
    pub name: String,
    /// From which stream.
    pub area: Area,
    /// Whose; everybody's when `None`, for the process's own work.
    pub scope: Option<Scope>,
    /// Which topics; all when empty.
    pub topics: Vec<String>,
    /// Begins behind this place; 0 for the oldest that is kept. What [`Tail::done`] said earlier does not count.
    pub after: u64,
}

/// A message at its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequenced {
    /// Its place in the stream: growing, with gaps.
    pub sequence: u64,
    /// What is there; foreign things are handed over too, so that someone parks them.
    pub message: std::result::Result<Message, Foreign>,
}

/// Readers in order.
#[async_trait]
pub trait Tails: Send + Sync {
    /// Begins to read; another reader of the same name is cut off.
    ///
    /// # Errors
    /// `BUS_UNAVAILABLE`. `BUS_TRIMMED` when messages behind `after` were removed before this reader had them: the message names the
    /// first that is left; also when the stream ends before `after`, because it was made anew.
    async fn open(&self, spec: TailSpec) -> Result<Box<dyn Tail>>;

    /// The place of the newest message of a stream; 0 when it never had one.
    ///
    /// # Errors
    /// `BUS_UNAVAILABLE`.
    async fn head(&self, area: Area) -> Result<u64>;

    /// How many messages of its topics the reader of this name is not done with; `None` when nobody reads under it.
    ///
    /// # Errors
    /// `BUS_UNAVAILABLE`.
    async fn lag(&self, area: Area, name: &str) -> Result<Option<u64>>;
}

/// A reader in order. Each message comes once, in the order of its stream, also over lost connections.
#[async_trait]
pub trait Tail: Send {
    /// At most `max` messages; waits up to `wait` for the first. Empty when there was none.
    ///
    /// # Errors
    /// `BUS_UNAVAILABLE`: try again, nothing is skipped. `CLOSED` when another reader of the name took over.
    ///
    /// # Cancel safety
    /// What a dropped call had received comes with the next one.
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Sequenced>>;

    /// Everything up to this place is done: the bus may remove it as far as this reader is concerned.
    async fn done(&mut self, sequence: u64) -> Result<()>;
}
