//! Rollups: they follow the feed with a watermark of their own, in the writer's idle time.

use std::collections::{BTreeSet, HashMap};

use am_core::{DeviceId, Timestamp};
use am_schema::{Catalogue, Kind};
use rusqlite::{Connection, OptionalExtension};

use super::codec::{Row, SUPERSEDED};
use super::rollup_plan;
use crate::buckets::{bucket, kept};
use crate::model::{Aggregate, BucketWidth, Seq};

/// Rollups hold everything up to this place of the feed.
pub(super) fn watermark(conn: &Connection) -> rusqlite::Result<Seq> {
    conn.prepare_cached("SELECT upto FROM projection WHERE name = 'rollup'")?.query_row([], |r| r.get::<_, i64>(0)).map(|n| n as Seq)
}

/// Bucket and numbers of a row: bucket, count, sum, min, max, m2, first_at, first, last_at, last.
pub(super) fn read(r: &rusqlite::Row<'_>, width: BucketWidth) -> rusqlite::Result<(i64, Aggregate)> {
    let bucket: i64 = r.get(0)?;
    let start = bucket.saturating_mul(width.nanos());
    let time = |i| r.get::<_, i64>(i).map(|n| Timestamp::from_nanos(start.saturating_add(n)));
    let aggregate = Aggregate {
        count: r.get::<_, i64>(1)? as u64,
        sum: r.get(2)?,
        min: r.get(3)?,
        max: r.get(4)?,
        m2: r.get(5)?,
        first: (time(6)?, r.get(7)?),
        last: (time(8)?, r.get(9)?),
    };
    Ok((bucket, aggregate))
}

/// The number that a row counts with.
pub(super) fn value(kind: Kind, device: &DeviceId, row: Row) -> Option<f64> {
    row.reading(kind, device).ok()?.scalar()
}

/// Stream, width and number of a bucket.
pub(super) type Place = (i64, BucketWidth, i64);

/// The streams that a step meets; `None` without a scalar.
struct Streams<'c> {
    conn: &'c Connection,
    catalogue: &'c Catalogue,
    known: HashMap<i64, Option<(Kind, DeviceId)>>,
}

impl Streams<'_> {
    fn get(&mut self, id: i64) -> rusqlite::Result<Option<(Kind, DeviceId)>> {
        if let Some(s) = self.known.get(&id) {
            return Ok(s.clone());
        }
        let (topic, device): (String, String) =
            self.conn.prepare_cached("SELECT topic, device FROM stream WHERE id = ?1")?.query_row([id], |r| Ok((r.get(0)?, r.get(1)?)))?;
        let kind = self.catalogue.get(&topic);
        rollup_plan::note(self.conn, &topic, kind)?;
        let found = kind.filter(|k| k.scalar().is_some()).zip(DeviceId::new(device).ok());
        self.known.insert(id, found.clone());
        Ok(found)
    }
}

/// What some entries of the feed add to the rollups.
#[derive(Default)]
pub(super) struct Addition {
    /// By stream and bucket of the kind's finest width; coarser ones follow.
    sums: HashMap<(i64, i64), (Kind, Aggregate)>,
    /// How many readings came to each stream, scalar or not.
    readings: HashMap<i64, i64>,
    /// Buckets that lost a reading.
    again: BTreeSet<Place>,
    /// The bucket that the last reading fell into: the next one mostly falls there too.
    open: Option<Open>,
}

struct Open {
    stream: i64,
    kind: Kind,
    bucket: i64,
    sum: Aggregate,
    readings: i64,
}

/// The finest width that is kept for a kind.
fn finest(kind: Kind) -> BucketWidth {
    kept(kind).last().copied().unwrap_or(BucketWidth::Day)
}

impl Addition {
    /// A reading that came to a stream.
    pub(super) fn add(&mut self, stream: i64, kind: Kind, at: Timestamp, value: Option<f64>) {
        let bucket = value.map_or(0, |_| bucket(at.as_nanos(), finest(kind)));
        if !matches!(&self.open, Some(o) if o.stream == stream && o.bucket == bucket) {
            self.spill();
            self.open = Some(Open { stream, kind, bucket, sum: Aggregate::default(), readings: 0 });
        }
        if let Some(o) = &mut self.open {
            o.readings += 1;
            if let Some(v) = value {
                o.sum.merge(&Aggregate::of(at, v));
            }
        }
    }

