//! Vectors as blobs, compared one by one.

use am_core::{Ctx, ReadingId, Result, Scope};
use am_schema::{Catalogue, ReadingRef};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::Sqlite;
use super::codec::{COLUMNS, Row, SUPERSEDED};
use super::errors::{Failure, damaged};
use super::queue::{How, Lane, Size};
use super::streams::{StreamRow, of_scope, one, scope_id};
use super::writer::Session;
use crate::limits;
use crate::model::{
    Generations, Metric, NewVector, Predicate, VectorDelete, VectorFault, VectorHit, VectorHits, VectorModel, VectorOutcome, VectorQuery,
};
use crate::predicate::in_span;
use crate::traits::Vectors;
use crate::vectors::{self, Target, Top, norm};

type Done<T> = std::result::Result<T, Failure>;

/// The most rows that one transaction of a removal takes, so that it does not hold up the writer.
const PIECE: usize = 10_000;
/// After so many vectors a search looks whether it is still waited for.
const CHECK_EVERY: u64 = 4_096;
const MODEL: &str = "SELECT name, dimensions, metric, version, digest, id FROM vector_model";

fn read_model(r: &rusqlite::Row<'_>) -> Done<(i64, VectorModel)> {
    let metric = Metric::from_u8(r.get(2)?).ok_or_else(|| Failure::Damaged(damaged("the metric of a model")))?;
    let mut m = VectorModel::new(r.get::<_, String>(0)?, r.get(1)?, metric).version(r.get::<_, String>(3)?);
    m.digest = r.get(4)?;
    Ok((r.get(5)?, m))
}

fn models(conn: &Connection) -> Done<Vec<(i64, VectorModel)>> {
    let mut q = conn.prepare_cached(&format!("{MODEL} ORDER BY name"))?;
    let mut rows = q.query([])?;
    let mut out = Vec::new();
    while let Some(r) = rows.next()? {
        out.push(read_model(r)?);
    }
    Ok(out)
}

fn model(conn: &Connection, name: &str) -> Done<Option<(i64, VectorModel)>> {
    let mut q = conn.prepare_cached(&format!("{MODEL} WHERE name = ?1"))?;
    let mut rows = q.query([name])?;
    rows.next()?.map(read_model).transpose()
}

fn known(conn: &Connection, name: &str) -> Done<(i64, VectorModel)> {
    model(conn, name)?.ok_or_else(|| vectors::unknown_model(name).into())
}

fn upsert(s: &mut Session, scope: &Scope, name: &str, batch: &[NewVector]) -> Done<Vec<VectorOutcome>> {
    let Session { conn, catalogue, scratch, .. } = s;
    let (model, held) = known(conn, name)?;
    let scope = scope_id(conn, scope)?;
    let mut find = conn.prepare_cached("SELECT seq FROM reading WHERE stream = ?1 AND at = ?2 AND id = ?3")?;
    let mut put = conn.prepare_cached(
        "INSERT INTO vector (model, stream, at, id, part, norm, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
    )?;
    let mut replace = conn
        .prepare_cached("UPDATE vector SET norm = ?6, data = ?7 WHERE model = ?1 AND stream = ?2 AND at = ?3 AND id = ?4 AND part = ?5")?;
    let mut upto = 0i64;
    let mut out = Vec::with_capacity(batch.len());
    for v in batch {
        if let Some(fault) = vectors::fault_of(&held, v) {
            out.push(VectorOutcome::Refused(fault));
            continue;
        }
        let ReadingRef { device, kind, recorded_at, id } = &v.reading;
        let stream = scope.map(|s| one(conn, catalogue, s, *kind, device)).transpose()?.flatten();
        let found = match &stream {
            Some(s) => find.query_row((s.id, recorded_at.as_nanos(), id.as_bytes()), |r| r.get::<_, i64>(0)).optional()?,
            None => None,
        };
        let (Some(stream), Some(seq)) = (stream, found) else {
            out.push(VectorOutcome::Refused(VectorFault::UnknownReading));
            continue;
        };
        upto = upto.max(seq);
        vectors::write_into(&v.values, scratch);
        let row = (model, stream.id, recorded_at.as_nanos(), id.as_bytes(), v.part, norm(&v.values), &scratch[..]);
        out.push(if put.execute(row)? == 1 {
            VectorOutcome::Added
        } else {
            replace.execute(row)?;
            VectorOutcome::Replaced
        });
    }
    if upto > 0 {
        conn.prepare_cached(
            "INSERT INTO vector_progress (model, scope, upto) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET upto = max(upto, excluded.upto)",
        )?
        .execute((model, scope, upto))?;
    }
    Ok(out)
}

/// A place in the order of hits with equal scores: time, stream, id, part.
type Place = (i64, usize, [u8; 16], u32);

