//! PF3: gRPC ingest, answered after the durable commit.

use am_schema::Reading;

use crate::harness::{Options, Row, Stopwatch, Target, median, own_time};
use crate::pf02_grpc::cost;
use crate::served::{BATCH, Failed, Serve, Served, frame, heart_rates, pump};
use crate::sqlite_baseline;

pub(crate) fn run(options: &Options) -> Result<Vec<Row>, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(measure(options)).map_err(|e| e.to_string())
}

/// Seconds of wall and of processor time per reading.
struct Cost {
    wall: f64,
    cpu: f64,
}

async fn ours(frames: &[bytes::Bytes]) -> Result<Cost, Failed> {
    let folder = tempfile::tempdir()?;
    let server = Served::start(&Serve::Sqlite(&folder.path().join("am.db")))?;
    let before = server.cpu()?;
    let wall = pump(server.grpc, frames, frames.len()).await?;
    let n = (frames.len() * BATCH) as f64;
    Ok(Cost { wall: wall.as_secs_f64() / n, cpu: (server.cpu()?.saturating_sub(before)).as_secs_f64() / n })
}

fn bare(batches: &[Vec<Reading>]) -> Result<Cost, Failed> {
    let folder = tempfile::tempdir()?;
    let conn = sqlite_baseline::open(&folder.path().join("bare.db"))?;
    let stream_of = |r: &Reading| r.device().as_str().bytes().fold(0i64, |n, b| (n * 10 + i64::from(b)) % 1_009);
    let (watch, before) = (Stopwatch::default(), own_time().ok_or("no processor time")?);
    let n = sqlite_baseline::write(&conn, batches, 1_000, stream_of)? as f64;
    let cpu = own_time().ok_or("no processor time")?.saturating_sub(before);
    Ok(Cost { wall: watch.elapsed().as_secs_f64() / n, cpu: cpu.as_secs_f64() / n })
}

async fn measure(options: &Options) -> Result<Vec<Row>, Failed> {
    let (rounds, batches) = if options.quick { (1, 80) } else { (5, 800) };
    let readings = heart_rates(batches, false)?;
    let frames: Vec<_> = readings.iter().map(|b| frame(b)).collect();
    let noop = Served::start(&Serve::Noop)?;
    let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        a.push(ours(&frames).await?);
        b.push(bare(&readings)?);
        c.push(cost(&noop, &frames, frames.len() * 2).await?);
    }
    let of = |list: &[Cost], f: fn(&Cost) -> f64| median(list.iter().map(f).collect());
    let (wall, bare_wall) = (of(&a, |c| c.wall), of(&b, |c| c.wall));
    let (cpu, bare_cpu, noop_cpu) = (of(&a, |c| c.cpu) * 1e6, of(&b, |c| c.cpu) * 1e6, median(c) * 1e6);
    Ok(vec![
        Row {
            id: "PF3",
            what: "gRPC ingest answered after commit to SQLite, 8 batches of 500 in flight".into(),
            ours: 1.0 / wall,
            baseline: 1.0 / bare_wall,
            unit: "readings/s",
            target: Target::RatioAtLeast(0.8),
            note: "bare rusqlite writing the same rows and indexes, 1,000 per transaction".into(),
        },
        Row {
            id: "PF3",
            what: "the same: processor time of the server".into(),
            ours: cpu,
            baseline: bare_cpu + noop_cpu,
            unit: "µs/reading",
            target: Target::RatioAtMost(1.25),
            note: format!("bare rusqlite {bare_cpu:.2} + no-op tonic {noop_cpu:.2}"),
        },
    ])
}
