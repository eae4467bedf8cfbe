//! Readings in and out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use am_core::{Ctx, DeviceId, ReadingId, Result, Timestamp};
use am_schema::{Kind, ReadingRef};
use async_trait::async_trait;

use super::Memory;
use super::ingest::{Fate, Plan};
use super::rollup::{ceil, floor};
use super::state::{RECORD_BYTES, Row, ScopeData, Stream};
use crate::cursor::{self, Place};
use crate::limits;
use crate::model::{
    Aggregate, AggregateQuery, Bucket, BucketWidth, Generations, Ingest, IngestOutcome, LatestQuery, Order, Page, Provenance, PutOutcome,
    ScanQuery, Stored,
};
use crate::predicate::in_span;
use crate::traits::Readings;

const LEAST: ReadingId = ReadingId::from_bytes([0; 16]);

#[async_trait]
impl Readings for Memory {
    async fn put(&self, ctx: &Ctx, batch: Ingest) -> Result<IngestOutcome> {
        ctx.check()?;
        let scope = ctx.scope();
        let mut guard = self.change()?;
        let state = &mut *guard;
        batch.check()?;
        let received = batch.flow.is_none();
        let mut plan = Plan::new(state, batch.stage(), ctx.now());
        let provenance = if received { provenance_cost(&batch.provenance) } else { 0 };
        plan.cost += provenance;
        let fates: Vec<Fate> = batch.readings.iter().map(|r| plan.reading(scope, r)).collect();
        batch.rejected.iter().for_each(|l| plan.letter(scope, l));
        let cost = plan.cost;
        self.room(state, cost, 0)?;

        let number = match received {
            true => {
                state.batches.push((scope.clone(), batch.provenance.clone()));
                state.batches.len() as u64
            }
            false => 0,
        };
        state.used += provenance;
        let mut out = IngestOutcome { batch: number, ..Default::default() };
        let mut counts = state.scope_mut(scope).counts;
        counts.received += (batch.readings.len() + batch.rejected.len()) as u64;
        for (reading, fate) in batch.readings.into_iter().zip(fates) {
            let known = fate.outcome();
            let parked = match fate {
                Fate::Conflict(letter) => state.park(scope, *letter),
                _ => false,
            };
            let outcome = known.unwrap_or_else(|| PutOutcome::Stored(state.add(scope, reading, batch.provenance.origin, number).seq));
            match outcome {
                PutOutcome::Stored(_) => counts.stored += 1,
                PutOutcome::Conflict(_) if parked => counts.dead_lettered += 1,
                _ => counts.duplicate += 1,
            }
            out.readings.push(outcome);
        }
        for letter in batch.rejected {
            out.parked.push(letter.id.clone());
            match state.park(scope, letter) {
                true => counts.dead_lettered += 1,
                false => counts.duplicate += 1,
            }
        }
        for (_, n) in batch.discarded {
            counts.received += u64::from(n);
            counts.discarded += u64::from(n);
        }
        if received {
            state.scope_mut(scope).counts = counts;
        }
        let head = state.head();
        drop(guard);
        self.announce(head);
        Ok(out)
    }

    async fn get(&self, ctx: &Ctx, names: &[ReadingRef]) -> Result<Vec<Option<Stored>>> {
        limits::names(names.len())?;
        let state = self.open_for(ctx)?;
        let data = state.scope(ctx.scope());
        Ok(names.iter().map(|n| Some(data?.row(n)?.stored.as_ref().clone())).collect())
    }

