//! Vectors in pgvector: a table per model, with an index that guesses well (HNSW; Malkov and Yashunin, 2018).
//!
//! The database finds candidates in the order of its own distance, and they are scored anew by the code that all backends share, so
//! that an exact answer is the same to the bit everywhere.

use am_core::{Ctx, Result};
use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::Postgres;
use super::errors::{Failure, damaged};
use super::pool::scope_id;
use super::types::{At, Id, Micros};
use super::vector_search;
use crate::limits;
use crate::model::{Metric, NewVector, VectorDelete, VectorFault, VectorHits, VectorModel, VectorOutcome, VectorQuery};
use crate::traits::Vectors;
use crate::vectors;

type Done<T> = std::result::Result<T, Failure>;

/// A registered model and its table's number.
pub(super) struct Model {
    pub id: i32,
    pub model: VectorModel,
}

const MODEL: &str = "SELECT id, name, dimensions, metric, version, digest FROM vector_model";

fn read_model(r: &PgRow) -> Done<Model> {
    let metric = u8::try_from(r.try_get::<i16, _>(3)?).ok().and_then(Metric::from_u8).ok_or_else(|| damaged("the metric of a model"))?;
    let dimensions = u32::try_from(r.try_get::<i32, _>(2)?).map_err(|_| damaged("the dimensions of a model"))?;
    let mut model = VectorModel::new(r.try_get::<String, _>(1)?, dimensions, metric).version(r.try_get::<String, _>(4)?);
    model.digest = match r.try_get::<Option<Vec<u8>>, _>(5)? {
        Some(d) => Some(d.try_into().map_err(|_| damaged("the digest of a model"))?),
        None => None,
    };
    Ok(Model { id: r.try_get(0)?, model })
}

async fn all(conn: &mut PgConnection) -> Done<Vec<Model>> {
    let rows = sqlx::query(AssertSqlSafe(format!("{MODEL} ORDER BY name"))).fetch_all(conn).await?;
    rows.iter().map(read_model).collect()
}

/// The model of this name.
pub(super) async fn known(conn: &mut PgConnection, name: &str) -> Done<Model> {
    let row = sqlx::query(AssertSqlSafe(format!("{MODEL} WHERE name = $1"))).bind(name).fetch_optional(conn).await?;
    match row {
        Some(r) => read_model(&r),
        None => Err(vectors::unknown_model(name).into()),
    }
}

/// One process at a time registers and retires, so that there are not two tables of a name.
async fn one_at_a_time(conn: &mut PgConnection) -> Done<()> {
    sqlx::query("SELECT pg_advisory_xact_lock('vector_model'::regclass::oid::bigint)").execute(conn).await?;
    Ok(())
}

/// Numbers as pgvector reads them: the shortest text that gives each again.
pub(super) fn literal(values: &[f32]) -> String {
    let mut out = String::with_capacity(values.len() * 12 + 2);
    out.push('[');
    for (n, v) in values.iter().enumerate() {
        use std::fmt::Write as _;
        let _ = write!(out, "{}{v}", if n == 0 { "" } else { "," });
    }
    out.push(']');
    out
}

/// The rows of a batch, column by column.
#[derive(Default)]
struct Columns {
    topics: Vec<&'static str>,
    devices: Vec<String>,
    micros: Vec<Micros>,
    nanos: Vec<i16>,
    ids: Vec<Id>,
}

impl Columns {
    fn push(&mut self, name: &am_schema::ReadingRef) {
        let at = At::of(name.recorded_at);
        self.topics.push(name.kind.topic());
        self.devices.push(name.device.as_str().to_owned());
        self.micros.push(at.micros);
        self.nanos.push(at.nanos);
        self.ids.push(Id::of(name.id));
    }
}

const FIND: &str = "SELECT u.n, s.id, r.seq
 FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::smallint[], $6::uuid[]) WITH ORDINALITY AS u (topic, device, at, ns, id, n)
 JOIN stream s ON s.scope = $1 AND s.topic = u.topic AND s.device = u.device
 JOIN reading r ON r.stream = s.id AND r.at = u.at AND r.ns = u.ns AND r.id = u.id";

/// Stream and place of the readings of a batch, by their place in it.
async fn find(conn: &mut PgConnection, scope: i32, batch: &[NewVector]) -> Done<Vec<Option<(i32, i64)>>> {
    let mut c = Columns::default();
    batch.iter().for_each(|v| c.push(&v.reading));
    let rows = sqlx::query(FIND).bind(scope).bind(c.topics).bind(c.devices).bind(c.micros).bind(c.nanos).bind(c.ids);
    let mut found = vec![None; batch.len()];
    for r in rows.fetch_all(conn).await? {
        let n = usize::try_from(r.try_get::<i64, _>(0)?.saturating_sub(1)).unwrap_or(usize::MAX);
        if let Some(slot) = found.get_mut(n) {
            *slot = Some((r.try_get(1)?, r.try_get(2)?));
        }
    }
    Ok(found)
}

