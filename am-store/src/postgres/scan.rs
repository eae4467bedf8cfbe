//! Readings in order of time: the streams' own orders, merged.

use std::collections::{BinaryHeap, VecDeque};

use am_core::Ctx;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::Db;
use super::codec::{COLUMNS, Row};
use super::errors::Failure;
use super::streams::{StreamRow, of_scope};
use super::types::{At, Id};
use crate::cursor::{self, Place};
use crate::model::{Generations, Order, Page, ScanQuery, Stored};
use crate::predicate::in_span;

/// The most rows that one page looks at; a page of a rare thing ends early and says where to go on.
const MAX_LOOKED_AT: usize = 200_000;
/// A page ends early beyond so many bytes of bodies.
const PAGE_BYTES: usize = 64 << 20;
/// Rows are fetched in runs of at most so many per stream.
const MAX_RUN: usize = 4_096;
/// The first run has at most so many rows: how large they are is not known before.
const FIRST_RUN: usize = 64;
/// Later runs have as many rows as make about so many bytes.
const RUN_BYTES: usize = 4 << 20;

/// A place in a stream that scans start behind: time, nanoseconds (−1 to 1,000), id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edge {
    at: At,
    id: Id,
}

impl Edge {
    /// Before all ids of a time, in the direction of the scan.
    fn before(nanos: i64, descending: bool) -> Edge {
        let at = At::of_nanos(nanos);
        match descending {
            // Strictly above the greatest id of the nanosecond before.
            false => Edge { at: At { nanos: at.nanos - 1, ..at }, id: Id::MOST },
            // Strictly below the least id of the nanosecond behind.
            true => Edge { at: At { nanos: at.nanos + 1, ..at }, id: Id::LEAST },
        }
    }

    /// Behind all ids of a time, in the direction of the scan.
    fn behind(nanos: i64, descending: bool) -> Edge {
        Edge { at: At::of_nanos(nanos), id: if descending { Id::LEAST } else { Id::MOST } }
    }
}

/// One stream of the scan and what was fetched of it.
struct Walk {
    stream: StreamRow,
    /// Exclusive start of what was not fetched yet.
    edge: Edge,
    /// The other end, exclusive for ascending and inclusive for descending scans.
    end: At,
    fetched: VecDeque<Row>,
    /// Rows of the next run.
    run: usize,
    done: bool,
}

/// What is at the head of a walk, in the scan's order.
#[derive(PartialEq, Eq)]
struct Next {
    at: At,
    stream: usize,
    id: Id,
    descending: bool,
}

impl Ord for Next {
    fn cmp(&self, o: &Self) -> std::cmp::Ordering {
        let forward = (self.at, self.stream, self.id).cmp(&(o.at, o.stream, o.id));
        // The heap gives the greatest first.
        if self.descending { forward } else { forward.reverse() }
    }
}

impl PartialOrd for Next {
    fn partial_cmp(&self, o: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(o))
    }
}

impl Walk {
    fn new(stream: StreamRow, q: &ScanQuery, after: Option<&Place>, run: usize) -> Walk {
        let from = q.from.as_nanos().saturating_sub(stream.span);
        let descending = q.order == Order::TimeDescending;
        let (start, end) = if descending { (q.to.as_nanos(), from) } else { (from, q.to.as_nanos()) };
        // The span's end is exclusive: a descending scan begins below all ids of that time.
        let mut edge = if descending { Edge::behind(start, true) } else { Edge::before(start, false) };
        if let Some(p) = after {
            // Streams before the place's own have had their readings of that very time; those behind it have not.
            let mine = (stream.kind, &stream.device).cmp(&(p.kind, &p.device));
            let mine = if descending { mine.reverse() } else { mine };
            let place = p.recorded_at.as_nanos();
            let goes_on = if descending { place < start } else { place >= start };
            if goes_on {
                edge = match mine {
                    std::cmp::Ordering::Equal => Edge { at: At::of_nanos(place), id: Id::of(p.id) },
                    std::cmp::Ordering::Less => Edge::behind(place, descending),
                    std::cmp::Ordering::Greater => Edge::before(place, descending),
                };
            }
        }
        Walk { stream, edge, end: At::of_nanos(end), fetched: VecDeque::new(), run, done: false }
    }
}

/// `$1` numbers of walks, `$2` streams, `$3` to `$5` exclusive starts, `$6` and `$7` ends, `$8` rows per walk, `$9` all generations,
/// `$10` and `$11` the start that spans may lie before.
fn sql(order: Order) -> String {
    let (from, to, direction) = match order {
        Order::TimeAscending => {
            ("at >= w.at AND (at, ns, id) > (w.at, w.ns, w.id)", "at <= w.end_at AND (at, ns) < (w.end_at, w.end_ns)", "")
        }
        Order::TimeDescending => {
            ("at <= w.at AND (at, ns, id) < (w.at, w.ns, w.id)", "at >= w.end_at AND (at, ns) >= (w.end_at, w.end_ns)", " DESC")
        }
    };
    format!(
        "SELECT r.*, w.n FROM unnest($1::int[], $2::int[], $3::timestamptz[], $4::smallint[], $5::uuid[], $6::timestamptz[], $7::smallint[],
           $8::bigint[]) AS w (n, s, at, ns, id, end_at, end_ns, run)
         CROSS JOIN LATERAL (SELECT {COLUMNS} FROM reading WHERE stream = w.s AND {from} AND {to}
           AND ($9 OR flags & 4 = 0) AND ((at, ns) >= ($10, $11) OR flags & 8 <> 0)
           ORDER BY at{direction}, ns{direction}, id{direction} LIMIT w.run) AS r"
    )
}

