//! Lineage, both ways.

use am_core::{Ctx, Result};
use am_schema::ReadingRef;
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::codec::{COLUMNS, Row};
use super::errors::Failure;
use super::streams::{Names, one, scope_id};
use super::{Sqlite, readings};
use crate::cursor::Place;
use crate::limits;
use crate::model::Stored;
use crate::traits::{Derivations, LineageInputs};
use am_schema::Catalogue;

/// The reading at a place of the feed, unless its kind is gone from the catalogue.
pub(super) fn at_seq(conn: &Connection, catalogue: &Catalogue, names: &Names, seq: i64) -> std::result::Result<Option<Stored>, Failure> {
    let found = conn
        .prepare_cached(&format!("SELECT {COLUMNS}, stream FROM reading WHERE seq = ?1"))?
        .query_row([seq], |r| Ok((Row::read(r)?, r.get::<_, i64>(6)?)))
        .optional()?;
    let Some((row, stream)) = found else { return Ok(None) };
    let named = names.get(conn, catalogue, stream)?;
    match named.kind {
        Some(kind) => Ok(Some(row.stored(stream, kind, &named.device)?)),
        None => Ok(None),
    }
}

#[async_trait]
impl Derivations for Sqlite {
    async fn inputs(&self, ctx: &Ctx, name: &ReadingRef) -> Result<Option<LineageInputs>> {
        let (scope, name, catalogue) = (ctx.scope().clone(), name.clone(), self.catalogue.clone());
        self.read(ctx, "sqlite.lineage", move |c| {
            let found = readings::get(c, &catalogue, &scope, std::slice::from_ref(&name))?;
            Ok(found.into_iter().flatten().next().and_then(|s| s.reading.lineage().map(|l| l.as_ref().clone())))
        })
        .await
    }

    async fn outputs(&self, ctx: &Ctx, name: &ReadingRef, limit: usize) -> Result<Vec<Stored>> {
        limits::outputs(limit)?;
        let (scope, name, catalogue, names) = (ctx.scope().clone(), name.clone(), self.catalogue.clone(), self.names.clone());
        self.read(ctx, "sqlite.lineage", move |c| {
            let tx = c.unchecked_transaction()?;
            let Some(scope) = scope_id(&tx, &scope)? else { return Ok(Vec::new()) };
            let Some(stream) = one(&tx, &catalogue, scope, name.kind, &name.device)? else { return Ok(Vec::new()) };
            let at = name.recorded_at.as_nanos();
            // By time of the output, before the limit cuts.
            let mut q = tx.prepare_cached(
                "SELECT DISTINCT reading.seq FROM lineage JOIN reading ON reading.seq = lineage.output
                 WHERE lineage.stream = ?1 AND lineage.at BETWEEN ?2 AND ?3
                   AND CASE WHEN lineage.id IS NULL THEN lineage.until > ?3 ELSE lineage.at = ?3 AND lineage.id = ?4 END
                 ORDER BY reading.at, reading.seq LIMIT ?5",
            )?;
            let from = at.saturating_sub(stream.input_span);
            let seqs = q
                .query_map((stream.id, from, at, name.id.as_bytes(), limit as i64), |r| r.get::<_, i64>(0))?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            let mut out = Vec::with_capacity(seqs.len());
            for seq in seqs {
                out.extend(at_seq(&tx, &catalogue, &names, seq)?);
            }
            out.sort_by_cached_key(|s| Place::of(&s.reading));
            Ok(out)
        })
        .await
    }

    async fn generations(&self, ctx: &Ctx, slot: &[u8; 16]) -> Result<Vec<Stored>> {
        let (scope, slot, catalogue, names) = (ctx.scope().clone(), *slot, self.catalogue.clone(), self.names.clone());
        self.read(ctx, "sqlite.lineage", move |c| {
            let tx = c.unchecked_transaction()?;
            let Some(scope) = scope_id(&tx, &scope)? else { return Ok(Vec::new()) };
            let mut q = tx.prepare_cached(
                "SELECT seq FROM derived JOIN stream ON stream.id = derived.stream
                 WHERE slot = ?1 AND stream.scope = ?2 ORDER BY generation LIMIT ?3",
            )?;
            let seqs =
                q.query_map((&slot, scope, limits::MAX_OUTPUTS as i64), |r| r.get::<_, i64>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
            let mut out = Vec::with_capacity(seqs.len());
            for seq in seqs {
                out.extend(at_seq(&tx, &catalogue, &names, seq)?);
            }
            Ok(out)
        })
        .await
    }
}
