//! The words of readings, in and out of the text index.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::errors::Failure;
use super::insert::Item;
use super::types::{At, Micros};
use crate::text::Document;

/// Texts and words by scope, as they change.
pub(super) type Corpus = BTreeMap<i32, (i64, i64)>;

/// Scope, term, place, time, times it occurs, words of the text.
type Posting<'t> = (i32, &'t [u8], i64, Micros, i32, i32);

/// Adds the words of items under their places.
pub(super) async fn add(
    conn: &mut PgConnection,
    items: &[Item<'_>],
    stored: impl Iterator<Item = (usize, i64)>,
    corpus: &mut Corpus,
) -> Result<(), Failure> {
    let mut all: Vec<Posting<'_>> = Vec::new();
    for (n, seq) in stored {
        let Some((i, doc)) = items.get(n).and_then(|i| Some((i, i.words?))) else { continue };
        let length = i32::try_from(doc.length).unwrap_or(i32::MAX);
        let at = At::of(i.reading.recorded_at()).micros;
        for (term, positions) in &doc.positions {
            all.push((i.scope, term.as_bytes(), seq, at, i32::try_from(positions.len()).unwrap_or(i32::MAX), length));
        }
        let c = corpus.entry(i.scope).or_default();
        *c = (c.0 + 1, c.1 + i64::from(doc.length));
    }
    if all.is_empty() {
        return Ok(());
    }
    // In the order of the key: neighbours go to the same page.
    all.sort_unstable();
    sqlx::query(
        "INSERT INTO posting (scope, term, seq, at, tf, len)
         SELECT * FROM unnest($1::int[], $2::bytea[], $3::bigint[], $4::timestamptz[], $5::int[], $6::int[])",
    )
    .bind(all.iter().map(|p| p.0).collect::<Vec<_>>())
    .bind(all.iter().map(|p| p.1).collect::<Vec<_>>())
    .bind(all.iter().map(|p| p.2).collect::<Vec<_>>())
    .bind(all.iter().map(|p| p.3).collect::<Vec<_>>())
    .bind(all.iter().map(|p| p.4).collect::<Vec<_>>())
    .bind(all.iter().map(|p| p.5).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes the words of readings out: scope, place, words.
pub(super) async fn remove(conn: &mut PgConnection, gone: &[(i32, i64, Document)], corpus: &mut Corpus) -> Result<(), Failure> {
    let mut all: Vec<(i32, &[u8], i64)> = Vec::new();
    for (scope, seq, doc) in gone {
        all.extend(doc.positions.keys().map(|t| (*scope, t.as_bytes(), *seq)));
        let c = corpus.entry(*scope).or_default();
        *c = (c.0 - 1, c.1 - i64::from(doc.length));
    }
    if all.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM posting USING unnest($1::int[], $2::bytea[], $3::bigint[]) AS g (scope, term, seq)
         WHERE posting.scope = g.scope AND posting.term = g.term AND posting.seq = g.seq",
    )
    .bind(all.iter().map(|p| p.0).collect::<Vec<_>>())
    .bind(all.iter().map(|p| p.1).collect::<Vec<_>>())
    .bind(all.iter().map(|p| p.2).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}
