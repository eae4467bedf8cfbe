//! PF18: how soon the server is ready, and how much memory it takes idle, loaded, and with 10,000 idle streams.

use std::time::Duration;

use am_core::Clock;
use am_pipeline::TokioClock;

use crate::harness::{Options, Row, Stopwatch, Target, median};
use crate::served::{BATCH, Failed, Serve, Served, frame, heart_rates};
use crate::{noop, pf18_full_stack};

const MB: f64 = 1e6;

pub(crate) fn run(options: &Options) -> Result<Vec<Row>, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|e| e.to_string())?;
    let mut rows = runtime.block_on(measure(options)).map_err(|e| e.to_string())?;
    rows.extend(pf18_full_stack::rows(options).map_err(|e| e.to_string())?);
    Ok(rows)
}

fn row(what: String, ours: f64, unit: &'static str, most: f64, note: &str) -> Row {
    Row { id: "PF18", what, ours, baseline: f64::NAN, unit, target: Target::AtMost(most), note: note.into() }
}

async fn pause(ms: u64) {
    TokioClock::default().sleep(Duration::from_millis(ms)).await;
}

async fn measure(options: &Options) -> Result<Vec<Row>, Failed> {
    let folder = tempfile::tempdir()?;
    let mut starts = Vec::new();
    for n in 0..if options.quick { 1 } else { 7 } {
        let watch = Stopwatch::default();
        let server = Served::start(&Serve::Sqlite(&folder.path().join(format!("start{n}.db"))))?;
        while !server.is_ready() {
            pause(1).await;
        }
        starts.push(watch.elapsed().as_secs_f64());
    }
    let server = Served::start(&Serve::Sqlite(&folder.path().join("am.db")))?;
    pause(1_000).await;
    let idle = server.anonymous()? / MB;
    let loaded = load(&server, if options.quick { 2 } else { 20 }).await? / MB;
    drop(server);

    let server = Served::start(&Serve::Sqlite(&folder.path().join("streams.db")))?;
    let many = if options.quick { 200 } else { 10_000 };
    let streams = idle_streams(&server, many).await? / MB;
    Ok(vec![
        row("from start to ready, new SQLite store".into(), median(starts), "s", 1.0, "server process alone; /readyz answers 200"),
        row("anonymous memory, idle".into(), idle, "MB", 80.0, "server process alone"),
        row("anonymous memory at 10,000 readings/s".into(), loaded, "MB", 256.0, "the most seen, SQLite behind it"),
        row(format!("anonymous memory with {many} idle streams"), streams, "MB", 512.0, "one connection each, plain text"),
    ])
}

/// Twenty batches of 500 per second; the most memory seen.
async fn load(server: &Served, seconds: usize) -> Result<f64, Failed> {
    let frames: Vec<_> = heart_rates(20 * seconds, true)?.iter().map(|b| frame(b)).collect();
    let (tx, rx) = tokio::sync::mpsc::channel(8);
    let mut answers = noop::stream_batches(noop::channel(server.grpc).await?, rx).await?;
    let (watch, mut most) = (Stopwatch::default(), 0f64);
    for (n, frame) in frames.into_iter().enumerate() {
        let due = Duration::from_millis(n as u64 * 50);
        TokioClock::default().sleep(due.saturating_sub(watch.elapsed())).await;
        tx.send(frame).await?;
        let a = answers.message().await?.ok_or("the stream ended early")?;
        if a.outcomes.len() != BATCH {
            return Err("an answer of another length".into());
        }
        most = most.max(server.anonymous()?);
    }
    Ok(most)
}

/// Opens streams that say nothing, each on its own connection.
async fn idle_streams(server: &Served, many: usize) -> Result<f64, Failed> {
    let mut open = Vec::with_capacity(many);
    let mut opening = tokio::task::JoinSet::new();
    let addr = server.grpc;
    for _ in 0..many {
        if opening.len() == 64 {
            open.push(opening.join_next().await.ok_or("nothing opens")???);
        }
        opening.spawn(async move {
            let (tx, rx) = tokio::sync::mpsc::channel(1);
            let answers = noop::stream_batches(noop::channel(addr).await?, rx).await?;
            Ok::<_, Failed>((tx, answers))
        });
    }
    while let Some(one) = opening.join_next().await {
        open.push(one??);
    }
    pause(2_000).await;
    let used = server.anonymous()?;
    if open.len() != many {
        return Err(format!("{} of {many} streams are open", open.len()).into());
    }
    Ok(used)
}