async fn upsert(conn: &mut PgConnection, scope: Option<i32>, held: &Model, batch: &[NewVector]) -> Done<Vec<VectorOutcome>> {
    let missing = VectorOutcome::Refused(VectorFault::UnknownReading);
    let mut out: Vec<VectorOutcome> =
        batch.iter().map(|v| vectors::fault_of(&held.model, v).map_or(missing, VectorOutcome::Refused)).collect();
    let Some(scope) = scope else { return Ok(out) };
    let found = find(conn, scope, batch).await?;
    // In order of key, so that two batches do not wait for each other in a circle; the last of a key is the one that stays.
    let mut rows: Vec<(i32, At, Id, u32, usize)> = Vec::with_capacity(batch.len());
    let mut upto = 0;
    for (n, ((v, o), at)) in batch.iter().zip(&out).zip(&found).enumerate() {
        if let (true, Some((stream, seq))) = (*o == missing, at) {
            upto = upto.max(*seq);
            rows.push((*stream, At::of(v.reading.recorded_at), Id::of(v.reading.id), v.part, n));
        }
    }
    rows.sort_unstable();
    let last: Vec<_> = rows.chunk_by(|a, b| (a.0, a.1, a.2, a.3) == (b.0, b.1, b.2, b.3)).collect();
    let keep: Vec<_> = last.iter().filter_map(|same| same.last()).collect();
    let text = |n: usize| batch.get(n).map(|v| literal(&v.values)).unwrap_or_default();
    let put = format!(
        "WITH u AS (SELECT * FROM unnest($2::int[], $3::timestamptz[], $4::smallint[], $5::uuid[], $6::int[], $7::text[]) WITH ORDINALITY
           AS u (stream, at, ns, id, part, v, n)),
         put AS (INSERT INTO vector_{} (scope, stream, at, ns, id, part, v) SELECT $1, stream, at, ns, id, part, v::vector FROM u ORDER BY n
           ON CONFLICT (stream, at, ns, id, part) DO UPDATE SET v = excluded.v, created_at = now()
           RETURNING stream, at, ns, id, part, xmax = 0 AS added)
         SELECT u.n, put.added FROM put JOIN u USING (stream, at, ns, id, part)",
        held.id
    );
    let done = sqlx::query(AssertSqlSafe(put))
        .bind(scope)
        .bind(keep.iter().map(|r| r.0).collect::<Vec<_>>())
        .bind(keep.iter().map(|r| r.1.micros).collect::<Vec<_>>())
        .bind(keep.iter().map(|r| r.1.nanos).collect::<Vec<_>>())
        .bind(keep.iter().map(|r| r.2).collect::<Vec<_>>())
        .bind(keep.iter().map(|r| r.3 as i32).collect::<Vec<_>>())
        .bind(keep.iter().map(|r| text(r.4)).collect::<Vec<_>>())
        .fetch_all(&mut *conn)
        .await?;
    for r in done {
        let n = usize::try_from(r.try_get::<i64, _>(0)?.saturating_sub(1)).unwrap_or(usize::MAX);
        let mut added: bool = r.try_get(1)?;
        for same in last.get(n).into_iter().flat_map(|l| l.iter()) {
            if let Some(slot) = out.get_mut(same.4) {
                *slot = if added { VectorOutcome::Added } else { VectorOutcome::Replaced };
            }
            added = false;
        }
    }
    if upto > 0 {
        sqlx::query(
            "INSERT INTO vector_progress (model, scope, upto) VALUES ($1, $2, $3)
             ON CONFLICT (model, scope) DO UPDATE SET upto = greatest(vector_progress.upto, excluded.upto)",
        )
        .bind(held.id)
        .bind(scope)
        .bind(upto)
        .execute(conn)
        .await?;
    }
    Ok(out)
}

async fn delete(conn: &mut PgConnection, scope: Option<i32>, which: &VectorDelete) -> Done<u64> {
    let models = match which {
        VectorDelete::Model(name) => vec![known(conn, name).await?],
        VectorDelete::Readings { model: Some(name), .. } => vec![known(conn, name).await?],
        VectorDelete::Readings { model: None, .. } => all(conn).await?,
    };
    let Some(scope) = scope else { return Ok(0) };
    let mut gone = 0;
    for m in models {
        gone += match which {
            VectorDelete::Model(_) => {
                let text = format!("DELETE FROM vector_{} WHERE scope = $1", m.id);
                sqlx::query(AssertSqlSafe(text)).bind(scope).execute(&mut *conn).await?.rows_affected()
            }
            VectorDelete::Readings { names, .. } => {
                let mut c = Columns::default();
                names.iter().for_each(|n| c.push(n));
                let text = format!(
                    "DELETE FROM vector_{} AS v
                     USING unnest($2::text[], $3::text[], $4::timestamptz[], $5::smallint[], $6::uuid[]) AS u (topic, device, at, ns, id)
                     JOIN stream s ON s.scope = $1 AND s.topic = u.topic AND s.device = u.device
                     WHERE v.stream = s.id AND v.at = u.at AND v.ns = u.ns AND v.id = u.id",
                    m.id
                );
                let q = sqlx::query(AssertSqlSafe(text)).bind(scope).bind(c.topics).bind(c.devices);
                q.bind(c.micros).bind(c.nanos).bind(c.ids).execute(&mut *conn).await?.rows_affected()
            }
        };
    }
    Ok(gone)
}

