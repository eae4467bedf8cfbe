//! Statistics per bucket: rollups up to their watermark, rows beyond it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use am_core::{Ctx, Timestamp};
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::Db;
use super::cover::{Stretch, cover};
use super::errors::Failure;
use super::feed;
use super::rollup::{self, COLUMNS};
use super::rollup_step;
use super::stream::next;
use super::streams::of_scope;
use super::types::{At, Micros};
use crate::buckets::{bucket, kept};
use crate::limits::{MAX_BUCKETS, bad};
use crate::model::{Aggregate, AggregateQuery, Bucket, BucketWidth};

/// The buckets of a query, by start.
pub(super) async fn buckets(db: &Db, ctx: &Ctx, q: &AggregateQuery) -> Result<Vec<Bucket>, Failure> {
    let mut tx = db.snapshot(ctx).await?;
    let streams: Vec<i32> = of_scope(&mut tx, &db.catalogue, ctx.scope(), &[q.kind], &q.devices).await?.into_iter().map(|s| s.id).collect();
    if streams.is_empty() {
        return Ok(Vec::new());
    }
    let mut sums = Sums::new(&mut tx, q, &streams).await?;
    sums.rolled_up(&mut tx, &streams).await?;
    sums.tail(&mut tx, &streams).await?;
    let full = sums.buckets.into_iter().filter(|(_, a)| a.count > 0);
    Ok(full.map(|(start, values)| Bucket { start: Timestamp::from_nanos(start), values }).collect())
}

struct Sums {
    /// The span of the answer, rounded to buckets.
    from: i64,
    to: i64,
    width: BucketWidth,
    kept: &'static [BucketWidth],
    watermark: i64,
    /// The times of what lies beyond the watermark; `None` when nothing does.
    beyond: Option<(Micros, Micros)>,
    /// Buckets of this width lost a reading beyond the watermark, so that their rollups are too high; by stream.
    touched_width: BucketWidth,
    touched: HashMap<i32, BTreeSet<i64>>,
    buckets: BTreeMap<i64, Aggregate>,
}

