//! The questions of PF5 as SQL over bare tables.

use std::collections::HashMap;
use std::path::Path;

use am_schema::Reading;
use rusqlite::Connection;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use crate::pf05_queries::{DEVICES, Of, Question, YEAR};
use crate::pg_baseline::Micros;
use crate::served::Failed;

/// AM's rows with the number beside the body, so that SQL can count it.
const TABLE: &str = "
CREATE TABLE reading (
  seq INTEGER PRIMARY KEY, stream INTEGER NOT NULL, at INTEGER NOT NULL, id BLOB NOT NULL, batch INTEGER NOT NULL, flags INTEGER NOT NULL,
  value REAL, body BLOB NOT NULL, UNIQUE (stream, at, id));";

/// Where bare SQL is asked.
pub(crate) enum Bare {
    /// A file of its own with the same readings.
    Sqlite(Connection),
    /// AM's own tables, past AM; with the numbers of devices.
    Postgres(Box<PgConnection>, HashMap<String, i32>),
}

/// A row as a program holds it.
type Held = (i64, i64, [u8; 16], i64, i64, Vec<u8>);

impl Bare {
    pub(crate) fn sqlite(path: &Path) -> Result<Bare, Failed> {
        let conn = Connection::open(path)?;
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        conn.pragma_update(None, "synchronous", "OFF")?;
        conn.pragma_update(None, "cache_size", -16 * 1_024)?;
        conn.execute_batch(TABLE)?;
        Ok(Bare::Sqlite(conn))
    }

    pub(crate) fn postgres(conn: PgConnection) -> Bare {
        Bare::Postgres(Box::new(conn), HashMap::new())
    }

    /// What the baseline is.
    pub(crate) fn note(&self) -> &'static str {
        match self {
            Bare::Sqlite(_) => "rusqlite over a bare table with the same indexes and the number in a column",
            Bare::Postgres(..) => "prepared SQL over AM's own hypertable, past AM, rows as they are",
        }
    }

    /// Takes readings in, where the tables are not AM's own.
    pub(crate) fn load(&mut self, batches: &[Vec<Reading>]) -> Result<(), Failed> {
        let Bare::Sqlite(conn) = self else { return Ok(()) };
        let tx = conn.transaction()?;
        {
            let mut insert =
                tx.prepare_cached("INSERT INTO reading (stream, at, id, batch, flags, value, body) VALUES (?1, ?2, ?3, 1, 0, ?4, ?5)")?;
            for r in batches.iter().flatten() {
                let stream = number(r.device().as_str())?;
                insert.execute((stream, r.recorded_at().as_nanos(), r.id().as_bytes(), r.scalar(), &r.body()[..]))?;
            }
        }
        Ok(tx.commit()?)
    }

    /// Asks; gives how many readings the answer is or counts.
    pub(crate) async fn ask(&mut self, q: Question, of: &Of) -> Result<u64, Failed> {
        match self {
            Bare::Sqlite(conn) => in_sqlite(conn, q, of),
            Bare::Postgres(conn, numbers) => {
                if numbers.is_empty() {
                    let rows = sqlx::query("SELECT device, id FROM am.stream").fetch_all(&mut **conn).await?;
                    for r in rows {
                        numbers.insert(r.try_get(0)?, r.try_get(1)?);
                    }
                }
                in_postgres(conn, numbers, q, of).await
            }
        }
    }
}

/// The number of a device.
fn number(device: &str) -> Result<i64, Failed> {
    if device == YEAR { Ok(DEVICES as i64) } else { Ok(device.trim_start_matches("watch-").parse()?) }
}

