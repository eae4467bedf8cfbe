//! Ranked full-text search over the postings.

use std::collections::HashMap;
use std::sync::Arc;

use am_core::{Ctx, Result};
use async_trait::async_trait;
use sqlx::{PgConnection, Row};

use super::derivations::at_places;
use super::errors::Failure;
use super::feed::head;
use super::pool::scope_id;
use super::types::Micros;
use super::{Db, Postgres};
use crate::limits;
use crate::model::{Stored, TextHit, TextHits, TextQuery};
use crate::predicate::in_span;
use crate::text::{Document, Query, Statistics, rank};
use crate::traits::Text;

/// So many readings are fetched at once to see whether they are what was asked for.
const RUN: usize = 64;

/// A text that has at least one of the words.
struct Candidate {
    length: u32,
    at: Micros,
    /// How often each term occurs, by its place among the terms.
    counts: Vec<(usize, u32)>,
}

async fn statistics(conn: &mut PgConnection, scope: i32) -> std::result::Result<Statistics, Failure> {
    let r = sqlx::query("SELECT coalesce(sum(texts), 0)::bigint, coalesce(sum(words), 0)::bigint FROM tally WHERE scope = $1")
        .bind(scope)
        .fetch_one(conn)
        .await?;
    Ok(Statistics { documents: r.try_get::<i64, _>(0)? as u64, words: r.try_get::<i64, _>(1)? as u64 })
}

/// All texts with one of the terms, and how many texts each term has.
async fn candidates(
    conn: &mut PgConnection,
    scope: i32,
    terms: &[&str],
) -> std::result::Result<(HashMap<i64, Candidate>, Vec<u64>), Failure> {
    let rows = sqlx::query(
        "SELECT (t.n - 1)::int, p.seq, p.at, p.tf, p.len FROM unnest($2::bytea[]) WITH ORDINALITY AS t (term, n)
         JOIN posting p ON p.scope = $1 AND p.term = t.term ORDER BY t.n",
    )
    .bind(scope)
    .bind(terms.iter().map(|t| t.as_bytes()).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    let mut found: HashMap<i64, Candidate> = HashMap::new();
    let mut df = vec![0; terms.len()];
    for r in rows {
        let n = usize::try_from(r.try_get_unchecked::<i32, _>(0)?).unwrap_or(usize::MAX);
        let (at, tf, length): (Micros, i32, i32) = (r.try_get_unchecked(2)?, r.try_get_unchecked(3)?, r.try_get_unchecked(4)?);
        if let Some(df) = df.get_mut(n) {
            *df += 1;
        }
        let candidate =
            found.entry(r.try_get_unchecked(1)?).or_insert(Candidate { length: length as u32, at, counts: Vec::with_capacity(1) });
        candidate.counts.push((n, tf as u32));
    }
    Ok((found, df))
}

/// Best first, until enough of them are what was asked for.
async fn search(
    db: &Db,
    conn: &mut PgConnection,
    scope: i32,
    parsed: &Query,
    query: &TextQuery,
) -> std::result::Result<Vec<(f64, Arc<Stored>)>, Failure> {
    let terms = parsed.terms();
    let corpus = statistics(conn, scope).await?;
    let (found, df) = candidates(conn, scope, &terms).await?;
    let mut scored: Vec<(f64, i64, Micros)> = found
        .iter()
        .map(|(seq, c)| {
            let counts = c.counts.iter().map(|(n, tf)| (df.get(*n).copied().unwrap_or(0), *tf));
            (corpus.score(c.length, counts), *seq, c.at)
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    // Only phrases and exclusions need the text itself; without them, having one of the words is enough.
    let plain = parsed.phrases.is_empty() && parsed.excluded.is_empty();
    let mut hits: Vec<(f64, Arc<Stored>)> = Vec::new();
    'runs: for run in scored.chunks(RUN.max(query.limit)) {
        let places: Vec<(i64, Micros)> = run.iter().map(|(_, seq, at)| (*seq, *at)).collect();
        let stored: HashMap<u64, Stored> = at_places(db, conn, &places).await?.into_iter().map(|s| (s.seq, s)).collect();
        for (score, seq, _) in run {
            // Equal scores are ordered by key, so all of the last score's must be seen.
            if hits.len() >= query.limit && hits.last().is_some_and(|(worst, _)| score < worst) {
                break 'runs;
            }
            let Some(stored) = stored.get(&(*seq as u64)) else { continue };
            let r = &stored.reading;
            if !(query.kinds.is_empty() || query.kinds.contains(&r.kind())) || !in_span(r, query.from, query.to) {
                continue;
            }
            if !plain {
                let doc = Document::of(r).unwrap_or_default();
                if !parsed.matches(|t| doc.positions.get(t).map(Vec::as_slice)) {
                    continue;
                }
            }
            hits.push((*score, Arc::new(stored.clone())));
        }
    }
    rank(&mut hits, query.limit, |s| &s.reading);
    Ok(hits)
}

async fn answer(db: &Db, ctx: &Ctx, query: &TextQuery) -> std::result::Result<TextHits, Failure> {
    let parsed = Query::parse(&query.text)?;
    // Postings come with their readings, so the index holds at least what the feed shows now.
    let indexed_to = head(db).await?;
    let mut tx = db.snapshot(ctx).await?;
    let hits = match scope_id(&mut tx, ctx.scope()).await? {
        Some(id) => search(db, &mut tx, id, &parsed, query).await?,
        None => Vec::new(),
    };
    let hits = hits.into_iter().map(|(score, s)| TextHit { score, stored: Arc::unwrap_or_clone(s) }).collect();
    Ok(TextHits::text(hits, indexed_to))
}

#[async_trait]
impl Text for Postgres {
    async fn search(&self, ctx: &Ctx, query: &TextQuery) -> Result<TextHits> {
        limits::text(query)?;
        self.db.run(Some(ctx), "postgres.search", answer(&self.db, ctx, query)).await
    }
}
