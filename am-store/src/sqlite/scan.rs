//! Readings in order of time: the streams' own orders, merged.

use std::collections::{BinaryHeap, VecDeque};

use am_core::{ReadingId, Scope, Timestamp};
use am_schema::Catalogue;
use rusqlite::{CachedStatement, Connection};

use super::codec::Row;
use super::errors::Failure;
use super::streams::{StreamRow, of_scope};
use crate::cursor::{self, Place};
use crate::model::{Generations, Order, Page, ScanQuery, Stored};
use crate::predicate::in_span;

/// The most rows that one page looks at; a page of a rare thing ends early and says where to go on.
const MAX_LOOKED_AT: usize = 200_000;
/// A page ends early beyond so many bytes of bodies.
const PAGE_BYTES: usize = 64 << 20;
/// Rows are fetched in runs of at most so many per stream.
const MAX_RUN: usize = 1_024;
/// An id below all and an id above all.
const LEAST: &[u8] = &[];
const MOST: &[u8] = &[0xff; 17];

/// One stream of the scan and what was fetched of it.
struct Walk {
    stream: StreamRow,
    /// Exclusive start of what was not fetched yet.
    at: i64,
    id: Vec<u8>,
    /// The other end, exclusive for ascending and inclusive for descending scans.
    end: i64,
    fetched: VecDeque<Row>,
    done: bool,
}

/// What is at the head of a walk, in the scan's order.
#[derive(PartialEq, Eq)]
struct Next {
    at: i64,
    stream: usize,
    id: [u8; 16],
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
    fn new(stream: StreamRow, q: &ScanQuery, after: Option<&Place>) -> Walk {
        let from = q.from.as_nanos().saturating_sub(stream.span);
        let descending = q.order == Order::TimeDescending;
        let (mut at, mut id, end) = match descending {
            false => (from, LEAST, q.to.as_nanos()),
            true => (q.to.as_nanos(), LEAST, from),
        };
        let own;
        if let Some(p) = after {
            // Streams before the place's own have had their readings of that very time; those behind it have not.
            let mine = (stream.kind, &stream.device).cmp(&(p.kind, &p.device));
            let mine = if descending { mine.reverse() } else { mine };
            let place = p.recorded_at.as_nanos();
            let goes_on = if descending { place <= at } else { place >= at };
            if goes_on {
                at = place;
                id = match (mine, descending) {
                    (std::cmp::Ordering::Equal, _) => {
                        own = *p.id.as_bytes();
                        &own
                    }
                    (std::cmp::Ordering::Less, false) | (std::cmp::Ordering::Greater, true) => MOST,
                    (std::cmp::Ordering::Greater, false) | (std::cmp::Ordering::Less, true) => LEAST,
                };
            }
        }
        Walk { stream, at, id: id.to_vec(), end, fetched: VecDeque::new(), done: false }
    }

    /// Fetches the next run when there is none.
    fn fill(&mut self, statement: &mut CachedStatement<'_>, q: &ScanQuery, run: usize) -> Result<(), Failure> {
        if self.done || !self.fetched.is_empty() {
            return Ok(());
        }
        let all = q.generations == Generations::All;
        let mut rows = statement.query((self.stream.id, self.at, &self.id, self.end, all, q.from.as_nanos(), run as i64))?;
        let mut bytes = 0;
        while let Some(r) = rows.next()? {
            let row = Row::read(r)?;
            bytes += row.body.len();
            self.fetched.push_back(row);
            if bytes > PAGE_BYTES / 16 {
                break;
            }
        }
        self.done = self.fetched.len() < run && bytes <= PAGE_BYTES / 16;
        if let Some(last) = self.fetched.back() {
            (self.at, self.id) = (last.at, last.id.to_vec());
        }
        Ok(())
    }
}

/// `?1` stream, `?2`, `?3` exclusive start, `?4` end, `?5` all generations, `?6` the start that spans may lie before, `?7` limit.
fn sql(order: Order) -> &'static str {
    match order {
        Order::TimeAscending => {
            "SELECT seq, at, id, batch, flags, body FROM reading WHERE stream = ?1 AND (at, id) > (?2, ?3) AND at < ?4
               AND (?5 OR flags & 4 = 0) AND (at >= ?6 OR flags & 8) ORDER BY at, id LIMIT ?7"
        }
        Order::TimeDescending => {
            "SELECT seq, at, id, batch, flags, body FROM reading WHERE stream = ?1 AND (at, id) < (?2, ?3) AND at >= ?4
               AND (?5 OR flags & 4 = 0) AND (at >= ?6 OR flags & 8) ORDER BY at DESC, id DESC LIMIT ?7"
        }
    }
}

fn place(w: &Walk, at: &Next) -> Place {
    let recorded_at = Timestamp::from_nanos(at.at);
    Place { recorded_at, kind: w.stream.kind, device: w.stream.device.clone(), id: ReadingId::from_bytes(at.id) }
}

/// One page of a scan.
pub(super) fn page(conn: &Connection, catalogue: &Catalogue, scope: &Scope, q: &ScanQuery) -> Result<Page<Stored>, Failure> {
    let after = cursor::decode(q, catalogue)?;
    let streams = of_scope(conn, catalogue, scope, &q.kinds, &q.devices)?;
    let descending = q.order == Order::TimeDescending;
    let run = if streams.len() == 1 { q.limit + 1 } else { (2 * q.limit / streams.len().max(1)).max(16) }.min(MAX_RUN);
    let mut statement = conn.prepare_cached(sql(q.order))?;
    let mut walks: Vec<Walk> = streams.into_iter().map(|s| Walk::new(s, q, after.as_ref())).collect();
    let mut heap = BinaryHeap::with_capacity(walks.len());
    for (n, w) in walks.iter_mut().enumerate() {
        w.fill(&mut statement, q, run)?;
        heap.extend(w.fetched.front().map(|r| Next { at: r.at, stream: n, id: r.id, descending }));
    }
    let mut out = Page { items: Vec::new(), cursor: None };
    let (mut looked_at, mut bytes) = (0, 0);
    let mut last: Option<Next> = None;
    while let Some(next) = heap.pop() {
        if out.items.len() == q.limit || looked_at == MAX_LOOKED_AT || bytes > PAGE_BYTES {
            out.cursor = last.and_then(|l| Some(cursor::encode(q, &place(walks.get(l.stream)?, &l))));
            break;
        }
        let Some(w) = walks.get_mut(next.stream) else { continue };
        let Some(row) = w.fetched.pop_front() else { continue };
        w.fill(&mut statement, q, run)?;
        heap.extend(w.fetched.front().map(|r| Next { at: r.at, stream: next.stream, id: r.id, descending }));
        looked_at += 1;
        let size = row.body.len();
        let stored = row.stored(w.stream.id, w.stream.kind, &w.stream.device)?;
        let r = &stored.reading;
        last = Some(next);
        if in_span(r, q.from, q.to) && q.filter.matches(r) {
            bytes += size;
            out.items.push(stored);
        }
    }
    Ok(out)
}
