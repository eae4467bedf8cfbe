//! A bus and a store that fail, and a flow whose result shows every repetition and every gap.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use am_core::{Code, Ctx, DeviceId, Error, Result, Timestamp};
use am_pipeline::bus::{Area, Bus, Entries, Entry, Message, Pressure, Published, Publisher, Sequenced, Tail, TailSpec, Tails};
use am_pipeline::{Batch, Output, Processor, ProcessorSpec, Registry, Setup};
use am_schema::{Catalogue, Inputs, Reading, ReadingRef, v1};
use am_store::model::{AggregateQuery, Bucket, Ingest, IngestOutcome, LatestQuery, Page, Provenance, ScanQuery, Stored};
use am_store::runner::Flow;
use am_store::traits::{Backend, Readings};
use async_trait::async_trait;
use bytes::Bytes;

const RAW: &str = "device.health.heartrate.raw";
const SUM: &str = "motion.events.significant";

pub fn beat(device: &str, second: i64, bpm: i32) -> Reading {
    let kind = Catalogue::builtin().get(RAW).unwrap();
    Reading::builder(kind, DeviceId::new(device).unwrap(), Timestamp::from_second(1_772_352_000 + second))
        .payload(&v1::HeartRate { bpm, ..Default::default() })
        .build()
        .unwrap()
}

/// Emits the running sum of a device's beats; one repeated or skipped beat changes everything after it.
struct Summing(Setup, u64);

#[async_trait]
impl Processor for Summing {
    async fn process(&mut self, _: &Ctx, batch: Batch, out: &mut Output) -> Result<()> {
        for item in batch {
            self.1 += item.payload::<v1::HeartRate>()?.bpm as u64;
            let kind = self.0.catalogue.get(SUM).unwrap();
            let payload = v1::SignificantMotion { event: 1, peak: self.1 as f64 / 1e6, ..Default::default() };
            let made = Reading::builder(kind, item.device().clone(), item.recorded_at())
                .payload(&payload)
                .derived_from(&self.0.identity, Inputs::of([item.reading()]), 0)
                .build()?;
            out.emit_from(&item, made);
            out.absorb(item);
        }
        Ok(())
    }
    async fn flush(&mut self, _: &Ctx, _: &mut Output) -> Result<()> {
        Ok(())
    }
    fn snapshot(&self) -> Result<Vec<u8>> {
        Ok(self.1.to_le_bytes().to_vec())
    }
    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.1 = state.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        Ok(())
    }
}

pub fn flow(version: &str) -> Flow {
    let (mut registry, catalogue) = (Registry::new(), Catalogue::builtin());
    let sum = ProcessorSpec::new("test.sum", "1", "sums", |s| Ok(Box::new(Summing(s.clone(), 0))));
    registry.add(sum.inputs(&[RAW]).unwrap().outputs(&[SUM])).unwrap();
    let flow = Flow::new("test", version).input(&catalogue, RAW).unwrap();
    flow.step(&registry, &catalogue, "test.sum", &serde_json::Value::Null).unwrap()
}

/// How many calls are answered yet.
struct Budget(AtomicI64);

impl Budget {
    /// `Ok(true)`: do it. `Ok(false)`: do it, but the answer is lost. `Err`: it is not done.
    fn spend(&self) -> Result<bool> {
        match self.0.fetch_sub(1, Ordering::SeqCst) {
            2.. => Ok(true),
            1 => Ok(false),
            _ => Err(gone()),
        }
    }
}

/// Not worth another try, so that the runner ends as if it were killed.
fn gone() -> Error {
    Error::new(Code::CLOSED, "cut off")
}

struct Cut {
    inner: Bus,
    budget: Arc<Budget>,
}

/// A bus that answers so many calls, then does one more without answering, and then nothing.
pub fn faulty(bus: &Bus, answers: i64) -> Bus {
    let cut = Arc::new(Cut { inner: bus.clone(), budget: Arc::new(Budget(AtomicI64::new(answers))) });
    Bus { name: "cut", publisher: cut.clone(), groups: bus.groups.clone(), tails: Some(cut.clone()), entries: Some(cut), ..bus.clone() }
}