#[async_trait]
impl Vectors for Postgres {
    async fn register(&self, model: VectorModel) -> Result<bool> {
        vectors::model(&model)?;
        let work = async {
            let mut tx = self.db.change(None).await?;
            one_at_a_time(&mut tx).await?;
            let held = all(&mut tx).await?;
            if let Some(same) = held.iter().find(|m| m.model.name == model.name) {
                return Ok(vectors::same_model(&same.model, &model).map(|()| false)?);
            }
            limits::models(held.len())?;
            let id: i32 = sqlx::query_scalar(
                "INSERT INTO vector_model (name, dimensions, metric, version, digest) VALUES ($1, $2, $3, $4, $5) RETURNING id",
            )
            .bind(&model.name)
            .bind(model.dimensions as i32)
            .bind(model.metric as u8 as i16)
            .bind(&model.version)
            .bind(model.digest.as_ref().map(|d| d.to_vec()))
            .fetch_one(&mut *tx)
            .await?;
            sqlx::query("SELECT make_vectors($1)").bind(id).execute(&mut *tx).await?;
            renew_views(&mut tx).await?;
            tx.commit().await?;
            Ok(true)
        };
        self.db.run(None, "postgres.vectors", work).await
    }

    async fn models(&self) -> Result<Vec<VectorModel>> {
        let work = async {
            let mut conn = self.db.pool.plain().acquire().await?;
            Ok(all(&mut conn).await?.into_iter().map(|m| m.model).collect())
        };
        self.db.run(None, "postgres.vectors", work).await
    }

    async fn retire(&self, name: &str) -> Result<bool> {
        let work = async {
            let mut tx = self.db.change(None).await?;
            one_at_a_time(&mut tx).await?;
            let Some(m) = all(&mut tx).await?.into_iter().find(|m| m.model.name == name) else { return Ok(false) };
            // The view over all models lets go of the table first.
            sqlx::query("DELETE FROM vector_model WHERE id = $1").bind(m.id).execute(&mut *tx).await?;
            renew_views(&mut tx).await?;
            sqlx::query("SELECT drop_vectors($1)").bind(m.id).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(true)
        };
        self.db.run(None, "postgres.vectors", work).await
    }

    async fn upsert(&self, ctx: &Ctx, model: &str, batch: Vec<NewVector>) -> Result<Vec<VectorOutcome>> {
        limits::vector_batch(&batch)?;
        let work = async {
            let mut tx = self.db.change(Some(ctx.scope())).await?;
            let held = known(&mut tx, model).await?;
            let scope = scope_id(&mut tx, ctx.scope()).await?;
            let out = upsert(&mut tx, scope, &held, &batch).await?;
            tx.commit().await?;
            Ok(out)
        };
        self.db.run(Some(ctx), "postgres.vectors", work).await
    }

    async fn search(&self, ctx: &Ctx, query: &VectorQuery) -> Result<VectorHits> {
        limits::vectors(query)?;
        self.db.run(Some(ctx), "postgres.vectors", vector_search::search(&self.db, ctx, query)).await
    }

    async fn delete(&self, ctx: &Ctx, which: &VectorDelete) -> Result<u64> {
        if let VectorDelete::Readings { names, .. } = which {
            limits::names(names.len())?;
        }
        let work = async {
            let mut tx = self.db.change(Some(ctx.scope())).await?;
            let scope = scope_id(&mut tx, ctx.scope()).await?;
            let gone = delete(&mut tx, scope, which).await?;
            tx.commit().await?;
            Ok(gone)
        };
        self.db.run(Some(ctx), "postgres.vectors", work).await
    }
}

/// Makes the view over all models anew, where the views are.
async fn renew_views(conn: &mut PgConnection) -> Done<()> {
    let there: bool = sqlx::query_scalar("SELECT to_regprocedure('renew_embeddings()') IS NOT NULL").fetch_one(&mut *conn).await?;
    if there {
        sqlx::query("SELECT renew_embeddings()").execute(conn).await?;
    }
    Ok(())
}
