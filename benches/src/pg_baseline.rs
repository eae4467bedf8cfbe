//! Bare PostgreSQL: AM's table of readings with its indexes, filled by `COPY` in binary form.

use am_core::Timestamp;
use am_schema::Reading;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo};
use sqlx::{AssertSqlSafe, Connection, Encode, PgConnection, Postgres, Type};
use tokio::task::JoinSet;

use crate::served::Failed;
use crate::services::Database;

/// Microseconds from 1970 to 2000, where PostgreSQL begins to count.
const EPOCH: i64 = 946_684_800_000_000;
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Bytes that are sent at once.
const PIECE: usize = 256 << 10;

/// A `timestamptz`.
#[derive(Clone, Copy)]
pub(crate) struct Micros(pub(crate) i64);

impl Micros {
    pub(crate) fn of(t: Timestamp) -> Micros {
        Micros(t.as_nanos().div_euclid(1_000) - EPOCH)
    }
}

impl Type<Postgres> for Micros {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1184))
    }
}

impl Encode<'_, Postgres> for Micros {
    fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buf.extend_from_slice(&self.0.to_be_bytes());
        Ok(IsNull::No)
    }
}

/// A table like AM's in a schema of its own: the same columns, indexes and chunks, and nothing around it.
pub(crate) async fn create(db: &Database, like: &str, schema: &str) -> Result<(), Failed> {
    let mut conn = db.connect().await?;
    let text = format!(
        "CREATE SCHEMA {schema};
         CREATE TABLE {schema}.reading (LIKE {like}.reading INCLUDING ALL);
         SELECT create_hypertable('{schema}.reading', by_range('at', (SELECT time_interval FROM timescaledb_information.dimensions
           WHERE hypertable_schema = '{like}' AND hypertable_name = 'reading')), create_default_indexes => false);"
    );
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut conn).await?;
    conn.close().await?;
    Ok(())
}

/// Writes batches over so many connections at once, `per_transaction` readings to a `COPY`, each committed. `stream_of` numbers devices.
pub(crate) async fn write(
    db: &Database,
    schema: &str,
    batches: &[Vec<Reading>],
    connections: usize,
    per_transaction: usize,
    stream_of: fn(&Reading) -> i32,
) -> Result<(), Failed> {
    let size = batches.first().map_or(1, Vec::len).max(1);
    let groups: Vec<(usize, Vec<Vec<Reading>>)> =
        batches.chunks((per_transaction / size).max(1)).enumerate().map(|(n, g)| (n * per_transaction, g.to_vec())).collect();
    let mut shares: Vec<Vec<_>> = (0..connections).map(|_| Vec::new()).collect();
    for (n, group) in groups.into_iter().enumerate() {
        if let Some(share) = shares.get_mut(n % connections) {
            share.push(group);
        }
    }
    let mut running = JoinSet::new();
    for share in shares {
        let (url, schema) = (db.url.clone(), schema.to_owned());
        running.spawn(async move {
            let mut conn = PgConnection::connect(&url).await?;
            for (before, group) in share {
                copy(&mut conn, &schema, before as i64, &group, stream_of).await?;
            }
            conn.close().await?;
            Ok::<_, Failed>(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

async fn copy(
    conn: &mut PgConnection,
    schema: &str,
    before: i64,
    group: &[Vec<Reading>],
    stream_of: fn(&Reading) -> i32,
) -> Result<(), Failed> {
    let statement = format!("COPY {schema}.reading (seq, at, batch, flags, value, stream, ns, id, body) FROM STDIN (FORMAT binary)");
    let mut sink = conn.copy_in_raw(&statement).await?;
    let mut piece = Vec::with_capacity(PIECE + 4_096);
    piece.extend_from_slice(HEADER);
    let mut seq = before;
    for (batch, readings) in (before + 1..).zip(group) {
        for r in readings {
            seq += 1;
            row(&mut piece, r, seq, batch, stream_of(r));
            if piece.len() >= PIECE {
                sink.send(piece.as_slice()).await?;
                piece.clear();
            }
        }
    }
    piece.extend_from_slice(&(-1i16).to_be_bytes());
    sink.send(piece.as_slice()).await?;
    sink.finish().await?;
    Ok(())
}

fn row(out: &mut Vec<u8>, r: &Reading, seq: i64, batch: i64, stream: i32) {
    fn field(out: &mut Vec<u8>, bytes: &[u8]) {
        out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
        out.extend_from_slice(bytes);
    }
    let at = r.recorded_at();
    out.extend_from_slice(&9i16.to_be_bytes());
    field(out, &seq.to_be_bytes());
    field(out, &Micros::of(at).0.to_be_bytes());
    field(out, &batch.to_be_bytes());
    field(out, &0i64.to_be_bytes());
    match r.scalar() {
        Some(v) => field(out, &v.to_be_bytes()),
        None => out.extend_from_slice(&(-1i32).to_be_bytes()),
    }
    field(out, &stream.to_be_bytes());
    field(out, &(at.as_nanos().rem_euclid(1_000) as i16).to_be_bytes());
    field(out, r.id().as_bytes());
    out.extend_from_slice(&(r.body().len() as i32 + 1).to_be_bytes());
    out.push(0);
    out.extend_from_slice(r.body());
}
