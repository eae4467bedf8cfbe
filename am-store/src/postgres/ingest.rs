//! Batches into the store: several in one transaction.

use std::collections::{BTreeMap, HashSet};

use am_core::{Scope, Timestamp};
use am_pipeline::DeadLetter;
use am_schema::Catalogue;
use sqlx::postgres::PgPool;
use sqlx::{PgConnection, Row};

use super::dead_letters;
use super::derived::input_stream;
use super::errors::Failure;
use super::insert::{self, Extent, Fate, Inserted, Item, Means};
use super::names::{Names, StreamName};
use super::types::{escaped, plain};
use crate::conflict::conflict;
use crate::model::{Ingest, IngestOutcome, Origin, Provenance, PutOutcome};
use crate::text::Words;

/// A batch that waits, with the words of its texts.
pub(super) struct Batch {
    pub scope: Scope,
    pub ingest: Ingest,
    pub words: Words,
}

impl Batch {
    /// Readings and bytes, for the queue.
    pub(super) fn size(&self) -> (usize, usize) {
        let readings = self.ingest.readings.len() + self.ingest.rejected.len();
        let bytes = self.ingest.readings.iter().map(|r| r.body().len()).sum::<usize>()
            + self.ingest.rejected.iter().map(|l| l.wire.len()).sum::<usize>();
        (readings, bytes + readings * 64)
    }
}

/// The numbers of a batch's scope and client.
pub(super) struct Known {
    scope: i32,
    /// `None` for what a flow made elsewhere: it is not received, belongs to no batch and counts nowhere.
    client: Option<i32>,
}

/// The streams that readings of scopes name, themselves or in their lineage, and that have no number here yet.
pub(super) fn unknown<'r>(
    names: &Names,
    catalogue: &Catalogue,
    readings: impl Iterator<Item = (i32, &'r am_schema::Reading)>,
) -> Vec<StreamName> {
    let mut wanted: Vec<StreamName> = Vec::new();
    let mut last: Option<(i32, &am_schema::Reading)> = None;
    for (scope, r) in readings {
        // Mostly the next reading is of the same stream.
        if !last.is_some_and(|(s, l)| s == scope && l.kind() == r.kind() && l.device() == r.device()) {
            let name = (scope, r.kind(), r.device().clone());
            if names.stream(&name).is_none() {
                wanted.push(name);
            }
            last = Some((scope, r));
        }
        for input in r.lineage().into_iter().flat_map(|l| &l.inputs) {
            wanted.extend(input_stream(catalogue, scope, input).filter(|n| names.stream(n).is_none()));
        }
    }
    wanted
}

/// The numbers of everything that batches name.
pub(super) async fn know(pool: &PgPool, names: &Names, catalogue: &Catalogue, batches: &[&Batch]) -> Result<Vec<Known>, Failure> {
    let mut known = Vec::with_capacity(batches.len());
    for b in batches {
        let client = match b.ingest.flow {
            None => Some(names.client(pool, &b.ingest.provenance).await?),
            Some(_) => None,
        };
        known.push(Known { scope: names.scope(pool, &b.scope).await?, client });
    }
    let readings = known.iter().zip(batches).flat_map(|(k, b)| b.ingest.readings.iter().map(|r| (k.scope, r)));
    let wanted = unknown(names, catalogue, readings);
    names.streams(pool, &wanted).await?;
    Ok(known)
}

