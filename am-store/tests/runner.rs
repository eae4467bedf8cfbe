//! The flow runner, with small processors that fail in every way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use am_core::{CancelToken, Code, Ctx, DeviceId, Error, LookupRange, Result, Scope, Timestamp, policy::Backoff};
use am_pipeline::{Attempts, Batch, Output, Partition, Processor, ProcessorSpec, Registry, Setup, TokioClock};
use am_schema::{Catalogue, Inputs, Reading, v1};
use am_store::model::{FeedEvent, FeedPage, FeedQuery, FlowCommit, FlowCommitted, Generations, Predicate, ScanQuery, Seq, Stored};
use am_store::runner::{Flow, FlowRunner, RunnerOptions};
use am_store::traits::{DeadLetterQuery, Feed, FlowInfo, FlowState, Flows};
use am_store::{Store, StoreOptions};
use async_trait::async_trait;

const RAW: &str = "device.health.heartrate.raw";
const SUM: &str = "motion.events.significant";
const CLASS: &str = "motion.classification.activity";

const PANICS: i32 = 200;
const PARKS: i32 = 201;
const NEVER_READY: i32 = 202;
const READY_AT_THE_THIRD: i32 = 203;
const DROPS: i32 = 204;

/// Emits the running sum of all beats; its state is the sum.
struct Summing {
    setup: Setup,
    sum: u64,
    tries: u32,
}

#[async_trait]
impl Processor for Summing {
    async fn process(&mut self, _: &Ctx, batch: Batch, out: &mut Output) -> Result<()> {
        for item in batch {
            let bpm = item.payload::<v1::HeartRate>()?.bpm;
            match bpm {
                PANICS => {
                    self.sum += 1_000_000;
                    panic!("poison");
                }
                PARKS => {
                    out.park(item, Error::new(Code::INVALID_ITEM, "never"));
                    continue;
                }
                NEVER_READY => return Err(Error::new(Code::STORE_UNAVAILABLE, "not now")),
                READY_AT_THE_THIRD if self.tries < 2 => {
                    self.tries += 1;
                    out.retry(item, Error::new(Code::OVERLOADED, "soon"));
                    continue;
                }
                DROPS => continue,
                _ => {}
            }
            self.sum += bpm as u64;
            let kind = self.setup.catalogue.get(SUM).unwrap();
            let payload = v1::SignificantMotion {
                event: v1::significant_motion::Event::Started.into(),
                peak: self.sum as f64 / 1e6,
                ..Default::default()
            };
            let made = Reading::builder(kind, item.device().clone(), item.recorded_at())
                .payload(&payload)
                .derived_from(&self.setup.identity, Inputs::of([item.reading()]), 0)
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
        Ok(self.sum.to_le_bytes().to_vec())
    }
    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.sum = state.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        Ok(())
    }
}

/// Counts what the store knows of the device so far; without state, so that it gets whole batches.
struct Counting(Setup);

