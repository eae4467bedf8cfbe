//! What a member has read and not settled, and how far each partition may be committed.
//!
//! Kafka knows one number per partition: everything below it is done. So a message that is settled early waits for those before it, and
//! a message that shall come again is kept here and handed out again, without moving that number past it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::bus::{Delivery, Foreign, GroupSpec, Message, Tag};

/// A partition of a topic.
pub(super) type Place = (Arc<str>, i32);
pub(super) type Content = Result<Message, Foreign>;

#[derive(Default)]
struct Partition {
    /// The offset behind the last one that was read; `None` until something was.
    next: Option<i64>,
    /// Read and not settled.
    open: BTreeSet<i64>,
    /// How far it may be committed, as last said.
    told: Option<i64>,
    /// Nothing more is asked for.
    paused: bool,
    /// It was looked at whether messages are gone that nobody of the group had.
    looked: bool,
}

/// A message that is with the caller, or waits for its next turn.
struct Open {
    place: Place,
    offset: i64,
    attempt: u32,
    /// When it comes again.
    due: Duration,
    held: bool,
    content: Content,
}

/// All of one member.
pub(super) struct Ledger {
    last: u32,
    room: usize,
    settle_within: Duration,
    partitions: BTreeMap<Place, Partition>,
    open: BTreeMap<u64, Open>,
    tags: u64,
    /// The group has said what is this member's, be it nothing.
    member: bool,
}

impl Ledger {
    pub(super) fn new(spec: &GroupSpec) -> Self {
        Ledger {
            last: spec.deliveries,
            room: spec.in_flight.max(1),
            settle_within: spec.settle_within,
            partitions: BTreeMap::new(),
            open: BTreeMap::new(),
            tags: 0,
            member: false,
        }
    }

    /// Whether the group knows this member, and as many partitions as it has are at their end, or there is no more room.
    pub(super) fn is_settled_in(&self, ends: usize) -> bool {
        self.member && (ends >= self.partitions.len() || self.full())
    }

    /// These partitions are this member's from now on.
    pub(super) fn assign(&mut self, places: impl IntoIterator<Item = Place>) {
        self.member = true;
        for place in places {
            self.revoke([place.clone()]);
            self.partitions.insert(place, Partition::default());
        }
    }

    /// These are somebody else's: what is open of them comes to whoever has them, and settling it here says nothing any more.
    pub(super) fn revoke(&mut self, places: impl IntoIterator<Item = Place>) {
        for place in places {
            if self.partitions.remove(&place).is_some() {
                self.open.retain(|_, o| o.place != place);
            }
        }
    }

    /// Takes in what was read; `None` for what the group does not want, which is settled thereby.
    pub(super) fn admit(&mut self, place: &Place, offset: i64, content: Option<Content>, now: Duration) {
        let Some(p) = self.partitions.get_mut(place) else { return };
        if p.next.is_some_and(|n| offset < n) {
            return;
        }
        p.next = Some(offset + 1);
        let Some(content) = content else { return };
        p.open.insert(offset);
        self.tags += 1;
        let open = Open { place: place.clone(), offset, attempt: 0, due: now, held: false, content };
        self.open.insert(self.tags, open);
    }

    /// Whether so much is open that nothing more should be read.
    pub(super) fn full(&self) -> bool {
        self.open.len() >= self.room
    }

    /// Hands out what is due, in the order in which it was read or asked for again.
    pub(super) fn take(&mut self, max: usize, now: Duration) -> Vec<Delivery> {
        let due: Vec<u64> = self.open.iter().filter(|(_, o)| o.due <= now).map(|(tag, _)| *tag).take(max).collect();
        let mut out = Vec::with_capacity(due.len());
        for tag in due {
            let Some(mut o) = self.open.remove(&tag) else { continue };
            (o.attempt, o.due, o.held) = (o.attempt.saturating_add(1), now.saturating_add(self.settle_within), true);
            self.tags += 1;
            out.push(Delivery {
                tag: Tag(self.tags),
                sequence: o.offset.unsigned_abs().saturating_add(1),
                attempt: o.attempt,
                last: self.last > 0 && o.attempt >= self.last,
                message: o.content.clone(),
            });
            self.open.insert(self.tags, o);
        }
        out
    }

