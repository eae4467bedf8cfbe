//! Nothing is dropped silently, whatever fails (P02), and a stalled sink costs back-pressure (P10).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use am_core::{CancelToken, Code, Ctx, Error, Result, policy::Backoff};
use am_pipeline::nodes::{Router, filter, map};
use am_pipeline::{
    Attempts, DeadLetterMemory, DeadLetters, LetterQuery, NodeOptions, Partition, Pipeline, Severity, Sink, SourceOptions, Written,
};
use am_pipeline::{Batching, Jitter};
use am_schema::Reading;
use async_trait::async_trait;
use support::*;

fn quick() -> Attempts {
    Attempts::new(3).backoff(Backoff::new(0, 0))
}

/// Random topology parts, random faults; every number ends once and where the sink or the letters say it is.
async fn run_with_faults(seed: u64) {
    let count = 2_000;
    let (mut source, told) = Script::new(count, 7, seed);
    source.invalid_every = 53;
    let shelf = Shelf::new(seed ^ 1).failing(5, 17);
    let letters = Arc::new(DeadLetterMemory::default());
    let lanes = 1 + (seed % 4) as usize;
    let (for_sinks, whim) = (shelf.clone(), Jitter::seeded(seed ^ 2));
    let pipeline = Pipeline::builder("faults")
        .source_with("script", source, SourceOptions::in_flight(300).batch(64))
        .processors("whim", move || Ok(Whim(whim.clone())), NodeOptions::lanes(lanes).attempts(quick()))
        .route("split", Router::new().way("even", |r| r.sequence() % 2 == 0).otherwise("odd"))
        .sinks("evens", move || Ok(for_sinks.clone()), NodeOptions::lanes(2).attempts(quick()))
        .after_port("split", "even")
        .processor("thin", filter("filter", |r: &Reading| !r.sequence().is_multiple_of(13)))
        .after_port("split", "odd")
        .sink("odds", shelf.clone())
        .options(NodeOptions::default().attempts(quick()).batching(Batching::new(100, Duration::from_millis(1))))
        .dead_letters_shared(letters.clone())
        .build()
        .unwrap();
    let status = pipeline.status();
    let report = pipeline.run(&ctx(), CancelToken::new()).await.unwrap();
    let parked = letters.list(&ctx(), &LetterQuery::new().limit(10_000)).await.unwrap();
    let told = told.lock();
    assert_eq!(told.wrong, Vec::<String>::new(), "seed {seed}");
    assert!(told.open.is_empty() && report.drained && report.totals.balance(), "seed {seed}: {report:?}");
    assert_eq!(told.outcomes.len() as u64, count, "seed {seed}: every item ended");
    let kept = shelf.kept.lock();
    for (number, severity) in &told.outcomes {
        let letter = || parked.iter().any(|l| l.reading_id.is_some_and(|i| u128::from_be_bytes(*i.as_bytes()) == u128::from(*number)));
        match severity {
            Severity::Delivered => assert!(kept.contains_key(number), "seed {seed}: {number} is delivered and not there"),
            Severity::Parked if number % 53 == 0 => {}
            Severity::Parked => assert!(letter(), "seed {seed}: {number} is parked and has no letter"),
            Severity::Discarded => {}
            Severity::Retry => panic!("seed {seed}: {number} was never brought again"),
        }
    }
    let s = status.node("script").unwrap();
    assert_eq!((s.depth, s.taken), (0, report.totals.received));
    assert!(status.nodes().iter().all(|n| n.depth == 0), "{:?}", status.nodes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p02_received_is_delivered_discarded_or_parked_whatever_fails() {
    std::panic::set_hook(Box::new(|info| {
        if !info.to_string().contains("a poison item") {
            eprintln!("{info}");
        }
    }));
    for seed in 0..24 {
        run_with_faults(seed).await;
    }
}

/// Never writes anything.
struct Stalled;

#[async_trait]
impl Sink for Stalled {
    async fn write(&mut self, _: &Ctx, _: &[Reading]) -> Result<Written> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn custody_p10_a_stalled_sink_bounds_what_is_in_flight() {
    let (source, told) = Script::new(u64::MAX, 3, 9);
    let shutdown = CancelToken::new();
    let pipeline = Pipeline::builder("stalled")
        .source_with("script", source, SourceOptions::in_flight(500))
        .processor("same", map(|r: &Reading| Ok(r.clone())))
        .sink("stalled", Stalled)
        .dead_letters(DeadLetterMemory::default())
        .drain_within(Duration::from_secs(5))
        .build()
        .unwrap();
    let status = pipeline.status();
    let (context, stop) = (ctx(), shutdown.clone());
    let run = tokio::spawn(async move { pipeline.run(&context, stop).await });
    while status.node("script").unwrap().depth < 400 {
        tokio::task::yield_now().await;
    }
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    let taken = status.node("script").unwrap().taken;
    assert!(taken <= 500 && told.lock().most_open as u64 == taken, "no more is taken than may be on its way: {taken}");
    shutdown.cancel();
    let report = run.await.unwrap().unwrap();
    assert!(!report.drained);
    assert_eq!((report.totals.received, report.totals.retry), (taken, taken), "what was broken off comes again");
    assert!(told.lock().open.is_empty(), "and the source was told so");
}

#[tokio::test]
async fn shutting_down_delivers_what_is_on_its_way_and_takes_nothing_more() {
    let (source, told) = Script::new(u64::MAX, 3, 4);
    let shelf = Shelf::new(0);
    let shutdown = CancelToken::new();
    let pipeline = Pipeline::builder("drain")
        .source("script", source)
        .sink("shelf", shelf.clone())
        .dead_letters(DeadLetterMemory::default())
        .build()
        .unwrap();
    let (context, stop) = (ctx(), shutdown.clone());
    let run = tokio::spawn(async move { pipeline.run(&context, stop).await });
    while shelf.kept.lock().len() < 1_000 {
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    let report = run.await.unwrap().unwrap();
    assert!(report.drained && report.totals.balance());
    assert_eq!(report.totals.delivered, shelf.kept.lock().len() as u64);
    assert!(told.lock().open.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_of_a_device_stay_in_order_over_lanes_retries_and_failing_neighbours() {
    let (source, _) = Script::new(5_000, 11, 3);
    let shelf = Shelf::new(5).failing(4, 0);
    let sinks = shelf.clone();
    let same = || Ok(map(|r: &Reading| Ok(r.clone())));
    let pipeline = Pipeline::builder("order")
        .source("script", source)
        .processors("same", same, NodeOptions::lanes(3))
        .sinks("shelf", move || Ok(sinks.clone()), NodeOptions::lanes(4).key(Partition::Device).attempts(quick()))
        .dead_letters(DeadLetterMemory::default())
        .build()
        .unwrap();
    let report = pipeline.run(&ctx(), CancelToken::new()).await.unwrap();
    assert_eq!(report.totals.received, 5_000);
    let order = shelf.order.lock();
    let mut last = std::collections::HashMap::new();
    for (device, n) in order.iter() {
        let before = last.insert(device.clone(), *n);
        assert!(before.is_none_or(|b| b < *n), "{device}: {n} after {before:?}");
    }
}

/// Refuses the dead letters a few times, then takes them.
struct SlowLetters(DeadLetterMemory, std::sync::atomic::AtomicU32);

#[async_trait]
impl DeadLetters for SlowLetters {
    async fn park(&self, ctx: &Ctx, letters: Vec<am_pipeline::DeadLetter>) -> Result<()> {
        if self.1.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 3 {
            return Err(Error::new(Code::STORE_UNAVAILABLE, "not yet"));
        }
        self.0.park(ctx, letters).await
    }

    async fn list(&self, ctx: &Ctx, query: &LetterQuery) -> Result<Vec<am_pipeline::DeadLetter>> {
        self.0.list(ctx, query).await
    }

    async fn resolve(&self, ctx: &Ctx, ids: &[String]) -> Result<usize> {
        self.0.resolve(ctx, ids).await
    }
}

#[tokio::test(start_paused = true)]
async fn custody_p02_dead_letters_that_cannot_be_written_hold_the_pipeline_back() {
    let (mut source, told) = Script::new(10, 1, 2);
    source.invalid_every = 2;
    let letters = Arc::new(SlowLetters(DeadLetterMemory::default(), Default::default()));
    let pipeline = Pipeline::builder("letters")
        .source("script", source)
        .processor("fails", map(|_: &Reading| Err(Error::new(Code::INVALID_ITEM, "no"))))
        .sink("shelf", Shelf::new(0))
        .dead_letters_shared(letters.clone())
        .build()
        .unwrap();
    let report = pipeline.run(&ctx(), CancelToken::new()).await.unwrap();
    assert_eq!((report.totals.parked, letters.0.len()), (10, 10));
    assert!(told.lock().outcomes.values().all(|s| *s == Severity::Parked));
}

#[test]
fn a_topology_tells_all_its_problems_at_once() {
    let (a, _) = Script::new(1, 1, 0);
    let b = Pipeline::builder("wrong")
        .source("in", a)
        .route("split", Router::new().way("left", |_| true).otherwise("right"))
        .sink("left", Shelf::new(0))
        .after(&["split"])
        .processor("left", filter("x", |_: &Reading| true))
        .after(&["loop"])
        .processor("loop", filter("x", |_: &Reading| true))
        .after(&["left", "splt"]);
    let e = b.validate().unwrap_err();
    assert_eq!(e.code(), Code::BAD_FLOW);
    let text = e.message().to_owned();
    for part in [
        "no dead letters",
        "node left: the name is used twice",
        "name one of the ways out of split: left, right",
        "there is no node splt before it; did you mean split?",
        "way out right: its items go nowhere",
        "go round in a circle",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}
