//! Readings on their way, each with its receipt.

use std::cell::RefCell;
use std::ops::Deref;

use am_schema::{Reading, v1};

use crate::outcome::{Outcome, Reason};
use crate::receipt::{Ledger, Receipt};

/// Why a reading arrives now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Origin {
    /// As it is recorded.
    #[default]
    Live = 0,
    /// Old data taken in late; fires no alerts and no nudges.
    Backfill = 1,
    /// A repaired dead letter.
    Replay = 2,
}

impl Origin {
    /// From its number; anything unknown is `Live`.
    pub fn from_u8(n: u8) -> Self {
        match n {
            1 => Origin::Backfill,
            2 => Origin::Replay,
            _ => Origin::Live,
        }
    }

    /// From the number of `am.v1.Origin`; anything unknown is `Live`.
    pub fn from_wire(n: i32) -> Self {
        match v1::Origin::try_from(n) {
            Ok(v1::Origin::Backfill) => Origin::Backfill,
            Ok(v1::Origin::Replay) => Origin::Replay,
            _ => Origin::Live,
        }
    }

    /// As `am.v1.Origin`.
    pub fn to_wire(self) -> v1::Origin {
        match self {
            Origin::Live => v1::Origin::Live,
            Origin::Backfill => v1::Origin::Backfill,
            Origin::Replay => v1::Origin::Replay,
        }
    }
}

/// A reading and its receipt. Reads like the reading; must be handed to an [`crate::Output`], or it comes again.
pub struct Item {
    /// Empty only between being consumed and being dropped.
    reading: Option<Reading>,
    receipt: Receipt,
    pub(crate) port: u16,
    pub(crate) attempts: u8,
    origin: Origin,
}

impl Item {
    /// Puts the two together.
    #[inline]
    pub fn new(reading: Reading, receipt: Receipt, origin: Origin) -> Item {
        Item { reading: Some(reading), receipt, port: 0, attempts: 0, origin }
    }

    /// The reading.
    #[inline]
    pub fn reading(&self) -> &Reading {
        match &self.reading {
            Some(r) => r,
            None => unreachable!("an item gives its reading away only when it is consumed"),
        }
    }

    /// Why it arrives now.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// How often it was tried before it was parked.
    pub fn attempts(&self) -> u32 {
        u32::from(self.attempts).max(1)
    }

    /// Takes it apart. The receipt must be settled, or the item comes again.
    #[inline]
    pub fn into_parts(mut self) -> (Reading, Receipt) {
        let receipt = std::mem::take(&mut self.receipt);
        match self.reading.take() {
            Some(r) => (r, receipt),
            None => unreachable!("an item gives its reading away only when it is consumed"),
        }
    }

    /// The same item with another reading in it: one in, one out.
    #[must_use]
    pub fn with_reading(mut self, reading: Reading) -> Item {
        self.reading = Some(reading);
        self
    }

    /// Says how it ended.
    #[inline]
    pub fn settle(self, outcome: Outcome) {
        self.into_parts().1.settle(outcome);
    }

    pub(crate) fn split(&self, reading: Reading) -> Item {
        Item { reading: Some(reading), receipt: self.receipt.split(), port: 0, attempts: 0, origin: self.origin }
    }
}

impl Deref for Item {
    type Target = Reading;

    #[inline]
    fn deref(&self) -> &Reading {
        self.reading()
    }
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Item({:?})", self.reading)
    }
}

thread_local! {
    /// Where items go that are dropped undecided while a processor runs on this thread; `None` when none does.
    static TRAY: RefCell<Option<Vec<Item>>> = const { RefCell::new(None) };
}

/// Runs `f` and collects the items that it drops undecided, so that they can be tried again instead of coming back from the source.
/// Calls nest: the innermost one collects.
pub(crate) fn catching<R>(tray: &mut Vec<Item>, f: impl FnOnce() -> R) -> R {
    struct Restore<'a>(&'a mut Vec<Item>, Option<Vec<Item>>);
    impl Drop for Restore<'_> {
        fn drop(&mut self) {
            if let Some(caught) = TRAY.replace(self.1.take()) {
                *self.0 = caught;
            }
        }
    }
    let outer = TRAY.replace(Some(std::mem::take(tray)));
    let _restore = Restore(tray, outer);
    f()
}