    /// A reading that gave way to a newer generation.
    pub(super) fn lose(&mut self, stream: i64, kind: Kind, at: i64) {
        if kind.scalar().is_some() {
            self.again.extend(kept(kind).iter().map(|w| (stream, *w, bucket(at, *w))));
        }
    }

    fn spill(&mut self) {
        let Some(o) = self.open.take() else { return };
        *self.readings.entry(o.stream).or_default() += o.readings;
        if o.sum.count > 0 {
            self.sums.entry((o.stream, o.bucket)).or_insert((o.kind, Aggregate::default())).1.merge(&o.sum);
        }
    }

    /// Writes it; rollups hold everything up to a place then.
    pub(super) fn apply(mut self, conn: &Connection, catalogue: &Catalogue, upto: Seq) -> rusqlite::Result<()> {
        self.spill();
        let mut streams = Streams { conn, catalogue, known: HashMap::new() };
        let mut places: HashMap<Place, Aggregate> = HashMap::new();
        for ((stream, n), (kind, sum)) in self.sums {
            // A kind that this catalogue does not have is counted once one has it.
            if streams.get(stream)?.is_none() {
                continue;
            }
            let start = n.saturating_mul(finest(kind).nanos());
            for w in kept(kind) {
                places.entry((stream, *w, bucket(start, *w))).or_default().merge(&sum);
            }
        }
        for (place, sum) in places {
            if !self.again.contains(&place) {
                merge(conn, place, sum)?;
            }
        }
        for place in self.again {
            rebuild(conn, &mut streams, place, upto)?;
        }
        for (stream, n) in self.readings {
            // Notes the plan of topics without a number too: a later catalogue may give them one.
            streams.get(stream)?;
            conn.prepare_cached("UPDATE stream SET readings = readings + ?2 WHERE id = ?1")?.execute((stream, n))?;
        }
        conn.prepare_cached("UPDATE projection SET upto = ?1 WHERE name = 'rollup'")?.execute([upto as i64])?;
        Ok(())
    }
}

/// Rolls up at most `limit` entries after `from` as they stand in the tables; gives the new watermark.
pub(super) fn step(conn: &Connection, catalogue: &Catalogue, from: Seq, limit: usize) -> rusqlite::Result<Seq> {
    let upto = end_of_step(conn, from, limit)?;
    if upto == from {
        return Ok(from);
    }
    let mut streams = Streams { conn, catalogue, known: HashMap::new() };
    let mut sum = Addition::default();
    let mut events = conn.prepare_cached("SELECT stream, at FROM event WHERE seq > ?1 AND seq <= ?2")?;
    let mut rows = events.query((from as i64, upto as i64))?;
    while let Some(r) = rows.next()? {
        let id: i64 = r.get(0)?;
        if let Some((kind, _)) = streams.get(id)? {
            sum.lose(id, kind, r.get(1)?);
        }
    }
    let mut counts: HashMap<i64, i64> = HashMap::new();
    let mut q =
        conn.prepare_cached("SELECT seq, at, id, batch, flags, body, stream FROM reading WHERE seq > ?1 AND seq <= ?2 ORDER BY seq")?;
    let mut rows = q.query((from as i64, upto as i64))?;
    while let Some(r) = rows.next()? {
        let id: i64 = r.get(6)?;
        let flags: i64 = r.get(4)?;
        match streams.get(id)? {
            Some((kind, device)) if flags & SUPERSEDED == 0 => {
                let row = Row::read(r)?;
                let at = Timestamp::from_nanos(row.at);
                sum.add(id, kind, at, value(kind, &device, row));
            }
            _ => *counts.entry(id).or_default() += 1,
        }
    }
    for (stream, n) in counts {
        conn.prepare_cached("UPDATE stream SET readings = readings + ?2 WHERE id = ?1")?.execute((stream, n))?;
    }
    sum.apply(conn, catalogue, upto)?;
    Ok(upto)
}

/// The place of the last of `limit` entries after `from`.
fn end_of_step(conn: &Connection, from: Seq, limit: usize) -> rusqlite::Result<Seq> {
    // Numbers have no holes worth counting: rows and events share one counter.
    let head = super::feed::head(conn)?;
    Ok(head.min(from.saturating_add(limit as u64)).max(from))
}

