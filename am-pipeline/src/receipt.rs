//! Receipts: every item's way ends in exactly one outcome, and whoever brought it hears of it.
//!
//! A [`Ledger`] stands for the items that a source handed over together; each item carries a [`Receipt`], a pointer to the ledger and
//! the number of its slot. Settling writes the slot; the last one wakes the ledger's owner. Receipts can be split when an item goes
//! several ways: the slot then waits for all of them and keeps the worst outcome. A receipt that is dropped says `Retry`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::outcome::{Outcome, Severity};

const COUNT: u32 = (1 << 30) - 1;
/// The slot number of receipts that are only counted together.
const NO_SLOT: u32 = u32::MAX;

/// Slots hold the number of receipts still out (30 bits) and the worst severity so far (2 bits).
pub(crate) struct Group {
    slots: Box<[AtomicU32]>,
    /// Slots still out; of a tally, receipts still out and the worst severity.
    open: AtomicU32,
    worst: AtomicU32,
    details: Mutex<Vec<(u32, Outcome)>>,
    /// Receipts that end as the only slot ends.
    joined: Mutex<Vec<Receipt>>,
    done: Option<Arc<Notify>>,
}

impl Group {
    fn new(n: usize, done: Option<Arc<Notify>>) -> Group {
        Group {
            slots: (0..n).map(|_| AtomicU32::new(1)).collect(),
            open: AtomicU32::new(u32::try_from(n).unwrap_or(COUNT)),
            worst: AtomicU32::new(0),
            details: Mutex::new(Vec::new()),
            joined: Mutex::new(Vec::new()),
            done,
        }
    }

    /// Marks one receipt of a slot; true when it was the slot's last.
    #[inline]
    fn mark(&self, slot: u32, severity: Severity) -> bool {
        let bits = (severity as u32) << 30;
        let Some(word) = self.slots.get(slot as usize) else {
            self.worst.fetch_max(severity as u32, Ordering::AcqRel);
            return true;
        };
        // The holder of a slot's only receipt has nobody to race with: only who holds one can split or settle it.
        if word.load(Ordering::Acquire) == 1 {
            word.store(bits, Ordering::Release);
            return true;
        }
        let step = |w: u32| Some((w & !COUNT).max(bits) | ((w & COUNT) - 1));
        let old = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).unwrap_or(1);
        old & COUNT == 1
    }

    /// Closes `n` slots at once.
    #[inline]
    fn close(&self, n: u32) {
        if n > 0 && self.open.fetch_sub(n, Ordering::AcqRel) == n {
            self.finish();
        }
    }

    fn finish(&self) {
        let joined = std::mem::take(&mut *self.joined.lock());
        if !joined.is_empty() {
            let word = self.slots.first().map_or(0, |w| w.load(Ordering::Acquire));
            Receipt::settle_all(joined, &self.read(0, word));
        }
        if let Some(done) = &self.done {
            done.notify_one();
        }
    }

    /// The outcome of a settled slot.
    fn read(&self, slot: usize, word: u32) -> Outcome {
        let severity = Severity::from_bits(word >> 30);
        if severity == Severity::Delivered {
            return Outcome::Delivered;
        }
        let details = self.details.lock();
        let of_slot = details.iter().find(|(s, o)| *s as usize == slot && o.severity() == severity);
        of_slot.map_or(Outcome::Retry(None), |(_, o)| o.clone())
    }

    fn note(&self, slot: u32, outcome: Outcome) {
        self.details.lock().push((slot, outcome));
    }
}

/// The right and the duty to say how one item ended. Dropping it undecided says `Retry`.
#[derive(Default)]
pub struct Receipt {
    group: Option<Arc<Group>>,
    slot: u32,
}

impl Receipt {
    /// A receipt that nobody waits for: for readings that came from nowhere, such as in a test of a processor.
    pub fn detached() -> Receipt {
        Receipt::default()
    }