/// Rows, postings, dead letters and counts of batches; gives the places on the feed as well.
pub(super) async fn put(
    conn: &mut PgConnection,
    means: &Means<'_>,
    now: Timestamp,
    batches: &[&Batch],
    known: &[Known],
) -> Result<(Vec<IngestOutcome>, Inserted), Failure> {
    let mut items: Vec<Item<'_>> = Vec::with_capacity(batches.iter().map(|b| b.ingest.readings.len()).sum());
    let mut received = 0;
    for (b, k) in batches.iter().zip(known) {
        let number = k.client.map(|_| received);
        received += usize::from(number.is_some());
        for (r, reading) in b.ingest.readings.iter().enumerate() {
            let stream = match items.last() {
                Some(l) if l.scope == k.scope && l.reading.kind() == reading.kind() && l.reading.device() == reading.device() => l.stream,
                _ => means.names.stream(&(k.scope, reading.kind(), reading.device().clone())).ok_or(Failure::Raced)?,
            };
            let origin = b.ingest.provenance.origin;
            items.push(Item { scope: k.scope, stream, reading, words: b.words.at(r), origin, batch: number });
        }
    }
    let done = insert::insert(conn, means, &items, received).await?;
    let mut fates = done.fates.iter();
    let mut numbers = done.batches.iter();
    let mut outcomes = Vec::with_capacity(batches.len());
    let mut letters: Vec<(usize, i32, DeadLetter)> = Vec::new();
    for (n, (b, k)) in batches.iter().zip(known).enumerate() {
        let number = k.client.and_then(|_| numbers.next()).copied().unwrap_or(0) as u64;
        let mut out = IngestOutcome { readings: Vec::with_capacity(b.ingest.readings.len()), parked: Vec::new(), batch: number };
        for (reading, fate) in b.ingest.readings.iter().zip(fates.by_ref()) {
            out.readings.push(match fate {
                Fate::Stored(seq, _) => PutOutcome::Stored(*seq),
                Fate::Duplicate => PutOutcome::Duplicate,
                Fate::Conflict => {
                    let letter = conflict(now, &b.scope, b.ingest.stage(), reading);
                    let id = letter.id.clone();
                    letters.push((n, k.scope, letter));
                    PutOutcome::Conflict(id)
                }
            });
        }
        letters.extend(b.ingest.rejected.iter().map(|l| (n, k.scope, l.clone())));
        out.parked.extend(b.ingest.rejected.iter().map(|l| l.id.clone()));
        outcomes.push(out);
    }
    let new = dead_letters::insert(conn, letters.iter().map(|(_, s, l)| (*s, l))).await?;
    let counts = counted(&outcomes, batches, &letters, new);
    finish(conn, batches, known, &outcomes, &counts, &done).await?;
    Ok((outcomes, done))
}

/// What a batch adds to the balance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    stored: i64,
    duplicate: i64,
    discarded: i64,
    dead: i64,
}

fn counted(
    outcomes: &[IngestOutcome],
    batches: &[&Batch],
    letters: &[(usize, i32, DeadLetter)],
    mut new: HashSet<(i32, String)>,
) -> Vec<Counted> {
    let mut out: Vec<Counted> = outcomes
        .iter()
        .zip(batches)
        .map(|(o, b)| Counted {
            stored: o.readings.iter().filter(|o| matches!(o, PutOutcome::Stored(_))).count() as i64,
            duplicate: o.readings.iter().filter(|o| **o == PutOutcome::Duplicate).count() as i64,
            discarded: b.ingest.discarded.iter().map(|(_, n)| i64::from(*n)).sum(),
            dead: 0,
        })
        .collect();
    for (n, scope, letter) in letters {
        let Some(c) = out.get_mut(*n) else { continue };
        // The same item parked before is one letter: it counts as a duplicate.
        match new.remove(&(*scope, letter.id.clone())) {
            true => c.dead += 1,
            false => c.duplicate += 1,
        }
    }
    out
}

/// The batches themselves, the balance and the place on the feed, in one statement.
async fn finish(
    conn: &mut PgConnection,
    batches: &[&Batch],
    known: &[Known],
    outcomes: &[IngestOutcome],
    counts: &[Counted],
    done: &Inserted,
) -> Result<(), Failure> {
    let received = |c: &Counted| c.stored + c.duplicate + c.discarded + c.dead;
    let mut rows: Vec<(&Provenance, i32, i32, u64, &Counted)> = Vec::with_capacity(batches.len());
    let mut tally: BTreeMap<i32, [i64; 7]> = BTreeMap::new();
    for (((b, k), c), o) in batches.iter().zip(known).zip(counts).zip(outcomes) {
        let Some(client) = k.client else { continue };
        rows.push((&b.ingest.provenance, k.scope, client, o.batch, c));
        let t = tally.entry(k.scope).or_default();
        for (sum, n) in t.iter_mut().zip([received(c), c.stored, c.duplicate, c.discarded, c.dead]) {
            *sum += n;
        }
    }
    add_corpus(&mut tally, done);
    sqlx::query(
        "INSERT INTO ingest (batch, scope, client, batch_id, traceparent, received_at, sent_at, monotonic_ns, origin, received, stored,
           duplicate, discarded, dead_lettered)
         SELECT batch, scope, client, nullif(batch_id, ''), nullif(traceparent, ''), received_at, sent_at, monotonic_ns, origin, received,
           stored, duplicate, discarded, dead
         FROM unnest($1::bigint[], $2::int[], $3::int[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::smallint[],
           $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[])
           AS b (batch, scope, client, batch_id, traceparent, received_at, sent_at, monotonic_ns, origin, received, stored, duplicate,
             discarded, dead)",
    )
    .bind(rows.iter().map(|r| r.3 as i64).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.1).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.2).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| escaped(&r.0.batch_id).into_owned()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| escaped(&r.0.traceparent).into_owned()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.0.received_at.as_nanos()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.0.sent_at.map(Timestamp::as_nanos)).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.0.monotonic_ns as i64).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.0.origin as i16).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| received(r.4)).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.4.stored).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.4.duplicate).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.4.discarded).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.4.dead).collect::<Vec<_>>())
    .execute(&mut *conn)
    .await?;
    close(conn, &tally, done.extent).await
}

