//! Where items come from.

use am_core::{Ctx, Result};
use am_schema::{Reading, Rejected};
use async_trait::async_trait;

use crate::{Origin, Outcome};

/// A source's own name for an item it handed over: a line number, a sequence, an index into its own table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Token(pub u64);

/// One item as a source hands it over.
#[derive(Debug)]
pub struct Arrival {
    /// By which the source recognises it when it is settled.
    pub token: Token,
    /// A valid reading, or what could not become one; the latter goes to the dead letters.
    pub item: std::result::Result<Reading, Rejected>,
}

/// What one poll gave. May be empty: then there is nothing now, and the source is polled again.
#[derive(Debug, Default)]
pub struct Polled {
    /// In the order they are to be processed.
    pub items: Vec<Arrival>,
    /// Why they arrive now.
    pub origin: Origin,
}

impl Polled {
    /// Valid readings of now, with tokens that count up from `first`.
    pub fn live(first: u64, readings: impl IntoIterator<Item = Reading>) -> Polled {
        let items = (first..).zip(readings).map(|(n, r)| Arrival { token: Token(n), item: Ok(r) }).collect();
        Polled { items, origin: Origin::Live }
    }
}

/// How an item ended, told to the source that brought it.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The source's name for it.
    pub token: Token,
    /// How it ended.
    pub outcome: Outcome,
}

/// Hands over readings when asked, and hears how each of them ended.
#[async_trait]
pub trait Source: Send {
    /// At most `room` items; waits until there are some. `None` when there will never be more: the processors are then flushed. Items
    /// that are told to be tried again after that come again in the next run, and the report counts them.
    ///
    /// # Errors
    /// An error that advises to try again is followed by another poll after a pause; any other ends the pipeline.
    ///
    /// # Cancel safety
    /// Loses nothing when its future is dropped: an item is handed over in the value returned, or is still there for the next poll.
    async fn poll(&mut self, ctx: &Ctx, room: usize) -> Result<Option<Polled>>;

    /// Outcomes of items handed over before, each item once, in any order. After it returned, delivered, discarded and parked
    /// items may be forgotten; items to retry come again, in this run or in the next.
    ///
    /// # Errors
    /// The same outcomes are told again after a pause when the error advises so.
    async fn settle(&mut self, ctx: &Ctx, outcomes: &[Settled]) -> Result<()>;
}
