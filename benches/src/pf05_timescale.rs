//! PF5 on TimescaleDB: questions through the store, beside the same rows read from a bare table.

use std::sync::Arc;

use am_pipeline::TokioClock;
use am_schema::{Catalogue, Reading};
use am_store::postgres::{Level, PostgresOptions, connect};

use crate::harness::{Options, Row, Stopwatch, Target, median};
use crate::postgres_baseline::{self, Database};
use crate::store::{heart_rates, put_all, queries};

type Failed = Box<dyn std::error::Error + Send + Sync>;

pub(crate) fn run(options: &Options) -> Result<Vec<Row>, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(measure(options)).map_err(|e| e.to_string())
}

async fn measure(options: &Options) -> Result<Vec<Row>, Failed> {
    let Some(db) = Database::new().await? else {
        return Ok(vec![Row::unavailable("PF5", "questions to TimescaleDB", "AM_TEST_POSTGRES names no server")]);
    };
    let done = questions(options, &db.url).await;
    db.drop().await?;
    done
}

async fn questions(options: &Options, url: &str) -> Result<Vec<Row>, Failed> {
    let batches = heart_rates(if options.quick { 4_000 } else { 90_000 })?;
    let opened = connect(url, PostgresOptions::default(), Arc::new(TokioClock::default()), Catalogue::builtin()).await?;
    put_all(&opened.backend, &batches, 64).await?;
    opened.backend.maintenance.tidy().await?;
    let mut conn = postgres_baseline::table(url, opened.capabilities.level != Level::Plain).await?;
    let all: Vec<Reading> = batches.iter().flatten().cloned().collect();
    let runs: Vec<Vec<u8>> = all.chunks(10_000).zip(0i64..).map(|(c, n)| postgres_baseline::encode(c, n * 10_000)).collect();
    postgres_baseline::copy(&mut conn, &runs).await?;
    sqlx::raw_sql("ANALYZE").execute(&mut conn).await?;
    let mut rows = queries(&opened.backend, &batches, "PostgreSQL: ").await?;
    let mut bare = Vec::new();
    let last = all.iter().map(Reading::recorded_at).max().ok_or("no readings")?;
    let hour = last.as_nanos() as f64 / 1e9 - 3_600.0;
    for _ in 0..200 {
        let watch = Stopwatch::default();
        let found = sqlx::query(
            "SELECT seq, at, ns, id, batch, flags, stream, body FROM bare WHERE stream = $1 AND at >= to_timestamp($2)
             ORDER BY at, ns, id LIMIT 10000",
        )
        .bind(postgres_baseline::stream_of("watch-3"))
        .bind(hour)
        .fetch_all(&mut conn)
        .await?;
        bare.push(watch.elapsed().as_secs_f64() * 1e3);
        if found.is_empty() {
            return Err("the last hour of the bare table is empty".into());
        }
    }
    if let Some(scan) = rows.first_mut() {
        (scan.baseline, scan.target) = (median(bare), Target::RatioAtMost(1.5));
        scan.note = "the same rows of a bare table with the same indexes, fetched by sqlx and not decoded".into();
    }
    opened.backend.maintenance.close().await?;
    Ok(rows)
}
