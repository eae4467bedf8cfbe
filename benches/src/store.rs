//! The store alone: durable writes against bare rusqlite (part of PF3), the cost of waiting for the disk (part of PF17), and bytes per
//! reading (PF19).

use std::path::Path;
use std::sync::Arc;

use am_core::{Ctx, DeviceId, ReadingId, Scope, Timestamp};
use am_pipeline::TokioClock;
use am_schema::{Catalogue, Reading, v1};
use am_store::model::{Ingest, Provenance};
use am_store::sqlite::{SqliteOptions, Synchronous};
use am_store::traits::Backend;

use crate::harness::{Options, Row, Stopwatch, Target, median};
use crate::sqlite_baseline;

const DEVICES: usize = 20;
const BATCH: usize = 500;
const IN_FLIGHT: usize = 8;
const START: i64 = 1_772_323_200;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Heart rates at one per second from several devices, as batches of one device each, the devices taking turns.
fn heart_rates(per_device: usize) -> Result<Vec<Vec<Reading>>, Failed> {
    let kind = Catalogue::builtin().get("device.health.heartrate.raw").ok_or("no heart rate kind")?;
    let devices = (0..DEVICES).map(|d| DeviceId::new(format!("watch-{d}"))).collect::<Result<Vec<_>, _>>()?;
    let mut dice = 0x9e37_79b9_7f4a_7c15u64;
    let mut out = Vec::new();
    for from in (0..per_device).step_by(BATCH) {
        for device in &devices {
            let mut batch = Vec::with_capacity(BATCH);
            for s in from..(from + BATCH).min(per_device) {
                dice = dice.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                let mut random = [0; 16];
                random[8..].copy_from_slice(&dice.to_le_bytes());
                random[..8].copy_from_slice(&dice.rotate_left(29).to_le_bytes());
                let at = Timestamp::from_millisecond((START + s as i64) * 1_000 + (dice >> 54) as i64);
                let payload = v1::HeartRate { bpm: 55 + (dice >> 58) as i32, confidence: 0.97, ..Default::default() };
                batch.push(Reading::builder(kind, device.clone(), at).id(ReadingId::v7_from(at, random)).payload(&payload).build()?);
            }
            out.push(batch);
        }
    }
    Ok(out)
}

fn ctx() -> Result<Ctx, Failed> {
    Ok(Ctx::new(Scope::new("acme", "ada")?, Arc::new(TokioClock::default())))
}

async fn open(path: &Path, change: impl FnOnce(&mut SqliteOptions)) -> Result<Backend, Failed> {
    let mut options = SqliteOptions::new(path);
    change(&mut options);
    Ok(am_store::sqlite::open(options, Arc::new(TokioClock::default()), Catalogue::builtin()).await?)
}

/// Puts all batches, several in flight; gives readings per second, until the last was answered.
async fn put_all(b: &Backend, batches: &[Vec<Reading>]) -> Result<f64, Failed> {
    let (ctx, watch) = (ctx()?, Stopwatch::default());
    let mut running = tokio::task::JoinSet::new();
    for readings in batches {
        if running.len() == IN_FLIGHT {
            running.join_next().await.ok_or("nothing runs")???;
        }
        let batch = Ingest {
            provenance: Provenance { client: "bench".into(), received_at: ctx.now(), ..Default::default() },
            readings: readings.clone(),
            ..Default::default()
        };
        let (b, ctx) = (b.clone(), ctx.clone());
        running.spawn(async move { b.readings.put(&ctx, batch).await.map(|_| ()).map_err(Failed::from) });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(batches.iter().map(Vec::len).sum::<usize>() as f64 / watch.elapsed().as_secs_f64())
}

fn bare(batches: &[Vec<Reading>]) -> Result<f64, Failed> {
    let folder = tempfile::tempdir()?;
    let conn = sqlite_baseline::open(&folder.path().join("bare.db"))?;
    let stream_of = |r: &Reading| r.device().as_str().bytes().fold(0i64, |n, b| (n * 10 + i64::from(b)) % 1_009);
    let watch = Stopwatch::default();
    let n = sqlite_baseline::write(&conn, batches, 1_000, stream_of)?;
    Ok(n as f64 / watch.elapsed().as_secs_f64())
}

/// The store's own part of the figures.
pub(crate) fn run(options: &Options) -> Result<Vec<Row>, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|e| e.to_string())?;
    let (per_device, rounds) = if options.quick { (2_000, 1) } else { (20_000, 5) };
    let rows = || -> Result<Vec<Row>, Failed> {
        let batches = heart_rates(per_device)?;
        let mut rows = runtime.block_on(writing(&batches, rounds))?;
        rows.extend(runtime.block_on(size(&heart_rates(if options.quick { 4_000 } else { 86_400 })?))?);
        Ok(rows)
    };
    rows().map_err(|e| e.to_string())
}

async fn writing(batches: &[Vec<Reading>], rounds: usize) -> Result<Vec<Row>, Failed> {
    let (mut ours, mut base, mut off) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (synchronous, into) in [(Synchronous::Full, &mut ours), (Synchronous::Off, &mut off)] {
            let folder = tempfile::tempdir()?;
            let b = open(&folder.path().join("am.db"), |o| o.synchronous = synchronous).await?;
            into.push(put_all(&b, batches).await?);
        }
        base.push(bare(batches)?);
    }
    let (ours, base, off) = (median(ours), median(base), median(off));
    Ok(vec![
        Row {
            id: "PF3",
            what: "store alone: durable put, 8 batches of 500 in flight".into(),
            ours,
            baseline: base,
            unit: "readings/s",
            target: Target::RatioAtLeast(0.8),
            note: "bare rusqlite, the same rows and indexes, 1,000 per transaction".into(),
        },
        Row {
            id: "PF17",
            what: "store alone: waiting for the disk".into(),
            ours: 1e6 / ours,
            baseline: 1e6 / off,
            unit: "µs/reading",
            target: Target::RatioAtMost(1.3),
            note: "the same with synchronous=OFF".into(),
        },
    ])
}

async fn size(batches: &[Vec<Reading>]) -> Result<Vec<Row>, Failed> {
    let folder = tempfile::tempdir()?;
    let b = open(&folder.path().join("am.db"), |_| {}).await?;
    put_all(&b, batches).await?;
    b.maintenance.tidy().await?;
    let n: usize = batches.iter().map(Vec::len).sum();
    let bytes = b.maintenance.stats().await?.bytes_on_disk as f64 / n as f64;
    Ok(vec![Row {
        id: "PF19",
        what: format!("bytes on disk per heart-rate reading, {n} readings"),
        ours: bytes,
        baseline: 260.0,
        unit: "B",
        target: Target::AtMost(120.0),
        note: "one naive SQLite row; v7 ids, no metadata, feed and rollups included".into(),
    }])
}