#[async_trait]
impl Processor for Counting {
    async fn process(&mut self, ctx: &Ctx, batch: Batch, out: &mut Output) -> Result<()> {
        for item in batch {
            let range = LookupRange::new(RAW, Timestamp::MIN, Timestamp::MAX).device(item.device().clone());
            let known = ctx.lookup().range(ctx.scope(), range).await?.len() as u32;
            let kind = self.0.catalogue.get(CLASS).unwrap();
            let payload = v1::Activity { activity: v1::activity::Class::Still.into(), windows: known, ..Default::default() };
            let made = Reading::builder(kind, item.device().clone(), item.recorded_at())
                .ended_at(item.recorded_at())
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
        Ok(Vec::new())
    }
    fn restore(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

fn registry() -> Registry {
    let mut r = Registry::new();
    let sum = ProcessorSpec::new("test.sum", "1", "sums", |s| Ok(Box::new(Summing { setup: s.clone(), sum: 0, tries: 0 })));
    r.add(sum.inputs(&[RAW]).unwrap().outputs(&[SUM])).unwrap();
    let count = ProcessorSpec::new("test.count", "1", "counts", |s| Ok(Box::new(Counting(s.clone()))));
    r.add(count.inputs(&[SUM]).unwrap().outputs(&[CLASS]).key(Partition::Device)).unwrap();
    r
}

fn flow(version: &str) -> Flow {
    let (registry, catalogue) = (registry(), Catalogue::builtin());
    let attempts = Attempts::new(4).backoff(Backoff::new(1, 2));
    Flow::new("test", version)
        .input(&catalogue, RAW)
        .unwrap()
        .step_with(&registry, &catalogue, "test.sum", &serde_json::Value::Null, attempts)
        .unwrap()
        .step(&registry, &catalogue, "test.count", &serde_json::Value::Null)
        .unwrap()
}

fn runner(store: &Store, version: &str, options: RunnerOptions) -> FlowRunner {
    FlowRunner::new(store, flow(version), options).unwrap()
}

async fn store() -> Store {
    let clock = Arc::new(TokioClock::default());
    Store::open("memory:", StoreOptions::default(), clock, Catalogue::builtin()).await.unwrap()
}

fn beat(device: &str, second: i64, bpm: i32) -> Reading {
    let kind = Catalogue::builtin().get(RAW).unwrap();
    Reading::builder(kind, DeviceId::new(device).unwrap(), Timestamp::from_second(1_772_352_000 + second))
        .payload(&v1::HeartRate { bpm, ..Default::default() })
        .build()
        .unwrap()
}

async fn all(store: &Store, topic: &str) -> Vec<Stored> {
    let mut query = ScanQuery::default();
    query.kinds = vec![store.catalogue().get(topic).unwrap()];
    query.generations = Generations::All;
    query.limit = 100_000;
    store.scoped(&Scope::local()).scan(&query).await.unwrap().items
}

async fn sums(store: &Store, device: &str) -> Vec<u64> {
    let of = |s: &Stored| (s.reading.payload::<v1::SignificantMotion>().unwrap().peak * 1e6).round() as u64;
    all(store, SUM).await.iter().filter(|s| s.reading.device().as_str() == device).map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn every_reading_is_processed_once_whatever_the_steps_and_whoever_runs_them() {
    let mut expected = None;
    for batch in [1, 3, 512] {
        let store = store().await;
        let mine = store.scoped(&Scope::local());
        for round in 0..4 {
            let some = (0..10).map(|i| beat(["a", "b", "c"][i as usize % 3], round * 10 + i, 60 + i as i32)).collect();
            mine.put(some).await.unwrap();
            // A new runner each time: what it knows comes from the store.
            runner(&store, "1", RunnerOptions::default().batch(batch).live(1)).drain().await.unwrap();
        }
        let mut rows: Vec<_> = all(&store, SUM).await.into_iter().chain(all(&store, CLASS).await).map(|s| s.reading).collect();
        rows.sort_by_key(Reading::reference);
        assert_eq!(rows.len(), 80);
        assert_eq!(sums(&store, "a").await.last(), Some(&(0..40).filter(|i| i % 10 % 3 == 0).map(|i| 60 + i % 10).sum::<u64>()));
        // Look-ups end at the item's own place, so that they too are the same.
        assert_eq!(*expected.get_or_insert(rows.clone()), rows, "batches of {batch}");
    }
}

#[tokio::test(start_paused = true)]
async fn custody_p01_a_failing_item_is_parked_alone_and_the_state_does_not_notice() {
    let store = store().await;
    let mine = store.scoped(&Scope::local());
    let bpms = [60, PANICS, 61, PARKS, NEVER_READY, 62, READY_AT_THE_THIRD, DROPS, 63, PANICS, 64];
    mine.put(bpms.iter().enumerate().map(|(i, b)| beat("a", i as i64, *b)).collect()).await.unwrap();
    mine.put(vec![beat("b", 0, 70)]).await.unwrap();
    let mut r = runner(&store, "1", RunnerOptions::default());
    r.drain().await.unwrap();
    assert_eq!(sums(&store, "a").await, [60, 121, 183, 386, 449, 513]);
    assert_eq!(sums(&store, "b").await, [70]);
    let letters = mine.dead_letters(&DeadLetterQuery::default()).await.unwrap();
    let mut found: Vec<_> = letters.iter().map(|l| (l.letter.recorded_at.unwrap().as_second() - 1_772_352_000, l.letter.code)).collect();
    found.sort();
    let wanted =
        [(1, Code::PROCESSOR_FAILED), (3, Code::INVALID_ITEM), (4, Code::GAVE_UP), (7, Code::GAVE_UP), (9, Code::PROCESSOR_FAILED)];
    assert_eq!(found, wanted);
    assert!(letters.iter().all(|l| l.letter.stage == "test.sum"));
    let status = r.status().get();
    assert_eq!((status.taken, status.parked, status.lag()), (12, 5, 0));
    assert!(status.last_error.is_some() && status.failures >= 5);
}

#[tokio::test(start_paused = true)]
async fn custody_p05_a_new_version_fills_the_same_slots_with_a_new_generation() {
    let store = store().await;
    let mine = store.scoped(&Scope::local());
    mine.put((0..20).map(|i| beat("a", i, 60)).collect()).await.unwrap();
    runner(&store, "1", RunnerOptions::default()).drain().await.unwrap();
    // Same processors under another version of the flow: the same readings come out and nothing is added.
    let mut second = runner(&store, "2", RunnerOptions::default());
    second.drain().await.unwrap();
    assert_eq!((second.status().get().duplicates, all(&store, SUM).await.len()), (40, 20));
    assert!(mine.inputs(&all(&store, SUM).await[3].reading.reference()).await.unwrap().is_some());
    let info = store.backend().flows.list().await.unwrap();
    assert!(info[0].version.starts_with("2+"), "{info:?}");
    // A reset does the same.
    second.reset().await.unwrap();
    second.drain().await.unwrap();
    assert_eq!(all(&store, SUM).await.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn two_runners_of_one_flow_do_no_harm() {
    let store = store().await;
    let mine = store.scoped(&Scope::local());
    let (mut one, mut two) = (runner(&store, "1", RunnerOptions::default()), runner(&store, "1", RunnerOptions::default()));
    for i in 0..6 {
        mine.put(vec![beat("a", i, 60)]).await.unwrap();
        if i % 3 == 0 { one.drain().await.unwrap() } else { two.drain().await.unwrap() }
    }
    one.drain().await.unwrap();
    assert_eq!(sums(&store, "a").await, [60, 120, 180, 240, 300, 360]);
    assert!(one.status().get().reloads + two.status().get().reloads > 0);
}

#[tokio::test(start_paused = true)]
async fn a_running_flow_follows_the_feed_and_stops_after_its_step() {
    let store = store().await;
    let mine = store.scoped(&Scope::local());
    let mut r = runner(&store, "1", RunnerOptions::default());
    let (status, stop) = (r.status(), CancelToken::new());
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { r.run(&stop).await }
    });
    for i in 0..50 {
        mine.put(vec![beat("a", i, 60)]).await.unwrap();
        tokio::task::yield_now().await;
    }
    // The flow commits at most every 100 ms of the paused clock.
    for _ in 0..100 {
        store.clock().sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(status.get().taken, 50);
    stop.cancel();
    running.await.unwrap().unwrap();
    let s = status.get();
    assert_eq!((s.derived, s.parked, all(&store, CLASS).await.len()), (100, 0, 50));
    assert!(s.latency.is_some() && s.commits < 50, "a trickle is committed together: {} commits", s.commits);
}

/// Passes on to the real flows, but fails now and then.
struct Shaky {
    inner: Arc<dyn Flows>,
    calls: AtomicU32,
}

#[async_trait]
impl Flows for Shaky {
    async fn load(&self, flow: &str) -> Result<FlowState> {
        self.inner.load(flow).await
    }
    async fn commit(&self, commit: FlowCommit) -> Result<FlowCommitted> {
        match self.calls.fetch_add(1, Ordering::Relaxed) % 4 {
            0 => Err(Error::new(Code::STORE_UNAVAILABLE, "not now")),
            // It is committed, and nobody hears of it.
            2 => self.inner.commit(commit).await.and(Err(Error::new(Code::TIMED_OUT, "no answer"))),
            _ => self.inner.commit(commit).await,
        }
    }
    async fn reset(&self, flow: &str, version: &str, cursor: Seq) -> Result<FlowState> {
        self.inner.reset(flow, version, cursor).await
    }
    async fn list(&self) -> Result<Vec<FlowInfo>> {
        self.inner.list().await
    }
}

#[tokio::test(start_paused = true)]
async fn custody_p01_a_commit_that_fails_or_whose_answer_is_lost_changes_nothing() {
    let plain = store().await;
    let mut backend = plain.backend().clone();
    backend.flows = Arc::new(Shaky { inner: backend.flows.clone(), calls: AtomicU32::new(0) });
    let shaky = Store::of(backend, plain.clock().clone(), Catalogue::builtin());
    let mine = plain.scoped(&Scope::local());
    mine.put((0..40).map(|i| beat(["a", "b"][i as usize % 2], i, 60)).collect()).await.unwrap();
    let mut r = runner(&shaky, "1", RunnerOptions::default().batch(3));
    r.drain().await.unwrap();
    assert_eq!(sums(&plain, "a").await, (1..=20).map(|n| n * 60).collect::<Vec<u64>>());
    assert_eq!((all(&plain, SUM).await.len(), all(&plain, CLASS).await.len()), (40, 40));
    assert!(r.status().get().reloads > 3);
}

#[tokio::test(start_paused = true)]
async fn custody_p01_a_step_that_is_dropped_at_any_await_is_done_again_or_done() {
    for polls in 0..60 {
        let store = store().await;
        let mine = store.scoped(&Scope::local());
        mine.put((0..12).map(|i| beat(["a", "b"][i as usize % 2], i, 60)).collect()).await.unwrap();
        let mut r = runner(&store, "1", RunnerOptions::default().batch(5));
        {
            let mut work = Box::pin(r.drain());
            let mut left = polls;
            std::future::poll_fn(|cx| {
                left -= 1;
                if left < 0 { std::task::Poll::Ready(()) } else { work.as_mut().poll(cx).map(|_| ()) }
            })
            .await;
        }
        r.drain().await.unwrap();
        for device in ["a", "b"] {
            assert_eq!(sums(&store, device).await, [60, 120, 180, 240, 300, 360], "dropped after {polls} polls");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn people_and_devices_are_kept_apart() {
    let store = store().await;
    let other = Scope::new("acme", "ada").unwrap();
    store.scoped(&Scope::local()).put(vec![beat("a", 0, 60), beat("b", 0, 70)]).await.unwrap();
    store.scoped(&other).put(vec![beat("a", 0, 80)]).await.unwrap();
    runner(&store, "1", RunnerOptions::default()).drain().await.unwrap();
    assert_eq!((sums(&store, "a").await, sums(&store, "b").await), (vec![60], vec![70]));
    let state = store.backend().flows.load("test").await.unwrap();
    let state: HashMap<String, Vec<u8>> = state.state.into_iter().collect();
    assert_eq!(state.get("acme ada a test.sum").map(|v| v[0]), Some(80));
    assert_eq!(state.len(), 3);
}

#[tokio::test]
async fn a_flow_that_cannot_work_is_refused_before_it_runs() {
    let (store, catalogue, registry) = (store().await, Catalogue::builtin(), registry());
    let code = |f: Result<Flow>| f.and_then(|f| FlowRunner::new(&store, f, RunnerOptions::default())).map(|_| ()).unwrap_err().code();
    let raw = || Flow::new("f", "1").input(&catalogue, RAW).unwrap();
    let null = serde_json::Value::Null;
    assert_eq!(code(Ok(raw())), Code::BAD_FLOW);
    assert_eq!(code(raw().step(&registry, &catalogue, "test.sun", &null)), Code::BAD_FLOW);
    assert_eq!(code(raw().step(&registry, &catalogue, "test.sum", &serde_json::json!({"size": 1}))), Code::BAD_FLOW);
    assert_eq!(code(raw().step(&registry, &catalogue, "test.count", &null)), Code::BAD_FLOW);
    assert_eq!(code(Flow::new("f", "1").input(&catalogue, "no.such.kind.raw")), Code::UNKNOWN_KIND);
    assert_eq!(code(Flow::new("a b", "1").input(&catalogue, RAW).unwrap().step(&registry, &catalogue, "test.sum", &null)), Code::BAD_FLOW);
}

/// The real feed, with an erasure of the device `a` in the place of one entry.
struct Erasing {
    inner: Arc<dyn Feed>,
    at: Seq,
}

#[async_trait]
impl Feed for Erasing {
    async fn read(&self, scope: Option<&Scope>, query: &FeedQuery) -> Result<FeedPage> {
        let mut page = self.inner.read(scope, query).await?;
        for e in page.entries.iter_mut().filter(|e| e.seq == self.at) {
            e.event = FeedEvent::Erased(Predicate::Device(vec![DeviceId::new("a").unwrap()]));
        }
        Ok(page)
    }
    async fn head(&self) -> Result<Seq> {
        self.inner.head().await
    }
    async fn wait(&self, after: Seq) -> Result<()> {
        self.inner.wait(after).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_erasure_on_the_feed_is_forgotten_in_its_place() {
    for batch in [1, 512] {
        let plain = store().await;
        let mut backend = plain.backend().clone();
        backend.feed = Arc::new(Erasing { inner: backend.feed.clone(), at: 7 });
        let erasing = Store::of(backend, plain.clock().clone(), Catalogue::builtin());
        let readings = (0..12).map(|i| beat(["a", "b"][i as usize % 2], i, 60)).collect();
        plain.scoped(&Scope::local()).put(readings).await.unwrap();
        runner(&erasing, "1", RunnerOptions::default().batch(batch)).drain().await.unwrap();
        // The seventh entry is the erasure; what came of `a` before it is no longer in the sum.
        assert_eq!(sums(&plain, "a").await, [60, 120, 180, 60, 120]);
        assert_eq!(sums(&plain, "b").await, [60, 120, 180, 240, 300, 360]);
    }
}
