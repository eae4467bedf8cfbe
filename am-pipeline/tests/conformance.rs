//! The kit holds for everything here, and catches what is broken on purpose.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use am_core::{Ctx, Error, Result};
use am_pipeline::nodes::{
    Dedupe, JsonLines, Log, LogOptions, Null, ReplayLetters, Throttle, WindowSpec, channel, filter, generate, map, window,
};
use am_pipeline::testkit::{self, Verdict, beats};
use am_pipeline::{
    Arrival, Batch, DeadLetter, DeadLetterMemory, DeadLetters, LetterQuery, Origin, Output, Polled, Processor, Settled, Sink, Source,
    Token, Written,
};
use am_schema::{Catalogue, ProcessorIdentity, Reading, v1};
use async_trait::async_trait;
use parking_lot::Mutex;

fn failed(verdicts: &[Verdict]) -> Vec<&'static str> {
    verdicts.iter().filter(|v| v.failure.is_some()).map(|v| v.id).collect()
}

fn lines(n: u64) -> Vec<u8> {
    beats(n).iter().map(|r| r.to_json() + "\n").collect::<Vec<_>>().join("\n").into_bytes()
}

async fn filled_log(dir: &std::path::Path, n: u64) -> Log {
    let log = Log::open(dir, Catalogue::builtin(), LogOptions::default().segment_bytes(1_500)).unwrap();
    for batch in beats(n).chunks(9) {
        assert!(matches!(log.sink().write(&testkit::ctx(), batch).await, Ok(Written::All)));
    }
    log
}

#[tokio::test]
async fn every_source_here_holds_the_cases() {
    let all = beats(60);
    let make = || {
        let all = all.clone();
        async move { generate(7, 60, move |n, _| Ok(all[n as usize].clone())) }
    };
    testkit::hold(&testkit::source(make, 60).await);
    let make = || async { JsonLines::new(std::io::Cursor::new(lines(60)), Catalogue::builtin()) };
    testkit::hold(&testkit::source(make, 60).await);
    let make = || async {
        let (sender, source) = channel(4);
        tokio::spawn(async move {
            for batch in beats(60).chunks(11) {
                let _ = sender.send(batch.to_vec()).await;
            }
        });
        source
    };
    // A channel's sender is told of a retry and sends again itself; and it waits for its batch.
    let verdicts = testkit::source(make, 60).await;
    assert!(failed(&verdicts).iter().all(|id| ["source.retry", "source.slow"].contains(id)), "{verdicts:?}");
    let make = || async {
        let letters = DeadLetterMemory::default();
        let ctx = testkit::ctx();
        let no = Error::new(am_core::Code::OVERLOADED, "then");
        let letter = |r: &Reading| DeadLetter::failed(ctx.scope().clone(), ctx.now(), "stage", r, &no, 1);
        letters.park(&ctx, beats(60).iter().map(letter).collect()).await.unwrap();
        ReplayLetters::new(Arc::new(letters), Catalogue::builtin(), LetterQuery::new())
    };
    testkit::hold(&testkit::source(make, 60).await);
    let make = || async {
        let dir = tempfile::tempdir().unwrap().keep();
        filled_log(&dir, 60).await.source("reader", false).unwrap()
    };
    testkit::hold(&testkit::source(make, 60).await);
}

fn mean() -> impl Processor {
    let identity = ProcessorIdentity::new("mean", "1", "{}");
    let kind = Catalogue::builtin().get("health.hrv.computed").unwrap();
    window(
        WindowSpec::hopping(Duration::from_secs(10), Duration::from_secs(5)).lateness(Duration::from_secs(3)),
        Catalogue::builtin(),
        move |pane| {
            let mean: f64 = pane.readings.iter().map(|r| f64::from(r.payload::<v1::HeartRate>().map_or(0, |h| h.bpm))).sum::<f64>();
            let reading = Reading::builder(kind, pane.device.clone(), pane.start)
                .ended_at(pane.end)
                .payload(&v1::Hrv {
                    beats: pane.readings.len() as u32,
                    mean_rr: 60_000.0 * pane.readings.len() as f64 / mean,
                    ..Default::default()
                })
                .derived_from(&identity, pane.inputs(), 0)
                .build()?;
            Ok(vec![reading])
        },
    )
}

