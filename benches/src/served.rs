//! A server as a child process, and the load that is put on it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use am_core::{Clock, Ctx, DeviceId, ReadingId, Scope, Timestamp};
use am_pipeline::TokioClock;
use am_schema::{Catalogue, Reading, v1, wire};
use am_server::{Server, ServerConfig};
use am_store::model::{AggregateQuery, Bucket, Ingest, IngestOutcome, LatestQuery, Page, Provenance, PutOutcome, ScanQuery, Stored};
use am_store::sqlite::{SqliteOptions, Synchronous};
use am_store::traits::{Backend, Readings};
use am_store::{Store, memory};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::cluster::{self, Cluster};
use crate::harness::{Stopwatch, process_time};
use crate::{noop, slow_sync};

pub(crate) type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What the child is told to be.
const WHAT: &str = "AM_BENCH_SERVER";

/// Readings per batch, and batches that wait for their answer.
pub(crate) const BATCH: usize = 500;
pub(crate) const IN_FLIGHT: usize = 8;

/// What a child process serves.
pub(crate) enum Serve<'a> {
    /// Decodes with prost and answers STORED.
    Noop,
    /// AM without a store.
    Null,
    /// AM over SQLite.
    Sqlite(&'a Path),
    /// AM over SQLite on a disk whose syncs take 5 ms longer.
    SlowSync(&'a Path),
    /// AM over SQLite that never waits for the disk, answered on receipt.
    Careless(&'a Path),
    /// AM that publishes what it takes in.
    Gateway(&'a Cluster),
    /// What moves readings from the bus to the store; it serves nobody.
    Persister(&'a Cluster),
}

/// A server process; it ends when this is dropped.
pub(crate) struct Served {
    child: Child,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Served {
    /// Starts one.
    pub(crate) fn start(what: &Serve<'_>) -> Result<Served, Failed> {
        let told = match what {
            Serve::Noop => "noop:".to_owned(),
            Serve::Null => "null:".to_owned(),
            Serve::Sqlite(p) => format!("sqlite:{}", p.display()),
            Serve::SlowSync(p) => format!("slow:{}", p.display()),
            Serve::Careless(p) => format!("careless:{}", p.display()),
            Serve::Gateway(c) => format!("gateway:{}", c.told()),
            Serve::Persister(c) => format!("persister:{}", c.told()),
        };
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.env(WHAT, told).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let (grpc, http) = line.trim().split_once(' ').ok_or("the child said nothing")?;
        Ok(Served { grpc: grpc.parse()?, http: http.parse()?, child })
    }

    /// Processor time so far.
    pub(crate) fn cpu(&self) -> Result<Duration, Failed> {
        process_time(self.child.id()).ok_or_else(|| "the process's time cannot be read".into())
    }

    /// Anonymous resident memory, bytes.
    pub(crate) fn anonymous(&self) -> Result<f64, Failed> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).ok_or("no RssAnon")?;
        Ok(line.split_whitespace().next().ok_or("no number")?.parse::<f64>()? * 1_024.0)
    }

    /// Whether `/readyz` answers 200.
    pub(crate) fn is_ready(&self) -> bool {
        let mut text = String::new();
        std::net::TcpStream::connect(self.http)
            .and_then(|mut s| {
                s.write_all(b"GET /readyz HTTP/1.1\r\nHost: am\r\nConnection: close\r\n\r\n")?;
                s.read_to_string(&mut text)
            })
            .is_ok_and(|_| text.starts_with("HTTP/1.1 200"))
    }
}

/// Serves and never returns, if this process is such a child.
pub(crate) fn serve_if_child() -> Result<(), String> {
    let Ok(what) = std::env::var(WHAT) else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(serve(&what)).map_err(|e| e.to_string())?;
    std::process::exit(0)
}

async fn serve(what: &str) -> Result<(), Failed> {
    let (kind, path) = what.split_once(':').ok_or("no kind")?;
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::default());
    let kinds = Catalogue::builtin();
    let mut sqlite = SqliteOptions::new(path);
    let backend = match kind {
        "persister" => return cluster::persist(&Cluster::heard(path)?).await,
        "gateway" => cluster::front(&Cluster::heard(path)?).await?,
        "noop" => {
            let addr = noop::serve().await?;
            return until_told(addr, addr).await;
        }
        "null" => {
            let b = memory::open(memory::MemoryOptions::default(), clock.clone(), kinds.clone());
            Backend { readings: Arc::new(Null), ..b }
        }
        "careless" => {
            sqlite.synchronous = Synchronous::Off;
            let b = am_store::sqlite::open(sqlite, clock.clone(), kinds.clone()).await?;
            Backend { readings: Arc::new(OnReceipt { inner: b.readings.clone(), room: Arc::new(Semaphore::new(IN_FLIGHT)) }), ..b }
        }
        "slow" => {
            slow_sync::register(Duration::from_millis(5))?;
            sqlite.vfs = Some(slow_sync::NAME.into());
            am_store::sqlite::open(sqlite, clock.clone(), kinds.clone()).await?
        }
        _ => am_store::sqlite::open(sqlite, clock.clone(), kinds.clone()).await?,
    };
    let mut config = ServerConfig::local(scope()?);
    config.limits.in_flight_bytes = 64 << 20;
    let store = Store::of(backend, clock, kinds);
    let server = Server::builder(&store).config(config).bind().await?;
    until_told(server.grpc_addr(), server.http_addr().ok_or("no side port")?).await?;
    server.shutdown().await?;
    store.close().await?;
    Ok(())
}

pub(crate) async fn until_told(grpc: SocketAddr, http: SocketAddr) -> Result<(), Failed> {
    println!("{grpc} {http}");
    // Ends with the parent, however that ends.
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

/// Whose readings these are.
pub(crate) fn scope() -> Result<Scope, Failed> {
    Ok(Scope::new("acme", "ada")?)
}

/// A store that forgets: what is left is the server itself.
struct Null;

/// Answers at once and stores later.
struct OnReceipt {
    inner: Arc<dyn Readings>,
    room: Arc<Semaphore>,
}

fn all_stored(batch: &Ingest) -> IngestOutcome {
    IngestOutcome { readings: vec![PutOutcome::Stored(1); batch.readings.len()], parked: Vec::new(), batch: 1 }
}

#[async_trait]
impl Readings for Null {
    async fn put(&self, _: &Ctx, batch: Ingest) -> am_core::Result<IngestOutcome> {
        Ok(all_stored(&batch))
    }
    async fn get(&self, _: &Ctx, names: &[am_schema::ReadingRef]) -> am_core::Result<Vec<Option<Stored>>> {
        Ok(vec![None; names.len()])
    }
    async fn scan(&self, _: &Ctx, _: &ScanQuery) -> am_core::Result<Page<Stored>> {
        Ok(Page { items: Vec::new(), cursor: None })
    }
    async fn latest(&self, _: &Ctx, _: &LatestQuery) -> am_core::Result<Vec<Stored>> {
        Ok(Vec::new())
    }
    async fn aggregate(&self, _: &Ctx, _: &AggregateQuery) -> am_core::Result<Vec<Bucket>> {
        Ok(Vec::new())
    }
    async fn provenance(&self, _: &Ctx, _: u64) -> am_core::Result<Option<Provenance>> {
        Ok(None)
    }
}

#[async_trait]
impl Readings for OnReceipt {
    async fn put(&self, ctx: &Ctx, batch: Ingest) -> am_core::Result<IngestOutcome> {
        let (answer, inner, ctx) = (all_stored(&batch), self.inner.clone(), ctx.clone());
        let room = self.room.clone().acquire_owned().await;
        tokio::spawn(async move {
            let _room = room;
            let _ = inner.put(&ctx, batch).await;
        });
        Ok(answer)
    }
    async fn get(&self, ctx: &Ctx, names: &[am_schema::ReadingRef]) -> am_core::Result<Vec<Option<Stored>>> {
        self.inner.get(ctx, names).await
    }
    async fn scan(&self, ctx: &Ctx, query: &ScanQuery) -> am_core::Result<Page<Stored>> {
        self.inner.scan(ctx, query).await
    }
    async fn latest(&self, ctx: &Ctx, query: &LatestQuery) -> am_core::Result<Vec<Stored>> {
        self.inner.latest(ctx, query).await
    }
    async fn aggregate(&self, ctx: &Ctx, query: &AggregateQuery) -> am_core::Result<Vec<Bucket>> {
        self.inner.aggregate(ctx, query).await
    }
    async fn provenance(&self, ctx: &Ctx, batch: u64) -> am_core::Result<Option<Provenance>> {
        self.inner.provenance(ctx, batch).await
    }
}

/// Heart rates at one per second from 20 watches, as batches of one watch each; with three metadata entries if asked.
pub(crate) fn heart_rates(batches: usize, metadata: bool) -> Result<Vec<Vec<Reading>>, Failed> {
    heart_rates_from(0, batches, metadata)
}

/// The same, beginning with a later batch: what comes of two calls for different batches has no reading in common.
pub(crate) fn heart_rates_from(skipped: usize, batches: usize, metadata: bool) -> Result<Vec<Vec<Reading>>, Failed> {
    let kind = Catalogue::builtin().get("device.health.heartrate.raw").ok_or("no heart rate kind")?;
    let mut dice = 0x9e37_79b9_7f4a_7c15u64;
    let mut out = Vec::with_capacity(batches);
    for n in skipped..skipped + batches {
        let device = DeviceId::new(format!("watch-{}", n % 20))?;
        let first = (n / 20 * BATCH) as i64;
        let mut batch = Vec::with_capacity(BATCH);
        for s in 0..BATCH as i64 {
            dice = dice.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let random = u128::from(dice).wrapping_mul(0x2d35_8dcc_aa6c_78a5_5851_f42d_4c95_7f2d).to_le_bytes();
            let at = Timestamp::from_millisecond((1_772_323_200 + first + s) * 1_000 + (dice >> 54) as i64);
            let payload = v1::HeartRate { bpm: 55 + (dice >> 58) as i32, confidence: 0.97, ..Default::default() };
            let mut r = Reading::builder(kind, device.clone(), at).id(ReadingId::v7_from(at, random)).payload(&payload);
            if metadata {
                r = r.metadata("app", "am-watch").metadata("wrist", "left").metadata("firmware", "4.2.1");
            }
            batch.push(r.build()?);
        }
        out.push(batch);
    }
    Ok(out)
}

/// An encoded `BatchRequest`.
pub(crate) fn frame(readings: &[Reading]) -> Bytes {
    let mut out = Vec::new();
    for r in readings {
        wire::put_len(&mut out, 1, &r.to_wire());
    }
    wire::put_len(&mut out, 2, b"b");
    wire::put_len(&mut out, 6, b"bench");
    Bytes::from(out)
}

/// Sends `batches` frames, over and over, with so many unanswered at once; fails unless each item is stored. Gives the wall time.
pub(crate) async fn pump(addr: SocketAddr, frames: &[Bytes], batches: usize) -> Result<Duration, Failed> {
    let channel = noop::channel(addr).await?;
    let (tx, rx) = tokio::sync::mpsc::channel(IN_FLIGHT);
    let mut answers = noop::stream_batches(channel, rx).await?;
    let watch = Stopwatch::default();
    let (mut sent, mut answered) = (0, 0);
    while answered < batches {
        while sent < batches && sent - answered < IN_FLIGHT {
            let frame = frames.get(sent % frames.len()).ok_or("no frames")?;
            tx.send(frame.clone()).await?;
            sent += 1;
        }
        let a = answers.message().await?.ok_or("the stream ended early")?;
        if let Some(o) = a.outcomes.iter().find(|o| **o != v1::Outcome::Stored as i32) {
            return Err(format!("batch {answered}: outcome {o}, {:?}", a.errors.first()).into());
        }
        answered += 1;
    }
    Ok(watch.elapsed())
}
