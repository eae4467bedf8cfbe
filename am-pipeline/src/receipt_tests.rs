use std::sync::Arc;

use am_core::{Code, Error};
use proptest::prelude::*;

use super::*;
use crate::Reason;

fn parked() -> Outcome {
    Outcome::Parked(Arc::new(Error::new(Code::INVALID_ITEM, "bad")))
}

fn of(severity: u8) -> Outcome {
    match severity {
        0 => Outcome::Delivered,
        1 => Outcome::Discarded(Reason::FILTER),
        2 => parked(),
        _ => Outcome::Retry(None),
    }
}

#[test]
fn a_receipt_that_is_dropped_undecided_says_retry() {
    let (ledger, receipts) = Ledger::new(2);
    let mut receipts: Vec<_> = receipts.collect();
    receipts.remove(0).settle(Outcome::Delivered);
    assert!(ledger.outcome(1).is_none() && !ledger.is_settled());
    drop(receipts);
    assert!(ledger.is_settled());
    assert!(matches!(ledger.outcomes()[..], [Some(Outcome::Delivered), Some(Outcome::Retry(None))]));
}

#[test]
fn joined_receipts_end_as_the_one_made_of_them() {
    let (ledger, receipts) = Ledger::new(3);
    let one = Receipt::join(receipts.collect());
    assert!(!ledger.is_settled());
    one.settle(parked());
    assert!(ledger.outcomes().iter().all(|o| matches!(o, Some(Outcome::Parked(e)) if e.code() == Code::INVALID_ITEM)));
}

#[tokio::test]
async fn the_owner_is_woken_once_the_last_slot_is_settled() {
    let done = Arc::new(Notify::new());
    let (ledger, receipts) = Ledger::notifying(512, done.clone());
    let settling = tokio::spawn(async move { Receipt::settle_all(receipts, &Outcome::Delivered) });
    done.notified().await;
    assert!(ledger.is_settled());
    settling.await.unwrap();
}

#[test]
fn a_tally_remembers_the_worst_of_what_it_issued() {
    let tally = Tally::new(None);
    assert_eq!(tally.worst(), Some(Severity::Delivered));
    let (a, b) = (tally.issue(), tally.issue());
    let c = b.split();
    a.settle(Outcome::Discarded(Reason::FILTER));
    b.settle(Outcome::Delivered);
    assert_eq!(tally.worst(), None);
    drop(c);
    assert_eq!(tally.worst(), Some(Severity::Retry));
}

proptest! {
    /// Each slot is split some times; its parts are settled in any order, one by one or together, with drains in between.
    #[test]
    fn custody_p02_every_slot_ends_once_with_its_worst_outcome(
        ways in prop::collection::vec(prop::collection::vec(0u8..4, 1..4), 1..40),
        order in any::<u64>(),
        together in any::<bool>(),
    ) {
        let (mut ledger, receipts) = Ledger::new(ways.len());
        let mut open: Vec<(Receipt, u8)> = Vec::new();
        for (r, severities) in receipts.zip(&ways) {
            for s in &severities[1..] {
                open.push((r.split(), *s));
            }
            open.push((r, severities[0]));
        }
        let n = open.len();
        open.rotate_left((order as usize) % n);
        let mut seen = vec![None; ways.len()];
        let mut take = |ledger: &mut Ledger| ledger.drain(|slot, o| assert!(seen[slot].replace(o.severity() as u8).is_none(), "told twice"));
        if together {
            for s in 0..4 {
                let (now, rest): (Vec<_>, Vec<_>) = open.into_iter().partition(|(_, x)| *x == s);
                open = rest;
                Receipt::settle_all(now.into_iter().map(|(r, _)| r), &of(s));
                take(&mut ledger);
            }
        } else {
            for (i, (r, s)) in open.into_iter().enumerate() {
                if s == 3 { drop(r) } else { r.settle(of(s)) }
                if i % 5 == 0 { take(&mut ledger) }
            }
        }
        take(&mut ledger);
        prop_assert!(ledger.is_settled() && ledger.left() == 0);
        for (slot, severities) in ways.iter().enumerate() {
            prop_assert_eq!(seen[slot], severities.iter().max().copied());
        }
    }
}
