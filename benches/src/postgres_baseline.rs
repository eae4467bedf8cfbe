//! PostgreSQL without AM: `COPY` of the same rows into a table with the same indexes.

use am_schema::Reading;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::harness::Stopwatch;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// A database of the bench's own on a running server.
pub(crate) struct Database {
    server: String,
    name: String,
    pub(crate) url: String,
}

impl Database {
    /// On the server that `AM_TEST_POSTGRES` names; `None` without one.
    pub(crate) async fn new() -> Result<Option<Database>, Failed> {
        let Ok(server) = std::env::var("AM_TEST_POSTGRES") else { return Ok(None) };
        let name = format!("am_bench_{}", std::process::id());
        let mut conn = PgConnection::connect(&server).await?;
        conn.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
        let before = server.rsplit_once('/').map_or(server.as_str(), |(before, _)| before);
        let url = format!("{before}/{name}");
        Ok(Some(Database { server, name, url }))
    }

    pub(crate) async fn drop(self) -> Result<(), Failed> {
        let mut conn = PgConnection::connect(&self.server).await?;
        conn.execute(AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name))).await?;
        Ok(())
    }
}

/// A number for a device.
pub(crate) fn stream_of(device: &str) -> i32 {
    device.bytes().fold(0i32, |n, b| (n * 10 + i32::from(b)) % 1_009)
}

/// Rows in the binary form of `COPY`, as AM lays them out.
pub(crate) fn encode(readings: &[Reading], first: i64) -> Vec<u8> {
    let mut out = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    let field = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend((bytes.len() as i32).to_be_bytes());
        out.extend(bytes);
    };
    for (n, r) in (first..).zip(readings) {
        out.extend(9i16.to_be_bytes());
        field(&mut out, &n.to_be_bytes());
        let at = r.recorded_at().as_nanos();
        field(&mut out, &(at.div_euclid(1_000) - 946_684_800_000_000).to_be_bytes());
        field(&mut out, &1i64.to_be_bytes());
        field(&mut out, &0i64.to_be_bytes());
        field(&mut out, &r.scalar().unwrap_or(0.0).to_be_bytes());
        field(&mut out, &stream_of(r.device().as_str()).to_be_bytes());
        field(&mut out, &(at.rem_euclid(1_000) as i16).to_be_bytes());
        field(&mut out, r.id().as_bytes());
        let mut body = vec![0];
        body.extend_from_slice(r.body());
        field(&mut out, &body);
    }
    out.extend((-1i16).to_be_bytes());
    out
}

/// An empty table like AM's: a hypertable where TimescaleDB is there.
pub(crate) async fn table(url: &str, hypertable: bool) -> Result<PgConnection, Failed> {
    let mut conn = PgConnection::connect(url).await?;
    conn.execute(
        "DROP TABLE IF EXISTS bare; CREATE TABLE bare (seq bigint NOT NULL, at timestamptz NOT NULL, batch bigint NOT NULL, flags bigint NOT \
         NULL, value float8, stream int NOT NULL, ns smallint NOT NULL, id uuid NOT NULL, body bytea NOT NULL)",
    )
    .await?;
    if hypertable {
        conn.execute("SELECT create_hypertable('bare', by_range('at', INTERVAL '7 days'), create_default_indexes => false)").await?;
    }
    conn.execute("CREATE UNIQUE INDEX ON bare (stream, at, ns, id); CREATE INDEX ON bare (seq)").await?;
    Ok(conn)
}

/// Copies encoded runs, each in a transaction of its own; gives seconds.
pub(crate) async fn copy(conn: &mut PgConnection, runs: &[Vec<u8>]) -> Result<f64, Failed> {
    let watch = Stopwatch::default();
    for run in runs {
        let mut sink = conn.copy_in_raw("COPY bare FROM STDIN (FORMAT binary)").await?;
        for piece in run.chunks(256 << 10) {
            sink.send(piece).await?;
        }
        sink.finish().await?;
    }
    Ok(watch.elapsed().as_secs_f64())
}