#[tokio::test]
async fn every_processor_here_holds_the_cases() {
    testkit::hold(&testkit::processor(|| map(|r: &Reading| Ok(r.clone())), beats(50)).await);
    testkit::hold(&testkit::processor(|| filter("odd", |r: &Reading| r.sequence().is_multiple_of(2)), beats(50)).await);
    let mut twice = beats(50);
    twice.extend(beats(30));
    testkit::hold(&testkit::processor(|| Dedupe::new(Duration::from_secs(3_600), 1_000), twice).await);
    testkit::hold(&testkit::processor(|| Throttle::new(Duration::from_secs(7), 100, Catalogue::builtin()), beats(50)).await);
    testkit::hold(&testkit::processor(mean, beats(120)).await);
}

/// Keeps readings in memory, once each.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Reading>>>);

#[async_trait]
impl Sink for Kept {
    async fn write(&mut self, _: &Ctx, readings: &[Reading]) -> Result<Written> {
        for r in readings {
            tokio::task::yield_now().await;
            let mut kept = self.0.lock();
            if !kept.iter().any(|k| k.reference() == r.reference()) {
                kept.push(r.clone());
            }
        }
        Ok(Written::All)
    }
}

#[tokio::test]
async fn every_sink_here_holds_the_cases() {
    let read = |s: &Kept| {
        let all = s.0.lock().clone();
        async move { all }
    };
    testkit::hold(&testkit::sink(|| async { Kept::default() }, read).await);
    let logs: Mutex<Vec<Log>> = Mutex::default();
    let make = || async {
        let log = filled_log(&tempfile::tempdir().unwrap().keep(), 0).await;
        logs.lock().push(log.clone());
        log.sink()
    };
    let read = |_: &am_pipeline::nodes::LogSink| {
        let mut source = logs.lock().last().unwrap().source("reader", false).unwrap();
        async move {
            let mut all = Vec::new();
            while let Ok(Some(polled)) = source.poll(&testkit::ctx(), 100).await {
                let done: Vec<_> =
                    polled.items.iter().map(|a| Settled { token: a.token, outcome: am_pipeline::Outcome::Delivered }).collect();
                source.settle(&testkit::ctx(), &done).await.unwrap();
                all.extend(polled.items.into_iter().filter_map(|a| a.item.ok()));
            }
            all
        }
    };
    testkit::hold(&testkit::sink(make, read).await);
}

/// What is wrong with a broken source.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// Takes items out before it waits, so that a dropped poll loses them.
    LosesOnCancel,
    IgnoresRoom,
    ForgetsRetries,
    Repeats,
    ReusesTokens,
}

struct Broken {
    fault: Fault,
    left: Vec<Reading>,
    out: Vec<(Token, Reading)>,
    next: u64,
}

