//! Bare rusqlite: the rows and indexes of AM's store, feed included, written as fast as one thread can.

use std::path::Path;

use am_schema::Reading;
use rusqlite::Connection;

/// AM's rows: the row number is the place in the feed; one row per batch says who brought it.
const TABLES: &str = "
CREATE TABLE reading (
  seq INTEGER PRIMARY KEY, stream INTEGER NOT NULL, at INTEGER NOT NULL, id BLOB NOT NULL,
  batch INTEGER NOT NULL, flags INTEGER NOT NULL, body BLOB NOT NULL,
  UNIQUE (stream, at, id));
CREATE TABLE ingest (
  batch INTEGER PRIMARY KEY, scope INTEGER NOT NULL, client INTEGER NOT NULL, batch_id TEXT, traceparent TEXT,
  received_at INTEGER NOT NULL, sent_at INTEGER, monotonic_ns INTEGER NOT NULL, origin INTEGER NOT NULL,
  received INTEGER NOT NULL, stored INTEGER NOT NULL, duplicate INTEGER NOT NULL, discarded INTEGER NOT NULL,
  dead_lettered INTEGER NOT NULL);";

/// A database with the store's own settings.
pub(crate) fn open(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "cache_size", -16 * 1_024)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update_and_check(None, "wal_autocheckpoint", 4_000, |_| Ok(()))?;
    conn.execute_batch(TABLES)?;
    Ok(conn)
}

/// Writes batches, `per_transaction` readings to a transaction. `stream_of` numbers devices.
pub(crate) fn write(
    conn: &Connection,
    batches: &[Vec<Reading>],
    per_transaction: usize,
    stream_of: impl Fn(&Reading) -> i64,
) -> rusqlite::Result<u64> {
    let mut insert = conn.prepare("INSERT INTO reading VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING")?;
    let mut note = conn.prepare("INSERT INTO ingest VALUES (?1, 1, 1, NULL, NULL, ?2, NULL, 0, 0, ?3, ?3, 0, 0, 0)")?;
    let (mut seq, mut batch, mut open) = (0i64, 0i64, 0);
    let mut body = Vec::new();
    for readings in batches {
        if open == 0 {
            conn.execute_batch("BEGIN IMMEDIATE")?;
        }
        batch += 1;
        for r in readings {
            seq += 1;
            body.clear();
            body.push(0);
            body.extend_from_slice(r.body());
            insert.execute((seq, stream_of(r), r.recorded_at().as_nanos(), r.id().as_bytes(), batch, 0, &body[..]))?;
        }
        note.execute((batch, batch, readings.len() as i64))?;
        open += readings.len();
        if open >= per_transaction {
            conn.execute_batch("COMMIT")?;
            open = 0;
        }
    }
    if open > 0 {
        conn.execute_batch("COMMIT")?;
    }
    Ok(seq as u64)
}
