//! Dead letters.

use am_core::{Code, Ctx, Error, ReadingId, Result, Scope, Timestamp};
use am_pipeline::DeadLetter;
use am_schema::Finding;
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::errors::{Failure, damaged};
use super::queue::Size;
use super::streams::scope_id;
use super::{Sqlite, queue::Lane};
use crate::limits;
use crate::traits::{DeadLetterQuery, DeadLetterRow, DeadLetters, Resolution};

const COLUMNS: &str =
    "id, at, stage, code, findings, message, device, kind, recorded_at, reading_id, attempts, wire, resolution, resolved_at";

/// A page of letters ends early beyond so many bytes: their items may be large.
const PAGE_BYTES: usize = 64 << 20;

fn findings_text(l: &DeadLetter) -> String {
    let findings: Vec<[&str; 3]> = l.findings.iter().map(|f| [f.field.as_str(), f.value.as_str(), f.rule.as_str()]).collect();
    serde_json::to_string(&findings).unwrap_or_else(|_| "[]".into())
}

fn unknown(id: &str) -> Failure {
    Failure::Refused(Error::new(Code::NOT_FOUND, format!("there is no dead letter {id}")).op("store.dead_letters"))
}

/// The scope's number, if it has a letter with this id.
fn scope_with(conn: &Connection, scope: &Scope, id: &str) -> std::result::Result<i64, Failure> {
    let number = scope_id(conn, scope)?.ok_or_else(|| unknown(id))?;
    let known =
        conn.prepare_cached("SELECT 1 FROM dead_letter WHERE scope = ?1 AND id = ?2")?.query_row((number, id), |_| Ok(())).optional()?;
    known.map(|()| number).ok_or_else(|| unknown(id))
}

/// Parks a letter of a scope; false when its id is there already.
pub(super) fn insert(conn: &Connection, scope: i64, l: &DeadLetter) -> rusqlite::Result<bool> {
    let findings = findings_text(l);
    let added = conn
        .prepare_cached(
            "INSERT INTO dead_letter (scope, id, at, stage, code, findings, message, device, kind, recorded_at, reading_id, attempts, wire)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT DO NOTHING",
        )?
        .execute((
            scope,
            &l.id,
            l.at.as_nanos(),
            &l.stage,
            l.code.number(),
            findings,
            &l.message,
            &l.device,
            &l.kind,
            l.recorded_at.map(|t| t.as_nanos()),
            l.reading_id.as_ref().map(|i| i.as_bytes()),
            l.attempts,
            &l.wire[..],
        ))?;
    Ok(added > 0)
}

fn read(scope: &Scope, r: &rusqlite::Row<'_>) -> std::result::Result<DeadLetterRow, Failure> {
    let findings: Vec<[String; 3]> =
        serde_json::from_str(r.get_ref(4)?.as_str().map_err(|e| damaged("a dead letter").source(e))?).unwrap_or_default();
    let time = |n: Option<i64>| n.map(Timestamp::from_nanos);
    let resolution = match (r.get::<_, Option<i64>>(12)?, time(r.get(13)?)) {
        (Some(0), Some(t)) => Some((Resolution::Replayed, t)),
        (Some(_), Some(t)) => Some((Resolution::Dropped, t)),
        _ => None,
    };
    let letter = DeadLetter {
        id: r.get(0)?,
        scope: scope.clone(),
        at: Timestamp::from_nanos(r.get(1)?),
        stage: r.get(2)?,
        code: Code::from_number(r.get(3)?).unwrap_or(Code::INTERNAL),
        findings: findings.into_iter().map(|[field, value, rule]| Finding::new(field, value, rule)).collect(),
        message: r.get(5)?,
        device: r.get(6)?,
        kind: r.get(7)?,
        recorded_at: time(r.get(8)?),
        reading_id: r.get::<_, Option<[u8; 16]>>(9)?.map(ReadingId::from_bytes),
        attempts: r.get(10)?,
        wire: r.get::<_, Vec<u8>>(11)?.into(),
    };
    Ok(DeadLetterRow { letter, resolution })
}