    /// When the next message is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.open.values().map(|o| o.due).min()
    }

    /// These are done.
    pub(super) fn done(&mut self, tags: &[Tag]) {
        for tag in tags {
            let Some(o) = self.open.remove(&tag.0) else { continue };
            if let Some(p) = self.partitions.get_mut(&o.place) {
                p.open.remove(&o.offset);
            }
        }
    }

    /// These come again then.
    pub(super) fn again(&mut self, tags: &[Tag], due: Duration) {
        for tag in tags {
            if let Some(o) = self.open.get_mut(&tag.0) {
                (o.due, o.held) = (due, false);
            }
        }
    }

    /// The partitions that may be committed further than last said, and up to where. Where one began is said too: then the brokers know
    /// what the group reads before anything of it is settled.
    pub(super) fn moved(&mut self) -> Vec<(Place, i64)> {
        let mut out = Vec::new();
        for (place, p) in &mut self.partitions {
            let position = p.open.first().copied().or(p.next);
            if let Some(position) = position.filter(|n| p.told.is_none_or(|t| *n > t)) {
                p.told = Some(position);
                out.push((place.clone(), position));
            }
        }
        out
    }

    /// The partitions, with the offset behind what was read of each.
    pub(super) fn read(&self) -> BTreeMap<Place, Option<i64>> {
        self.partitions.iter().map(|(place, p)| (place.clone(), p.next)).collect()
    }

    /// How many wait here and are not with the caller.
    pub(super) fn waiting(&self) -> u64 {
        self.open.values().filter(|o| !o.held).count() as u64
    }

    /// The partitions that came since this was asked last.
    pub(super) fn fresh(&mut self) -> Vec<Place> {
        let fresh = self.partitions.iter_mut().filter(|(_, p)| !p.looked);
        fresh
            .map(|(place, p)| {
                p.looked = true;
                place.clone()
            })
            .collect()
    }

    /// The partitions whose reading is not as it should be; they count as changed.
    pub(super) fn turn(&mut self, pause: bool) -> Vec<Place> {
        let wrong = self.partitions.iter_mut().filter(|(_, p)| p.paused != pause);
        wrong
            .map(|(place, p)| {
                p.paused = pause;
                place.clone()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const NOW: Duration = Duration::from_secs(100);

    fn place(n: i32) -> Place {
        (Arc::from("t"), n)
    }

    fn content(n: i64) -> Option<Content> {
        Some(Err(Foreign { subject: "t".into(), why: n.to_string(), body: Bytes::new() }))
    }

    fn ledger(room: usize, last: u32) -> Ledger {
        let mut l = Ledger::new(&GroupSpec::new("g", []).in_flight(room).deliveries(last));
        l.assign([place(0), place(1)]);
        l
    }

    fn fill(l: &mut Ledger, partition: i32, offsets: std::ops::Range<i64>) {
        for n in offsets {
            l.admit(&place(partition), n, content(n), NOW);
        }
    }

    fn tags(d: &[Delivery]) -> Vec<Tag> {
        d.iter().map(|d| d.tag).collect()
    }

    #[test]
    fn an_offset_is_committed_only_when_everything_before_it_is_settled() {
        let mut l = ledger(100, 0);
        fill(&mut l, 0, 5..10);
        let d = l.take(100, NOW);
        assert_eq!(l.moved(), [(place(0), 5)], "where it began");
        l.done(&tags(&d)[1..3]);
        assert_eq!(l.moved(), [], "5 is open");
        l.done(&tags(&d)[..1]);
        assert_eq!(l.moved(), [(place(0), 8)]);
        assert_eq!(l.moved(), [], "said once");
        l.done(&tags(&d)[3..]);
        assert_eq!(l.moved(), [(place(0), 10)]);
    }

    #[test]
    fn what_the_group_does_not_want_counts_as_settled_and_gaps_do_not_matter() {
        let mut l = ledger(100, 0);
        l.admit(&place(0), 3, None, NOW);
        l.admit(&place(0), 9, None, NOW);
        assert_eq!(l.moved(), [(place(0), 10)]);
        l.admit(&place(0), 10, content(10), NOW);
        l.admit(&place(0), 11, None, NOW);
        assert_eq!(l.moved(), []);
        let d = l.take(9, NOW);
        l.done(&tags(&d));
        assert_eq!(l.moved(), [(place(0), 12)]);
    }

    #[test]
    fn what_shall_come_again_comes_when_it_is_due_and_holds_the_commit_back() {
        let mut l = ledger(100, 2);
        fill(&mut l, 0, 0..3);
        let d = l.take(100, NOW);
        assert_eq!(l.moved(), [(place(0), 0)]);
        assert!(d.iter().all(|d| d.attempt == 1 && !d.last));
        l.again(&tags(&d)[..1], NOW + Duration::from_secs(5));
        l.done(&tags(&d)[1..]);
        assert_eq!((l.moved(), l.waiting()), (vec![], 1));
        assert!(l.take(100, NOW + Duration::from_secs(4)).is_empty());
        for attempt in [2, 3] {
            let due = l.next_due().unwrap();
            let d = l.take(100, due);
            assert_eq!((d.len(), d[0].sequence, d[0].attempt, d[0].last), (1, 1, attempt, true));
            l.again(&tags(&d), due);
        }
        let due = l.next_due().unwrap();
        let d = l.take(1, due);
        l.done(&tags(&d));
        assert_eq!(l.moved(), [(place(0), 3)]);
    }

    #[test]
    fn what_is_not_settled_in_time_comes_again_under_another_tag() {
        let mut l = ledger(100, 0);
        fill(&mut l, 0, 0..1);
        let first = l.take(1, NOW);
        let later = l.take(1, NOW + Duration::from_secs(30));
        assert_eq!(l.moved(), [(place(0), 0)]);
        assert_eq!((later.len(), later[0].attempt), (1, 2));
        l.done(&tags(&first));
        assert_eq!(l.moved(), [], "the old tag says nothing");
        l.done(&tags(&later));
        assert_eq!(l.moved(), [(place(0), 1)]);
    }

    #[test]
    fn a_revoked_partition_takes_what_is_open_with_it_and_begins_anew_when_it_comes_back() {
        let mut l = ledger(4, 0);
        fill(&mut l, 0, 0..3);
        fill(&mut l, 1, 7..8);
        assert!(l.full());
        let d = l.take(100, NOW);
        l.revoke([place(0)]);
        assert!(!l.full());
        l.done(&tags(&d));
        assert_eq!(l.moved(), [(place(1), 8)]);
        l.admit(&place(0), 3, content(3), NOW);
        assert!(l.take(9, NOW).is_empty(), "it is not this member's");
        l.assign([place(0)]);
        fill(&mut l, 0, 0..1);
        assert_eq!(l.take(9, NOW).len(), 1);
    }

    #[test]
    fn partitions_are_turned_once_and_new_ones_are_open() {
        let mut l = ledger(1, 0);
        assert_eq!(l.turn(true).len(), 2);
        assert_eq!(l.turn(true).len(), 0);
        assert_eq!((l.fresh().len(), l.fresh().len()), (2, 0));
        l.assign([place(1)]);
        assert_eq!(l.turn(true), [place(1)]);
        assert_eq!(l.fresh(), [place(1)]);
        assert_eq!(l.turn(false).len(), 2);
    }
}
