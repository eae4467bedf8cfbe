//! Ranked full-text search over the postings.

use std::collections::HashMap;
use std::sync::Arc;

use am_core::{Ctx, Result, Scope};
use am_schema::Catalogue;
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::Sqlite;
use super::derivations::at_seq;
use super::errors::Failure;
use super::feed::head;
use super::streams::{Names, scope_id};
use crate::limits;
use crate::model::{Stored, TextHit, TextHits, TextQuery};
use crate::predicate::in_span;
use crate::text::{Document, Query, Statistics, rank};
use crate::traits::Text;

/// A text that has at least one of the words.
struct Candidate {
    length: u32,
    /// How often each term occurs, by its place among the terms.
    counts: Vec<(usize, u32)>,
}

fn statistics(conn: &Connection, scope: i64) -> rusqlite::Result<Statistics> {
    let found = conn
        .prepare_cached("SELECT texts, words FROM corpus WHERE scope = ?1")?
        .query_row([scope], |r| Ok(Statistics { documents: r.get::<_, i64>(0)? as u64, words: r.get::<_, i64>(1)? as u64 }))
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// All texts with one of the terms, and how many texts each term has.
fn candidates(conn: &Connection, scope: i64, terms: &[&str]) -> rusqlite::Result<(HashMap<i64, Candidate>, Vec<u64>)> {
    let mut q = conn.prepare_cached("SELECT seq, tf, len FROM posting WHERE scope = ?1 AND term = ?2")?;
    let mut found: HashMap<i64, Candidate> = HashMap::new();
    let mut df = vec![0; terms.len()];
    for ((n, term), df) in terms.iter().enumerate().zip(&mut df) {
        let mut rows = q.query((scope, term.as_bytes()))?;
        while let Some(r) = rows.next()? {
            *df += 1;
            let candidate = found.entry(r.get(0)?).or_insert(Candidate { length: r.get(2)?, counts: Vec::with_capacity(1) });
            candidate.counts.push((n, r.get(1)?));
        }
    }
    Ok((found, df))
}

/// Best first, until enough of them are what was asked for.
fn search(
    conn: &Connection,
    catalogue: &Catalogue,
    names: &Names,
    scope: i64,
    parsed: &Query,
    query: &TextQuery,
) -> std::result::Result<Vec<(f64, Arc<Stored>)>, Failure> {
    let terms = parsed.terms();
    let corpus = statistics(conn, scope)?;
    let (found, df) = candidates(conn, scope, &terms)?;
    let mut scored: Vec<(f64, i64)> = found
        .iter()
        .map(|(seq, c)| {
            let counts = c.counts.iter().map(|(n, tf)| (df.get(*n).copied().unwrap_or(0), *tf));
            (corpus.score(c.length, counts), *seq)
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    // Only phrases and exclusions need the text itself; without them, having one of the words is enough.
    let plain = parsed.phrases.is_empty() && parsed.excluded.is_empty();
    let mut hits: Vec<(f64, Arc<Stored>)> = Vec::new();
    for (score, seq) in scored {
        // Equal scores are ordered by key, so all of the last score's must be seen.
        if hits.len() >= query.limit && hits.last().is_some_and(|(worst, _)| score < *worst) {
            break;
        }
        let Some(stored) = at_seq(conn, catalogue, names, seq)? else { continue };
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
        hits.push((score, Arc::new(stored)));
    }
    rank(&mut hits, query.limit, |s| &s.reading);
    Ok(hits)
}

fn answer(
    conn: &Connection,
    catalogue: &Catalogue,
    names: &Names,
    scope: &Scope,
    query: &TextQuery,
) -> std::result::Result<TextHits, Failure> {
    let parsed = Query::parse(&query.text)?;
    let tx = conn.unchecked_transaction()?;
    let hits = match scope_id(&tx, scope)? {
        Some(id) => search(&tx, catalogue, names, id, &parsed, query)?,
        None => Vec::new(),
    };
    let hits = hits.into_iter().map(|(score, s)| TextHit { score, stored: Arc::unwrap_or_clone(s) }).collect();
    Ok(TextHits::text(hits, head(&tx)?))
}

#[async_trait]
impl Text for Sqlite {
    async fn search(&self, ctx: &Ctx, query: &TextQuery) -> Result<TextHits> {
        limits::text(query)?;
        let (scope, query, catalogue, names) = (ctx.scope().clone(), query.clone(), self.catalogue.clone(), self.names.clone());
        self.read(ctx, "sqlite.search", move |c| answer(c, &catalogue, &names, &scope, &query)).await
    }
}
