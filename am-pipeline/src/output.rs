//! What a processor decided about its items.

use am_core::{Code, Error};
use am_schema::Reading;

use crate::outcome::{Outcome, Reason};
use crate::receipt::{Receipt, Tally};
use crate::{Batch, Item, Origin};

/// Takes a processor's decisions.
///
/// | the processor | and calls |
/// |---|---|
/// | passes an item on, changed or not | [`Output::emit`] |
/// | makes several readings of one item | [`Output::emit_from`] for each, then [`Output::absorb`] |
/// | takes an item into its state | [`Output::absorb`] |
/// | makes a reading of its state | [`Output::derive`] |
/// | makes one reading of items that it still holds | [`Output::emit_joined`] |
/// | lets an item go on purpose | [`Output::discard`] |
/// | finds that an item can never be processed | [`Output::park`] |
/// | cannot process an item now | [`Output::retry`] |
pub struct Output {
    emitted: Vec<Item>,
    absorbed: Vec<Receipt>,
    parked: Vec<(Item, Error)>,
    retry: Vec<(Item, Error)>,
    discarded: u64,
    tally: Tally,
    origin: Origin,
    room: usize,
}

impl Default for Output {
    fn default() -> Self {
        Output::new()
    }
}

/// The decisions of one or more calls of a processor.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Decided {
    /// Items to pass on, in order.
    pub emitted: Vec<Item>,
    /// Receipts of items whose effect is in the state or in emitted items.
    pub absorbed: Vec<Receipt>,
    /// Items to keep among the dead letters, and why.
    pub parked: Vec<(Item, Error)>,
    /// Items to try again, and why not now.
    pub retry: Vec<(Item, Error)>,
    /// How many were discarded; their receipts are settled.
    pub discarded: u64,
    /// How many tries failed.
    pub failures: u64,
}

impl Output {
    /// An empty one: how a test or a store's flow runner calls a processor.
    pub fn new() -> Output {
        Output::counting(Tally::new(None))
    }

    pub(crate) fn counting(tally: Tally) -> Output {
        Output {
            emitted: Vec::new(),
            absorbed: Vec::new(),
            parked: Vec::new(),
            retry: Vec::new(),
            discarded: 0,
            tally,
            origin: Origin::Live,
            room: 0,
        }
    }

    /// Why the readings derived from now on arrive: as the batch that they follow from.
    pub fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
    }

    /// Makes room for as many items as most processors emit.
    pub(crate) fn expect(&mut self, n: usize) {
        self.room = n;
    }

    /// Passes an item on.
    #[inline]
    pub fn emit(&mut self, item: Item) {
        if self.emitted.is_empty() {
            self.emitted.reserve(self.room);
        }
        self.emitted.push(item);
    }

    /// Passes an item on through a numbered way out; what is connected there is decided by the topology.
    pub fn emit_to(&mut self, port: u16, mut item: Item) {
        item.port = port;
        self.emitted.push(item);
    }

    /// Passes a whole batch on.
    pub fn emit_all(&mut self, batch: Batch) {
        if self.emitted.is_empty() {
            self.emitted = batch.into_vec();
        } else {
            self.emitted.extend(batch);
        }
    }

    /// Emits a reading made from one item. The item itself must still be decided.
    pub fn emit_from(&mut self, item: &Item, reading: Reading) {
        self.emitted.push(item.split(reading));
    }

    /// Emits a reading made from items that the processor held until now: they end as it ends.
    pub fn emit_joined(&mut self, reading: Reading, items: Vec<Item>) {
        let origin = items.iter().map(Item::origin).max().unwrap_or(self.origin);
        let receipts = items.into_iter().map(|i| i.into_parts().1).collect();
        self.emitted.push(Item::new(reading, Receipt::join(receipts), origin));
    }

    /// Emits a reading made from the processor's state. Its lineage names what it was made from.
    pub fn derive(&mut self, reading: Reading) {
        let receipt = self.tally.issue();
        self.emitted.push(Item::new(reading, receipt, self.origin));
    }

    /// The item's effect is in the state, or in readings emitted from it.
    pub fn absorb(&mut self, item: Item) {
        self.absorbed.push(item.into_parts().1);
    }

    /// Lets the item go on purpose.
    pub fn discard(&mut self, item: Item, reason: impl Into<Reason>) {
        self.discarded += 1;
        item.settle(Outcome::Discarded(reason.into()));
    }

    /// Keeps of the batch what `keep` wants and discards the others.
    pub fn filter(&mut self, mut batch: Batch, reason: &Reason, keep: impl FnMut(&Reading) -> bool) {
        self.discarded += batch.retain(reason, keep) as u64;
        self.emit_all(batch);
    }

    /// The item can never be processed.
    pub fn park(&mut self, item: Item, error: impl Into<Error>) {
        self.parked.push((item, error.into()));
    }

    /// The item cannot be processed now.
    pub fn retry(&mut self, item: Item, error: impl Into<Error>) {
        self.retry.push((item, error.into()));
    }

    /// Takes over what a processor within this one discarded and absorbed.
    #[cfg(feature = "flow-files")]
    pub(crate) fn count(&mut self, discarded: u64, absorbed: Vec<Receipt>) {
        self.discarded += discarded;
        self.absorbed.extend(absorbed);
    }

    /// Hands out the decisions and is empty again.
    pub fn take(&mut self) -> Decided {
        Decided {
            emitted: std::mem::take(&mut self.emitted),
            absorbed: std::mem::take(&mut self.absorbed),
            parked: std::mem::take(&mut self.parked),
            retry: std::mem::take(&mut self.retry),
            discarded: std::mem::take(&mut self.discarded),
            failures: 0,
        }
    }
}

impl Decided {
    /// Adds the decisions of a later call.
    pub fn extend(&mut self, later: Decided) {
        if self.emitted.is_empty() {
            self.emitted = later.emitted;
        } else {
            self.emitted.extend(later.emitted);
        }
        self.absorbed.extend(later.absorbed);
        self.parked.extend(later.parked);
        self.retry.extend(later.retry);
        self.discarded += later.discarded;
        self.failures += later.failures;
    }
}

/// The error of an item that a processor dropped without deciding about it.
pub(crate) fn undecided() -> Error {
    Error::new(Code::PROCESSOR_FAILED, "the processor dropped the item without deciding about it")
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Output({} emitted, {} absorbed, {} discarded, {} parked, {} to retry)",
            self.emitted.len(),
            self.absorbed.len(),
            self.discarded,
            self.parked.len(),
            self.retry.len()
        )
    }
}
