//! What to send next: the client without its I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use am_core::Monotonic;
use am_core::policy::Backoff;

use crate::ItemOutcome;
use crate::options::ClientOptions;

/// What the loop should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Read items after this number and send those that [`Planner::wanted`] names.
    Send {
        /// The number.
        after: u64,
    },
    /// Nothing to do before this time.
    WaitUntil(Monotonic),
    /// Nothing to do before something is pushed or answered.
    Idle,
}

/// Keeps account of what was sent, answered and has to be sent again.
pub(crate) struct Planner {
    batch_min: usize,
    batch_max: usize,
    in_flight_max: usize,
    linger: Duration,
    backoff: Backoff,
    /// Everything up to here was answered for good.
    settled: u64,
    /// Answered for good, out of order.
    done: BTreeSet<u64>,
    /// The highest number ever sent.
    high: u64,
    /// To be sent again.
    again: BTreeSet<u64>,
    flying: BTreeMap<u64, Vec<u64>>,
    next_batch: u64,
    failures: u32,
    blocked_until: Monotonic,
    oldest_waiting: Option<Monotonic>,
    /// Send without waiting for company up to this number.
    hurry: u64,
}

/// How an answer changed things.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Everything up to here may be forgotten.
    pub(crate) through: u64,
    pub(crate) stored: u64,
    pub(crate) duplicate: u64,
    pub(crate) discarded: u64,
    pub(crate) rejected: Vec<(u64, u32, String)>,
}

impl Planner {
    pub(crate) fn new(o: &ClientOptions, settled: u64) -> Self {
        let batch_max = o.batch_max.clamp(1, 10_000);
        Planner {
            batch_min: o.batch_min.clamp(1, batch_max),
            batch_max,
            in_flight_max: o.in_flight.clamp(1, 64),
            linger: Duration::from_millis(o.linger_ms),
            backoff: o.backoff.clone(),
            settled,
            done: BTreeSet::new(),
            high: settled,
            again: BTreeSet::new(),
            flying: BTreeMap::new(),
            next_batch: 1,
            failures: 0,
            blocked_until: Duration::ZERO,
            oldest_waiting: None,
            hurry: settled,
        }
    }

    /// Says that everything up to `last` should go out at once.
    pub(crate) fn hurry(&mut self, last: u64) {
        self.hurry = self.hurry.max(last);
    }