#[async_trait]
impl Source for Broken {
    async fn poll(&mut self, _: &Ctx, room: usize) -> Result<Option<Polled>> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let room = if self.fault == Fault::IgnoresRoom { room + 3 } else { room };
        let n = room.min(self.left.len());
        if self.fault != Fault::LosesOnCancel {
            tokio::task::yield_now().await;
        }
        let taken: Vec<Reading> = self.left.drain(..n).collect();
        if self.fault == Fault::LosesOnCancel {
            tokio::task::yield_now().await;
        }
        if self.fault == Fault::Repeats && self.next < 8 {
            self.left.push(taken[0].clone());
        }
        let items = taken.into_iter().map(|r| {
            let token = Token(if self.fault == Fault::ReusesTokens { 0 } else { self.next });
            self.next += 1;
            self.out.push((token, r.clone()));
            Arrival { token, item: Ok(r) }
        });
        Ok(Some(Polled { items: items.collect(), origin: Origin::Live }))
    }

    async fn settle(&mut self, _: &Ctx, outcomes: &[Settled]) -> Result<()> {
        for s in outcomes {
            if let Some(i) = self.out.iter().position(|(t, _)| *t == s.token) {
                let (_, r) = self.out.remove(i);
                if matches!(s.outcome, am_pipeline::Outcome::Retry(_)) && self.fault != Fault::ForgetsRetries {
                    self.left.push(r);
                }
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn broken_sources_are_caught() {
    for (fault, case) in [
        (Fault::LosesOnCancel, "source.cancel"),
        (Fault::IgnoresRoom, "source.room"),
        (Fault::ForgetsRetries, "source.retry"),
        (Fault::Repeats, "source.all"),
        (Fault::ReusesTokens, "source.tokens"),
    ] {
        let make = || async move { Broken { fault, left: beats(40), out: Vec::new(), next: 0 } };
        let verdicts = testkit::source(make, 40).await;
        assert!(failed(&verdicts).contains(&case), "{case} does not catch its fault: {verdicts:?}");
    }
}

/// Counts, and is wrong in one way.
struct Wrong(&'static str, u8);

#[async_trait]
impl Processor for Wrong {
    async fn process(&mut self, _: &Ctx, batch: Batch, out: &mut Output) -> Result<()> {
        for item in batch {
            self.1 = self.1.wrapping_add(1);
            match self.0 {
                "drops" if self.1.is_multiple_of(10) => drop(item),
                "trusts" => {
                    item.payload::<v1::HeartRate>().expect("a heart rate");
                    out.emit(item);
                }
                "forgets" if self.1.is_multiple_of(3) => out.discard(item, "third"),
                _ => out.emit(item),
            }
        }
        Ok(())
    }

    async fn flush(&mut self, _: &Ctx, out: &mut Output) -> Result<()> {
        if self.0 == "flushes" {
            beats(1).into_iter().for_each(|r| out.derive(r));
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        Ok(if self.0 == "forgets" { Vec::new() } else { vec![1, self.1, 0] })
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.1 = match state {
            [] => 0,
            [_, n, ..] if self.0 == "swallows" => *n,
            [1, n, 0] => *n,
            _ => return Err(Error::new(am_core::Code::UNDECODABLE, "no state")),
        };
        Ok(())
    }
}

#[tokio::test]
async fn broken_processors_are_caught() {
    for (fault, case) in [
        ("drops", "processor.decides"),
        ("forgets", "processor.snapshot"),
        ("flushes", "processor.flush"),
        ("swallows", "processor.restore"),
        ("trusts", "processor.stranger"),
    ] {
        let verdicts = testkit::processor(|| Wrong(fault, 0), beats(40)).await;
        assert!(failed(&verdicts).contains(&case), "{case} does not catch its fault: {verdicts:?}");
    }
    let turn = std::sync::atomic::AtomicU64::new(0);
    let make = || {
        let turn = turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        map(move |r: &Reading| Ok(beats(60)[(r.sequence() + turn) as usize % 60].clone()))
    };
    let verdicts = testkit::processor(make, beats(40)).await;
    assert!(["processor.repeat", "processor.again"].iter().all(|case| failed(&verdicts).contains(case)), "{verdicts:?}");
    testkit::hold(&testkit::processor(|| Wrong("", 0), beats(40)).await);
}

/// Keeps readings, and is wrong in one way.
struct Leaky(&'static str, Arc<Mutex<Vec<Reading>>>);

#[async_trait]
impl Sink for Leaky {
    async fn write(&mut self, _: &Ctx, readings: &[Reading]) -> Result<Written> {
        let n = if self.0 == "loses" && readings.len() > 12 { 12 } else { readings.len() };
        for r in &readings[..n] {
            let known = self.1.lock().iter().any(|k| k.reference() == r.reference());
            if self.0 == "appends" || !known {
                self.1.lock().push(r.clone());
            }
        }
        Ok(Written::All)
    }
}

#[tokio::test]
async fn broken_sinks_are_caught() {
    let read = |s: &Leaky| {
        let all = s.1.lock().clone();
        async move { all }
    };
    for (fault, case) in [("loses", "sink.keeps"), ("appends", "sink.again")] {
        let verdicts = testkit::sink(|| async move { Leaky(fault, Default::default()) }, read).await;
        assert!(failed(&verdicts).contains(&case), "{case} does not catch its fault: {verdicts:?}");
    }
    let verdicts = testkit::sink(|| async { Null }, |_: &Null| async { Vec::new() }).await;
    assert_eq!(failed(&verdicts), ["sink.keeps", "sink.again", "sink.cancel"]);
}

/// Marks a batch as begun before it waits, so that a write made again after a drop does nothing.
#[derive(Default)]
struct Hasty {
    begun: Vec<am_schema::ReadingRef>,
    kept: Vec<Reading>,
}

#[async_trait]
impl Sink for Hasty {
    async fn write(&mut self, _: &Ctx, readings: &[Reading]) -> Result<Written> {
        let fresh: Vec<Reading> = readings.iter().filter(|r| !self.begun.contains(&r.reference())).cloned().collect();
        self.begun.extend(fresh.iter().map(Reading::reference));
        tokio::task::yield_now().await;
        for r in fresh {
            if !self.kept.contains(&r) {
                self.kept.push(r);
            }
        }
        Ok(Written::All)
    }
}

#[tokio::test]
async fn a_sink_that_is_not_safe_to_drop_is_caught() {
    let read = |s: &Hasty| {
        let all = s.kept.clone();
        async move { all }
    };
    assert_eq!(failed(&testkit::sink(|| async { Hasty::default() }, read).await), ["sink.cancel"]);
}