    async fn scan(&self, ctx: &Ctx, query: &ScanQuery) -> Result<Page<Stored>> {
        limits::scan(query)?;
        let after = cursor::decode(query, &self.catalogue)?;
        let state = self.open_for(ctx)?;
        let Some(data) = state.scope(ctx.scope()) else { return Ok(Page { items: Vec::new(), cursor: None }) };
        let mut items: Vec<Arc<Stored>> = Vec::new();
        each_in_order(data, query, after.as_ref(), |row| {
            let r = &row.stored.reading;
            let wanted =
                (row.newest || query.generations == Generations::All) && in_span(r, query.from, query.to) && query.filter.matches(r);
            if wanted {
                items.push(row.stored.clone());
            }
            items.len() <= query.limit
        });
        let more = items.len() > query.limit;
        items.truncate(query.limit);
        let cursor = items.last().filter(|_| more).map(|s| cursor::encode(query, &Place::of(&s.reading)));
        Ok(Page { items: items.iter().map(|s| s.as_ref().clone()).collect(), cursor })
    }

    async fn latest(&self, ctx: &Ctx, query: &LatestQuery) -> Result<Vec<Stored>> {
        let state = self.open_for(ctx)?;
        let streams = state.scope(ctx.scope()).into_iter().flat_map(|d| &d.streams).filter(|(k, _)| asked(k, &query.kinds, &query.devices));
        let newest = |s: &Stream| {
            s.rows
                .range(..=(query.at, ReadingId::from_bytes([0xff; 16])))
                .rev()
                .find(|(_, row)| row.newest)
                .map(|(_, row)| row.stored.as_ref().clone())
        };
        Ok(streams.filter_map(|(_, s)| newest(s)).collect())
    }

    async fn aggregate(&self, ctx: &Ctx, query: &AggregateQuery) -> Result<Vec<Bucket>> {
        limits::aggregate(query)?;
        let state = self.open_for(ctx)?;
        let mut buckets: BTreeMap<i64, Aggregate> = BTreeMap::new();
        let (from, to) = (query.from.as_nanos(), query.to.as_nanos());
        let streams = state.scope(ctx.scope()).into_iter().flat_map(|d| &d.streams);
        for (_, s) in streams.filter(|((k, d), _)| *k == query.kind && (query.devices.is_empty() || query.devices.contains(d))) {
            let Some(rollups) = &s.rollups else { continue };
            match query.width {
                BucketWidth::Whole => {
                    let sum = rollups.whole(from, to, |a, b| values(s, a, b));
                    buckets.entry(from).or_default().merge(&sum);
                }
                w => rollups
                    .buckets(w, floor(from, w.nanos()), ceil(to, w.nanos()))
                    .for_each(|(start, a)| buckets.entry(start).or_default().merge(a)),
            }
        }
        let full = buckets.into_iter().filter(|(_, a)| a.count > 0);
        Ok(full.map(|(start, values)| Bucket { start: Timestamp::from_nanos(start), values }).collect())
    }

    async fn provenance(&self, ctx: &Ctx, batch: u64) -> Result<Option<Provenance>> {
        let state = self.open_for(ctx)?;
        let row = usize::try_from(batch).ok().and_then(|n| n.checked_sub(1)).and_then(|n| state.batches.get(n));
        Ok(row.filter(|(s, _)| s == ctx.scope()).map(|(_, p)| p.clone()))
    }
}

/// About what a batch's provenance takes.
fn provenance_cost(p: &Provenance) -> usize {
    let texts = [&p.client, &p.client_version, &p.batch_id, &p.key_id, &p.traceparent, &p.boot_id];
    RECORD_BYTES + texts.iter().map(|t| t.len()).sum::<usize>()
}

fn asked((kind, device): &(Kind, DeviceId), kinds: &[Kind], devices: &[DeviceId]) -> bool {
    (kinds.is_empty() || kinds.contains(kind)) && (devices.is_empty() || devices.contains(device))
}

fn values(s: &Stream, from: i64, to: i64) -> Aggregate {
    let mut sum = Aggregate::default();
    if from < to {
        let rows = s.rows.range((Timestamp::from_nanos(from), LEAST)..(Timestamp::from_nanos(to), LEAST)).filter(|(_, row)| row.newest);
        rows.filter_map(|((at, _), row)| Some(Aggregate::of(*at, row.stored.reading.scalar()?))).for_each(|a| sum.merge(&a));
    }
    sum
}

