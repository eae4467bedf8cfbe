//! PF4: idempotent ingest into TimescaleDB against a bare `COPY` of the same rows.

use std::sync::Arc;
use std::time::Duration;

use am_core::Ctx;
use am_pipeline::TokioClock;
use am_schema::Reading;
use am_store::model::{Ingest, Provenance, PutOutcome};
use am_store::postgres::PostgresOptions;
use am_store::traits::Backend;
use sqlx::AssertSqlSafe;
use tokio::task::JoinSet;

use crate::harness::{Options, Row, Stopwatch, Target, median, own_time};
use crate::pg_baseline;
use crate::served::{Failed, heart_rates, scope};
use crate::services::{self, Database};

const WHAT: &str = "idempotent ingest into TimescaleDB, batches of 500, 64 in flight";
/// Batches whose answer is awaited; a persister has up to 512 messages.
const IN_FLIGHT: usize = 64;

pub(crate) fn run(options: &Options) -> Result<Vec<Row>, String> {
    let server = match services::postgres() {
        Ok(url) => url,
        Err(why) => return Ok(vec![Row::unavailable("PF4", WHAT, why)]),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(measure(options, &server)).map_err(|e| e.to_string())
}

/// Seconds of wall and of this process's processor time per reading.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

/// Measures work on so many readings.
async fn cost(readings: usize, work: impl Future<Output = Result<(), Failed>>) -> Result<Cost, Failed> {
    let (watch, before) = (Stopwatch::default(), own_time().ok_or("no processor time")?);
    work.await?;
    let (wall, cpu) = (watch.elapsed(), own_time().ok_or("no processor time")?.saturating_sub(before));
    let each = |d: Duration| d.as_secs_f64() / readings as f64;
    Ok(Cost { wall: each(wall), cpu: each(cpu) })
}

/// Puts all batches, several in flight; fails unless each reading comes to what is expected of all.
pub(crate) async fn put_all(b: &Backend, batches: &[Vec<Reading>], wanted: fn(&PutOutcome) -> bool) -> Result<(), Failed> {
    let ctx = Ctx::new(scope()?, Arc::new(TokioClock::default()));
    let mut running = JoinSet::new();
    for readings in batches {
        if running.len() == IN_FLIGHT {
            running.join_next().await.ok_or("nothing runs")???;
        }
        let provenance = Provenance { client: "bench".into(), received_at: ctx.now(), ..Default::default() };
        let batch = Ingest { provenance, readings: readings.clone(), ..Default::default() };
        let (b, ctx) = (b.clone(), ctx.clone());
        running.spawn(async move {
            let done = b.readings.put(&ctx, batch).await?;
            match done.readings.iter().find(|o| !wanted(o)) {
                Some(o) => Err(Failed::from(format!("a reading came to {o:?}"))),
                None => Ok(()),
            }
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

/// How many rows a table has; the table goes with its schema.
async fn rows_of(db: &Database, schema: &str) -> Result<usize, Failed> {
    let mut conn = db.connect().await?;
    let n: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {schema}.reading"))).fetch_one(&mut conn).await?;
    sqlx::raw_sql(AssertSqlSafe(format!("SET client_min_messages = error; DROP SCHEMA {schema} CASCADE"))).execute(&mut conn).await?;
    Ok(n as usize)
}

/// The first time, and once more.
async fn ours(db: &Database, batches: &[Vec<Reading>], change: fn(&mut PostgresOptions)) -> Result<(Cost, Cost), Failed> {
    let n = batches.iter().map(Vec::len).sum();
    let b = db.store("am", change).await?;
    db.checkpoint().await?;
    let first = cost(n, put_all(&b, batches, |o| matches!(o, PutOutcome::Stored(_)))).await?;
    let again = cost(n, put_all(&b, batches, |o| *o == PutOutcome::Duplicate)).await?;
    b.maintenance.close().await?;
    let there = rows_of(db, "am").await?;
    if there != n { Err(format!("{there} rows of {n}").into()) } else { Ok((first, again)) }
}

/// Numbers of devices, as AM has numbers of streams.
pub(crate) fn stream_of(r: &Reading) -> i32 {
    r.device().as_str().bytes().fold(0, |n, b| (n * 10 + i32::from(b)) % 1_009)
}

async fn bare(db: &Database, batches: &[Vec<Reading>]) -> Result<Cost, Failed> {
    let n = batches.iter().map(Vec::len).sum();
    let o = PostgresOptions::default();
    // Only for the form of its table.
    db.store("am", |o| o.upkeep = false).await?.maintenance.close().await?;
    pg_baseline::create(db, "am", "bare").await?;
    db.checkpoint().await?;
    let cost = cost(n, pg_baseline::write(db, "bare", batches, o.writers, o.group_max_readings, stream_of)).await?;
    let there = rows_of(db, "bare").await?;
    rows_of(db, "am").await?;
    if there != n { Err(format!("{there} bare rows of {n}").into()) } else { Ok(cost) }
}

async fn measure(options: &Options, server: &str) -> Result<Vec<Row>, Failed> {
    let (rounds, batches) = if options.quick { (1, 120) } else { (5, 800) };
    let db = Database::create(server).await?;
    db.store("am", |o| o.upkeep = false).await?.maintenance.close().await?;
    rows_of(&db, "am").await?;
    if !db.has_timescale().await? {
        return Ok(vec![Row::unavailable("PF4", WHAT, "the server has no TimescaleDB")]);
    }
    let batches = heart_rates(batches, false)?;
    let (mut a, mut later, mut again, mut b) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (first, second) = ours(&db, &batches, |_| {}).await?;
        a.push(first);
        again.push(second);
        b.push(bare(&db, &batches).await?);
        later.push(ours(&db, &batches, |o| o.upkeep = false).await?.0);
    }
    let of = |list: &[Cost], f: fn(&Cost) -> f64| median(list.iter().map(f).collect());
    let (bare_wall, bare_cpu) = (of(&b, |c| c.wall), of(&b, |c| c.cpu));
    let rate = |what: &str, list: &[Cost], target, note: &str| Row {
        id: "PF4",
        what: what.into(),
        ours: 1.0 / of(list, |c| c.wall),
        baseline: 1.0 / bare_wall,
        unit: "readings/s",
        target,
        note: note.into(),
    };
    let note = "COPY BINARY of the same rows of `reading` alone, same indexes and chunks, 10,000 to a transaction over 3 connections as \
                AM's writers do; AM also draws numbers of the feed, writes its batches, balance and place on the feed, and keeps rollups";
    Ok(vec![
        rate(WHAT, &a, Target::RatioAtLeast(0.65), note),
        rate("the same, rollups kept by another process or later", &later, Target::Nothing, "as above, without keeping rollups meanwhile"),
        rate("the same readings once more: nothing is added", &again, Target::Nothing, "as above, the first time"),
        Row {
            id: "PF4",
            what: "processor time of our process for it, rollups included".into(),
            ours: of(&a, |c| c.cpu) * 1e6,
            baseline: bare_cpu * 1e6,
            unit: "µs/reading",
            target: Target::Nothing,
            note: format!("the process that copies; without rollups AM takes {:.2}", of(&later, |c| c.cpu) * 1e6),
        },
    ])
}
