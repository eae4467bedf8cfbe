//! PF12: how long a push into the outbox takes, how soon it survives a power cut, and how quickly the outbox drains.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use am_client::{Client, ClientOptions, ItemOutcome, Transport, Upload, UploadAnswer};
use am_core::{Clock, DeviceId, Timestamp};
use am_pipeline::TokioClock;
use am_schema::{Catalogue, Reading, v1};
use async_trait::async_trait;

use crate::harness::{Options, Row, Stopwatch, Target, median};

const ID: &str = "PF12";

/// Answers `Stored` at once; keeps nothing.
struct Swallow;

#[async_trait]
impl Transport for Swallow {
    async fn upload(&self, batch: Upload) -> am_core::Result<UploadAnswer> {
        Ok(UploadAnswer { outcomes: vec![ItemOutcome::Stored; batch.items.len()], retry_after_ms: 0 })
    }
}

/// A network that never answers.
struct Offline;

#[async_trait]
impl Transport for Offline {
    async fn upload(&self, _: Upload) -> am_core::Result<UploadAnswer> {
        std::future::pending().await
    }
}

/// Measures pushes, group syncs and the drain.
pub(crate) fn run(options: &Options) -> Result<Vec<Row>, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(text)?;
    let readings = heart_beats(if options.quick { 2_000 } else { 20_000 })?;
    let rounds = if options.quick { 1 } else { 7 };
    let mut rows = runtime.block_on(async { pushes(&readings, rounds) })?;
    rows.push(runtime.block_on(group_sync(&readings, if options.quick { 3 } else { 25 }))?);
    rows.push(runtime.block_on(drain(if options.quick { 5_000 } else { 200_000 }, if options.quick { 1 } else { 5 }))?);
    Ok(rows)
}

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

fn heart_beats(n: u32) -> Result<Vec<Reading>, String> {
    let catalogue = Catalogue::builtin();
    let kind = catalogue.get("device.health.heartrate.raw").ok_or("there is no such kind")?;
    let device = DeviceId::new("watch").map_err(text)?;
    let start = Timestamp::parse("2026-03-01T08:00:00Z").map_err(text)?;
    let one = |i: u32| {
        let at = Timestamp::from_nanos(start.as_nanos() + i64::from(i) * 1_000_000_000);
        let id = am_core::ReadingId::v7(at).map_err(text)?;
        let beat = v1::HeartRate { bpm: 60 + (i % 40) as i32, ..Default::default() };
        Reading::builder(kind, device.clone(), at).id(id).payload(&beat).build().map_err(text)
    };
    (0..n).map(one).collect()
}

fn open(folder: &Path, transport: Arc<dyn Transport>) -> Result<Client, String> {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::default());
    let mut options = ClientOptions::default();
    options.folder = folder.to_path_buf();
    Client::open_with(options, transport, clock).map_err(text)
}

/// Microseconds of each call, sorted.
fn times(readings: &[Reading], mut call: impl FnMut(&Reading) -> Result<(), String>) -> Result<Vec<f64>, String> {
    let watch = Stopwatch::default();
    let mut out = Vec::with_capacity(readings.len());
    for r in readings {
        let before = watch.elapsed();
        call(r)?;
        out.push((watch.elapsed() - before).as_secs_f64() * 1e6);
    }
    out.sort_by(f64::total_cmp);
    Ok(out)
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted.get(((sorted.len() as f64 - 1.0) * q) as usize).copied().unwrap_or(f64::NAN)
}

/// Alternated rounds of: push without a network, push while batches leave, bare writes of the same bytes.
fn pushes(readings: &[Reading], rounds: usize) -> Result<Vec<Row>, String> {
    let (mut offline, mut online, mut bare) = (Quantiles::default(), Quantiles::default(), Quantiles::default());
    for _ in 0..rounds {
        let folder = tempfile::tempdir().map_err(text)?;
        for (of, name, transport) in [
            (&mut offline, "offline", Arc::new(Offline) as Arc<dyn Transport>),
            (&mut online, "online", Arc::new(Swallow) as Arc<dyn Transport>),
        ] {
            let client = open(&folder.path().join(name), transport)?;
            of.add(&times(readings, |r| client.push(r).map(drop).map_err(text))?);
        }
        let mut file = File::create(folder.path().join("bare")).map_err(text)?;
        let mut buf = Vec::new();
        bare.add(&times(readings, |r| {
            buf.clear();
            r.encode(&mut buf);
            file.write_all(&buf).map_err(text)
        })?);
    }
    let row = |what: &str, ours: f64, baseline: f64, target, note: &str| Row {
        id: ID,
        what: what.to_owned(),
        ours,
        baseline,
        unit: "µs",
        target,
        note: note.to_owned(),
    };
    let note = "the baseline encodes the same reading and writes it to a bare file: no number, no checksum, no lock, nobody to wake";
    Ok(vec![
        row("push p50, no network", offline.p50(), bare.p50(), Target::AtMost(5.0), note),
        row("push p99, no network", offline.p99(), bare.p99(), Target::Nothing, ""),
        row("push p50, batches leave meanwhile", online.p50(), bare.p50(), Target::AtMost(5.0), ""),
        row("push p99, batches leave meanwhile", online.p99(), bare.p99(), Target::Nothing, ""),
    ])
}

