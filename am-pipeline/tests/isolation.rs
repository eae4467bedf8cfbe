//! Failing items take nothing else down; what was made of items settles them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use am_core::{CancelToken, Clock, Code, Ctx, Error, ManualClock, Result, Scope, Timestamp};
use am_pipeline::nodes::{filter, generate};
use am_pipeline::{Attempts, Batch, Decided, Jitter, NodeOptions, Origin, Outcome, Output, Pipeline, Processor, exec};
use am_schema::{Catalogue, Inputs, ProcessorIdentity, Reading, v1};
use async_trait::async_trait;
use parking_lot::Mutex;
use support::*;

/// Fails until its last try, and notes when it was tried.
struct Stubborn {
    clock: ManualClock,
    tried: Arc<Mutex<Vec<(Duration, usize)>>>,
    fails: usize,
}

#[async_trait]
impl Processor for Stubborn {
    async fn process(&mut self, _: &Ctx, batch: Batch, out: &mut Output) -> Result<()> {
        let mut tried = self.tried.lock();
        tried.push((self.clock.monotonic(), batch.len()));
        if tried.len() <= self.fails || batch.iter().any(|i| i.sequence() == 5) {
            return Err(Error::new(Code::PROCESSOR_FAILED, "not yet"));
        }
        out.emit_all(batch);
        Ok(())
    }

