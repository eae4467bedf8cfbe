//! PF1: what receipts, credits and settling cost on top of moving batches through channels.
//!
//! Both sides run the same three stages on one thread: hand over batches of 512 heart rates with three metadata entries each, look into
//! every payload and let the slow ones go, add up what arrives. The baseline moves the same `Vec`s over `tokio::sync::mpsc` and tells
//! nobody what became of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use am_core::{CancelToken, Ctx, DeviceId, ReadingId, Scope, Timestamp};
use am_pipeline::nodes::filter;
use am_pipeline::{Batch, DeadLetterMemory, Output, Pipeline, Polled, Processor, Reason, Settled, Sink, Source, TokioClock, Written};
use am_schema::{Catalogue, Decoder, Reading, v1};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use crate::harness::{Options, Row, Target, alternate};

const BATCH: usize = 512;

/// A batch as a decoder gives it: all readings share one arena, as those of one request do.
fn batch() -> Result<Vec<Reading>, String> {
    let kind = Catalogue::builtin().get("device.health.heartrate.raw").ok_or("no heart rate")?;
    let device = DeviceId::new("watch-of-the-left-arm").map_err(|e| e.to_string())?;
    let mut arena = BytesMut::new();
    let mut ends = Vec::new();
    for i in 0..BATCH {
        let at = Timestamp::from_second(1_772_352_000 + i as i64);
        let payload = v1::HeartRate { bpm: 50 + (i % 100) as i32, confidence: 0.9, source: "optical".into(), ..Default::default() };
        let r = Reading::builder(kind, device.clone(), at)
            .id(ReadingId::v7_from(at, [i as u8; 16]))
            .metadata("app_version", "4.2.1")
            .metadata("wrist", "left")
            .metadata("firmware", "2026.02")
            .payload(&payload)
            .build()
            .map_err(|e| e.to_string())?;
        r.encode(&mut arena);
        ends.push(arena.len());
    }
    let arena: Bytes = arena.freeze();
    let mut decoder = Decoder::new(Catalogue::builtin());
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let decode = |(from, to): (usize, &usize)| decoder.decode(arena.slice(from..*to), Timestamp::MAX).map_err(|e| e.to_string());
    starts.zip(&ends).map(decode).collect()
}

/// The work of the middle stage.
fn is_fast(r: &Reading) -> bool {
    r.payload::<v1::HeartRate>().is_ok_and(|h| h.bpm >= 60)
}

/// The work of the last stage.
fn weigh(r: &Reading) -> u64 {
    r.metadata().map(|(k, v)| k.len() + v.len()).sum::<usize>() as u64 + r.recorded_at().as_second() as u64 % 7
}

/// Hands the same readings over again and again: which, how many are left, how many were handed over.
struct Hand(Arc<[Reading]>, usize, usize);

#[async_trait]
impl Source for Hand {
    async fn poll(&mut self, _: &Ctx, room: usize) -> am_core::Result<Option<Polled>> {
        if self.1 == 0 {
            return Ok(None);
        }
        let first = self.2;
        let rest = self.0.get(first % BATCH..).unwrap_or_default();
        let n = room.min(self.1).min(rest.len());
        (self.1, self.2) = (self.1 - n, self.2 + n);
        Ok(Some(Polled::live(first as u64, rest.iter().take(n).cloned())))
    }

    async fn settle(&mut self, _: &Ctx, outcomes: &[Settled]) -> am_core::Result<()> {
        std::hint::black_box(outcomes);
        Ok(())
    }
}

/// The middle stage as a processor of one's own; the `filter` node does the same in place.
struct Fast;

#[async_trait]
impl Processor for Fast {
    async fn process(&mut self, _: &Ctx, batch: Batch, out: &mut Output) -> am_core::Result<()> {
        for item in batch {
            if is_fast(&item) {
                out.emit(item);
            } else {
                out.discard(item, Reason::FILTER);
            }
        }
        Ok(())
    }

