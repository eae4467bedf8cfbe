//! Readings into their tables, within a transaction: all statements are for many readings at once.
//!
//! Rows are inserted in the order of their keys, so that two transactions with the same keys wait for each other and never crosswise.

use std::collections::{BTreeMap, HashMap};

use am_core::Timestamp;
use am_schema::{Catalogue, Reading};
use sqlx::{PgConnection, Row};

use super::codec;
use super::derived::{self, Plan};
use super::errors::Failure;
use super::names::{Names, Stream, StreamName};
use super::postings;
use super::rows::{self, NewRow, Way};
use super::types::{At, Id, Micros};
use crate::model::{Origin, ReadingKey, Seq};
use crate::text::Document;

/// A reading to insert.
pub(super) struct Item<'r> {
    pub scope: i32,
    pub stream: Stream,
    pub reading: &'r Reading,
    pub words: Option<&'r Document>,
    pub origin: Origin,
    /// Which of the batches it came with, counted from 0; `None` for what flows derive.
    pub batch: Option<usize>,
}

/// What became of a reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has this place; the older generation of its slot gave way.
    Stored(Seq, Option<ReadingKey>),
    /// It is there already.
    Duplicate,
    /// Its key is there with other content.
    Conflict,
}

/// What a transaction wrote.
pub(super) struct Inserted {
    /// One per item, in order.
    pub fates: Vec<Fate>,
    /// The numbers of the batches.
    pub batches: Vec<i64>,
    /// What it is on the feed; `None` when nothing was stored.
    pub extent: Option<Extent>,
    /// Texts and words that came to each scope, or left it.
    pub corpus: BTreeMap<i32, (i64, i64)>,
    /// Streams whose spans grew: name, longest reading, longest lineage input.
    pub widened: Vec<(StreamName, i64, i64)>,
}

/// A transaction's places on the feed and the times of its readings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub lo: i64,
    pub hi: i64,
    pub min: Micros,
    pub max: Micros,
}

/// What is the same for all readings of a transaction.
pub(super) struct Means<'m> {
    pub names: &'m Names,
    pub catalogue: &'m Catalogue,
    pub way: Way,
}

pub(super) type Key = (i32, At, Id);

fn key(i: &Item<'_>) -> Key {
    (i.stream.id, At::of(i.reading.recorded_at()), Id::of(i.reading.id()))
}

/// Items by key: each key's first one, and those behind it.
fn by_key(items: &[Item<'_>]) -> BTreeMap<Key, (usize, Vec<usize>)> {
    let mut out: BTreeMap<Key, (usize, Vec<usize>)> = BTreeMap::new();
    for (n, i) in items.iter().enumerate() {
        out.entry(key(i)).and_modify(|(_, behind)| behind.push(n)).or_insert((n, Vec::new()));
    }
    out
}

/// Inserts readings with all that belongs to them.
pub(super) async fn insert(conn: &mut PgConnection, means: &Means<'_>, items: &[Item<'_>], batches: usize) -> Result<Inserted, Failure> {
    let keys = by_key(items);
    let firsts: Vec<(Key, usize)> = keys.iter().map(|(k, (n, _))| (*k, *n)).collect();
    // What is known to be there already, by item.
    let mut there: HashMap<usize, Vec<u8>> = HashMap::new();
    let plan = derived::plan(conn, items, &firsts, &mut there).await?;
    let places = places(items.len(), &firsts, &there, &plan);
    let (before, batch_numbers) = draw(conn, places.total, batches).await?;
    let new: Vec<(Key, usize)> = firsts.iter().filter(|(_, n)| !there.contains_key(n)).copied().collect();
    let seq = |n: usize| places.of.get(n).copied().flatten().map_or(0, |p| before + p);
    let rows: Vec<NewRow<'_>> = new
        .iter()
        .filter_map(|(k, n)| {
            let i = items.get(*n)?;
            let batch = i.batch.and_then(|b| batch_numbers.get(b)).copied().unwrap_or(0);
            let superseded = if plan.gave_way(*n) { codec::SUPERSEDED } else { 0 };
            let flags = codec::flags(i.origin, i.reading, plan.generation(*n)) | superseded;
            Some(NewRow { seq: seq(*n), at: k.1, batch, flags, stream: k.0, reading: i.reading })
        })
        .collect();
    let added = rows::insert(conn, &rows, means.way).await?;
    if added < rows.len() as u64 {
        skipped(conn, &new, &rows, before, &mut there).await?;
        // Only raw readings may turn out to be there: derived ones were looked for under a lock.
        if new.iter().any(|(_, n)| there.contains_key(n) && plan.contains(*n)) {
            return Err(Failure::Raced);
        }
    }
    let stored: Vec<usize> =
        (0..items.len()).filter(|n| places.of.get(*n).copied().flatten().is_some() && !there.contains_key(n)).collect();
    let mut out = Inserted {
        fates: Vec::with_capacity(items.len()),
        batches: batch_numbers,
        extent: extent(items, &stored, before, &places, &plan),
        corpus: BTreeMap::new(),
        widened: Vec::new(),
    };
    derived::write(conn, means, items, &plan, &seq, &mut out).await?;
    widen(conn, items, &stored, &mut out).await?;
    postings::add(conn, items, stored.iter().filter(|n| !plan.gave_way(**n)).map(|n| (*n, seq(*n))), &mut out.corpus).await?;
    out.fates = fates(items, &keys, &there, &plan, &seq);
    Ok(out)
}

