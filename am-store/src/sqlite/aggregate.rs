//! Statistics per bucket: rollups up to their watermark, rows beyond it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use am_core::{Scope, Timestamp};
use am_schema::Catalogue;
use rusqlite::Connection;

use super::codec::Row;
use super::errors::Failure;
use super::rollup;
use super::streams::{StreamRow, of_scope};
use crate::buckets::{bucket, kept};
use crate::limits::{MAX_BUCKETS, bad};
use crate::model::{Aggregate, AggregateQuery, Bucket, BucketWidth, Seq};

/// The buckets of a query, by start.
pub(super) fn buckets(conn: &Connection, catalogue: &Catalogue, scope: &Scope, q: &AggregateQuery) -> Result<Vec<Bucket>, Failure> {
    let streams = of_scope(conn, catalogue, scope, &[q.kind], &q.devices)?;
    let mut sums = Sums::new(conn, q, &streams)?;
    for s in &streams {
        sums.stream(s)?;
    }
    sums.tail(&streams)?;
    let full = sums.buckets.into_iter().filter(|(_, a)| a.count > 0);
    Ok(full.map(|(start, values)| Bucket { start: Timestamp::from_nanos(start), values }).collect())
}

struct Sums<'c> {
    conn: &'c Connection,
    /// The span of the answer, rounded to buckets.
    from: i64,
    to: i64,
    width: BucketWidth,
    watermark: Seq,
    /// Buckets of this width lost a reading beyond the watermark, so that their rollups are too high; by stream.
    touched_width: BucketWidth,
    touched: HashMap<i64, BTreeSet<i64>>,
    buckets: BTreeMap<i64, Aggregate>,
}

impl<'c> Sums<'c> {
    fn new(conn: &'c Connection, q: &AggregateQuery, streams: &[StreamRow]) -> Result<Self, Failure> {
        let w = q.width.nanos();
        let (from, to) = match q.width {
            BucketWidth::Whole => (q.from.as_nanos(), q.to.as_nanos()),
            _ => {
                let (from, to) = (q.from.as_nanos(), q.to.as_nanos());
                let up = if to.rem_euclid(w) == 0 { to } else { to.div_euclid(w).saturating_add(1).saturating_mul(w) };
                (from.div_euclid(w).saturating_mul(w), up)
            }
        };
        let touched_width = match q.width {
            BucketWidth::Whole => kept(q.kind).last().copied().unwrap_or(BucketWidth::Day),
            w => w,
        };
        let watermark = rollup::watermark(conn)?;
        let mut touched: HashMap<i64, BTreeSet<i64>> = HashMap::new();
        let mut events = conn.prepare_cached("SELECT stream, at FROM event WHERE seq > ?1")?;
        let mut rows = events.query([watermark as i64])?;
        while let Some(r) = rows.next()? {
            let (stream, at): (i64, i64) = (r.get(0)?, r.get(1)?);
            if streams.iter().any(|s| s.id == stream) {
                touched.entry(stream).or_default().insert(bucket(at, touched_width));
            }
        }
        Ok(Sums { conn, from, to, width: q.width, watermark, touched_width, touched, buckets: BTreeMap::new() })
    }

    fn add(&mut self, at: i64, a: &Aggregate) -> Result<(), Failure> {
        let start = match self.width {
            BucketWidth::Whole => self.from,
            w => bucket(at, w).saturating_mul(w.nanos()),
        };
        self.buckets.entry(start).or_default().merge(a);
        if self.buckets.len() as u64 > MAX_BUCKETS {
            return Err(bad(format!("the answer has more than {MAX_BUCKETS} buckets; ask for wider ones")).into());
        }
        Ok(())
    }

    /// What one stream has up to the watermark, and its touched buckets whole.
    fn stream(&mut self, s: &StreamRow) -> Result<(), Failure> {
        let w = self.touched_width.nanos();
        let touched = self.touched.get(&s.id).cloned().unwrap_or_default();
        let mut from = self.from;
        for b in touched {
            let (start, end) = (b.saturating_mul(w).max(self.from), b.saturating_add(1).saturating_mul(w).min(self.to));
            if start >= end {
                continue;
            }
            self.span(s, from, start)?;
            let sum = rollup::rows(self.conn, s.id, s.kind, &s.device, start, end, Seq::MAX)?;
            self.add(start, &sum)?;
            from = end;
        }
        self.span(s, from, self.to)
    }

