//! Dead letters.

use std::collections::{BTreeMap, HashSet};

use am_core::{Code, Ctx, Error, Result, Scope, Timestamp};
use am_pipeline::DeadLetter;
use am_schema::Finding;
use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::Postgres;
use super::errors::{Failure, damaged};
use super::pool::scope_id;
use super::types::{Id, escaped, plain};
use crate::limits;
use crate::traits::{DeadLetterQuery, DeadLetterRow, DeadLetters, Resolution};

const COLUMNS: &str =
    "id, at, stage, code, findings, message, device, kind, recorded_at, reading_id, attempts, wire, resolution, resolved_at";

/// A page of letters ends early beyond so many bytes: their items may be large.
const PAGE_BYTES: usize = 64 << 20;
/// So many letters are fetched at once.
const RUN: usize = 100;

fn findings_text(l: &DeadLetter) -> String {
    let findings: Vec<[&str; 3]> = l.findings.iter().map(|f| [f.field.as_str(), f.value.as_str(), f.rule.as_str()]).collect();
    // JSON writes a NUL as an escape of its own.
    serde_json::to_string(&findings).unwrap_or_else(|_| "[]".into())
}

fn unknown(id: &str) -> Failure {
    Failure::Refused(Error::new(Code::NOT_FOUND, format!("there is no dead letter {id}")).op("store.dead_letters"))
}

/// Parks letters of scopes; gives those that were not there already.
pub(super) async fn insert<'l>(
    conn: &mut PgConnection,
    letters: impl Iterator<Item = (i32, &'l DeadLetter)>,
) -> std::result::Result<HashSet<(i32, String)>, Failure> {
    // By key, each once: the first counts, and two transactions never wait for each other crosswise.
    let mut by_key: BTreeMap<(i32, &str), &DeadLetter> = BTreeMap::new();
    for (scope, l) in letters {
        by_key.entry((scope, l.id.as_str())).or_insert(l);
    }
    if by_key.is_empty() {
        return Ok(HashSet::new());
    }
    let text = |f: fn(&DeadLetter) -> &str| by_key.values().map(|l| escaped(f(l)).into_owned()).collect::<Vec<String>>();
    let maybe = |f: fn(&DeadLetter) -> Option<&str>| by_key.values().map(|l| f(l).map(|t| escaped(t).into_owned())).collect::<Vec<_>>();
    let rows = sqlx::query(
        "INSERT INTO dead_letter (scope, id, at, stage, code, findings, message, device, kind, recorded_at, reading_id, attempts, wire)
         SELECT * FROM unnest($1::int[], $2::text[], $3::bigint[], $4::text[], $5::int[], $6::text[], $7::text[], $8::text[], $9::text[],
           $10::bigint[], $11::uuid[], $12::bigint[], $13::bytea[])
         ON CONFLICT DO NOTHING RETURNING scope, id",
    )
    .bind(by_key.keys().map(|k| k.0).collect::<Vec<_>>())
    .bind(text(|l| &l.id))
    .bind(by_key.values().map(|l| l.at.as_nanos()).collect::<Vec<_>>())
    .bind(text(|l| &l.stage))
    .bind(by_key.values().map(|l| i32::from(l.code.number())).collect::<Vec<_>>())
    .bind(by_key.values().map(|l| findings_text(l)).collect::<Vec<_>>())
    .bind(text(|l| &l.message))
    .bind(maybe(|l| l.device.as_deref()))
    .bind(maybe(|l| l.kind.as_deref()))
    .bind(by_key.values().map(|l| l.recorded_at.map(Timestamp::as_nanos)).collect::<Vec<_>>())
    .bind(by_key.values().map(|l| l.reading_id.map(Id::of)).collect::<Vec<_>>())
    .bind(by_key.values().map(|l| i64::from(l.attempts)).collect::<Vec<_>>())
    .bind(by_key.values().map(|l| &l.wire[..]).collect::<Vec<&[u8]>>())
    .fetch_all(conn)
    .await?;
    let mut new = HashSet::with_capacity(rows.len());
    for r in rows {
        new.insert((r.try_get(0)?, plain(r.try_get(1)?)));
    }
    Ok(new)
}

fn read(scope: &Scope, r: &PgRow) -> std::result::Result<DeadLetterRow, Failure> {
    let findings: Vec<[String; 3]> = serde_json::from_str(r.try_get::<&str, _>(4)?).map_err(|e| damaged("a dead letter").source(e))?;
    let time = |n: Option<i64>| n.map(Timestamp::from_nanos);
    let resolution = match (r.try_get::<Option<i16>, _>(12)?, time(r.try_get(13)?)) {
        (Some(0), Some(t)) => Some((Resolution::Replayed, t)),
        (Some(_), Some(t)) => Some((Resolution::Dropped, t)),
        _ => None,
    };
    let code = u16::try_from(r.try_get::<i32, _>(3)?).ok().and_then(Code::from_number).unwrap_or(Code::INTERNAL);
    let letter = DeadLetter {
        id: plain(r.try_get(0)?),
        scope: scope.clone(),
        at: Timestamp::from_nanos(r.try_get(1)?),
        stage: plain(r.try_get(2)?),
        code,
        findings: findings.into_iter().map(|[field, value, rule]| Finding::new(field, value, rule)).collect(),
        message: plain(r.try_get(5)?),
        device: r.try_get::<Option<String>, _>(6)?.map(plain),
        kind: r.try_get::<Option<String>, _>(7)?.map(plain),
        recorded_at: time(r.try_get(8)?),
        reading_id: r.try_get_unchecked::<Option<Id>, _>(9)?.map(Id::reading),
        attempts: u32::try_from(r.try_get::<i64, _>(10)?).unwrap_or(u32::MAX),
        wire: r.try_get::<Vec<u8>, _>(11)?.into(),
    };
    Ok(DeadLetterRow { letter, resolution })
}