fn in_sqlite(conn: &Connection, q: Question, of: &Of) -> Result<u64, Failed> {
    let held = |r: &rusqlite::Row<'_>| -> rusqlite::Result<Held> { Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?)) };
    let span = (number(of.device.as_str())?, of.from.as_nanos(), of.to.as_nanos());
    Ok(match q {
        Question::Span => {
            let mut s = conn.prepare_cached(
                "SELECT seq, at, id, batch, flags, body FROM reading WHERE stream = ?1 AND at >= ?2 AND at < ?3 ORDER BY at, id",
            )?;
            let rows: Vec<Held> = s.query_map(span, held)?.collect::<Result<_, _>>()?;
            std::hint::black_box(&rows).len() as u64
        }
        Question::Latest => {
            let mut s = conn.prepare_cached(
                "SELECT seq, at, id, batch, flags, body FROM reading WHERE stream = ?1 ORDER BY at DESC, id DESC LIMIT 1",
            )?;
            let streams = 0..=DEVICES as i64;
            let rows: Vec<Held> = streams.map(|n| s.query_row([n], held)).collect::<Result<_, _>>()?;
            std::hint::black_box(&rows).len() as u64
        }
        Question::Buckets | Question::Days => {
            let width: i64 = if q == Question::Days { 86_400_000_000_000 } else { 300_000_000_000 };
            let mut s = conn.prepare_cached(
                "SELECT at / ?4, count(*), avg(value), min(value), max(value) FROM reading WHERE stream = ?1 AND at >= ?2 AND at < ?3
                 GROUP BY 1 ORDER BY 1",
            )?;
            let read = |r: &rusqlite::Row<'_>| -> rusqlite::Result<(i64, i64, f64, f64, f64)> {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?))
            };
            let rows: Vec<_> = s.query_map((span.0, span.1, span.2, width), read)?.collect::<Result<_, _>>()?;
            std::hint::black_box(&rows).iter().map(|b| b.1 as u64).sum()
        }
    })
}

async fn in_postgres(conn: &mut PgConnection, numbers: &HashMap<String, i32>, q: Question, of: &Of) -> Result<u64, Failed> {
    let stream = numbers.get(of.device.as_str()).copied().ok_or("the device has no stream")?;
    let held = |r: &PgRow| -> Result<Held, Failed> {
        let id: &[u8] = r.try_get_unchecked(2)?;
        Ok((r.try_get(0)?, r.try_get_unchecked(1)?, id.try_into()?, r.try_get(3)?, r.try_get(4)?, r.try_get(5)?))
    };
    Ok(match q {
        Question::Span => {
            let rows = sqlx::query(
                "SELECT seq, at, id, batch, flags, body FROM am.reading WHERE stream = $1 AND at >= $2 AND at < $3 ORDER BY at, ns, id",
            )
            .bind(stream)
            .bind(Micros::of(of.from))
            .bind(Micros::of(of.to))
            .fetch_all(conn)
            .await?;
            let rows: Vec<Held> = rows.iter().map(held).collect::<Result<_, _>>()?;
            std::hint::black_box(&rows).len() as u64
        }
        Question::Latest => {
            let rows = sqlx::query(
                "SELECT r.* FROM unnest($1::int[]) AS s (s) CROSS JOIN LATERAL
                   (SELECT seq, at, id, batch, flags, body FROM am.reading WHERE stream = s.s ORDER BY at DESC, ns DESC, id DESC LIMIT 1) AS r",
            )
            .bind(numbers.values().copied().collect::<Vec<i32>>())
            .fetch_all(conn)
            .await?;
            let rows: Vec<Held> = rows.iter().map(held).collect::<Result<_, _>>()?;
            std::hint::black_box(&rows).len() as u64
        }
        Question::Buckets | Question::Days => {
            let width = if q == Question::Days { "1 day" } else { "5 minutes" };
            let rows = sqlx::query(
                "SELECT time_bucket($4::text::interval, at), count(*), avg(value), min(value), max(value) FROM am.reading
                 WHERE stream = $1 AND at >= $2 AND at < $3 GROUP BY 1 ORDER BY 1",
            )
            .bind(stream)
            .bind(Micros::of(of.from))
            .bind(Micros::of(of.to))
            .bind(width)
            .fetch_all(conn)
            .await?;
            let mut sum = 0;
            for r in &rows {
                let bucket: (i64, i64, f64, f64, f64) =
                    (r.try_get_unchecked(0)?, r.try_get(1)?, r.try_get(2)?, r.try_get(3)?, r.try_get(4)?);
                sum += std::hint::black_box(bucket).1 as u64;
            }
            sum
        }
    })
}
