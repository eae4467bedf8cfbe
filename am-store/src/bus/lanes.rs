//! Messages in line: those of one stream are stored in the order of the bus, those of different streams side by side.
//!
//! The order decides which of two contents under one key is the first, and which derivation of a slot is the newest.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use am_core::{DeviceId, Scope, Timestamp};
use am_pipeline::bus::{Area, Delivery, Message, Parcel, Parcels, Tag};
use am_schema::{Catalogue, Decoder};

use super::parcels;
use crate::model::Ingest;

/// Readings of one transaction that is put together from several messages of a flow.
const TOGETHER: usize = 2_000;

/// Whose turn it is among what: area, person, topic, device.
pub(super) type Lane = (Area, Scope, String, Option<DeviceId>);

/// A message that is to be stored.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) tag: Tag,
    pub(super) scope: Scope,
    pub(super) trace: am_core::TraceParent,
    pub(super) content: Arc<Content>,
}

/// What a message turned out to be.
pub(super) enum Content {
    Parcel(Box<Parcel>),
    /// Not one of ours: why, and its bytes.
    Foreign(String, bytes::Bytes),
}

impl Job {
    /// Looks into a delivery. What says not whose it is, is the operator's.
    pub(super) fn new(d: Delivery, operator: &Scope) -> (Lane, Job) {
        let lane = |m: &Message| (m.area, m.scope.clone(), m.topic.clone(), m.device.clone());
        match d.message {
            Ok(m) => {
                let content = match Parcel::from_body(m.body.clone()) {
                    Ok(parcel) => Content::Parcel(Box::new(parcel)),
                    Err(e) => Content::Foreign(e.message().to_owned(), m.body.clone()),
                };
                (lane(&m), Job { tag: d.tag, scope: m.scope, trace: m.trace, content: Arc::new(content) })
            }
            Err(f) => {
                let content = Content::Foreign(format!("{}: {}", f.subject, f.why), f.body);
                let lane = (Area::Errors, operator.clone(), "processing.errors.ingest".to_owned(), None);
                (lane, Job { tag: d.tag, scope: operator.clone(), trace: Default::default(), content: Arc::new(content) })
            }
        }
    }

    /// The flow and origin, by which messages can be put together; messages of devices stay apart, each with its own provenance.
    fn kin(&self) -> Option<(&str, i32)> {
        match &*self.content {
            Content::Parcel(p) if !p.flow.is_empty() => Some((&p.flow, p.origin)),
            _ => None,
        }
    }

    fn size(&self) -> usize {
        match &*self.content {
            Content::Parcel(p) => p.readings.len() + p.letters.len(),
            Content::Foreign(..) => 1,
        }
    }

    /// The batch that goes to the store.
    pub(super) fn batch(&self, catalogue: &Catalogue, now: Timestamp) -> Ingest {
        match &*self.content {
            Content::Parcel(p) => parcels::ingest(&mut Decoder::new(catalogue.clone()).trusted(), &self.scope, (**p).clone(), now),
            Content::Foreign(why, body) => self.foreign(why, body, now),
        }
    }

    /// The whole message as a dead letter, for one that the store refuses.
    pub(super) fn refused(&self, why: &am_core::Error, now: Timestamp) -> Ingest {
        let body = match &*self.content {
            Content::Parcel(p) => p.to_body(),
            Content::Foreign(_, body) => body.clone(),
        };
        self.foreign(&format!("refused by the store: {why}"), &body, now)
    }

    fn foreign(&self, why: &str, body: &bytes::Bytes, now: Timestamp) -> Ingest {
        Ingest { rejected: vec![parcels::foreign(&self.scope, now, why, body.clone())], ..Default::default() }
    }
}

/// Jobs by lane, each lane with at most one group at work.
#[derive(Default)]
pub(super) struct Lanes {
    waiting: HashMap<Lane, VecDeque<Job>>,
    busy: HashSet<Lane>,
    held: usize,
}

impl Lanes {
    /// Messages that are not done, at work or waiting for their turn.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Puts a job at the end of its lane.
    pub(super) fn add(&mut self, lane: Lane, job: Job) {
        self.held += 1;
        self.waiting.entry(lane).or_default().push_back(job);
    }

    /// The next groups, of lanes that have none at work.
    pub(super) fn next(&mut self) -> Vec<(Lane, Vec<Job>)> {
        let idle: Vec<Lane> = self.waiting.keys().filter(|l| !self.busy.contains(*l)).cloned().collect();
        let mut out = Vec::with_capacity(idle.len());
        for lane in idle {
            let Some(queue) = self.waiting.get_mut(&lane) else { continue };
            let mut group: Vec<Job> = queue.pop_front().into_iter().collect();
            let mut size = group.first().map_or(0, Job::size);
            let kin = group.first().and_then(|j| j.kin().map(|(f, o)| (f.to_owned(), o)));
            while let Some(next) = queue.front() {
                let fits = kin.is_some() && next.kin() == kin.as_ref().map(|(f, o)| (f.as_str(), *o)) && size + next.size() <= TOGETHER;
                if !fits {
                    break;
                }
                size += next.size();
                group.extend(queue.pop_front());
            }
            if queue.is_empty() {
                self.waiting.remove(&lane);
            }
            if !group.is_empty() {
                self.busy.insert(lane.clone());
                out.push((lane, group));
            }
        }
        out
    }

    /// A group is done: the next of its lane may go.
    pub(super) fn done(&mut self, lane: &Lane, jobs: usize) {
        self.busy.remove(lane);
        self.held -= jobs.min(self.held);
    }

    /// A group is to be tried again, before what waits behind it.
    pub(super) fn back(&mut self, lane: &Lane, jobs: Vec<Job>) {
        self.busy.remove(lane);
        let queue = self.waiting.entry(lane.clone()).or_default();
        jobs.into_iter().rev().for_each(|j| queue.push_front(j));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(n: u64, topic: &str, flow: &str) -> (Lane, Job) {
        let parcel = Parcel { readings: vec![Default::default()], flow: flow.into(), ..Default::default() };
        let job =
            Job { tag: Tag(n), scope: Scope::local(), trace: Default::default(), content: Arc::new(Content::Parcel(Box::new(parcel))) };
        ((Area::Readings, Scope::local(), topic.into(), None), job)
    }

    fn tags(groups: &[(Lane, Vec<Job>)]) -> Vec<Vec<u64>> {
        let mut all: Vec<Vec<u64>> = groups.iter().map(|(_, g)| g.iter().map(|j| j.tag.0).collect()).collect();
        all.sort();
        all
    }

    #[test]
    fn a_lane_has_one_group_at_a_time_and_what_failed_comes_before_what_waits() {
        let mut l = Lanes::default();
        for (n, topic, flow) in [(1, "a", ""), (2, "a", ""), (3, "b", "f"), (4, "b", "f"), (5, "b", "g")] {
            let (lane, job) = job(n, topic, flow);
            l.add(lane, job);
        }
        let first = l.next();
        assert_eq!(tags(&first), [vec![1], vec![3, 4]]);
        assert!(l.next().is_empty());
        for (lane, jobs) in first {
            match lane.2.as_str() {
                "a" => l.back(&lane, jobs),
                _ => l.done(&lane, jobs.len()),
            }
        }
        let second = l.next();
        assert_eq!((tags(&second), l.held()), (vec![vec![1], vec![5]], 3));
        second.iter().for_each(|(lane, jobs)| l.done(lane, jobs.len()));
        assert_eq!((tags(&l.next()), l.held()), (vec![vec![2]], 1));
    }
}