async fn list(conn: &mut PgConnection, ctx: &Ctx, q: &DeadLetterQuery) -> std::result::Result<Vec<DeadLetterRow>, Failure> {
    let Some(id) = scope_id(conn, ctx.scope()).await? else { return Ok(Vec::new()) };
    let limit = limits::letters(q.limit);
    let mut after = escaped(q.after.as_deref().unwrap_or_default()).into_owned();
    let (mut out, mut bytes) = (Vec::new(), 0);
    while out.len() < limit && bytes <= PAGE_BYTES {
        let run = (limit - out.len()).min(RUN);
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM (
               SELECT *, sum(octet_length(wire)) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
               FROM (SELECT * FROM dead_letter WHERE scope = $1 AND id > $2 AND ($3::text IS NULL OR stage = $3)
                 AND ($4 OR resolution IS NULL) ORDER BY id LIMIT $5) AS run) AS r
             WHERE before IS NULL OR before < {PAGE_BYTES} ORDER BY id"
        )))
        .bind(id)
        .bind(&after)
        .bind(q.stage.as_deref().map(|s| escaped(s).into_owned()))
        .bind(q.resolved)
        .bind(run as i64)
        .fetch_all(&mut *conn)
        .await?;
        for r in &rows {
            let row = read(ctx.scope(), r)?;
            bytes += row.letter.wire.len();
            after = escaped(&row.letter.id).into_owned();
            out.push(row);
        }
        if rows.len() < run {
            break;
        }
    }
    Ok(out)
}

#[async_trait]
impl DeadLetters for Postgres {
    async fn park(&self, ctx: &Ctx, letters: Vec<DeadLetter>) -> Result<()> {
        let db = &self.db;
        let work = async {
            db.writable()?;
            let scope = db.names.scope(db.pool.plain(), ctx.scope()).await?;
            let mut tx = db.change(Some(ctx.scope())).await?;
            insert(&mut tx, letters.iter().map(|l| (scope, l))).await?;
            Ok(tx.commit().await?)
        };
        db.run(Some(ctx), "postgres.dead_letters", work).await
    }

    async fn list(&self, ctx: &Ctx, query: &DeadLetterQuery) -> Result<Vec<DeadLetterRow>> {
        let work = async { list(&mut *self.db.snapshot(ctx).await?, ctx, query).await };
        self.db.run(Some(ctx), "postgres.dead_letters", work).await
    }

    async fn get(&self, ctx: &Ctx, id: &str) -> Result<Option<DeadLetterRow>> {
        let work = async {
            let mut tx = self.db.snapshot(ctx).await?;
            let Some(scope) = scope_id(&mut tx, ctx.scope()).await? else { return Ok(None) };
            let found = sqlx::query(AssertSqlSafe(format!("SELECT {COLUMNS} FROM dead_letter WHERE scope = $1 AND id = $2")))
                .bind(scope)
                .bind(&*escaped(id))
                .fetch_optional(&mut *tx)
                .await?;
            found.map(|r| read(ctx.scope(), &r)).transpose()
        };
        self.db.run(Some(ctx), "postgres.dead_letters", work).await
    }

    async fn amend(&self, ctx: &Ctx, letter: DeadLetter) -> Result<()> {
        let work = async {
            let mut tx = self.db.change(Some(ctx.scope())).await?;
            let scope = scope_id(&mut tx, ctx.scope()).await?.ok_or_else(|| unknown(&letter.id))?;
            let done =
                sqlx::query("UPDATE dead_letter SET code = $3, findings = $4, message = $5, attempts = $6 WHERE scope = $1 AND id = $2")
                    .bind(scope)
                    .bind(&*escaped(&letter.id))
                    .bind(i32::from(letter.code.number()))
                    .bind(findings_text(&letter))
                    .bind(&*escaped(&letter.message))
                    .bind(i64::from(letter.attempts))
                    .execute(&mut *tx)
                    .await?;
            tx.commit().await?;
            if done.rows_affected() == 0 { Err(unknown(&letter.id)) } else { Ok(()) }
        };
        self.db.run(Some(ctx), "postgres.dead_letters", work).await
    }

    async fn resolve(&self, ctx: &Ctx, id: &str, how: Resolution) -> Result<()> {
        let work = async {
            let mut tx = self.db.change(Some(ctx.scope())).await?;
            let scope = scope_id(&mut tx, ctx.scope()).await?.ok_or_else(|| unknown(id))?;
            let done = sqlx::query("UPDATE dead_letter SET resolution = $3, resolved_at = $4 WHERE scope = $1 AND id = $2")
                .bind(scope)
                .bind(&*escaped(id))
                .bind(i16::from(matches!(how, Resolution::Dropped)))
                .bind(ctx.now().as_nanos())
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            if done.rows_affected() == 0 { Err(unknown(id)) } else { Ok(()) }
        };
        self.db.run(Some(ctx), "postgres.dead_letters", work).await
    }
}