    /// Says how the item ended.
    #[inline]
    pub fn settle(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    /// A second receipt for the same item: it ends when both are settled, with the worse outcome.
    #[must_use]
    pub fn split(&self) -> Receipt {
        if let Some(g) = &self.group {
            match g.slots.get(self.slot as usize) {
                Some(word) => word.fetch_add(1, Ordering::AcqRel),
                None => g.open.fetch_add(1, Ordering::AcqRel),
            };
        }
        Receipt { group: self.group.clone(), slot: self.slot }
    }

    /// One receipt for many: when it is settled, all of them are, in the same way.
    #[must_use]
    pub fn join(receipts: Vec<Receipt>) -> Receipt {
        let group = Group { joined: Mutex::new(receipts), ..Group::new(1, None) };
        Receipt { group: Some(Arc::new(group)), slot: 0 }
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(g) = self.group.take() {
            let severity = outcome.severity();
            if severity != Severity::Delivered {
                g.note(self.slot, outcome);
            }
            if g.mark(self.slot, severity) {
                g.close(1);
            }
        }
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.group.is_some()
    }

    /// Settles many with one outcome; faster than one by one.
    pub fn settle_all(receipts: impl IntoIterator<Item = Receipt>, outcome: &Outcome) {
        let severity = outcome.severity();
        let mut run: Option<(Arc<Group>, u32)> = None;
        for mut r in receipts {
            let Some(g) = r.group.take() else { continue };
            if severity != Severity::Delivered {
                g.note(r.slot, outcome.clone());
            }
            let closed = u32::from(g.mark(r.slot, severity));
            match &mut run {
                Some((same, n)) if Arc::ptr_eq(same, &g) => *n += closed,
                _ => {
                    if let Some((old, n)) = run.replace((g, closed)) {
                        old.close(n);
                    }
                }
            }
        }
        if let Some((g, n)) = run {
            g.close(n);
        }
    }
}

impl Drop for Receipt {
    #[inline]
    fn drop(&mut self) {
        if self.group.is_some() {
            self.end(Outcome::Retry(None));
        }
    }
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Receipt({})", if self.is_open() { "open" } else { "closed" })
    }
}

/// Issues receipts and reads how they ended.
pub struct Ledger {
    group: Arc<Group>,
    /// Slots whose outcome was taken already; empty as long as none was.
    taken: Vec<bool>,
    left: usize,
}

impl Ledger {
    /// A ledger of `n` slots, with their receipts in order.
    pub fn new(n: usize) -> (Ledger, impl Iterator<Item = Receipt> + use<>) {
        Self::build(n, None)
    }

    /// As [`Ledger::new`]; `done` is notified when the last slot is settled.
    pub fn notifying(n: usize, done: Arc<Notify>) -> (Ledger, impl Iterator<Item = Receipt> + use<>) {
        Self::build(n, Some(done))
    }

    fn build(n: usize, done: Option<Arc<Notify>>) -> (Ledger, impl Iterator<Item = Receipt> + use<>) {
        let group = Arc::new(Group::new(n, done));
        let issued = group.clone();
        let receipts = (0..n as u32).map(move |slot| Receipt { group: Some(issued.clone()), slot });
        (Ledger { group, taken: Vec::new(), left: n }, receipts)
    }

    /// Number of slots.
    pub fn len(&self) -> usize {
        self.group.slots.len()
    }

    /// Whether it has no slots.
    pub fn is_empty(&self) -> bool {
        self.group.slots.is_empty()
    }

    /// Whether every slot is settled.
    pub fn is_settled(&self) -> bool {
        self.group.open.load(Ordering::Acquire) == 0
    }

    /// Slots whose outcome was not handed out by [`Ledger::drain`] yet.
    pub fn left(&self) -> usize {
        self.left
    }

    /// How the item in a slot ended; `None` while its way goes on, or when there is no such slot.
    pub fn outcome(&self, slot: usize) -> Option<Outcome> {
        let word = self.group.slots.get(slot)?.load(Ordering::Acquire);
        (word & COUNT == 0).then(|| self.group.read(slot, word))
    }

