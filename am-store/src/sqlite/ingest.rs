//! A batch into the store.

use am_core::{Scope, Timestamp};
use rusqlite::{Connection, OptionalExtension};

use super::dead_letters;
use super::errors::Failure;
use super::insert::{Inserted, Inserter};
use super::queue::Size;
use super::streams::scope_id;
use super::writer::Session;
use crate::conflict::conflict;
use crate::model::{Ingest, IngestOutcome, Origin, Provenance, PutOutcome};
use crate::text::Words;

/// How large a batch is for the queue.
pub(super) fn size(batch: &Ingest) -> Size {
    let readings = batch.readings.len() + batch.rejected.len();
    let bytes = batch.readings.iter().map(|r| r.body().len()).sum::<usize>() + batch.rejected.iter().map(|l| l.wire.len()).sum::<usize>();
    Size { readings, bytes: bytes + readings * 64 }
}

/// Rows, postings, dead letters and counts of a batch.
pub(super) fn put(s: &mut Session, scope: &Scope, batch: &Ingest, words: &Words) -> Result<IngestOutcome, Failure> {
    let p = &batch.provenance;
    let now = s.clock.now();
    batch.check()?;
    let scope_id = s.ids.scope(&s.conn, scope)?;
    let number = if batch.flow.is_some() { 0 } else { s.batch + 1 };
    let mut out = IngestOutcome { readings: Vec::with_capacity(batch.readings.len()), parked: Vec::new(), batch: number };
    let mut conflicts = Vec::new();
    let mut stored = 0i64;
    let mut duplicate = 0i64;
    let mut inserter = Inserter::new(s)?;
    for (n, reading) in batch.readings.iter().enumerate() {
        out.readings.push(match inserter.insert(scope_id, reading, words.at(n), p.origin, number)? {
            Inserted::Stored(seq, _) => {
                stored += 1;
                PutOutcome::Stored(seq)
            }
            Inserted::Duplicate => {
                duplicate += 1;
                PutOutcome::Duplicate
            }
            Inserted::Conflict => {
                let letter = conflict(now, scope, batch.stage(), reading);
                let id = letter.id.clone();
                conflicts.push(letter);
                PutOutcome::Conflict(id)
            }
        });
    }
    inserter.finish()?;
    // The same item parked before is one letter: it counts as a duplicate.
    let mut dead = 0i64;
    for letter in conflicts.iter().chain(&batch.rejected) {
        match dead_letters::insert(&s.conn, scope_id, letter)? {
            true => dead += 1,
            false => duplicate += 1,
        }
    }
    out.parked.extend(batch.rejected.iter().map(|l| l.id.clone()));
    if batch.flow.is_some() {
        return Ok(out);
    }
    let client = s.ids.client(&s.conn, p)?;
    let discarded: i64 = batch.discarded.iter().map(|(_, n)| i64::from(*n)).sum();
    s.conn
        .prepare_cached(
            "INSERT INTO ingest (batch, scope, client, batch_id, traceparent, received_at, sent_at, monotonic_ns, origin,
               received, stored, duplicate, discarded, dead_lettered)
             VALUES (?1, ?2, ?3, nullif(?4, ''), nullif(?5, ''), ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute((
            number as i64,
            scope_id,
            client,
            &p.batch_id,
            &p.traceparent,
            p.received_at.as_nanos(),
            p.sent_at.map(|t| t.as_nanos()),
            p.monotonic_ns as i64,
            p.origin as u8,
            stored + duplicate + discarded + dead,
            stored,
            duplicate,
            discarded,
            dead,
        ))?;
    s.batch = number;
    Ok(out)
}

/// The provenance of a batch of a scope.
pub(super) fn provenance(conn: &Connection, scope: &Scope, batch: u64) -> Result<Option<Provenance>, Failure> {
    let Some(scope) = scope_id(conn, scope)? else { return Ok(None) };
    let mut q = conn.prepare_cached(
        "SELECT name, version, key_id, boot_id, batch_id, traceparent, received_at, sent_at, monotonic_ns, origin
         FROM ingest JOIN client ON client.id = ingest.client WHERE batch = ?1 AND scope = ?2",
    )?;
    let row = q.query_row((batch as i64, scope), |r| {
        Ok(Provenance {
            client: r.get(0)?,
            client_version: r.get(1)?,
            key_id: r.get(2)?,
            boot_id: r.get(3)?,
            batch_id: r.get::<_, Option<String>>(4)?.unwrap_or_default(),
            traceparent: r.get::<_, Option<String>>(5)?.unwrap_or_default(),
            received_at: Timestamp::from_nanos(r.get(6)?),
            sent_at: r.get::<_, Option<i64>>(7)?.map(Timestamp::from_nanos),
            monotonic_ns: r.get::<_, i64>(8)? as u64,
            origin: Origin::from_u8(r.get(9)?),
        })
    });
    Ok(row.optional()?)
}
