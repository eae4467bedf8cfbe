//! PF4: idempotent ingest into TimescaleDB, beside `COPY` of the same rows.

use std::sync::Arc;

use am_pipeline::TokioClock;
use am_schema::{Catalogue, Reading};
use am_store::postgres::{Level, PostgresOptions, connect};

use crate::harness::{Options, Row, Target, median};
use crate::postgres_baseline::{self, Database};
use crate::store::{heart_rates, put_all};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Batches of 500 that wait for their answer, as behind a gateway or a persister.
const IN_FLIGHT: usize = 64;
/// Rows of one `COPY`, which is also the most that AM takes into one transaction.
const RUN: usize = 10_000;

pub(crate) fn run(options: &Options) -> Result<Vec<Row>, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(measure(options)).map_err(|e| e.to_string())
}

async fn measure(options: &Options) -> Result<Vec<Row>, Failed> {
    let what = "idempotent ingest into TimescaleDB, 64 batches of 500 in flight";
    let Some(db) = Database::new().await? else {
        return Ok(vec![Row::unavailable("PF4", what, "AM_TEST_POSTGRES names no server")]);
    };
    let done = rounds(options, &db.url).await;
    db.drop().await?;
    done
}

/// How our store is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Setup {
    Plain,
    OneWriter,
    /// As the application's role: row-level security refuses `COPY` into the table itself.
    Walled,
}

/// A fresh store for each round, in a schema of its own; gives readings per second the first time and again.
async fn ours(url: &str, schema: String, setup: Setup, batches: &[Vec<Reading>]) -> Result<(f64, f64, Level), Failed> {
    let mut o = PostgresOptions::default();
    o.schema = schema;
    if setup == Setup::OneWriter {
        o.writers = 1;
    }
    o.role = (setup == Setup::Walled).then(|| "am_bench_app".to_owned());
    let opened = connect(url, o, Arc::new(TokioClock::default()), Catalogue::builtin()).await?;
    let first = put_all(&opened.backend, batches, IN_FLIGHT).await?;
    let again = put_all(&opened.backend, batches, IN_FLIGHT).await?;
    opened.backend.maintenance.close().await?;
    Ok((first, again, opened.capabilities.level))
}

async fn rounds(options: &Options, url: &str) -> Result<Vec<Row>, Failed> {
    let (rounds, per_device) = if options.quick { (1, 2_000) } else { (5, 25_000) };
    let batches = heart_rates(per_device)?;
    let all: Vec<Reading> = batches.iter().flatten().cloned().collect();
    let runs: Vec<Vec<u8>> = all.chunks(RUN).zip(0i64..).map(|(c, n)| postgres_baseline::encode(c, n * RUN as i64)).collect();
    let mut bare = Vec::new();
    let mut taken: [Vec<f64>; 4] = Default::default();
    let mut level = Level::Plain;
    for round in 0..rounds {
        for (n, setup) in [Setup::Plain, Setup::OneWriter, Setup::Walled].into_iter().enumerate() {
            let (first, again, l) = ours(url, format!("am_{round}_{n}"), setup, &batches).await?;
            taken[n].push(first);
            if setup == Setup::Plain {
                taken[3].push(again);
            }
            level = l;
        }
        let mut conn = postgres_baseline::table(url, level != Level::Plain).await?;
        bare.push(all.len() as f64 / postgres_baseline::copy(&mut conn, &runs).await?);
    }
    let bare = median(bare);
    let note = format!("COPY BINARY of the same rows, same indexes, one connection, 10,000 rows per transaction; level {level:?}");
    let what = [
        ("idempotent ingest into TimescaleDB, 64 batches of 500 in flight", Target::RatioAtLeast(0.65)),
        ("the same with one writer", Target::Nothing),
        ("the same behind row-level security", Target::Nothing),
        ("the same readings again: all duplicates", Target::Nothing),
    ];
    Ok(what
        .into_iter()
        .zip(taken)
        .map(|((what, target), taken)| {
            let ours = median(taken);
            Row { id: "PF4", what: what.into(), ours, baseline: bare, unit: "readings/s", target, note: note.clone() }
        })
        .collect())
}
