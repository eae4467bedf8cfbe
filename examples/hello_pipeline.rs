//! A source, a processor and a sink of your own, put together and run.
//!
//! `cargo run --example hello_pipeline`
#![allow(clippy::print_stdout, reason = "an example that shows what it does")]

use std::sync::Arc;

use am::pipeline::{Batch, DeadLetterMemory, Output, Pipeline, Polled, Processor, Settled, Sink, Source, TokioClock, Written};
use am::schema::{Catalogue, Reading, v1};
use am::{CancelToken, Ctx, DeviceId, Error, Result, Scope, Timestamp};
use async_trait::async_trait;

/// Hands over one heart rate after another.
struct Watch {
    beats: std::ops::Range<i32>,
}

#[async_trait]
impl Source for Watch {
    async fn poll(&mut self, _: &Ctx, room: usize) -> Result<Option<Polled>> {
        let kind =
            Catalogue::builtin().get("device.health.heartrate.raw").ok_or_else(|| Error::new(am::Code::UNKNOWN_KIND, "heart rate"))?;
        let watch = DeviceId::new("watch")?;
        let first = self.beats.start;
        let mut readings = Vec::new();
        for bpm in self.beats.by_ref().take(room) {
            let at = Timestamp::from_second(1_772_352_000 + i64::from(bpm));
            let beat = v1::HeartRate { bpm, confidence: 0.9, ..Default::default() };
            readings.push(Reading::builder(kind, watch.clone(), at).payload(&beat).build()?);
        }
        Ok(if readings.is_empty() { None } else { Some(Polled::live(first as u64, readings)) })
    }

    async fn settle(&mut self, _: &Ctx, outcomes: &[Settled]) -> Result<()> {
        println!("the watch may forget {} readings", outcomes.len());
        Ok(())
    }
}

/// Lets calm heart rates go; the state is how many it saw.
#[derive(Default)]
struct Fast {
    seen: u64,
}

#[async_trait]
impl Processor for Fast {
    async fn process(&mut self, _: &Ctx, batch: Batch, out: &mut Output) -> Result<()> {
        for item in batch {
            self.seen += 1;
            match item.payload::<v1::HeartRate>() {
                Ok(beat) if beat.bpm >= 100 => out.emit(item),
                Ok(_) => out.discard(item, "calm"),
                Err(e) => out.park(item, e),
            }
        }
        Ok(())
    }

    async fn flush(&mut self, _: &Ctx, _: &mut Output) -> Result<()> {
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        Ok(self.seen.to_le_bytes().to_vec())
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.seen = state.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Ok(())
    }
}

/// Prints what arrives.
struct Print;

#[async_trait]
impl Sink for Print {
    async fn write(&mut self, _: &Ctx, readings: &[Reading]) -> Result<Written> {
        for r in readings {
            println!("{} {}", r.recorded_at(), r.payload_json());
        }
        Ok(Written::All)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let pipeline = Pipeline::builder("hello")
        .source("watch", Watch { beats: 60..105 })
        .processor("fast", Fast::default())
        .sink("print", Print)
        .dead_letters(DeadLetterMemory::default())
        .build()?;
    let status = pipeline.status();
    let ctx = Ctx::new(Scope::local(), Arc::new(TokioClock::default()));
    let report = pipeline.run(&ctx, CancelToken::new()).await?;
    println!("{:?}", report.totals);
    for node in status.nodes() {
        println!("{:>6}: {} in, {} out, {} discarded, {} parked", node.name, node.taken, node.given, node.discarded, node.parked);
    }
    Ok(())
}