    async fn flush(&mut self, _: &Ctx, _: &mut Output) -> am_core::Result<()> {
        Ok(())
    }

    fn snapshot(&self) -> am_core::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: &[u8]) -> am_core::Result<()> {
        Ok(())
    }
}

struct Weigh(Arc<AtomicU64>);

#[async_trait]
impl Sink for Weigh {
    async fn write(&mut self, _: &Ctx, readings: &[Reading]) -> am_core::Result<Written> {
        self.0.fetch_add(readings.iter().map(weigh).sum(), Ordering::Relaxed);
        Ok(Written::All)
    }
}

async fn ours(readings: Arc<[Reading]>, batches: usize, own: bool) -> Result<u64, String> {
    let total = Arc::new(AtomicU64::new(0));
    let begun = Pipeline::builder("pf1").source("hand", Hand(readings, batches * BATCH, 0));
    let pipeline = if own { begun.processor("fast", Fast) } else { begun.processor("fast", filter(Reason::FILTER, is_fast)) }
        .sink("weigh", Weigh(total.clone()))
        .dead_letters(DeadLetterMemory::default())
        .build()
        .map_err(|e| e.to_string())?;
    let ctx = Ctx::new(Scope::local(), Arc::new(TokioClock::default()));
    let report = pipeline.run(&ctx, CancelToken::new()).await.map_err(|e| e.to_string())?;
    match report.totals.balance() && report.totals.received == (batches * BATCH) as u64 {
        true => Ok(total.load(Ordering::Relaxed)),
        false => Err(format!("items are missing: {:?}", report.totals)),
    }
}

async fn bare(readings: Arc<[Reading]>, batches: usize) -> u64 {
    let (to_fast, mut fast) = mpsc::channel::<Vec<Reading>>(8);
    let (to_weigh, mut weighing) = mpsc::channel::<Vec<Reading>>(8);
    tokio::spawn(async move {
        for _ in 0..batches {
            if to_fast.send(readings.to_vec()).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some(mut batch) = fast.recv().await {
            batch.retain(is_fast);
            if to_weigh.send(batch).await.is_err() {
                return;
            }
        }
    });
    let mut total = 0;
    while let Some(batch) = weighing.recv().await {
        total += batch.iter().map(weigh).sum::<u64>();
    }
    total
}

/// Measures.
pub(crate) fn run(options: &Options) -> Result<Vec<Row>, String> {
    let readings: Arc<[Reading]> = batch()?.into();
    // The C library gives memory back to the system, and asks for it again, until a program has once freed a large piece, as any that
    // has run for a while. Both sides would otherwise mostly measure that.
    drop(std::hint::black_box(Vec::<u8>::with_capacity(8 << 20)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(|e| e.to_string())?;
    let (rounds, batches, least) = if options.quick { (3, 20, Duration::ZERO) } else { (15, 400, Duration::from_millis(300)) };
    let mut rows = Vec::new();
    for own in [false, true] {
        let (mut a, mut b) = (Ok(0), 0);
        let (of_us, of_bare) = alternate(
            rounds,
            least,
            || a = runtime.block_on(ours(readings.clone(), batches, own)),
            || b = runtime.block_on(bare(readings.clone(), batches)),
        );
        if a? != b {
            return Err("both sides must add up to the same".into());
        }
        let per_second = |seconds: f64| (batches * BATCH) as f64 / seconds;
        let stage = if own { "the middle one written as a loop over items" } else { "batches of 512 heart rates with 3 metadata entries" };
        rows.push(Row {
            id: "PF1",
            what: format!("three stages with receipts, {stage}"),
            ours: per_second(of_us),
            baseline: per_second(of_bare),
            unit: "readings/CPU-s",
            target: if own { Target::Nothing } else { Target::RatioAtLeast(0.6) },
            note: "tokio mpsc moving the same Vecs with the same work, without receipts".into(),
        });
    }
    Ok(rows)
}