#[async_trait]
impl Publisher for Cut {
    async fn publish(&self, ctx: &Ctx, messages: Vec<Message>) -> Vec<Result<Published>> {
        let mut out = Vec::new();
        // One by one, so that a cut can fall between two messages of a commit.
        for m in messages {
            let Ok(answered) = self.budget.spend() else {
                out.push(Err(gone()));
                continue;
            };
            let result = self.inner.publisher.publish(ctx, vec![m]).await.remove(0);
            out.push(if answered { result } else { Err(gone()) });
        }
        out
    }
    async fn pressure(&self) -> Result<Pressure> {
        self.inner.publisher.pressure().await
    }
    fn body_limit(&self) -> usize {
        self.inner.publisher.body_limit()
    }
    async fn ready(&self) -> Result<()> {
        Ok(())
    }
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

struct CutTail(Box<dyn Tail>, Arc<Budget>);

#[async_trait]
impl Tails for Cut {
    async fn open(&self, spec: TailSpec) -> Result<Box<dyn Tail>> {
        self.budget.spend()?;
        Ok(Box::new(CutTail(self.inner.tails.clone().unwrap().open(spec).await?, self.budget.clone())))
    }
    async fn head(&self, area: Area) -> Result<u64> {
        self.inner.tails.clone().unwrap().head(area).await
    }
    async fn lag(&self, area: Area, name: &str) -> Result<Option<u64>> {
        self.inner.tails.clone().unwrap().lag(area, name).await
    }
}

#[async_trait]
impl Tail for CutTail {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Sequenced>> {
        match self.1.spend()? {
            true => self.0.next(max.min(5), wait).await,
            false => Err(gone()),
        }
    }
    async fn done(&mut self, sequence: u64) -> Result<()> {
        self.1.spend()?;
        self.0.done(sequence).await
    }
}

#[async_trait]
impl Entries for Cut {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        self.inner.entries.clone().unwrap().get(key).await
    }
    async fn put(&self, key: &str, value: Bytes, expected: Option<u64>) -> Result<u64> {
        let answered = self.budget.spend()?;
        let done = self.inner.entries.clone().unwrap().put(key, value, expected).await?;
        if answered { Ok(done) } else { Err(gone()) }
    }
    async fn delete(&self, key: &str, expected: Option<u64>) -> Result<bool> {
        self.inner.entries.clone().unwrap().delete(key, expected).await
    }
    async fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        self.inner.entries.clone().unwrap().keys(prefix).await
    }
}

struct Shaky(Arc<dyn Readings>, AtomicU64);

/// A store whose writes fail one time in three, every other time after they were done.
pub fn shaky(backend: Backend) -> Backend {
    Backend { readings: Arc::new(Shaky(backend.readings.clone(), AtomicU64::new(0))), ..backend }
}

fn away() -> Error {
    Error::new(Code::STORE_UNAVAILABLE, "away").retry(am_core::Retry::Safe { after_ms: 1 })
}

#[async_trait]
impl Readings for Shaky {
    async fn put(&self, ctx: &Ctx, batch: Ingest) -> Result<IngestOutcome> {
        match self.1.fetch_add(1, Ordering::SeqCst) % 6 {
            0 => Err(away()),
            3 => self.0.put(ctx, batch).await.and(Err(away())),
            _ => self.0.put(ctx, batch).await,
        }
    }
    async fn get(&self, ctx: &Ctx, names: &[ReadingRef]) -> Result<Vec<Option<Stored>>> {
        self.0.get(ctx, names).await
    }
    async fn scan(&self, ctx: &Ctx, query: &ScanQuery) -> Result<Page<Stored>> {
        self.0.scan(ctx, query).await
    }
    async fn latest(&self, ctx: &Ctx, query: &LatestQuery) -> Result<Vec<Stored>> {
        self.0.latest(ctx, query).await
    }
    async fn aggregate(&self, ctx: &Ctx, query: &AggregateQuery) -> Result<Vec<Bucket>> {
        self.0.aggregate(ctx, query).await
    }
    async fn provenance(&self, ctx: &Ctx, batch: u64) -> Result<Option<Provenance>> {
        self.0.provenance(ctx, batch).await
    }
}
