//! Readings in and out.

use std::collections::HashMap;

use am_core::{Code, Ctx, Error, Result, Timestamp};
use am_schema::ReadingRef;
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, PgConnection};

use super::codec::{COLUMNS, Row};
use super::errors::Failure;
use super::ingest::{self, Batch};
use super::insert::bounds;
use super::streams::of_scope;
use super::types::{At, Id};
use super::{Db, Postgres, aggregate, scan};
use crate::limits;
use crate::model::{AggregateQuery, Bucket, Ingest, IngestOutcome, LatestQuery, Page, Provenance, ScanQuery, Stored};
use crate::text::Words;
use crate::traits::Readings;

/// The readings under these names.
pub(super) async fn get(
    db: &Db,
    conn: &mut PgConnection,
    ctx: &Ctx,
    names: &[ReadingRef],
) -> std::result::Result<Vec<Option<Stored>>, Failure> {
    let mut out = vec![None; names.len()];
    if names.is_empty() {
        return Ok(out);
    }
    let streams: HashMap<(&'static str, String), super::streams::StreamRow> =
        of_scope(conn, &db.catalogue, ctx.scope(), &kinds(names), &devices(names))
            .await?
            .into_iter()
            .map(|s| ((s.kind.topic(), s.device.as_str().to_owned()), s))
            .collect();
    let mut wanted: HashMap<(i32, At, Id), Vec<usize>> = HashMap::new();
    for (n, name) in names.iter().enumerate() {
        if let Some(s) = streams.get(&(name.kind.topic(), name.device.as_str().to_owned())) {
            wanted.entry((s.id, At::of(name.recorded_at), Id::of(name.id))).or_default().push(n);
        }
    }
    if wanted.is_empty() {
        return Ok(out);
    }
    let (min, max) = bounds(wanted.keys().map(|k| k.1.micros));
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT {} FROM unnest($1::int[], $2::timestamptz[], $3::smallint[], $4::uuid[]) AS k (stream, at, ns, id)
         JOIN reading r ON r.stream = k.stream AND r.at = k.at AND r.ns = k.ns AND r.id = k.id WHERE r.at BETWEEN $5 AND $6",
        COLUMNS.split(", ").map(|c| format!("r.{c}")).collect::<Vec<_>>().join(", ")
    )))
    .bind(wanted.keys().map(|k| k.0).collect::<Vec<_>>())
    .bind(wanted.keys().map(|k| k.1.micros).collect::<Vec<_>>())
    .bind(wanted.keys().map(|k| k.1.nanos).collect::<Vec<_>>())
    .bind(wanted.keys().map(|k| k.2).collect::<Vec<_>>())
    .bind(min)
    .bind(max)
    .fetch_all(conn)
    .await?;
    let by_id: HashMap<i32, &super::streams::StreamRow> = streams.values().map(|s| (s.id, s)).collect();
    for r in &rows {
        let row = Row::read(r)?;
        let (Some(places), Some(s)) = (wanted.get(&(row.stream, row.at, row.id)), by_id.get(&row.stream)) else { continue };
        let stored = row.stored(s.kind, &s.device)?;
        for n in places {
            if let Some(place) = out.get_mut(*n) {
                *place = Some(stored.clone());
            }
        }
    }
    Ok(out)
}

fn kinds(names: &[ReadingRef]) -> Vec<am_schema::Kind> {
    let mut out: Vec<_> = names.iter().map(|n| n.kind).collect();
    out.sort_unstable();
    out.dedup();
    out
}

fn devices(names: &[ReadingRef]) -> Vec<am_core::DeviceId> {
    let mut out: Vec<_> = names.iter().map(|n| n.device.clone()).collect();
    out.sort_unstable();
    out.dedup();
    out
}

async fn latest(db: &Db, ctx: &Ctx, query: &LatestQuery) -> std::result::Result<Vec<Stored>, Failure> {
    let mut tx = db.snapshot(ctx).await?;
    let streams = of_scope(&mut tx, &db.catalogue, ctx.scope(), &query.kinds, &query.devices).await?;
    let ids: Vec<i32> = streams.iter().map(|s| s.id).collect();
    let sql = |bound: &str| {
        AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM unnest($1::int[]) AS s (s)
             CROSS JOIN LATERAL (SELECT {COLUMNS} FROM reading WHERE stream = s.s {bound} AND flags & 4 = 0
                                 ORDER BY at DESC, ns DESC, id DESC LIMIT 1) AS r"
        ))
    };
    let rows = if query.at == Timestamp::MAX {
        // Without a time in it, the server keeps the plan: with one it makes a new one each time, over all chunks.
        sqlx::query(sql("")).bind(ids).fetch_all(&mut *tx).await?
    } else {
        let (at, bounded) = (At::of(query.at), sql("AND at <= $2 AND (at, ns) <= ($2, $3)"));
        sqlx::query(bounded).bind(ids).bind(at.micros).bind(at.nanos).fetch_all(&mut *tx).await?
    };
    let mut found: HashMap<i32, Row> = HashMap::with_capacity(rows.len());
    for r in &rows {
        let row = Row::read(r)?;
        found.insert(row.stream, row);
    }
    let mut out = Vec::with_capacity(found.len());
    for s in streams {
        if let Some(row) = found.remove(&s.id) {
            out.push(row.stored(s.kind, &s.device)?);
        }
    }
    Ok(out)
}

#[async_trait]
impl Readings for Postgres {
    async fn put(&self, ctx: &Ctx, batch: Ingest) -> Result<IngestOutcome> {
        batch.check()?;
        let words = Words::of(batch.readings.iter());
        let batch = Batch { scope: ctx.scope().clone(), ingest: batch, words };
        let work = async {
            self.db.writable()?;
            let answer = self.queue.submit(batch).await?;
            let done = answer.await.map_err(|_| Error::new(Code::CLOSED, "the writers ended before they answered").op("postgres.put"))?;
            Ok(done?)
        };
        self.db.run(Some(ctx), "postgres.put", work).await
    }

    async fn get(&self, ctx: &Ctx, names: &[ReadingRef]) -> Result<Vec<Option<Stored>>> {
        limits::names(names.len())?;
        let work = async { get(&self.db, &mut *self.db.snapshot(ctx).await?, ctx, names).await };
        self.db.run(Some(ctx), "postgres.get", work).await
    }

    async fn scan(&self, ctx: &Ctx, query: &ScanQuery) -> Result<Page<Stored>> {
        limits::scan(query)?;
        self.db.run(Some(ctx), "postgres.scan", scan::page(&self.db, ctx, query)).await
    }

    async fn latest(&self, ctx: &Ctx, query: &LatestQuery) -> Result<Vec<Stored>> {
        self.db.run(Some(ctx), "postgres.latest", latest(&self.db, ctx, query)).await
    }

    async fn aggregate(&self, ctx: &Ctx, query: &AggregateQuery) -> Result<Vec<Bucket>> {
        limits::aggregate(query)?;
        self.db.run(Some(ctx), "postgres.aggregate", aggregate::buckets(&self.db, ctx, query)).await
    }

    async fn provenance(&self, ctx: &Ctx, batch: u64) -> Result<Option<Provenance>> {
        let work = async { ingest::provenance(&mut *self.db.snapshot(ctx).await?, ctx.scope(), batch).await };
        self.db.run(Some(ctx), "postgres.provenance", work).await
    }
}