/// Finds out about readings when their vectors would be among the best.
struct Readings<'c> {
    flags: rusqlite::CachedStatement<'c>,
    whole: rusqlite::CachedStatement<'c>,
}

impl<'c> Readings<'c> {
    fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        let whole = format!("SELECT {COLUMNS} FROM reading WHERE stream = ?1 AND at = ?2 AND id = ?3");
        Ok(Readings {
            flags: conn.prepare_cached("SELECT flags FROM reading WHERE stream = ?1 AND at = ?2 AND id = ?3")?,
            whole: conn.prepare_cached(&whole)?,
        })
    }

    fn wanted(&mut self, stream: &StreamRow, place: &Place, q: &VectorQuery) -> Done<bool> {
        let key = (stream.id, place.0, &place.2);
        let plain = q.filter == Predicate::True && place.0 >= q.from.as_nanos();
        if plain && q.generations == Generations::All {
            return Ok(true);
        }
        if plain {
            let flags = self.flags.query_row(key, |r| r.get::<_, i64>(0)).optional()?;
            return Ok(flags.is_some_and(|f| f & SUPERSEDED == 0));
        }
        let Some(row) = self.whole.query_row(key, Row::read).optional()? else { return Ok(false) };
        let newest = row.flags & SUPERSEDED == 0;
        let r = row.reading(stream.kind, &stream.device)?;
        Ok((newest || q.generations == Generations::All) && in_span(&r, q.from, q.to) && q.filter.matches(&r))
    }

    fn hit(&mut self, stream: &StreamRow, score: f64, place: &Place) -> Done<VectorHit> {
        let row = self.whole.query_row((stream.id, place.0, &place.2), Row::read).optional()?;
        let row =
            row.ok_or_else(|| Failure::Damaged(damaged(format_args!("the reading of a vector, {}", ReadingId::from_bytes(place.2)))))?;
        Ok(VectorHit { score, part: place.3, stored: row.stored(stream.id, stream.kind, &stream.device)? })
    }
}

fn search(conn: &Connection, ctx: &Ctx, catalogue: &Catalogue, q: &VectorQuery) -> Done<VectorHits> {
    let (model, held) = known(conn, &q.model)?;
    vectors::query(&held, q)?;
    let target = Target::new(q.vector.clone(), held.metric);
    let Some(scope) = scope_id(conn, ctx.scope())? else { return Ok(VectorHits::exact(Vec::new(), 0, 0)) };
    let streams = of_scope(conn, catalogue, ctx.scope(), &q.kinds, &q.devices)?;
    let mut scan =
        conn.prepare_cached("SELECT at, id, part, norm, data FROM vector WHERE model = ?1 AND stream = ?2 AND at >= ?3 AND at < ?4")?;
    let mut readings = Readings::new(conn)?;
    let mut top: Top<Place> = Top::new(q.limit);
    let (mut searched, mut values) = (0u64, Vec::with_capacity(held.dimensions as usize));
    for (n, stream) in streams.iter().enumerate() {
        let mut rows = scan.query((model, stream.id, q.from.as_nanos().saturating_sub(stream.span), q.to.as_nanos()))?;
        while let Some(r) = rows.next()? {
            searched += 1;
            if searched.is_multiple_of(CHECK_EVERY) {
                ctx.check()?;
            }
            let data = r.get_ref(4)?.as_blob().map_err(|_| Failure::Damaged(damaged("a vector")))?;
            if !vectors::read_into(data, held.dimensions, &mut values) {
                return Err(Failure::Damaged(damaged(format_args!("a vector of {}", held.name))));
            }
            let score = target.score(&values, r.get(3)?);
            let place = (r.get(0)?, n, r.get(1)?, r.get(2)?);
            if top.wants(score, &place) && readings.wanted(stream, &place, q)? {
                top.push(score, place);
            }
        }
    }
    let mut hits = Vec::new();
    for (score, place) in top.into_best() {
        if let Some(stream) = streams.get(place.1) {
            hits.push(readings.hit(stream, score, &place)?);
        }
    }
    let upto = conn
        .prepare_cached("SELECT upto FROM vector_progress WHERE model = ?1 AND scope = ?2")?
        .query_row((model, scope), |r| r.get::<_, i64>(0))
        .optional()?;
    Ok(VectorHits::exact(hits, searched, upto.unwrap_or(0) as u64))
}