    /// `[from, to)` of a stream, up to the watermark.
    fn span(&mut self, s: &StreamRow, from: i64, to: i64) -> Result<(), Failure> {
        let widths = kept(s.kind);
        match self.width {
            BucketWidth::Whole => self.cover(s, from, to, widths),
            w if widths.contains(&w) => self.rolled_up(s, w, from, to),
            w => self.by_rows(s, w, from, to),
        }
    }

    /// The widest buckets that fit, then narrower ones at both ends, then rows.
    fn cover(&mut self, s: &StreamRow, from: i64, to: i64, widths: &[BucketWidth]) -> Result<(), Failure> {
        if from >= to {
            return Ok(());
        }
        let Some((w, finer)) = widths.split_first() else {
            let sum = rollup::rows(self.conn, s.id, s.kind, &s.device, from, to, self.watermark)?;
            return self.add(from, &sum);
        };
        let n = w.nanos();
        let first = if from.rem_euclid(n) == 0 { from.div_euclid(n) } else { from.div_euclid(n).saturating_add(1) };
        let (a, b) = (first.saturating_mul(n), to.div_euclid(n).saturating_mul(n));
        if a >= b {
            return self.cover(s, from, to, finer);
        }
        self.cover(s, from, a, finer)?;
        self.rolled_up(s, *w, a, b)?;
        self.cover(s, b, to, finer)
    }

    fn rolled_up(&mut self, s: &StreamRow, w: BucketWidth, from: i64, to: i64) -> Result<(), Failure> {
        if from >= to {
            return Ok(());
        }
        let last = to.saturating_sub(1).div_euclid(w.nanos());
        let mut q = self.conn.prepare_cached(
            "SELECT bucket, count, sum, min, max, m2, first_at, first, last_at, last FROM rollup
             WHERE stream = ?1 AND width = ?2 AND bucket BETWEEN ?3 AND ?4 ORDER BY bucket",
        )?;
        let mut rows = q.query((s.id, w as u8, bucket(from, w), last))?;
        while let Some(r) = rows.next()? {
            let (b, a) = rollup::read(r, w)?;
            self.add(b.saturating_mul(w.nanos()), &a)?;
        }
        Ok(())
    }

    /// For widths that have no rollup.
    fn by_rows(&mut self, s: &StreamRow, w: BucketWidth, from: i64, to: i64) -> Result<(), Failure> {
        let mut q = self.conn.prepare_cached(
            "SELECT seq, at, id, batch, flags, body FROM reading
             WHERE stream = ?1 AND at >= ?2 AND at < ?3 AND seq <= ?4 AND flags & 4 = 0 ORDER BY at, id",
        )?;
        let mut rows = q.query((s.id, from, to, self.watermark as i64))?;
        let mut open: Option<(i64, Aggregate)> = None;
        while let Some(r) = rows.next()? {
            let row = Row::read(r)?;
            let at = row.at;
            let Some(v) = rollup::value(s.kind, &s.device, row) else { continue };
            let one = Aggregate::of(Timestamp::from_nanos(at), v);
            match &mut open {
                Some((b, sum)) if *b == bucket(at, w) => sum.merge(&one),
                _ => {
                    if let Some((b, sum)) = open.replace((bucket(at, w), one)) {
                        self.add(b.saturating_mul(w.nanos()), &sum)?;
                    }
                }
            }
        }
        match open {
            Some((b, sum)) => self.add(b.saturating_mul(w.nanos()), &sum),
            None => Ok(()),
        }
    }

    /// The rows beyond the watermark.
    fn tail(&mut self, streams: &[StreamRow]) -> Result<(), Failure> {
        let by_id: HashMap<i64, &StreamRow> = streams.iter().map(|s| (s.id, s)).collect();
        let mut q = self
            .conn
            .prepare_cached("SELECT seq, at, id, batch, flags, body, stream FROM reading NOT INDEXED WHERE seq > ?1 AND flags & 4 = 0")?;
        let mut rows = q.query([self.watermark as i64])?;
        while let Some(r) = rows.next()? {
            let Some(s) = by_id.get(&r.get(6)?) else { continue };
            let at: i64 = r.get(1)?;
            let again = self.touched.get(&s.id).is_some_and(|t| t.contains(&bucket(at, self.touched_width)));
            if at < self.from || at >= self.to || again {
                continue;
            }
            if let Some(v) = rollup::value(s.kind, &s.device, Row::read(r)?) {
                self.add(at, &Aggregate::of(Timestamp::from_nanos(at), v))?;
            }
        }
        Ok(())
    }
}