/// Where items go on the feed, counted from 1; a superseded one takes the place behind the one that supersedes it.
struct Places {
    of: Vec<Option<i64>>,
    total: i64,
}

fn places(count: usize, firsts: &[(Key, usize)], there: &HashMap<usize, Vec<u8>>, plan: &Plan) -> Places {
    let mut first = vec![false; count];
    for (_, n) in firsts {
        if let Some(f) = first.get_mut(*n) {
            *f = !there.contains_key(n);
        }
    }
    let mut total = 0;
    let of = first
        .iter()
        .enumerate()
        .map(|(n, new)| {
            new.then(|| {
                total += 1;
                let place = total;
                total += i64::from(plan.supersedes(n));
                place
            })
        })
        .collect();
    Places { of, total }
}

/// The number before the first of `k` for the feed, and numbers for batches.
async fn draw(conn: &mut PgConnection, k: i64, batches: usize) -> Result<(i64, Vec<i64>), Failure> {
    if k == 0 && batches == 0 {
        return Ok((0, Vec::new()));
    }
    let r = sqlx::query(
        "SELECT CASE WHEN $1 > 0 THEN draw($1) ELSE 0 END, ARRAY (SELECT nextval('ingest_number') FROM generate_series(1, $2))",
    )
    .bind(k)
    .bind(batches as i64)
    .fetch_one(conn)
    .await?;
    Ok((r.try_get(0)?, r.try_get(1)?))
}