/// Fetches the next run of these walks.
async fn fill(conn: &mut PgConnection, walks: &mut [Walk], which: &[usize], q: &ScanQuery, most: usize) -> Result<(), Failure> {
    let asked: Vec<(usize, &Walk)> =
        which.iter().filter_map(|n| Some((*n, walks.get(*n)?))).filter(|(_, w)| !w.done && w.fetched.is_empty()).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let from = At::of(q.from);
    let rows = sqlx::query(AssertSqlSafe(sql(q.order)))
        .bind(asked.iter().map(|(n, _)| *n as i32).collect::<Vec<_>>())
        .bind(asked.iter().map(|(_, w)| w.stream.id).collect::<Vec<_>>())
        .bind(asked.iter().map(|(_, w)| w.edge.at.micros).collect::<Vec<_>>())
        .bind(asked.iter().map(|(_, w)| w.edge.at.nanos).collect::<Vec<_>>())
        .bind(asked.iter().map(|(_, w)| w.edge.id).collect::<Vec<_>>())
        .bind(asked.iter().map(|(_, w)| w.end.micros).collect::<Vec<_>>())
        .bind(asked.iter().map(|(_, w)| w.end.nanos).collect::<Vec<_>>())
        .bind(asked.iter().map(|(_, w)| w.run as i64).collect::<Vec<_>>())
        .bind(q.generations == Generations::All)
        .bind(from.micros)
        .bind(from.nanos)
        .fetch_all(conn)
        .await?;
    let asked: Vec<usize> = asked.into_iter().map(|(n, _)| n).collect();
    for r in &rows {
        let n = usize::try_from(r.try_get_unchecked::<i32, _>(8)?).unwrap_or(usize::MAX);
        if let Some(w) = walks.get_mut(n) {
            w.fetched.push_back(Row::read(r)?);
        }
    }
    for n in asked {
        let Some(w) = walks.get_mut(n) else { continue };
        w.done = w.fetched.len() < w.run;
        let bytes = w.fetched.iter().map(|r| r.body.len() + 64).sum::<usize>();
        w.run = (RUN_BYTES / (bytes / w.fetched.len().max(1)).max(1)).max(FIRST_RUN / 4).min(most);
        if let Some(last) = w.fetched.back() {
            w.edge = Edge { at: last.at, id: last.id };
        }
    }
    Ok(())
}

fn place(w: &Walk, at: &Next) -> Place {
    Place { recorded_at: at.at.time(), kind: w.stream.kind, device: w.stream.device.clone(), id: at.id.reading() }
}

/// How many rows of a stream are fetched at once, at most: all of a page from a single stream, a part of it from many.
fn run_of(q: &ScanQuery, streams: usize) -> usize {
    if streams == 1 { (q.limit + 1).min(MAX_RUN) } else { (2 * q.limit / streams.max(1)).clamp(FIRST_RUN / 4, 1_024) }
}

/// One page of a scan.
pub(super) async fn page(db: &Db, ctx: &Ctx, q: &ScanQuery) -> Result<Page<Stored>, Failure> {
    let after = cursor::decode(q, &db.catalogue)?;
    let mut tx = db.snapshot(ctx).await?;
    let streams = of_scope(&mut tx, &db.catalogue, ctx.scope(), &q.kinds, &q.devices).await?;
    let descending = q.order == Order::TimeDescending;
    let run = run_of(q, streams.len());
    let mut walks: Vec<Walk> = streams.into_iter().map(|s| Walk::new(s, q, after.as_ref(), run.min(FIRST_RUN))).collect();
    let all: Vec<usize> = (0..walks.len()).collect();
    fill(&mut tx, &mut walks, &all, q, run).await?;
    let mut heap = BinaryHeap::with_capacity(walks.len());
    let front = |w: &Walk, n: usize| w.fetched.front().map(|r| Next { at: r.at, stream: n, id: r.id, descending });
    heap.extend(walks.iter().enumerate().filter_map(|(n, w)| front(w, n)));
    let mut out = Page { items: Vec::new(), cursor: None };
    let (mut looked_at, mut bytes) = (0, 0);
    let mut last: Option<Next> = None;
    while let Some(next) = heap.pop() {
        if out.items.len() == q.limit || looked_at == MAX_LOOKED_AT || bytes > PAGE_BYTES {
            out.cursor = last.and_then(|l| Some(cursor::encode(q, &place(walks.get(l.stream)?, &l))));
            break;
        }
        let Some(row) = walks.get_mut(next.stream).and_then(|w| w.fetched.pop_front()) else { continue };
        if walks.get(next.stream).is_some_and(|w| w.fetched.is_empty() && !w.done) {
            fill(&mut tx, &mut walks, &[next.stream], q, run).await?;
        }
        let Some(w) = walks.get(next.stream) else { continue };
        heap.extend(front(w, next.stream));
        looked_at += 1;
        let size = row.body.len();
        let stored = row.stored(w.stream.kind, &w.stream.device)?;
        let r = &stored.reading;
        last = Some(next);
        if in_span(r, q.from, q.to) && q.filter.matches(r) {
            bytes += size;
            out.items.push(stored);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_stand_around_a_time() {
        let t = 1_772_352_000_000_000_000;
        let here = |id: Id| (At::of_nanos(t), id);
        for (edge, descending, includes) in [
            (Edge::before(t, false), false, true),
            (Edge::behind(t, false), false, false),
            (Edge::before(t, true), true, true),
            (Edge::behind(t, true), true, false),
        ] {
            for id in [Id::LEAST, Id([7; 16]), Id::MOST] {
                let comes = if descending { here(id) < (edge.at, edge.id) } else { here(id) > (edge.at, edge.id) };
                assert_eq!(comes, includes, "{edge:?} {id:?}");
            }
        }
    }
}
