//! What happens to items on their way.

use am_core::{Ctx, Result};
use async_trait::async_trait;

use crate::{Batch, Output};

/// Turns items into other items. Needs no lock for its state: one processor serves one partition.
#[async_trait]
pub trait Processor: Send {
    /// Decides about every item of the batch through `out`: emit, absorb, discard, park or retry.
    ///
    /// # Errors
    /// Means the items that are not decided yet: they are tried again as the error advises, in smaller batches when that does not
    /// help, and parked one by one at last. What was handed to `out` before stays decided, so an item must be in the state if and
    /// only if it was handed over. An item dropped undecided counts as failed.
    async fn process(&mut self, ctx: &Ctx, batch: Batch, out: &mut Output) -> Result<()>;

    /// The input is at its end: emits what is complete.
    ///
    /// # Errors
    /// Ends the flow with this error; items that the processor still holds come again.
    async fn flush(&mut self, ctx: &Ctx, out: &mut Output) -> Result<()>;

    /// The state as bytes that begin with a version of their own; empty for a processor without state.
    ///
    /// # Errors
    /// When the state cannot be written.
    fn snapshot(&self) -> Result<Vec<u8>>;

    /// Takes up a state that [`Processor::snapshot`] of this or an earlier version wrote; empty bytes mean a fresh start.
    ///
    /// # Errors
    /// When the bytes are not a state, or one of a newer version.
    fn restore(&mut self, state: &[u8]) -> Result<()>;
}