#[async_trait]
impl DeadLetters for Sqlite {
    async fn park(&self, ctx: &Ctx, letters: Vec<DeadLetter>) -> Result<()> {
        let size = Size { readings: letters.len(), bytes: letters.iter().map(|l| l.wire.len() + 256).sum() };
        let scope = ctx.scope().clone();
        self.write(ctx, Lane::Live, size, move |s| {
            let id = s.ids.scope(&s.conn, &scope)?;
            letters.iter().try_for_each(|l| insert(&s.conn, id, l).map(|_| ())).map_err(Failure::from)
        })
        .await
    }

    async fn list(&self, ctx: &Ctx, query: &DeadLetterQuery) -> Result<Vec<DeadLetterRow>> {
        let (scope, query) = (ctx.scope().clone(), query.clone());
        self.read(ctx, "sqlite.dead_letters", move |c| {
            let Some(id) = scope_id(c, &scope)? else { return Ok(Vec::new()) };
            let mut q = c.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM dead_letter WHERE scope = ?1 AND id > ?2 AND (?3 IS NULL OR stage = ?3)
                   AND (?4 OR resolution IS NULL) ORDER BY id LIMIT ?5"
            ))?;
            let after = query.after.as_deref().unwrap_or_default();
            let mut rows = q.query((id, after, &query.stage, query.resolved, limits::letters(query.limit) as i64))?;
            let (mut out, mut bytes) = (Vec::new(), 0);
            while let Some(r) = rows.next()? {
                let row = read(&scope, r)?;
                bytes += row.letter.wire.len();
                out.push(row);
                if bytes > PAGE_BYTES {
                    break;
                }
            }
            Ok(out)
        })
        .await
    }

    async fn get(&self, ctx: &Ctx, id: &str) -> Result<Option<DeadLetterRow>> {
        let (scope, id) = (ctx.scope().clone(), id.to_owned());
        self.read(ctx, "sqlite.dead_letters", move |c| {
            let Some(number) = scope_id(c, &scope)? else { return Ok(None) };
            let mut q = c.prepare_cached(&format!("SELECT {COLUMNS} FROM dead_letter WHERE scope = ?1 AND id = ?2"))?;
            let mut rows = q.query((number, &id))?;
            rows.next()?.map(|r| read(&scope, r)).transpose()
        })
        .await
    }

    async fn amend(&self, ctx: &Ctx, letter: DeadLetter) -> Result<()> {
        let scope = ctx.scope().clone();
        let size = Size { readings: 1, bytes: letter.message.len() + 512 };
        self.write(ctx, Lane::Live, size, move |s| {
            let number = scope_with(&s.conn, &scope, &letter.id)?;
            s.conn
                .prepare_cached(
                    "UPDATE dead_letter SET code = ?3, findings = ?4, message = ?5, attempts = ?6 WHERE scope = ?1 AND id = ?2",
                )?
                .execute((number, &letter.id, letter.code.number(), findings_text(&letter), &letter.message, letter.attempts))?;
            Ok(())
        })
        .await
    }

    async fn resolve(&self, ctx: &Ctx, id: &str, how: Resolution) -> Result<()> {
        let (scope, id, now) = (ctx.scope().clone(), id.to_owned(), ctx.now());
        self.write(ctx, Lane::Live, Size::default(), move |s| {
            let number = scope_with(&s.conn, &scope, &id)?;
            s.conn.prepare_cached("UPDATE dead_letter SET resolution = ?3, resolved_at = ?4 WHERE scope = ?1 AND id = ?2")?.execute((
                number,
                &id,
                matches!(how, Resolution::Dropped),
                now.as_nanos(),
            ))?;
            Ok(())
        })
        .await
    }
}
