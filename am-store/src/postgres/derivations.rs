//! Lineage, both ways.

use std::collections::HashMap;

use am_core::{Ctx, Result};
use am_schema::ReadingRef;
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::codec::{COLUMNS, Row};
use super::errors::Failure;
use super::insert::bounds;
use super::pool::scope_id;
use super::streams::{named, one};
use super::types::{Id, Micros};
use super::{Db, Postgres, readings};
use crate::cursor::Place;
use crate::limits;
use crate::model::Stored;
use crate::traits::{Derivations, LineageInputs};

/// The readings at places of the feed, in that order; those whose kind is gone from the catalogue are left out.
pub(super) async fn at_places(db: &Db, conn: &mut PgConnection, places: &[(i64, Micros)]) -> std::result::Result<Vec<Stored>, Failure> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let (min, max) = bounds(places.iter().map(|p| p.1));
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT {} FROM unnest($1::bigint[], $2::timestamptz[]) AS p (seq, at) JOIN reading r ON r.seq = p.seq AND r.at = p.at
         WHERE r.at BETWEEN $3 AND $4",
        COLUMNS.split(", ").map(|c| format!("r.{c}")).collect::<Vec<_>>().join(", ")
    )))
    .bind(places.iter().map(|p| p.0).collect::<Vec<_>>())
    .bind(places.iter().map(|p| p.1).collect::<Vec<_>>())
    .bind(min)
    .bind(max)
    .fetch_all(&mut *conn)
    .await?;
    let mut found: HashMap<i64, Row> = HashMap::with_capacity(rows.len());
    for r in &rows {
        let row = Row::read(r)?;
        found.insert(row.seq as i64, row);
    }
    let names = named(conn, &db.names, &db.catalogue, found.values().map(|r| r.stream)).await?;
    let mut out = Vec::with_capacity(found.len());
    for (seq, _) in places {
        let Some(row) = found.remove(seq) else { continue };
        let Some((kind, named)) = names.get(&row.stream).and_then(|n| Some((n.kind?, n))) else { continue };
        out.push(row.stored(kind, &named.device)?);
    }
    Ok(out)
}

async fn outputs(db: &Db, ctx: &Ctx, name: &ReadingRef, limit: usize) -> std::result::Result<Vec<Stored>, Failure> {
    let mut tx = db.snapshot(ctx).await?;
    let Some(stream) = one(&mut tx, &db.catalogue, ctx.scope(), name.kind, &name.device).await? else { return Ok(Vec::new()) };
    let at = name.recorded_at.as_nanos();
    // By time of the output, before the limit cuts.
    let rows = sqlx::query(
        "SELECT DISTINCT output_at, output FROM lineage WHERE stream = $1 AND at BETWEEN $2 AND $3
           AND CASE WHEN id IS NULL THEN until > $3 ELSE at = $3 AND id = $4 END
         ORDER BY output_at, output LIMIT $5",
    )
    .bind(stream.id)
    .bind(at.saturating_sub(stream.input_span))
    .bind(at)
    .bind(Id::of(name.id))
    .bind(limit as i64)
    .fetch_all(&mut *tx)
    .await?;
    let mut places = Vec::with_capacity(rows.len());
    for r in rows {
        places.push((r.try_get(1)?, r.try_get_unchecked(0)?));
    }
    let mut out = at_places(db, &mut tx, &places).await?;
    out.sort_by_cached_key(|s| Place::of(&s.reading));
    Ok(out)
}

async fn generations(db: &Db, ctx: &Ctx, slot: &[u8; 16]) -> std::result::Result<Vec<Stored>, Failure> {
    let mut tx = db.snapshot(ctx).await?;
    let Some(scope) = scope_id(&mut tx, ctx.scope()).await? else { return Ok(Vec::new()) };
    let rows = sqlx::query(
        "SELECT seq, at FROM derived JOIN stream ON stream.id = derived.stream WHERE slot = $1 AND stream.scope = $2
         ORDER BY generation LIMIT $3",
    )
    .bind(&slot[..])
    .bind(scope)
    .bind(limits::MAX_OUTPUTS as i64)
    .fetch_all(&mut *tx)
    .await?;
    let mut places = Vec::with_capacity(rows.len());
    for r in rows {
        places.push((r.try_get(0)?, r.try_get_unchecked(1)?));
    }
    at_places(db, &mut tx, &places).await
}

#[async_trait]
impl Derivations for Postgres {
    async fn inputs(&self, ctx: &Ctx, name: &ReadingRef) -> Result<Option<LineageInputs>> {
        let work = async { readings::get(&self.db, &mut *self.db.snapshot(ctx).await?, ctx, std::slice::from_ref(name)).await };
        let found = self.db.run(Some(ctx), "postgres.lineage", work).await?;
        Ok(found.into_iter().flatten().next().and_then(|s| s.reading.lineage().map(|l| l.as_ref().clone())))
    }

    async fn outputs(&self, ctx: &Ctx, name: &ReadingRef, limit: usize) -> Result<Vec<Stored>> {
        limits::outputs(limit)?;
        self.db.run(Some(ctx), "postgres.lineage", outputs(&self.db, ctx, name, limit)).await
    }

    async fn generations(&self, ctx: &Ctx, slot: &[u8; 16]) -> Result<Vec<Stored>> {
        self.db.run(Some(ctx), "postgres.lineage", generations(&self.db, ctx, slot)).await
    }
}