impl Drop for Item {
    #[inline]
    fn drop(&mut self) {
        if self.receipt.is_open() && self.reading.is_some() {
            self.fall();
        }
    }
}

impl Item {
    #[cold]
    fn fall(&mut self) {
        let fallen = Item {
            reading: self.reading.take(),
            receipt: std::mem::take(&mut self.receipt),
            port: 0,
            attempts: self.attempts,
            origin: self.origin,
        };
        // The thread's storage may be gone already, when the whole program ends.
        let lost = TRAY.try_with(|t| match t.try_borrow_mut().ok().as_deref_mut() {
            Some(Some(tray)) => {
                tray.push(fallen);
                None
            }
            _ => Some(fallen),
        });
        if let Ok(Some(mut lost)) = lost {
            // Dropping the receipt alone says Retry; dropping the item would come back here.
            lost.reading = None;
        }
    }
}

/// Items to be processed together: of one scope and, for keyed processors, of one partition.
#[derive(Debug, Default)]
pub struct Batch(Vec<Item>);

impl Batch {
    /// Readings with fresh receipts, and the ledger that hears how they end: how a test or a store's flow runner makes a batch.
    ///
    /// ```
    /// # use am_core::{DeviceId, Timestamp};
    /// # use am_pipeline::{Batch, Origin, Outcome, Reason};
    /// # use am_schema::{Catalogue, Reading, v1};
    /// # let kind = Catalogue::builtin().get("device.health.heartrate.raw").ok_or("kind")?;
    /// # let reading = |bpm| Reading::builder(kind, DeviceId::new("watch")?, Timestamp::from_second(1_772_352_000))
    /// #     .payload(&v1::HeartRate { bpm, ..Default::default() }).build().map_err(am_core::Error::from);
    /// let (ledger, batch) = Batch::issue(vec![reading(60)?, reading(70)?], Origin::Live);
    /// let mut items = batch.into_iter();
    /// items.next().ok_or("two")?.settle(Outcome::Discarded(Reason::FILTER));
    /// drop(items); // the second is dropped undecided
    /// assert!(matches!(ledger.outcome(0), Some(Outcome::Discarded(_))));
    /// assert!(matches!(ledger.outcome(1), Some(Outcome::Retry(None))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn issue(readings: Vec<Reading>, origin: Origin) -> (Ledger, Batch) {
        let (ledger, receipts) = Ledger::new(readings.len());
        (ledger, Batch(readings.into_iter().zip(receipts).map(|(r, receipt)| Item::new(r, receipt, origin)).collect()))
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The items, by reference.
    pub fn iter(&self) -> std::slice::Iter<'_, Item> {
        self.0.iter()
    }

    /// The items.
    pub fn into_vec(self) -> Vec<Item> {
        self.0
    }

    /// Keeps the items that `keep` wants and discards the others.
    pub fn retain(&mut self, reason: &Reason, mut keep: impl FnMut(&Reading) -> bool) -> usize {
        let before = self.0.len();
        let outcome = Outcome::Discarded(reason.clone());
        let gone = self.0.extract_if(.., |item| !keep(item)).map(|item| item.into_parts().1);
        Receipt::settle_all(gone, &outcome);
        before - self.0.len()
    }

    /// The same readings without receipts, for what is only looked at.
    pub fn readings(&self) -> impl Iterator<Item = &Reading> {
        self.0.iter().map(Item::reading)
    }
}

impl From<Vec<Item>> for Batch {
    fn from(items: Vec<Item>) -> Self {
        Batch(items)
    }
}

impl IntoIterator for Batch {
    type Item = Item;
    type IntoIter = std::vec::IntoIter<Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = &'a Item;
    type IntoIter = std::slice::Iter<'a, Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