    /// Whether [`Ledger::drain`] would hand out anything.
    pub fn has_news(&self) -> bool {
        self.left > self.group.open.load(Ordering::Acquire) as usize
    }

    /// As [`Ledger::drain`], and `Retry` for those whose way is not at its end: nobody will look again.
    pub fn drain_all(mut self, mut each: impl FnMut(usize, Outcome)) {
        self.drain(&mut each);
        if self.left > 0 {
            let open = |slot: &usize| !self.taken.get(*slot).copied().unwrap_or_default();
            (0..self.len()).filter(open).for_each(|slot| each(slot, Outcome::Retry(None)));
        }
    }

    /// Hands out the outcomes that came in since the last call.
    pub fn drain(&mut self, mut each: impl FnMut(usize, Outcome)) {
        if self.left == 0 {
            return;
        }
        let settled = self.is_settled();
        let mut details = std::mem::take(&mut *self.group.details.lock());
        details.sort_unstable_by_key(|(slot, o)| (*slot, std::cmp::Reverse(o.severity())));
        if settled && self.taken.is_empty() {
            return self.drain_settled(details, each);
        }
        let mut at = 0;
        if !settled && self.taken.is_empty() {
            self.taken = vec![false; self.len()];
        }
        let mut keep = Vec::new();
        for (slot, word) in self.group.slots.iter().enumerate() {
            let from = at;
            while details.get(at).is_some_and(|d| d.0 as usize == slot) {
                at += 1;
            }
            let mine = details.get(from..at).unwrap_or_default();
            if self.taken.get(slot).copied().unwrap_or_default() {
                continue;
            }
            let word = word.load(Ordering::Acquire);
            if word & COUNT > 0 {
                keep.extend_from_slice(mine);
                continue;
            }
            if let Some(t) = self.taken.get_mut(slot) {
                *t = true;
            }
            self.left -= 1;
            // A detail is noted before its slot is marked, so the taken list holds it or the group's list does.
            let worst = |(_, o): &&(u32, Outcome)| o.severity() as u32 == word >> 30;
            each(slot, mine.iter().find(worst).map_or_else(|| self.group.read(slot, word), |(_, o)| o.clone()));
        }
        if !keep.is_empty() {
            self.group.details.lock().append(&mut keep);
        }
    }

    /// The common case of a drain: all slots at once, with the worst outcome of each slot first among its details.
    fn drain_settled(&mut self, details: Vec<(u32, Outcome)>, mut each: impl FnMut(usize, Outcome)) {
        self.left = 0;
        let mut details = details.into_iter().peekable();
        for slot in 0..self.len() {
            let mut worst = Outcome::Delivered;
            while let Some((_, o)) = details.next_if(|(s, _)| *s as usize == slot) {
                worst = worst.merge(o);
            }
            each(slot, worst);
        }
    }

    /// All outcomes by slot; `None` where an item's way goes on.
    pub fn outcomes(&self) -> Vec<Option<Outcome>> {
        (0..self.len()).map(|slot| self.outcome(slot)).collect()
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ledger({} of {} open)", self.group.open.load(Ordering::Relaxed), self.len())
    }
}

/// Counts receipts that have no slot of their own: those of readings derived from a processor's state.
pub(crate) struct Tally(Arc<Group>);

impl Tally {
    pub(crate) fn new(done: Option<Arc<Notify>>) -> Tally {
        Tally(Arc::new(Group::new(0, done)))
    }

    pub(crate) fn issue(&self) -> Receipt {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        Receipt { group: Some(self.0.clone()), slot: NO_SLOT }
    }

    /// The worst outcome, once nothing is out.
    #[cfg(test)]
    pub(crate) fn worst(&self) -> Option<Severity> {
        (self.0.open.load(Ordering::Acquire) == 0).then(|| Severity::from_bits(self.0.worst.load(Ordering::Acquire)))
    }
}

#[cfg(test)]
#[path = "receipt_tests.rs"]
mod tests;