fn add_corpus(tally: &mut BTreeMap<i32, [i64; 7]>, done: &Inserted) {
    for (scope, (texts, words)) in &done.corpus {
        let [.., t, w] = tally.entry(*scope).or_default();
        (*t, *w) = (*t + texts, *w + words);
    }
}

/// Texts and words that flows derived, and the place on the feed.
pub(super) async fn close_derived(conn: &mut PgConnection, done: &Inserted) -> Result<(), Failure> {
    let mut tally = BTreeMap::new();
    add_corpus(&mut tally, done);
    close(conn, &tally, done.extent).await
}

async fn close(conn: &mut PgConnection, tally: &BTreeMap<i32, [i64; 7]>, extent: Option<Extent>) -> Result<(), Failure> {
    let column = |n: usize| tally.values().map(|t| t.get(n).copied().unwrap_or(0)).collect::<Vec<i64>>();
    sqlx::query(
        "WITH counted AS (
           INSERT INTO tally AS t (scope, shard, received, stored, duplicate, discarded, dead_lettered, texts, words)
           SELECT scope, pg_backend_pid() % 64, received, stored, duplicate, discarded, dead_lettered, texts, words
           FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])
             AS n (scope, received, stored, duplicate, discarded, dead_lettered, texts, words)
           ON CONFLICT (scope, shard) DO UPDATE SET received = t.received + excluded.received, stored = t.stored + excluded.stored,
             duplicate = t.duplicate + excluded.duplicate, discarded = t.discarded + excluded.discarded,
             dead_lettered = t.dead_lettered + excluded.dead_lettered, texts = t.texts + excluded.texts, words = t.words + excluded.words)
         INSERT INTO feed (lo, hi, min_at, max_at) SELECT $9, $10, $11, $12 WHERE $9 IS NOT NULL",
    )
    .bind(tally.keys().copied().collect::<Vec<_>>())
    .bind(column(0))
    .bind(column(1))
    .bind(column(2))
    .bind(column(3))
    .bind(column(4))
    .bind(column(5))
    .bind(column(6))
    .bind(extent.map(|e| e.lo))
    .bind(extent.map(|e| e.hi))
    .bind(extent.map(|e| e.min))
    .bind(extent.map(|e| e.max))
    .execute(conn)
    .await?;
    Ok(())
}

/// The provenance of a batch of a scope.
pub(super) async fn provenance(conn: &mut PgConnection, scope: &Scope, batch: u64) -> Result<Option<Provenance>, Failure> {
    let found = sqlx::query(
        "SELECT name, version, key_id, boot_id, coalesce(batch_id, ''), coalesce(traceparent, ''), received_at, sent_at, monotonic_ns, origin
         FROM ingest JOIN client ON client.id = ingest.client JOIN scope ON scope.id = ingest.scope
         WHERE batch = $1 AND tenant_id = $2 AND user_id = $3",
    )
    .bind(i64::try_from(batch).unwrap_or(i64::MAX))
    .bind(scope.tenant().as_str())
    .bind(scope.user().as_str())
    .fetch_optional(conn)
    .await?;
    let Some(r) = found else { return Ok(None) };
    let text = |n: usize| r.try_get::<String, _>(n).map(plain);
    Ok(Some(Provenance {
        client: text(0)?,
        client_version: text(1)?,
        key_id: text(2)?,
        boot_id: text(3)?,
        batch_id: text(4)?,
        traceparent: text(5)?,
        received_at: Timestamp::from_nanos(r.try_get(6)?),
        sent_at: r.try_get::<Option<i64>, _>(7)?.map(Timestamp::from_nanos),
        monotonic_ns: r.try_get::<i64, _>(8)? as u64,
        origin: Origin::from_u8(r.try_get::<i16, _>(9)? as u8),
    }))
}
