//! Rates and batches by the clock.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub, dead_code)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use am_core::{CancelToken, Clock, Ctx, ManualClock, Result, Scope, Timestamp};
use am_pipeline::nodes::{channel, generate};
use am_pipeline::{Batching, NodeOptions, Outcome, Pipeline, Sink, Source, Written};
use am_schema::Reading;
use async_trait::async_trait;
use parking_lot::Mutex;
use support::*;

#[tokio::test(start_paused = true)]
async fn a_generator_keeps_its_rate() {
    let clock = ManualClock::new(Timestamp::from_second(0));
    let ctx = Ctx::new(Scope::local(), Arc::new(clock.clone()));
    let mut source = generate(1, 1_000, |n, _| Ok(beat(n, 1))).per_second(10.0);
    let mut got = source.poll(&ctx, 100).await.unwrap().unwrap().items.len();
    assert_eq!(got, 1);
    let start = clock.monotonic();
    while got < 21 {
        tokio::select! {
            biased;
            polled = source.poll(&ctx, 100) => got += polled.unwrap().unwrap().items.len(),
            () = std::future::ready(()) => clock.advance(Duration::from_millis(10)),
        }
    }
    let took = clock.monotonic() - start;
    assert!((Duration::from_millis(1_900)..=Duration::from_millis(2_100)).contains(&took), "{took:?}");
}

/// Notes the size of each batch.
#[derive(Clone, Default)]
struct Sizes(Arc<Mutex<Vec<usize>>>);

#[async_trait]
impl Sink for Sizes {
    async fn write(&mut self, _: &Ctx, readings: &[Reading]) -> Result<Written> {
        self.0.lock().push(readings.len());
        Ok(Written::All)
    }
}

#[tokio::test]
async fn batches_end_by_count_by_bytes_and_by_age() {
    let run = async |batching: Batching, n: u64| {
        let sizes = Sizes::default();
        let source = generate(1, n, |n, _| Ok(beat(n, 1)));
        let options = NodeOptions::default().batching(batching);
        let p = Pipeline::builder("sizes").source("g", source).sink("sizes", sizes.clone()).options(options);
        p.dead_letters(am_pipeline::DeadLetterMemory::default()).build().unwrap().run(&ctx(), CancelToken::new()).await.unwrap();
        std::mem::take(&mut *sizes.0.lock())
    };
    assert_eq!(run(Batching::new(100, Duration::from_secs(60)), 250).await, [100, 100, 50], "the end of the input does not wait");
    let body = beat(100, 1).body().len();
    let sizes = run(Batching::new(1_000, Duration::from_secs(60)).bytes(body * 10), 100).await;
    assert!(sizes.iter().all(|n| *n <= 11) && sizes.iter().sum::<usize>() == 100, "{sizes:?}");

    let clock = ManualClock::new(Timestamp::from_second(0));
    let ctx = Ctx::new(Scope::local(), Arc::new(clock.clone()));
    let (sender, source) = channel(8);
    let sizes = Sizes::default();
    let options = NodeOptions::default().batching(Batching::new(100, Duration::from_secs(5)));
    let p = Pipeline::builder("age").source("c", source).sink("sizes", sizes.clone()).options(options);
    let p = p.dead_letters(am_pipeline::DeadLetterMemory::default()).build().unwrap();
    let run = tokio::spawn(async move { p.run(&ctx, CancelToken::new()).await });
    let mut waiting = Vec::new();
    for n in 0..3 {
        let sender = sender.clone();
        waiting.push(tokio::spawn(async move { sender.send(vec![beat(n, 1)]).await }));
    }
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    assert!(sizes.0.lock().is_empty(), "they wait for more");
    clock.advance(Duration::from_secs(5));
    for w in waiting {
        assert!(matches!(w.await.unwrap().unwrap()[..], [Outcome::Delivered]));
    }
    assert_eq!(*sizes.0.lock(), [3]);
    drop(sender);
    run.await.unwrap().unwrap();
}
