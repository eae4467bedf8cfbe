//! Many readings into their table at once: as arrays, or by `COPY` when there are enough of them to pay for its round trips.

use am_schema::Reading;
use sqlx::PgConnection;

use super::codec;
use super::errors::Failure;
use super::types::{At, Id, Micros};

/// How rows get to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// As arrays, skipping keys that are there.
    Arrays,
    /// By `COPY` straight into the table: a key that is there loses the transaction.
    Copy,
    /// By `COPY` into a table of the session, and from there, skipping keys that are there.
    Staged,
}

const INSERT: &str = "INSERT INTO reading (seq, at, batch, flags, value, stream, ns, id, body)
 SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::float8[], $6::int[], $7::smallint[], $8::uuid[],
   $9::bytea[]) ON CONFLICT DO NOTHING";
const STAGE: &str = "CREATE TEMPORARY TABLE IF NOT EXISTS incoming (
   seq bigint, at timestamptz, batch bigint, flags bigint, value float8, stream int, ns smallint, id uuid, body bytea) ON COMMIT DELETE ROWS";
const COPY_STAGE: &str = "COPY incoming FROM STDIN (FORMAT binary)";
const COPY: &str = "COPY reading (seq, at, batch, flags, value, stream, ns, id, body) FROM STDIN (FORMAT binary)";
const UNSTAGE: &str = "INSERT INTO reading (seq, at, batch, flags, value, stream, ns, id, body)
 SELECT seq, at, batch, flags, value, stream, ns, id, body FROM incoming ON CONFLICT DO NOTHING";
/// What `COPY` begins with: signature, flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Bytes that are sent at once.
const PIECE: usize = 256 << 10;

/// One row to be.
pub(super) struct NewRow<'r> {
    pub seq: i64,
    pub at: At,
    pub batch: i64,
    pub flags: i64,
    pub stream: i32,
    pub reading: &'r Reading,
}

/// Inserts rows, and tells how many were new.
pub(super) async fn insert(conn: &mut PgConnection, rows: &[NewRow<'_>], way: Way) -> Result<u64, Failure> {
    match way {
        _ if rows.is_empty() => Ok(0),
        Way::Arrays => arrays(conn, rows).await,
        Way::Copy => copy(conn, rows, COPY).await,
        Way::Staged => {
            sqlx::query(STAGE).execute(&mut *conn).await?;
            copy(conn, rows, COPY_STAGE).await?;
            Ok(sqlx::query(UNSTAGE).execute(conn).await?.rows_affected())
        }
    }
}

async fn arrays(conn: &mut PgConnection, rows: &[NewRow<'_>]) -> Result<u64, Failure> {
    let bodies: Vec<Vec<u8>> = rows.iter().map(|r| codec::stored_body(r.reading)).collect();
    let done = sqlx::query(INSERT)
        .bind(rows.iter().map(|r| r.seq).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.at.micros).collect::<Vec<Micros>>())
        .bind(rows.iter().map(|r| r.batch).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.flags).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.reading.scalar()).collect::<Vec<Option<f64>>>())
        .bind(rows.iter().map(|r| r.stream).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.at.nanos).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| Id::of(r.reading.id())).collect::<Vec<Id>>())
        .bind(bodies)
        .execute(conn)
        .await?;
    Ok(done.rows_affected())
}

async fn copy(conn: &mut PgConnection, rows: &[NewRow<'_>], statement: &'static str) -> Result<u64, Failure> {
    let mut sink = conn.copy_in_raw(statement).await?;
    let mut piece = Vec::with_capacity(PIECE + 4_096);
    piece.extend_from_slice(HEADER);
    for r in rows {
        write(&mut piece, r);
        if piece.len() >= PIECE {
            sink.send(piece.as_slice()).await?;
            piece.clear();
        }
    }
    piece.extend_from_slice(&(-1i16).to_be_bytes());
    sink.send(piece.as_slice()).await?;
    Ok(sink.finish().await?)
}

fn write(out: &mut Vec<u8>, r: &NewRow<'_>) {
    let long = |out: &mut Vec<u8>, n: i64| {
        out.extend_from_slice(&8i32.to_be_bytes());
        out.extend_from_slice(&n.to_be_bytes());
    };
    out.extend_from_slice(&9i16.to_be_bytes());
    long(out, r.seq);
    long(out, r.at.micros.0);
    long(out, r.batch);
    long(out, r.flags);
    match r.reading.scalar() {
        Some(v) => long(out, v.to_bits() as i64),
        None => out.extend_from_slice(&(-1i32).to_be_bytes()),
    }
    out.extend_from_slice(&4i32.to_be_bytes());
    out.extend_from_slice(&r.stream.to_be_bytes());
    out.extend_from_slice(&2i32.to_be_bytes());
    out.extend_from_slice(&r.at.nanos.to_be_bytes());
    out.extend_from_slice(&16i32.to_be_bytes());
    out.extend_from_slice(r.reading.id().as_bytes());
    let length = out.len();
    out.extend_from_slice(&[0; 4]);
    codec::write_body(r.reading, out);
    let body = (out.len() - length - 4) as i32;
    if let Some(place) = out.get_mut(length..length + 4) {
        place.copy_from_slice(&body.to_be_bytes());
    }
}
