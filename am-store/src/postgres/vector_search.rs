//! The search for what is alike: candidates from the database, scores from the code that all backends share.

use std::collections::HashMap;

use am_core::{Ctx, DeviceId, Timestamp};
use am_schema::Kind;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::Db;
use super::codec::{Row, SUPERSEDED};
use super::errors::{Failure, damaged};
use super::pool::scope_id;
use super::types::{At, Id, Micros};
use super::vectors::{Model, known, literal};
use crate::model::{Generations, Metric, Stored, VectorHit, VectorHits, VectorQuery};
use crate::predicate::in_span;
use crate::vectors::{self, Target, Top, norm};

type Done<T> = std::result::Result<T, Failure>;

/// So many vectors of a scope are compared one by one, where an index would have to pass over those of all others.
const FEW: i64 = 5_000;
/// The most candidates that are fetched at once.
const MAX_RUN: usize = 256;
/// How far a distance that the database computed may be off, for vectors of norm 1: it adds in another order.
const SLACK: f64 = 1e-5;
/// Candidates that one search looks at; beyond it, an index's answer is what was found so far.
const MAX_LOOKED_AT: usize = 200_000;

/// A stream that is searched.
struct Stream {
    kind: Kind,
    device: DeviceId,
    span: i64,
}

/// What a search goes over.
struct Asked<'q> {
    q: &'q VectorQuery,
    scope: i32,
    model: Model,
    target: Target,
    streams: HashMap<i32, Stream>,
    /// All of the scope's streams.
    every: bool,
}

/// A reading by stream, time and id.
type Key = (i32, At, Id);

/// A vector that the database gave.
struct Candidate {
    key: Key,
    part: u32,
    score: f64,
    distance: f64,
}

/// A place in the order of hits with equal scores.
type Place = (Timestamp, Kind, DeviceId, am_core::ReadingId, u32);

pub(super) async fn search(db: &Db, ctx: &Ctx, q: &VectorQuery) -> Done<VectorHits> {
    let mut tx = db.snapshot(ctx).await?;
    let model = known(&mut tx, &q.model).await?;
    vectors::query(&model.model, q)?;
    let Some(scope) = scope_id(&mut tx, ctx.scope()).await? else { return Ok(VectorHits::exact(Vec::new(), 0, 0)) };
    let streams = streams(db, &mut tx, scope, q).await?;
    let target = Target::new(q.vector.clone(), model.model.metric);
    let asked = Asked { q, scope, model, target, streams, every: q.kinds.is_empty() && q.devices.is_empty() };
    let upto = progress(&mut tx, &asked).await?;
    let mut exact = q.exact || few(&mut tx, &asked).await?;
    let mut hits = asked.candidates(&mut tx, exact).await?;
    if !exact && hits.len() < q.limit {
        // The index gave up before there were enough: what is rare is found by looking at everything.
        exact = true;
        hits = asked.candidates(&mut tx, exact).await?;
    }
    let answer = match exact {
        true => VectorHits::exact(hits, asked.count(&mut tx).await?, upto),
        false => VectorHits::approximate(hits, upto),
    };
    tx.rollback().await?;
    Ok(answer)
}

async fn streams(db: &Db, conn: &mut PgConnection, scope: i32, q: &VectorQuery) -> Done<HashMap<i32, Stream>> {
    let topics: Vec<&str> = q.kinds.iter().map(|k| k.topic()).collect();
    let devices: Vec<&str> = q.devices.iter().map(DeviceId::as_str).collect();
    let rows = sqlx::query(
        "SELECT id, topic, device, span FROM stream WHERE scope = $1 AND (cardinality($2::text[]) = 0 OR topic = ANY($2))
           AND (cardinality($3::text[]) = 0 OR device = ANY($3))",
    )
    .bind(scope)
    .bind(topics)
    .bind(devices)
    .fetch_all(conn)
    .await?;
    let mut out = HashMap::new();
    for r in rows {
        let Some(kind) = db.catalogue.get(r.try_get(1)?) else { continue };
        let device = DeviceId::new(r.try_get::<String, _>(2)?).map_err(|e| damaged("a stream's device").source(e))?;
        out.insert(r.try_get(0)?, Stream { kind, device, span: r.try_get(3)? });
    }
    Ok(out)
}