impl Sums {
    async fn new(conn: &mut PgConnection, q: &AggregateQuery, streams: &[i32]) -> Result<Self, Failure> {
        let w = q.width.nanos();
        let (from, to) = match q.width {
            BucketWidth::Whole => (q.from.as_nanos(), q.to.as_nanos()),
            _ => {
                let (from, to) = (q.from.as_nanos(), q.to.as_nanos());
                let up = if to.rem_euclid(w) == 0 { to } else { to.div_euclid(w).saturating_add(1).saturating_mul(w) };
                (from.div_euclid(w).saturating_mul(w), up)
            }
        };
        let kept = kept(q.kind);
        let touched_width = match q.width {
            BucketWidth::Whole => kept.last().copied().unwrap_or(BucketWidth::Day),
            w => w,
        };
        let watermark = rollup::watermark(conn).await? as i64;
        let beyond = feed::beyond(conn, watermark).await?;
        let events = match beyond {
            // Events lie on the feed too.
            None => Vec::new(),
            Some(_) => {
                let events = sqlx::query("SELECT stream, at, ns FROM event WHERE seq > $1 AND stream = ANY ($2)");
                events.bind(watermark).bind(streams).fetch_all(conn).await?
            }
        };
        let mut touched: HashMap<i32, BTreeSet<i64>> = HashMap::new();
        for r in events {
            let at = At { micros: r.try_get_unchecked::<Micros, _>(1)?, nanos: r.try_get_unchecked(2)? };
            touched.entry(r.try_get_unchecked(0)?).or_default().insert(bucket(at.nanos(), touched_width));
        }
        Ok(Sums { from, to, width: q.width, kept, watermark, beyond, touched_width, touched, buckets: BTreeMap::new() })
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

    /// What streams have up to the watermark, and their touched buckets whole.
    async fn rolled_up(&mut self, conn: &mut PgConnection, streams: &[i32]) -> Result<(), Failure> {
        let plain: Vec<i32> = streams.iter().filter(|s| !self.touched.contains_key(s)).copied().collect();
        self.span(conn, &plain, self.from, self.to).await?;
        let w = self.touched_width.nanos();
        for (stream, buckets) in self.touched.clone() {
            let mut from = self.from;
            for b in buckets {
                let (start, end) = (b.saturating_mul(w).max(self.from), b.saturating_add(1).saturating_mul(w).min(self.to));
                if start >= end {
                    continue;
                }
                self.span(conn, &[stream], from, start).await?;
                let sum = rollup_step::rows(conn, stream, start, end, i64::MAX).await?;
                self.add(start, &sum)?;
                from = end;
            }
            self.span(conn, &[stream], from, self.to).await?;
        }
        Ok(())
    }

    /// `[from, to)` of streams, up to the watermark.
    async fn span(&mut self, conn: &mut PgConnection, streams: &[i32], from: i64, to: i64) -> Result<(), Failure> {
        if streams.is_empty() || from >= to {
            return Ok(());
        }
        match self.width {
            BucketWidth::Whole => {
                // The widest buckets that fit, then narrower ones at both ends, then rows.
                for Stretch { width, from, to } in cover(from, to, self.kept) {
                    match width {
                        Some(w) => self.by_rollups(conn, streams, w, from, to).await?,
                        None => self.by_rows(conn, streams, from, to).await?,
                    }
                }
                Ok(())
            }
            w if self.kept.contains(&w) => self.by_rollups(conn, streams, w, from, to).await,
            _ => self.by_rows(conn, streams, from, to).await,
        }
    }

    async fn by_rollups(&mut self, conn: &mut PgConnection, streams: &[i32], w: BucketWidth, from: i64, to: i64) -> Result<(), Failure> {
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM rollup WHERE stream = ANY ($1) AND width = $2 AND bucket BETWEEN $3 AND $4 ORDER BY bucket, stream"
        )))
        .bind(streams)
        .bind(w as i16)
        .bind(bucket(from, w))
        .bind(to.saturating_sub(1).div_euclid(w.nanos()))
        .fetch_all(conn)
        .await?;
        for r in &rows {
            let (_, b, a) = rollup::read(r, w)?;
            self.add(b.saturating_mul(w.nanos()), &a)?;
        }
        Ok(())
    }

    /// For what has no rollup.
    async fn by_rows(&mut self, conn: &mut PgConnection, streams: &[i32], from: i64, to: i64) -> Result<(), Failure> {
        let (from, to) = (At::of_nanos(from), At::of_nanos(to));
        let mut rows = sqlx::query(
            "SELECT at, ns, value FROM reading WHERE stream = ANY ($1) AND at >= $2 AND at <= $4 AND (at, ns) >= ($2, $3)
               AND (at, ns) < ($4, $5) AND seq <= $6 AND flags & 4 = 0 AND value IS NOT NULL ORDER BY stream, at, ns, id",
        )
        .bind(streams)
        .bind(from.micros)
        .bind(from.nanos)
        .bind(to.micros)
        .bind(to.nanos)
        .bind(self.watermark)
        .fetch(conn);
        while let Some(r) = next(&mut rows).await? {
            let at = At { micros: r.try_get_unchecked::<Micros, _>(0)?, nanos: r.try_get_unchecked(1)? };
            self.add(at.nanos(), &Aggregate::of(at.time(), r.try_get_unchecked(2)?))?;
        }
        Ok(())
    }

    /// The rows beyond the watermark. Asked for only where the feed says that there are some, and only among their times: a question
    /// over many chunks takes longer to plan than everything else together.
    async fn tail(&mut self, conn: &mut PgConnection, streams: &[i32]) -> Result<(), Failure> {
        let (from, to) = (At::of_nanos(self.from).micros, At::of_nanos(self.to).micros);
        let Some((from, to)) = self.beyond.map(|(min, max)| (from.max(min), to.min(max))).filter(|(from, to)| from <= to) else {
            return Ok(());
        };
        let mut rows = sqlx::query(
            "SELECT stream, at, ns, value FROM reading WHERE seq > $1 AND stream = ANY ($2) AND at BETWEEN $3 AND $4 AND flags & 4 = 0
               AND value IS NOT NULL ORDER BY seq",
        )
        .bind(self.watermark)
        .bind(streams)
        .bind(from)
        .bind(to)
        .fetch(conn);
        while let Some(r) = next(&mut rows).await? {
            let at = At { micros: r.try_get_unchecked::<Micros, _>(1)?, nanos: r.try_get_unchecked(2)? };
            let n = at.nanos();
            let stream: i32 = r.try_get_unchecked(0)?;
            let again = self.touched.get(&stream).is_some_and(|t| t.contains(&bucket(n, self.touched_width)));
            if n >= self.from && n < self.to && !again {
                self.add(n, &Aggregate::of(at.time(), r.try_get_unchecked(3)?))?;
            }
        }
        Ok(())
    }
}