/// Notes those of the new rows that were skipped, with what is there instead.
async fn skipped(
    conn: &mut PgConnection,
    new: &[(Key, usize)],
    rows: &[NewRow<'_>],
    before: i64,
    there: &mut HashMap<usize, Vec<u8>>,
) -> Result<(), Failure> {
    let last = rows.iter().map(|r| r.seq).max().unwrap_or(before);
    let (min, max) = bounds(rows.iter().map(|r| r.at.micros));
    let mine: Vec<i64> = sqlx::query_scalar("SELECT seq FROM reading WHERE seq > $1 AND seq <= $2 AND at BETWEEN $3 AND $4 ORDER BY seq")
        .bind(before)
        .bind(last)
        .bind(min)
        .bind(max)
        .fetch_all(&mut *conn)
        .await?;
    let missing: Vec<(Key, usize)> = new.iter().zip(rows).filter(|(_, r)| mine.binary_search(&r.seq).is_err()).map(|(k, _)| *k).collect();
    bodies(conn, &missing, there).await?;
    match missing.iter().all(|(_, n)| there.contains_key(n)) {
        true => Ok(()),
        // What stood in the way was gone again before it could be looked at.
        false => Err(Failure::Raced),
    }
}

/// The stored bodies under these keys, by item.
pub(super) async fn bodies(conn: &mut PgConnection, keys: &[(Key, usize)], there: &mut HashMap<usize, Vec<u8>>) -> Result<(), Failure> {
    if keys.is_empty() {
        return Ok(());
    }
    let (min, max) = bounds(keys.iter().map(|(k, _)| k.1.micros));
    let rows = sqlx::query(
        "SELECT k.n, r.body FROM unnest($1::int[], $2::timestamptz[], $3::smallint[], $4::uuid[]) WITH ORDINALITY AS k (stream, at, ns, id, n)
         JOIN reading r ON r.stream = k.stream AND r.at = k.at AND r.ns = k.ns AND r.id = k.id WHERE r.at BETWEEN $5 AND $6",
    )
    .bind(keys.iter().map(|(k, _)| k.0).collect::<Vec<i32>>())
    .bind(keys.iter().map(|(k, _)| k.1.micros).collect::<Vec<_>>())
    .bind(keys.iter().map(|(k, _)| k.1.nanos).collect::<Vec<i16>>())
    .bind(keys.iter().map(|(k, _)| k.2).collect::<Vec<_>>())
    .bind(min)
    .bind(max)
    .fetch_all(conn)
    .await?;
    for r in rows {
        let n = usize::try_from(r.try_get::<i64, _>(0)?.saturating_sub(1)).unwrap_or(usize::MAX);
        if let Some((_, item)) = keys.get(n) {
            there.insert(*item, r.try_get(1)?);
        }
    }
    Ok(())
}

/// The least and the greatest of some times.
pub(super) fn bounds(times: impl Iterator<Item = Micros>) -> (Micros, Micros) {
    times.fold((Micros(i64::MAX), Micros(i64::MIN)), |(a, b), t| (a.min(t), b.max(t)))
}

fn extent(items: &[Item<'_>], stored: &[usize], before: i64, places: &Places, plan: &Plan) -> Option<Extent> {
    let last = *stored.last()?;
    let hi = before + places.of.get(last).copied().flatten()? + i64::from(plan.supersedes(last));
    let (min, max) = bounds(stored.iter().filter_map(|n| items.get(*n)).map(|i| At::of(i.reading.recorded_at()).micros));
    Some(Extent { lo: before + 1, hi, min, max })
}

/// Notes readings that are longer than any before in their stream.
async fn widen(conn: &mut PgConnection, items: &[Item<'_>], stored: &[usize], out: &mut Inserted) -> Result<(), Failure> {
    let mut longest: BTreeMap<i32, (StreamName, i64)> = BTreeMap::new();
    for i in stored.iter().filter_map(|n| items.get(*n)) {
        let span = |end: Timestamp| end.as_nanos().saturating_sub(i.reading.recorded_at().as_nanos());
        let Some(span) = i.reading.ended_at().map(span).filter(|s| *s > i.stream.span) else { continue };
        let name = || (i.scope, i.reading.kind(), i.reading.device().clone());
        let held = longest.entry(i.stream.id).or_insert_with(|| (name(), span));
        held.1 = held.1.max(span);
    }
    if longest.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE stream SET span = n.span FROM unnest($1::int[], $2::bigint[]) AS n (id, span) WHERE stream.id = n.id AND stream.span < n.span",
    )
    .bind(longest.keys().copied().collect::<Vec<_>>())
    .bind(longest.values().map(|(_, s)| *s).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    out.widened.extend(longest.into_values().map(|(name, span)| (name, span, 0)));
    Ok(())
}

fn fates(
    items: &[Item<'_>],
    keys: &BTreeMap<Key, (usize, Vec<usize>)>,
    there: &HashMap<usize, Vec<u8>>,
    plan: &Plan,
    seq: &impl Fn(usize) -> i64,
) -> Vec<Fate> {
    let mut out = vec![Fate::Duplicate; items.len()];
    let mut say = |n: usize, fate: Fate| {
        if let Some(place) = out.get_mut(n) {
            *place = fate;
        }
    };
    let compared = |same: bool| if same { Fate::Duplicate } else { Fate::Conflict };
    for (first, behind) in keys.values() {
        let Some(one) = items.get(*first) else { continue };
        match there.get(first) {
            Some(body) => say(*first, compared(codec::same_body(body, one.reading))),
            None => say(*first, Fate::Stored(seq(*first) as Seq, plan.older(*first))),
        }
        for n in behind {
            let Some(other) = items.get(*n) else { continue };
            // Against what is stored, which may be neither of the two.
            say(
                *n,
                compared(match there.get(first) {
                    Some(body) => codec::same_body(body, other.reading),
                    None => one.reading.body() == other.reading.body(),
                }),
            );
        }
    }
    out
}