    pub(crate) fn settled(&self) -> u64 {
        self.settled
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.flying.len()
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// What to do, when the outbox holds numbers up to `last`.
    pub(crate) fn plan(&mut self, now: Monotonic, last: u64) -> Plan {
        let fresh = last.saturating_sub(self.high);
        if fresh == 0 && self.again.is_empty() {
            self.oldest_waiting = None;
            return Plan::Idle;
        }
        if now < self.blocked_until {
            return Plan::WaitUntil(self.blocked_until);
        }
        // After a failure one batch probes; the others follow its success.
        let allowed = if self.failures > 0 { 1 } else { self.in_flight_max };
        if self.flying.len() >= allowed {
            return Plan::Idle;
        }
        if !self.again.is_empty() {
            return Plan::Send { after: self.settled };
        }
        let since = *self.oldest_waiting.get_or_insert(now);
        if fresh >= self.batch_min as u64 || self.high < self.hurry || now >= since.saturating_add(self.linger) {
            return Plan::Send { after: self.high };
        }
        Plan::WaitUntil(since.saturating_add(self.linger))
    }

    /// How many items to read at most for [`Plan::Send`].
    pub(crate) fn read_limit(&self) -> usize {
        match self.again.last() {
            Some(n) => self.batch_max + usize::try_from(n - self.settled).unwrap_or(usize::MAX).min(64 * self.batch_max),
            None => self.batch_max,
        }
    }

    /// Whether an item that was read should go into the batch.
    pub(crate) fn wanted(&self, seq: u64) -> bool {
        self.again.contains(&seq) || (self.again.is_empty() && seq > self.high)
    }

    pub(crate) fn batch_max(&self) -> usize {
        self.batch_max
    }

    /// Notes that these items are on their way; gives the batch's number.
    pub(crate) fn begin(&mut self, seqs: Vec<u64>) -> u64 {
        for s in &seqs {
            self.again.remove(s);
            self.high = self.high.max(*s);
        }
        self.oldest_waiting = None;
        let n = self.next_batch;
        self.next_batch += 1;
        self.flying.insert(n, seqs);
        n
    }

    /// Notes an answer. `unit` in [0, 1) is the jitter.
    pub(crate) fn answered(&mut self, batch: u64, outcomes: &[ItemOutcome], retry_after: Duration, now: Monotonic, unit: f64) -> Settled {
        let seqs = self.flying.remove(&batch).unwrap_or_default();
        let mut out = Settled::default();
        let mut retries = 0;
        for (i, seq) in seqs.iter().enumerate() {
            match outcomes.get(i) {
                Some(ItemOutcome::Stored) => out.stored += 1,
                Some(ItemOutcome::Duplicate) => out.duplicate += 1,
                Some(ItemOutcome::Discarded) => out.discarded += 1,
                Some(ItemOutcome::Rejected(code, why)) => out.rejected.push((*seq, *code, why.clone())),
                // An item the server did not answer for was not answered.
                Some(ItemOutcome::Retry) | None => {
                    self.again.insert(*seq);
                    retries += 1;
                    continue;
                }
            }
            self.done.insert(*seq);
        }
        if retries > 0 {
            self.failed_once(now, unit, retry_after);
        } else {
            self.failures = 0;
            self.blocked_until = now.saturating_add(retry_after);
        }
        self.advance();
        out.through = self.settled;
        out
    }

    /// Notes that a batch failed as a whole.
    pub(crate) fn failed(&mut self, batch: u64, at_least: Duration, now: Monotonic, unit: f64) {
        let seqs = self.flying.remove(&batch).unwrap_or_default();
        self.again.extend(seqs);
        self.failed_once(now, unit, at_least);
    }

    fn failed_once(&mut self, now: Monotonic, unit: f64, at_least: Duration) {
        self.failures = self.failures.saturating_add(1);
        self.blocked_until =
            now.saturating_add(self.backoff.wait(self.failures, unit, at_least.min(Duration::from_millis(self.backoff.max_ms))));
    }

    /// Moves the settled number over gaps that the outbox does not have: items that could not be read back.
    pub(crate) fn skip_missing(&mut self, present: impl Fn(u64) -> bool, through: u64) {
        let missing: Vec<u64> = self.again.range(..=through).copied().filter(|s| !present(*s)).collect();
        for s in missing {
            self.again.remove(&s);
            self.done.insert(s);
        }
        self.advance();
    }

    fn advance(&mut self) {
        while let Some(first) = self.done.first().copied() {
            // Numbers that were never handed out for sending are gaps of the outbox itself.
            let open = self.again.first().copied().into_iter().chain(self.flying.values().filter_map(|v| v.first().copied())).min();
            if open.is_some_and(|o| o < first) {
                break;
            }
            self.done.pop_first();
            self.settled = self.settled.max(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn planner() -> Planner {
        Planner::new(
            &ClientOptions {
                batch_min: 10,
                batch_max: 20,
                linger_ms: 100,
                in_flight: 2,
                backoff: Backoff::new(100, 1_000),
                ..Default::default()
            },
            0,
        )
    }

    #[test]
    fn a_few_readings_wait_for_company_and_many_do_not() {
        let mut p = planner();
        assert_eq!(p.plan(Duration::ZERO, 0), Plan::Idle);
        assert_eq!(p.plan(Duration::ZERO, 3), Plan::WaitUntil(100 * MS));
        assert_eq!(p.plan(50 * MS, 10), Plan::Send { after: 0 });
        p.begin((1..=10).collect());
        assert_eq!(p.plan(60 * MS, 12), Plan::WaitUntil(160 * MS));
        p.hurry(12);
        assert_eq!(p.plan(60 * MS, 12), Plan::Send { after: 10 });
    }

    #[test]
    fn answers_out_of_order_settle_only_the_unbroken_front() {
        let mut p = planner();
        let a = p.begin(vec![1, 2]);
        let b = p.begin(vec![3, 4]);
        let all = [ItemOutcome::Stored, ItemOutcome::Duplicate];
        assert_eq!(p.answered(b, &all, Duration::ZERO, Duration::ZERO, 0.5).through, 0);
        let s = p.answered(a, &all, Duration::ZERO, Duration::ZERO, 0.5);
        assert_eq!((s.through, s.stored, s.duplicate), (4, 1, 1));
    }

    #[test]
    fn a_failed_batch_is_sent_again_after_a_wait_that_grows() {
        let mut p = planner();
        let a = p.begin(vec![1, 2]);
        p.failed(a, Duration::ZERO, Duration::ZERO, 1.0);
        assert_eq!(p.plan(99 * MS, 2), Plan::WaitUntil(100 * MS));
        assert_eq!(p.plan(100 * MS, 2), Plan::Send { after: 0 });
        let b = p.begin(vec![1, 2]);
        p.failed(b, Duration::ZERO, 100 * MS, 1.0);
        assert_eq!(p.plan(100 * MS, 2), Plan::WaitUntil(300 * MS));
    }

    #[test]
    fn rejected_items_are_let_go_and_unanswered_ones_are_not() {
        let mut p = planner();
        let a = p.begin(vec![1, 2, 3]);
        let s = p.answered(a, &[ItemOutcome::Rejected(1001, "bpm".into()), ItemOutcome::Retry], Duration::ZERO, Duration::ZERO, 0.0);
        assert_eq!((s.through, s.rejected.len()), (1, 1));
        assert!(p.wanted(2) && p.wanted(3) && !p.wanted(1));
    }

    proptest! {
        #[test]
        fn custody_p01_every_number_is_settled_exactly_once_whatever_the_answers(script in prop::collection::vec((0u8..4, 0u8..5), 1..200)) {
            let mut p = planner();
            let (mut now, last) = (Duration::ZERO, 60u64);
            let mut flying: Vec<u64> = Vec::new();
            let mut answered: BTreeMap<u64, u32> = BTreeMap::new();
            let mut script = script.into_iter().cycle();
            p.hurry(last);
            for _ in 0..5_000 {
                match p.plan(now, last) {
                    Plan::Send { after } => {
                        let seqs: Vec<u64> = (after + 1..=last).filter(|s| p.wanted(*s)).take(p.batch_max()).collect();
                        prop_assert!(!seqs.is_empty());
                        flying.push(p.begin(seqs));
                    }
                    Plan::WaitUntil(t) => now = t,
                    Plan::Idle if flying.is_empty() => break,
                    Plan::Idle => {
                        let (what, which) = script.next().unwrap();
                        let b = flying.remove(usize::from(which) % flying.len());
                        let seqs = p.flying.get(&b).cloned().unwrap();
                        if what == 0 {
                            p.failed(b, Duration::ZERO, now, 0.5);
                        } else {
                            let outcomes: Vec<ItemOutcome> = seqs.iter().map(|s| if what == 1 && s % 3 == 0 { ItemOutcome::Retry } else { ItemOutcome::Stored }).collect();
                            for (s, o) in seqs.iter().zip(&outcomes) {
                                if *o == ItemOutcome::Stored {
                                    *answered.entry(*s).or_default() += 1;
                                }
                            }
                            let through = p.answered(b, &outcomes, Duration::ZERO, now, 0.5).through;
                            prop_assert!((1..=through).all(|s| answered.contains_key(&s)), "settled {through} before its answer");
                        }
                    }
                }
            }
            if p.settled() == last {
                prop_assert!(answered.values().all(|n| *n == 1) && answered.len() == last as usize);
            }
        }
    }
}