/// Medians of the quantiles of several rounds.
#[derive(Default)]
struct Quantiles {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Quantiles {
    fn add(&mut self, sorted: &[f64]) {
        self.p50.push(quantile(sorted, 0.5));
        self.p99.push(quantile(sorted, 0.99));
    }

    fn p50(&self) -> f64 {
        median(self.p50.clone())
    }

    fn p99(&self) -> f64 {
        median(self.p99.clone())
    }
}

/// From a push to the moment when `durable_seq` covers it, against one write and fdatasync of a bare file.
async fn group_sync(readings: &[Reading], times: usize) -> Result<Row, String> {
    let folder = tempfile::tempdir().map_err(text)?;
    let client = open(&folder.path().join("outbox"), Arc::new(Offline))?;
    let mut file = File::create(folder.path().join("bare")).map_err(text)?;
    let watch = Stopwatch::default();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for group in readings.chunks(100).cycle().take(times) {
        let before = watch.elapsed();
        for r in group {
            client.push(r).map_err(text)?;
        }
        client.sync().await.map_err(text)?;
        ours.push((watch.elapsed() - before).as_secs_f64() * 1e3);
        let before = watch.elapsed();
        for r in group {
            file.write_all(&r.to_wire()).map_err(text)?;
        }
        file.sync_data().map_err(text)?;
        bare.push((watch.elapsed() - before).as_secs_f64() * 1e3);
    }
    client.close().await.map_err(text)?;
    ours.sort_by(f64::total_cmp);
    Ok(Row {
        id: ID,
        what: "100 pushes until they survive a power cut, p50".into(),
        ours: median(ours.clone()),
        baseline: median(bare),
        unit: "ms",
        target: Target::Nothing,
        note: format!("sync_ms = 100: one sync for everything of the last 100 ms; slowest {:.1} ms", quantile(&ours, 1.0)),
    })
}

/// An outbox that is full when the network comes back: everything is read, answered and let go of.
async fn drain(n: u32, rounds: usize) -> Result<Row, String> {
    let readings = heart_beats(n)?;
    let wires: Vec<Vec<u8>> = readings.iter().map(Reading::to_wire).collect();
    let watch = Stopwatch::default();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let folder = tempfile::tempdir().map_err(text)?;
        let outbox = folder.path().join("outbox");
        let client = open(&outbox, Arc::new(Offline))?;
        for group in readings.chunks(500) {
            client.push_all(group).map_err(text)?;
        }
        client.close().await.map_err(text)?;
        drop(client);

        let before = watch.elapsed();
        let client = open(&outbox, Arc::new(Swallow))?;
        client.flush().await.map_err(text)?;
        ours.push(f64::from(n) / (watch.elapsed() - before).as_secs_f64());
        let stored = client.status().stored;
        if stored != u64::from(n) {
            return Err(format!("{stored} of {n} readings were stored"));
        }
        client.close().await.map_err(text)?;

        let path = folder.path().join("bare");
        write_frames(&path, &wires)?;
        let before = watch.elapsed();
        let found = read_frames(&path)?;
        bare.push(f64::from(n) / (watch.elapsed() - before).as_secs_f64());
        if found != wires.len() {
            return Err(format!("the bare file held {found} of {n} readings"));
        }
    }
    Ok(Row {
        id: ID,
        what: format!("drain of {n} readings, opening included"),
        ours: median(ours),
        baseline: median(bare),
        unit: "readings/s",
        target: Target::AtLeast(100_000.0),
        note: "batches of at most 500, four in flight, a server that answers at once; the baseline reads a bare file of length-prefixed readings".into(),
    })
}

fn write_frames(path: &Path, wires: &[Vec<u8>]) -> Result<(), String> {
    let mut all = Vec::new();
    for w in wires {
        all.extend((w.len() as u32).to_le_bytes());
        all.extend(w);
    }
    let mut file = File::create(path).map_err(text)?;
    file.write_all(&all).and_then(|()| file.sync_data()).map_err(text)
}

fn read_frames(path: &Path) -> Result<usize, String> {
    let mut all = Vec::new();
    File::open(path).and_then(|mut f| f.read_to_end(&mut all)).map_err(text)?;
    let (mut rest, mut found) = (all.as_slice(), Vec::new());
    while let Some((len, more)) = rest.split_first_chunk::<4>() {
        let (item, more) = more.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or("a cut-off frame")?;
        found.push(item.to_vec());
        rest = more;
    }
    Ok(std::hint::black_box(found).len())
}
