//! Readings that wait for the server.

mod disk;
mod file;
mod segment;

use am_core::{BoxFuture, Result};
use bytes::Bytes;

pub use disk::{Disk, DiskFile, StdDisk};
pub use file::{FileOutbox, OutboxLimits};

/// What an outbox holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutboxStats {
    /// The last number that was given out; 0 at first.
    pub last: u64,
    /// Everything up to this number was settled.
    pub settled: u64,
    /// Everything up to this number survives a power cut.
    pub durable: u64,
    /// Bytes it takes.
    pub bytes: u64,
    /// Bytes that were damaged and set aside.
    pub damaged: u64,
}

/// A durable queue of encoded readings, numbered from 1 without gaps.
pub trait OutboxStore: Send {
    /// Takes items in, in order; they survive a kill of the process on return. Gives the number of the last one.
    ///
    /// # Errors
    /// `OUTBOX_FULL` or `OUTBOX_IO`: none of the items was taken in.
    fn append(&mut self, items: &[&[u8]]) -> Result<u64>;

    /// Makes everything appended before this call survive a power cut; gives the number up to which that holds.
    /// The work runs in the future, not in the call, and does not hold the outbox.
    fn sync(&mut self) -> BoxFuture<'static, Result<u64>>;

    /// Tells the outbox what a finished [`OutboxStore::sync`] gave; `None` when it failed, and all is to be synced again.
    fn synced(&mut self, through: Option<u64>);

    /// Items after a number, in order, at most so many and about so many bytes, at least one if there is one.
    fn read(&mut self, after: u64, max_items: usize, max_bytes: usize) -> Result<Vec<(u64, Bytes)>>;

    /// Lets go of everything up to a number.
    fn settle(&mut self, through: u64) -> Result<()>;

    /// What it holds.
    fn stats(&self) -> OutboxStats;
}
