//! Readings in and out.

use am_core::{Ctx, Result, Scope};
use am_schema::{Catalogue, ReadingRef};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::codec::{COLUMNS, Row};
use super::errors::Failure;
use super::queue::Lane;
use super::streams::{of_scope, one, scope_id};
use super::{Sqlite, aggregate, ingest, scan};
use crate::limits;
use crate::model::{AggregateQuery, Bucket, Ingest, IngestOutcome, LatestQuery, Origin, Page, Provenance, ScanQuery, Stored};
use crate::text::Words;
use crate::traits::Readings;

/// The readings under these names.
pub(super) fn get(
    conn: &Connection,
    catalogue: &Catalogue,
    scope: &Scope,
    names: &[ReadingRef],
) -> std::result::Result<Vec<Option<Stored>>, Failure> {
    let Some(scope) = scope_id(conn, scope)? else { return Ok(vec![None; names.len()]) };
    let mut q = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM reading WHERE stream = ?1 AND at = ?2 AND id = ?3"))?;
    let mut out = Vec::with_capacity(names.len());
    for n in names {
        let Some(stream) = one(conn, catalogue, scope, n.kind, &n.device)? else {
            out.push(None);
            continue;
        };
        let row = q.query_row((stream.id, n.recorded_at.as_nanos(), n.id.as_bytes()), Row::read).optional()?;
        out.push(row.map(|r| r.stored(stream.id, stream.kind, &stream.device)).transpose()?);
    }
    Ok(out)
}

fn latest(conn: &Connection, catalogue: &Catalogue, scope: &Scope, query: &LatestQuery) -> std::result::Result<Vec<Stored>, Failure> {
    let mut q = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM reading WHERE stream = ?1 AND at <= ?2 AND flags & 4 = 0 ORDER BY at DESC, id DESC LIMIT 1"
    ))?;
    let mut out = Vec::new();
    for s in of_scope(conn, catalogue, scope, &query.kinds, &query.devices)? {
        let row = q.query_row((s.id, query.at.as_nanos()), Row::read).optional()?;
        out.extend(row.map(|r| r.stored(s.id, s.kind, &s.device)).transpose()?);
    }
    Ok(out)
}

#[async_trait]
impl Readings for Sqlite {
    async fn put(&self, ctx: &Ctx, batch: Ingest) -> Result<IngestOutcome> {
        let scope = ctx.scope().clone();
        let lane = if batch.provenance.origin == Origin::Backfill { Lane::Backfill } else { Lane::Live };
        let words = Words::of(batch.readings.iter());
        self.write(ctx, lane, ingest::size(&batch), move |s| ingest::put(s, &scope, &batch, &words)).await
    }

    async fn get(&self, ctx: &Ctx, names: &[ReadingRef]) -> Result<Vec<Option<Stored>>> {
        limits::names(names.len())?;
        let (scope, names, catalogue) = (ctx.scope().clone(), names.to_vec(), self.catalogue.clone());
        self.read(ctx, "sqlite.get", move |c| get(&*c.unchecked_transaction()?, &catalogue, &scope, &names)).await
    }

    async fn scan(&self, ctx: &Ctx, query: &ScanQuery) -> Result<Page<Stored>> {
        limits::scan(query)?;
        let (scope, query, catalogue) = (ctx.scope().clone(), query.clone(), self.catalogue.clone());
        self.read(ctx, "sqlite.scan", move |c| scan::page(&*c.unchecked_transaction()?, &catalogue, &scope, &query)).await
    }

    async fn latest(&self, ctx: &Ctx, query: &LatestQuery) -> Result<Vec<Stored>> {
        let (scope, query, catalogue) = (ctx.scope().clone(), query.clone(), self.catalogue.clone());
        self.read(ctx, "sqlite.latest", move |c| latest(&*c.unchecked_transaction()?, &catalogue, &scope, &query)).await
    }

    async fn aggregate(&self, ctx: &Ctx, query: &AggregateQuery) -> Result<Vec<Bucket>> {
        limits::aggregate(query)?;
        let (scope, query, catalogue) = (ctx.scope().clone(), query.clone(), self.catalogue.clone());
        self.read(ctx, "sqlite.aggregate", move |c| aggregate::buckets(&*c.unchecked_transaction()?, &catalogue, &scope, &query)).await
    }

    async fn provenance(&self, ctx: &Ctx, batch: u64) -> Result<Option<Provenance>> {
        let scope = ctx.scope().clone();
        self.read(ctx, "sqlite.provenance", move |c| ingest::provenance(c, &scope, batch)).await
    }
}
