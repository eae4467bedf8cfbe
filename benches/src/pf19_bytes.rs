//! PF19: bytes on disk per heart-rate reading, beside one naive row per reading in the same database engine.

use std::path::Path;
use std::sync::Arc;

use am_core::{Clock, DeviceId, ReadingId, Scope, Timestamp};
use am_pipeline::TokioClock;
use am_schema::{Catalogue, Reading, v1};
use am_store::{Store, StoreOptions};

use crate::harness::{Options, Row, Target};

const ID: &str = "PF19";
const DEVICES: u32 = 4;
const BATCH: usize = 500;

/// Fills both databases with the same readings and compares the files.
pub(crate) fn run(options: &Options) -> Result<Vec<Row>, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(text)?;
    let folder = tempfile::tempdir().map_err(text)?;
    let readings = heart_beats(if options.quick { 5_000 } else { 300_000 })?;
    let n = readings.len() as f64;
    let naive = naive_rows(&folder.path().join("naive.db"), &readings)? as f64 / n;
    let (file, parts) = runtime.block_on(fill(&folder.path().join("am.db"), readings))?;
    Ok(vec![Row {
        id: ID,
        what: format!("heart rate, {DEVICES} devices at 1 Hz, {n} readings"),
        ours: file as f64 / n,
        baseline: naive,
        unit: "B/reading",
        target: Target::AtMost(120.0),
        note: format!(
            "v7 ids, no metadata, batches of {BATCH} in order of arrival, feed and rollups included ({parts}); the baseline is one wide row with \
             text columns and a JSON payload, a primary key and an index by user, kind and time"
        ),
    }])
}

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

/// Readings as they arrive: one per device and second, ids made on the device.
fn heart_beats(n: u32) -> Result<Vec<Reading>, String> {
    let catalogue = Catalogue::builtin();
    let kind = catalogue.get("device.health.heartrate.raw").ok_or("there is no such kind")?;
    let devices: Result<Vec<DeviceId>, String> = (0..DEVICES).map(|d| DeviceId::new(format!("watch-{d}")).map_err(text)).collect();
    let devices = devices?;
    let start = Timestamp::parse("2026-03-01T08:00:00Z").map_err(text)?;
    let mut out = Vec::with_capacity(n as usize);
    for (i, device) in (0..n).zip(devices.iter().cycle()) {
        // Sensors do not tick on whole seconds.
        let at = Timestamp::from_nanos(start.as_nanos() + i64::from(i / DEVICES) * 1_000_000_000 + i64::from(i) * 7_919 % 1_000_000);
        let beat = v1::HeartRate { bpm: 60 + (i / 97 % 40) as i32, confidence: 0.5 + (i % 50) as f32 / 100.0, ..Default::default() };
        let id = ReadingId::v7(at).map_err(text)?;
        out.push(Reading::builder(kind, device.clone(), at).id(id).payload(&beat).build().map_err(text)?);
    }
    Ok(out)
}

/// Bytes of the store's file after everything is rolled up, and what they consist of.
async fn fill(path: &Path, readings: Vec<Reading>) -> Result<(u64, String), String> {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::default());
    let url = format!("sqlite:{}", path.display());
    let store = Store::open(&url, StoreOptions::default(), clock, Catalogue::builtin()).await.map_err(text)?;
    let scope = Scope::local();
    let mine = store.scoped(&scope);
    let n = readings.len() as u64;
    let mut readings = readings.into_iter();
    loop {
        let batch: Vec<Reading> = readings.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        mine.put(batch).await.map_err(text)?;
    }
    store.backend().maintenance.tidy().await.map_err(text)?;
    let stored = mine.counts().await.map_err(text)?.stored;
    let stats = store.stats().await.map_err(text)?;
    store.close().await.map_err(text)?;
    if stored != n || stats.rolled_up_to != stats.head {
        return Err(format!("{stored} of {n} readings were stored, rolled up to {:?} of {:?}", stats.rolled_up_to, stats.head));
    }
    let folder = path.parent().ok_or("no folder")?;
    let name = path.file_name().and_then(|f| f.to_str()).ok_or("no name")?;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).map_err(text)? {
        let entry = entry.map_err(text)?;
        if entry.file_name().to_str().is_some_and(|f| f.starts_with(name)) {
            bytes += entry.metadata().map_err(text)?.len();
        }
    }
    Ok((bytes, shares(path, n)?))
}

/// Rows beside the readings themselves.
fn shares(path: &Path, n: u64) -> Result<String, String> {
    let conn = rusqlite::Connection::open(path).map_err(text)?;
    let count =
        |table: &str| conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get::<_, i64>(0)).map(|n| n as u64).map_err(text);
    let (readings, rollups) = (count("reading")?, count("rollup")?);
    match readings == n && rollups > 0 {
        true => Ok(format!("{rollups} buckets of rollups")),
        false => Err(format!("the file holds {readings} readings and {rollups} buckets")),
    }
}

/// Bytes of a database with one wide row per reading, in transactions of the same size.
fn naive_rows(path: &Path, readings: &[Reading]) -> Result<u64, String> {
    let mut conn = rusqlite::Connection::open(path).map_err(text)?;
    conn.execute_batch(
        "CREATE TABLE reading (
           id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, user_id TEXT NOT NULL, device_id TEXT NOT NULL, kind TEXT NOT NULL,
           recorded_at TEXT NOT NULL, payload TEXT NOT NULL);
         CREATE INDEX by_time ON reading (user_id, kind, recorded_at);",
    )
    .map_err(text)?;
    for batch in readings.chunks(BATCH) {
        let tx = conn.transaction().map_err(text)?;
        {
            let mut insert = tx.prepare_cached("INSERT INTO reading VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)").map_err(text)?;
            for r in batch {
                let at = r.recorded_at().to_string();
                let row = (r.id().to_string(), "local", "local", r.device().as_str(), r.kind().topic(), at, r.payload_json());
                insert.execute(row).map_err(text)?;
            }
        }
        tx.commit().map_err(text)?;
    }
    drop(conn);
    Ok(std::fs::metadata(path).map_err(text)?.len())
}