/// The rows of a stream in the order of a scan.
type Walk<'a> = Box<dyn Iterator<Item = (&'a (Timestamp, ReadingId), &'a Row)> + 'a>;

/// Walks the rows that a scan may want in its order, from after a place, until `each` says no.
fn each_in_order<'a>(data: &'a ScopeData, q: &ScanQuery, after: Option<&Place>, mut each: impl FnMut(&'a Row) -> bool) {
    let ascending = q.order == Order::TimeAscending;
    let streams: Vec<(&(Kind, DeviceId), &Stream)> = data.streams.iter().filter(|(k, _)| asked(k, &q.kinds, &q.devices)).collect();
    let mut walks: Vec<Walk<'a>> = Vec::with_capacity(streams.len());
    let mut up = BinaryHeap::new();
    let mut down = BinaryHeap::new();
    for (n, (name, s)) in streams.iter().enumerate() {
        let mut lo = (Timestamp::from_nanos(q.from.as_nanos().saturating_sub(s.longest)), LEAST);
        let mut hi = (q.to, LEAST);
        if let Some(p) = after {
            // Streams before the place's own have had their readings of that very time; those behind it have not.
            let mine = (name.0, &name.1).cmp(&(p.kind, &p.device));
            let (same, past) = ((p.recorded_at, LEAST), (Timestamp::from_nanos(p.recorded_at.as_nanos().saturating_add(1)), LEAST));
            match (ascending, mine) {
                (true, std::cmp::Ordering::Less) => lo = lo.max(past),
                (true, _) => lo = lo.max(same),
                (false, std::cmp::Ordering::Greater) => hi = hi.min(same),
                (false, _) => hi = hi.min(past),
            }
        }
        let own = after.filter(|p| p.kind == name.0 && p.device == name.1).map(|p| (p.recorded_at, p.id));
        if lo >= hi {
            walks.push(Box::new(std::iter::empty()));
            continue;
        }
        let range = s.rows.range(lo..hi);
        let mut walk: Walk<'a> = match (ascending, own) {
            (true, Some(o)) => Box::new(range.filter(move |(k, _)| **k > o)),
            (true, None) => Box::new(range),
            (false, Some(o)) => Box::new(range.rev().filter(move |(k, _)| **k < o)),
            (false, None) => Box::new(range.rev()),
        };
        if let Some(((at, id), row)) = walk.next() {
            match ascending {
                true => up.push(Reverse(Next { at: *at, stream: n, id: *id, row })),
                false => down.push(Next { at: *at, stream: n, id: *id, row }),
            }
        }
        walks.push(walk);
    }
    while let Some(next) = if ascending { up.pop().map(|r| r.0) } else { down.pop() } {
        if !each(next.row) {
            return;
        }
        if let Some(((at, id), row)) = walks.get_mut(next.stream).and_then(Iterator::next) {
            let next = Next { at: *at, stream: next.stream, id: *id, row };
            match ascending {
                true => up.push(Reverse(next)),
                false => down.push(next),
            }
        }
    }
}

/// The next row of a stream; streams are numbered in the order of scans.
struct Next<'a> {
    at: Timestamp,
    stream: usize,
    id: ReadingId,
    row: &'a Row,
}

impl Next<'_> {
    fn place(&self) -> (Timestamp, usize, ReadingId) {
        (self.at, self.stream, self.id)
    }
}

impl PartialEq for Next<'_> {
    fn eq(&self, o: &Self) -> bool {
        self.place() == o.place()
    }
}

impl Eq for Next<'_> {}

impl PartialOrd for Next<'_> {
    fn partial_cmp(&self, o: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(o))
    }
}

impl Ord for Next<'_> {
    fn cmp(&self, o: &Self) -> std::cmp::Ordering {
        self.place().cmp(&o.place())
    }
}