fn merge(conn: &Connection, (stream, width, bucket): Place, mut sum: Aggregate) -> rusqlite::Result<()> {
    let held = conn
        .prepare_cached("SELECT bucket, count, sum, min, max, m2, first_at, first, last_at, last FROM rollup WHERE stream = ?1 AND width = ?2 AND bucket = ?3")?
        .query_row((stream, width as u8, bucket), |r| read(r, width))
        .optional()?;
    if let Some((_, mut held)) = held {
        held.merge(&sum);
        sum = held;
    }
    write(conn, (stream, width, bucket), &sum)
}

pub(super) fn write(conn: &Connection, (stream, width, bucket): Place, a: &Aggregate) -> rusqlite::Result<()> {
    let start = bucket.saturating_mul(width.nanos());
    let offset = |t: Timestamp| t.as_nanos().saturating_sub(start);
    conn.prepare_cached("INSERT OR REPLACE INTO rollup VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)")?.execute((
        stream,
        width as u8,
        bucket,
        a.count as i64,
        a.sum,
        a.min,
        a.max,
        a.m2,
        offset(a.first.0),
        a.first.1,
        offset(a.last.0),
        a.last.1,
    ))?;
    Ok(())
}

/// Counts a bucket anew from its rows.
fn rebuild(conn: &Connection, streams: &mut Streams<'_>, (stream, width, bucket): Place, upto: Seq) -> rusqlite::Result<()> {
    let Some((kind, device)) = streams.get(stream)? else { return Ok(()) };
    let start = bucket.saturating_mul(width.nanos());
    let sum = rows(conn, stream, kind, &device, start, start.saturating_add(width.nanos()), upto)?;
    if sum.count == 0 {
        conn.prepare_cached("DELETE FROM rollup WHERE stream = ?1 AND width = ?2 AND bucket = ?3")?.execute((
            stream,
            width as u8,
            bucket,
        ))?;
        return Ok(());
    }
    write(conn, (stream, width, bucket), &sum)
}

/// The sum of a stream's rows in `[from, to)`, up to a place of the feed.
pub(super) fn rows(
    conn: &Connection,
    stream: i64,
    kind: Kind,
    device: &DeviceId,
    from: i64,
    to: i64,
    upto: Seq,
) -> rusqlite::Result<Aggregate> {
    let mut sum = Aggregate::default();
    let mut q = conn.prepare_cached(
        "SELECT seq, at, id, batch, flags, body FROM reading WHERE stream = ?1 AND at >= ?2 AND at < ?3 AND seq <= ?4 AND flags & 4 = 0
         ORDER BY at, id",
    )?;
    let mut rows = q.query((stream, from, to, upto.min(i64::MAX as u64) as i64))?;
    while let Some(r) = rows.next()? {
        let row = Row::read(r)?;
        let at = Timestamp::from_nanos(row.at);
        if let Some(v) = value(kind, device, row) {
            sum.merge(&Aggregate::of(at, v));
        }
    }
    Ok(sum)
}

/// Adds the batches after `from` to the balance of their scopes; gives the last one.
pub(super) fn balance(conn: &Connection, from: u64) -> rusqlite::Result<u64> {
    let upto: Option<i64> =
        conn.prepare_cached("SELECT max(batch) FROM ingest WHERE batch > ?1")?.query_row([from as i64], |r| r.get(0))?;
    let Some(upto) = upto else { return Ok(from) };
    conn.prepare_cached(
        "INSERT INTO balance (scope, received, stored, duplicate, discarded, dead_lettered)
         SELECT scope, sum(received), sum(stored), sum(duplicate), sum(discarded), sum(dead_lettered)
         FROM ingest WHERE batch > ?1 AND batch <= ?2 GROUP BY scope
         ON CONFLICT DO UPDATE SET received = received + excluded.received, stored = stored + excluded.stored,
           duplicate = duplicate + excluded.duplicate, discarded = discarded + excluded.discarded,
           dead_lettered = dead_lettered + excluded.dead_lettered",
    )?
    .execute((from as i64, upto))?;
    conn.prepare_cached("UPDATE projection SET upto = ?1 WHERE name = 'balance'")?.execute([upto])?;
    Ok(upto as u64)
}