    async fn flush(&mut self, _: &Ctx, _: &mut Output) -> Result<()> {
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Runs a batch of numbers through a processor that fails, on a clock that moves a millisecond whenever it waits.
async fn stubborn(fails: usize, numbers: std::ops::Range<u64>) -> (Decided, Vec<(Duration, usize)>) {
    let clock = ManualClock::new(Timestamp::from_second(0));
    let ctx = Ctx::new(Scope::local(), Arc::new(clock.clone()));
    let tried = Arc::<Mutex<Vec<(Duration, usize)>>>::default();
    let mut p = Stubborn { clock: clock.clone(), tried: tried.clone(), fails };
    let attempts = Attempts::new(4).backoff(am_core::policy::Backoff::new(100, 400));
    let (_ledger, batch) = Batch::issue(numbers.map(|n| beat(n, 1)).collect(), Origin::Live);
    let (mut out, mut jitter) = (Output::new(), Jitter::seeded(3));
    let decided = {
        let mut work = Box::pin(exec::process(&mut p, &ctx, batch, &mut out, &attempts, &mut jitter));
        loop {
            tokio::select! {
                biased;
                decided = &mut work => break decided,
                () = std::future::ready(()) => clock.advance(Duration::from_millis(1)),
            }
        }
    };
    let tried = tried.lock().clone();
    (decided, tried)
}

#[tokio::test]
async fn a_failing_batch_is_tried_on_schedule_and_then_goes_on_whole() {
    let (decided, tried) = stubborn(3, 10..20).await;
    assert_eq!((decided.emitted.len(), decided.parked.len(), decided.failures), (10, 0, 3));
    assert_eq!(tried.iter().map(|t| t.1).collect::<Vec<_>>(), [10, 10, 10, 10]);
    let waits: Vec<Duration> = tried.windows(2).map(|w| w[1].0 - w[0].0).collect();
    for (wait, ceiling) in waits.iter().zip([100, 200, 400]) {
        assert!(*wait <= Duration::from_millis(ceiling + 1), "{waits:?}");
    }
    assert!(waits.iter().any(|w| *w > Duration::from_millis(1)), "{waits:?}");
}

#[tokio::test]
async fn a_poison_item_is_found_by_halving_and_its_neighbours_go_on() {
    let (decided, tried) = stubborn(0, 0..8).await;
    let mut given: Vec<u64> = decided.emitted.iter().map(|i| i.sequence()).collect();
    given.sort_unstable();
    assert_eq!(given, [0, 1, 2, 3, 4, 6, 7]);
    let (item, e) = &decided.parked[0];
    assert_eq!((decided.parked.len(), item.sequence(), e.code()), (1, 5, Code::GAVE_UP));
    assert!(tried.len() <= 4 + 6, "four tries together, then halves: {tried:?}");
}

#[tokio::test]
async fn a_processor_that_hangs_is_stopped_by_the_limit_and_nothing_is_lost() {
    struct Hangs;
    #[async_trait]
    impl Processor for Hangs {
        async fn process(&mut self, _: &Ctx, batch: Batch, out: &mut Output) -> Result<()> {
            for item in batch {
                if item.sequence() == 3 {
                    std::future::pending::<()>().await;
                }
                out.emit(item);
            }
            Ok(())
        }
        async fn flush(&mut self, _: &Ctx, _: &mut Output) -> Result<()> {
            Ok(())
        }
        fn snapshot(&self) -> Result<Vec<u8>> {
            Ok(Vec::new())
        }
        fn restore(&mut self, _: &[u8]) -> Result<()> {
            Ok(())
        }
    }
    let attempts = Attempts::new(1).timeout(Duration::from_millis(5));
    let (ledger, batch) = Batch::issue((0..6).map(|n| beat(n, 1)).collect(), Origin::Live);
    let decided = exec::process(&mut Hangs, &ctx(), batch, &mut Output::new(), &attempts, &mut Jitter::seeded(1)).await;
    assert_eq!((decided.emitted.len(), decided.parked.len()), (5, 1));
    assert_eq!(decided.parked[0].0.sequence(), 3);
    assert!(ledger.outcomes().iter().all(Option::is_none), "no receipt was lost on the way");
}

#[tokio::test]
async fn derived_readings_and_joined_items_settle_what_they_were_made_of() {
    let (ledger, batch) = Batch::issue((0..3).map(|n| beat(n, 1)).collect(), Origin::Backfill);
    let items: Vec<_> = batch.into_iter().collect();
    let kind = Catalogue::builtin().get("health.hrv.computed").unwrap();
    let made = Reading::builder(kind, items[0].device().clone(), items[0].recorded_at())
        .ended_at(items[2].recorded_at())
        .payload(&v1::Hrv { beats: 3, mean_rr: 900.0, ..Default::default() })
        .derived_from(&ProcessorIdentity::new("hrv", "1", "{}"), Inputs::of(items.iter().map(|i| i.reading())), 0)
        .build()
        .unwrap();
    let mut out = Output::new();
    out.emit_joined(made, items);
    let mut decided = out.take();
    assert_eq!(decided.emitted[0].origin(), Origin::Backfill);
    assert!(ledger.outcomes().iter().all(Option::is_none));
    decided.emitted.remove(0).settle(Outcome::Delivered);
    assert!(ledger.outcomes().iter().all(|o| matches!(o, Some(Outcome::Delivered))));
}

#[tokio::test]
async fn a_processor_for_each_device_has_its_own_state_and_idle_ones_make_room() {
    let made = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = made.clone();
    let make = move || {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let mut n = 0;
        Ok(filter("first", move |_: &Reading| {
            n += 1;
            n > 1
        }))
    };
    let (source, _) = Script::new(600, 6, 8);
    let shelf = Shelf::new(0);
    let p = Pipeline::builder("devices").source("script", source).processors("skip", make, NodeOptions::lanes(2)).sink("shelf", shelf);
    let report = p.dead_letters(am_pipeline::DeadLetterMemory::default()).build().unwrap().run(&ctx(), CancelToken::new()).await.unwrap();
    assert_eq!(report.totals.discarded, [("first".to_owned(), 6)].into());
    assert_eq!(made.load(std::sync::atomic::Ordering::SeqCst), 6);
}

#[tokio::test]
async fn items_held_until_the_end_of_the_input_are_emitted_by_the_flush() {
    #[derive(Default)]
    struct Holds(Vec<am_pipeline::Item>);
    #[async_trait]
    impl Processor for Holds {
        async fn process(&mut self, _: &Ctx, batch: Batch, _: &mut Output) -> Result<()> {
            self.0.extend(batch);
            Ok(())
        }
        async fn flush(&mut self, _: &Ctx, out: &mut Output) -> Result<()> {
            self.0.drain(..).for_each(|i| out.emit(i));
            Ok(())
        }
        fn snapshot(&self) -> Result<Vec<u8>> {
            Ok(Vec::new())
        }
        fn restore(&mut self, _: &[u8]) -> Result<()> {
            Ok(())
        }
    }
    let shelf = Shelf::new(0);
    let source = generate(1, 300, |n, _| Ok(beat(n, 1)));
    let p = Pipeline::builder("holds").source("g", source).processor("holds", Holds::default()).sink("shelf", shelf.clone());
    let report = p.dead_letters(am_pipeline::DeadLetterMemory::default()).build().unwrap().run(&ctx(), CancelToken::new()).await.unwrap();
    assert_eq!((report.totals.delivered, shelf.kept.lock().len()), (300, 300));
}