async fn progress(conn: &mut PgConnection, asked: &Asked<'_>) -> Done<u64> {
    let upto: Option<i64> = sqlx::query_scalar("SELECT upto FROM vector_progress WHERE model = $1 AND scope = $2")
        .bind(asked.model.id)
        .bind(asked.scope)
        .fetch_optional(conn)
        .await?;
    Ok(upto.unwrap_or(0) as u64)
}

async fn few(conn: &mut PgConnection, asked: &Asked<'_>) -> Done<bool> {
    let text = format!("SELECT count(*) FROM (SELECT 1 FROM vector_{} WHERE scope = $1 LIMIT {FEW}) AS n", asked.model.id);
    let n: i64 = sqlx::query_scalar(AssertSqlSafe(text)).bind(asked.scope).fetch_one(conn).await?;
    Ok(n < FEW)
}

impl Asked<'_> {
    /// The distance of pgvector, in a form that its index answers or in one that it does not.
    fn distance(&self, exact: bool) -> String {
        let operator = match self.model.model.metric {
            Metric::Cosine => "<=>",
            Metric::Dot => "<#>",
            Metric::L2 => "<->",
        };
        let n = self.model.model.dimensions;
        match (exact, n > 2_000) {
            (true, _) => format!("(v {operator} $2::text::vector) + 0"),
            (false, false) => format!("v {operator} $2::text::vector"),
            (false, true) => format!("v::halfvec({n}) {operator} $2::text::halfvec({n})"),
        }
    }

    /// What a distance may be off by, seen from the longest vector so far.
    fn slack(&self, longest: f64, distance: f64) -> f64 {
        let halved = if self.model.model.dimensions > 2_000 { 1e-3 } else { SLACK };
        match self.model.model.metric {
            Metric::Cosine => halved,
            Metric::Dot => halved * norm(&self.q.vector) * longest,
            Metric::L2 => halved * distance.abs().max(norm(&self.q.vector)),
        }
    }

    /// The best, by walking candidates in the order of the database's distance until none that follows can be better.
    async fn candidates(&self, conn: &mut PgConnection, exact: bool) -> Done<Vec<VectorHit>> {
        let setup = match exact {
            true => "SET LOCAL hnsw.iterative_scan = off",
            false => {
                "SET LOCAL hnsw.iterative_scan = strict_order; SET LOCAL hnsw.ef_search = 100; SET LOCAL hnsw.max_scan_tuples = 100000;
                 SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"
            }
        };
        sqlx::raw_sql(setup).execute(&mut *conn).await?;
        let longest = self.streams.values().map(|s| s.span).max().unwrap_or(0);
        let (from, to) = (At::of_nanos(self.q.from.as_nanos().saturating_sub(longest)), At::of(self.q.to));
        let only = if self.every { "" } else { " AND stream = ANY($7::int[])" };
        let text = format!(
            "DECLARE alike NO SCROLL CURSOR FOR SELECT stream, at, ns, id, part, v::real[], {d} FROM vector_{} WHERE scope = $1
               AND (at, ns) >= ($3, $4) AND (at, ns) < ($5, $6){only} ORDER BY {d}",
            self.model.id,
            d = self.distance(exact),
        );
        let q = sqlx::query(AssertSqlSafe(text)).bind(self.scope).bind(literal(&self.q.vector)).bind(from.micros).bind(from.nanos);
        let q = q.bind(to.micros).bind(to.nanos);
        let q = if self.every { q } else { q.bind(self.streams.keys().copied().collect::<Vec<_>>()) };
        q.execute(&mut *conn).await?;
        let mut top: Top<Place> = Top::new(self.q.limit);
        let mut kept: HashMap<Key, Stored> = HashMap::new();
        let (mut looked_at, mut far, mut norms) = (0, f64::INFINITY, 0f64);
        // Every further candidate costs the index a wider search.
        let size = (2 * self.q.limit).clamp(32, MAX_RUN);
        loop {
            let rows = sqlx::query(AssertSqlSafe(format!("FETCH {size} FROM alike"))).fetch_all(&mut *conn).await?;
            let more = rows.len() == size;
            looked_at += rows.len();
            let mut run = Vec::with_capacity(rows.len());
            let mut last = f64::NEG_INFINITY;
            for r in &rows {
                let at = At { micros: r.try_get::<Micros, _>(1)?, nanos: r.try_get(2)? };
                let values: Vec<f32> = r.try_get(5)?;
                let (length, key) = (norm(&values), (r.try_get::<i32, _>(0)?, at, r.try_get::<Id, _>(3)?));
                norms = norms.max(length);
                last = r.try_get(6)?;
                run.push(Candidate {
                    key,
                    part: r.try_get::<i32, _>(4)? as u32,
                    score: self.target.score(&values, length),
                    distance: last,
                });
            }
            let found = self.readings(conn, &run).await?;
            for c in run {
                let (Some(stored), Some(s)) = (found.get(&c.key), self.streams.get(&c.key.0)) else { continue };
                let place = (c.key.1.time(), s.kind, s.device.clone(), c.key.2.reading(), c.part);
                if top.wants(c.score, &place) {
                    top.push(c.score, place);
                    kept.insert(c.key, stored.clone());
                }
                if top.is_full() {
                    far = far.min(c.distance);
                }
            }
            let done = top.is_full() && last > far + self.slack(norms, far);
            if !more || done || (!exact && looked_at >= MAX_LOOKED_AT) {
                break;
            }
        }
        sqlx::raw_sql("CLOSE alike").execute(&mut *conn).await?;
        let by_name: HashMap<_, Stored> = kept
            .into_values()
            .map(|s| ((s.reading.recorded_at(), s.reading.kind(), s.reading.device().clone(), s.reading.id()), s))
            .collect();
        let hit = |(score, (at, kind, device, id, part)): (f64, Place)| {
            by_name.get(&(at, kind, device, id)).map(|s| VectorHit { score, part, stored: s.clone() })
        };
        Ok(top.into_best().into_iter().filter_map(hit).collect())
    }

    /// The readings of a run that are what was asked for.
    async fn readings(&self, conn: &mut PgConnection, run: &[Candidate]) -> Done<HashMap<Key, Stored>> {
        let rows = sqlx::query(
            "SELECT r.seq, r.at, r.ns, r.id, r.batch, r.flags, r.stream, r.body
             FROM unnest($1::int[], $2::timestamptz[], $3::smallint[], $4::uuid[]) AS u (stream, at, ns, id)
             JOIN reading r ON r.stream = u.stream AND r.at = u.at AND r.ns = u.ns AND r.id = u.id",
        )
        .bind(run.iter().map(|c| c.key.0).collect::<Vec<_>>())
        .bind(run.iter().map(|c| c.key.1.micros).collect::<Vec<_>>())
        .bind(run.iter().map(|c| c.key.1.nanos).collect::<Vec<_>>())
        .bind(run.iter().map(|c| c.key.2).collect::<Vec<_>>())
        .fetch_all(conn)
        .await?;
        let mut out = HashMap::with_capacity(rows.len());
        for r in &rows {
            let row = Row::read(r)?;
            let Some(s) = self.streams.get(&row.stream) else { continue };
            if row.flags & SUPERSEDED != 0 && self.q.generations == Generations::Newest {
                continue;
            }
            let key = (row.stream, row.at, row.id);
            let stored = row.stored(s.kind, &s.device)?;
            if in_span(&stored.reading, self.q.from, self.q.to) && self.q.filter.matches(&stored.reading) {
                out.insert(key, stored);
            }
        }
        Ok(out)
    }

    /// How many vectors an exact answer compared: those of the streams and the time.
    async fn count(&self, conn: &mut PgConnection) -> Done<u64> {
        let ids: Vec<i32> = self.streams.keys().copied().collect();
        let from =
            |id: &i32| self.streams.get(id).map_or(At::of(self.q.from), |s| At::of_nanos(self.q.from.as_nanos().saturating_sub(s.span)));
        let text = format!(
            "SELECT count(*) FROM unnest($1::int[], $2::timestamptz[], $3::smallint[]) AS s (id, at, ns)
             JOIN vector_{} v ON v.stream = s.id AND (v.at, v.ns) >= (s.at, s.ns) AND (v.at, v.ns) < ($4, $5)",
            self.model.id
        );
        let to = At::of(self.q.to);
        let n: i64 = sqlx::query_scalar(AssertSqlSafe(text))
            .bind(&ids)
            .bind(ids.iter().map(|i| from(i).micros).collect::<Vec<_>>())
            .bind(ids.iter().map(|i| from(i).nanos).collect::<Vec<_>>())
            .bind(to.micros)
            .bind(to.nanos)
            .fetch_one(conn)
            .await?;
        Ok(n as u64)
    }
}