fn delete_of(conn: &Connection, catalogue: &Catalogue, scope: &Scope, names: &[ReadingRef], only: Option<&str>) -> Done<u64> {
    let models = match only {
        Some(name) => vec![known(conn, name)?],
        None => models(conn)?,
    };
    let Some(scope) = scope_id(conn, scope)? else { return Ok(0) };
    let mut q = conn.prepare_cached("DELETE FROM vector WHERE model = ?1 AND stream = ?2 AND at = ?3 AND id = ?4")?;
    let mut gone = 0;
    for n in names {
        let Some(stream) = one(conn, catalogue, scope, n.kind, &n.device)? else { continue };
        for (model, _) in &models {
            gone += q.execute((model, stream.id, n.recorded_at.as_nanos(), n.id.as_bytes()))? as u64;
        }
    }
    Ok(gone)
}

#[async_trait]
impl Vectors for Sqlite {
    async fn register(&self, model: VectorModel) -> Result<bool> {
        vectors::model(&model)?;
        self.write_alone(How::Grouped, Size::default(), move |s| {
            let held = models(&s.conn)?;
            if let Some((_, held)) = held.iter().find(|(_, m)| m.name == model.name) {
                return Ok(vectors::same_model(held, &model).map(|()| false)?);
            }
            limits::models(held.len())?;
            s.conn
                .prepare_cached("INSERT INTO vector_model (name, dimensions, metric, version, digest) VALUES (?1, ?2, ?3, ?4, ?5)")?
                .execute((&model.name, model.dimensions, model.metric as u8, &model.version, &model.digest))?;
            Ok(true)
        })
        .await
    }

    async fn models(&self) -> Result<Vec<VectorModel>> {
        self.read_any("sqlite.vectors", |c| Ok(models(c)?.into_iter().map(|(_, m)| m).collect())).await
    }

    async fn retire(&self, name: &str) -> Result<bool> {
        loop {
            let name = name.to_owned();
            let done = self.write_alone(How::Grouped, Size { readings: PIECE, bytes: 0 }, move |s| {
                let Some((id, _)) = model(&s.conn, &name)? else { return Ok(Some(false)) };
                let gone = s
                    .conn
                    .prepare_cached("DELETE FROM vector WHERE rowid IN (SELECT rowid FROM vector WHERE model = ?1 LIMIT ?2)")?
                    .execute((id, PIECE as i64))?;
                if gone == PIECE {
                    return Ok(None);
                }
                s.conn.prepare_cached("DELETE FROM vector_progress WHERE model = ?1")?.execute([id])?;
                s.conn.prepare_cached("DELETE FROM vector_model WHERE id = ?1")?.execute([id])?;
                Ok(Some(true))
            });
            if let Some(was) = done.await? {
                return Ok(was);
            }
        }
    }

    async fn upsert(&self, ctx: &Ctx, model: &str, batch: Vec<NewVector>) -> Result<Vec<VectorOutcome>> {
        limits::vector_batch(&batch)?;
        let bytes = batch.iter().map(|v| v.values.len() * size_of::<f32>() + 64).sum();
        let (scope, model, readings) = (ctx.scope().clone(), model.to_owned(), batch.len());
        // Vectors can be made again; readings that devices wait for go first.
        self.write(ctx, Lane::Backfill, Size { readings, bytes }, move |s| upsert(s, &scope, &model, &batch)).await
    }

    async fn search(&self, ctx: &Ctx, query: &VectorQuery) -> Result<VectorHits> {
        limits::vectors(query)?;
        let (asker, query, catalogue) = (ctx.clone(), query.clone(), self.catalogue.clone());
        self.read(ctx, "sqlite.vectors", move |c| search(&*c.unchecked_transaction()?, &asker, &catalogue, &query)).await
    }

    async fn delete(&self, ctx: &Ctx, which: &VectorDelete) -> Result<u64> {
        let scope = ctx.scope().clone();
        let name = match which.clone() {
            VectorDelete::Readings { names, model } => {
                limits::names(names.len())?;
                let size = Size { readings: names.len(), bytes: 0 };
                return self
                    .write(ctx, Lane::Live, size, move |s| delete_of(&s.conn, &s.catalogue, &scope, &names, model.as_deref()))
                    .await;
            }
            VectorDelete::Model(name) => name,
        };
        let mut all = 0;
        loop {
            let (scope, name) = (scope.clone(), name.clone());
            let piece = self.write(ctx, Lane::Live, Size { readings: PIECE, bytes: 0 }, move |s| {
                let (id, _) = known(&s.conn, &name)?;
                let Some(scope) = scope_id(&s.conn, &scope)? else { return Ok(0) };
                let mut q = s.conn.prepare_cached(
                    "DELETE FROM vector WHERE rowid IN (SELECT vector.rowid FROM stream CROSS JOIN vector
                       ON vector.model = ?1 AND vector.stream = stream.id WHERE stream.scope = ?2 LIMIT ?3)",
                )?;
                Ok(q.execute((id, scope, PIECE as i64))?)
            });
            let gone = piece.await?;
            all += gone as u64;
            if gone < PIECE {
                return Ok(all);
            }
        }
    }
}
