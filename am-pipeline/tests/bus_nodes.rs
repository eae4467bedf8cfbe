//! A bus as the source and the sink of a pipeline passes their cases, in memory and over NATS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/nats.rs"]
mod servers;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use am_core::{Code, Ctx, Scope};
use am_pipeline::bus::memory::{self, MemoryBusOptions};
use am_pipeline::bus::{Area, Bus, BusSink, BusSource, GroupSpec, Message};
use am_pipeline::testkit::{self, beats};
use am_pipeline::{Sink, Source, TokioClock, Written};
use am_schema::{Catalogue, Reading};
use bytes::Bytes;
use servers::Own;

fn in_memory() -> Bus {
    memory::open(MemoryBusOptions::default(), Arc::new(TokioClock::default()))
}

/// A person of each test's own, so that one bus serves them all.
fn person() -> Ctx {
    static PEOPLE: AtomicU64 = AtomicU64::new(0);
    let scope = Scope::new("nodes", format!("p{}", PEOPLE.fetch_add(1, Ordering::Relaxed))).unwrap();
    Ctx::new(scope, Arc::new(TokioClock::default()))
}

async fn source(bus: &Bus, ctx: &Ctx) -> BusSource {
    let spec = GroupSpec::new(format!("g-{}", ctx.scope().user()), [Area::Readings]).scope(ctx.scope().clone());
    BusSource::new(bus.groups.join(spec).await.unwrap(), Catalogue::builtin()).until_empty()
}

/// Hands over for the kit's person what was published for one of the test's own.
struct For(BusSource, Ctx);

#[async_trait::async_trait]
impl Source for For {
    async fn poll(&mut self, _: &Ctx, room: usize) -> am_core::Result<Option<am_pipeline::Polled>> {
        self.0.poll(&self.1, room).await
    }

    async fn settle(&mut self, _: &Ctx, outcomes: &[am_pipeline::Settled]) -> am_core::Result<()> {
        self.0.settle(&self.1, outcomes).await
    }
}

struct Into(BusSink, Bus, Ctx);

#[async_trait::async_trait]
impl Sink for Into {
    async fn write(&mut self, _: &Ctx, readings: &[Reading]) -> am_core::Result<Written> {
        self.0.write(&self.2, readings).await
    }
}

async fn nodes_hold(bus: &Bus) {
    let make = || async {
        let ctx = person();
        // Several readings per message, and several messages.
        for batch in beats(60).chunks(17) {
            assert!(matches!(BusSink::new(bus, "test").write(&ctx, batch).await, Ok(Written::All)));
        }
        For(source(bus, &ctx).await, ctx)
    };
    testkit::hold(&testkit::source(make, 60).await);
    let make = || async {
        let ctx = person();
        Into(BusSink::new(bus, "test"), bus.clone(), ctx)
    };
    // Whoever reads takes each key once, as a store does: the bus gives at least once.
    let read = |sink: &Into| {
        let (bus, ctx) = (sink.1.clone(), sink.2.clone());
        async move {
            let (mut s, mut all) = (source(&bus, &ctx).await, HashMap::new());
            while let Some(polled) = s.poll(&ctx, 100).await.unwrap() {
                let settled: Vec<_> = polled
                    .items
                    .iter()
                    .map(|a| am_pipeline::Settled { token: a.token, outcome: am_pipeline::Outcome::Delivered })
                    .collect();
                for a in polled.items {
                    let r = a.item.unwrap();
                    all.insert(r.reference(), r);
                }
                s.settle(&ctx, &settled).await.unwrap();
            }
            all.into_values().collect::<Vec<_>>()
        }
    };
    testkit::hold(&testkit::sink(make, read).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_and_the_sink_hold_their_cases_in_memory() {
    nodes_hold(&in_memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_and_the_sink_hold_their_cases_over_nats() {
    let Some(urls) = servers::servers("AM_TEST_NATS") else { return };
    let own = Own::new(&urls, 32 << 20).await;
    nodes_hold(&own.open().await).await;
    own.remove().await;
}

#[tokio::test]
async fn what_is_no_parcel_goes_to_the_dead_letters_and_its_neighbours_go_on() {
    let (bus, ctx) = (in_memory(), person());
    BusSink::new(&bus, "test").write(&ctx, &beats(3)).await.unwrap();
    let message = Message {
        area: Area::Readings,
        scope: ctx.scope().clone(),
        topic: "device.health.heartrate.raw".into(),
        device: None,
        id: "strange".into(),
        trace: Default::default(),
        body: Bytes::from_static(b"\xFF\xFF"),
    };
    bus.publisher.publish(&ctx, vec![message]).await.remove(0).unwrap();
    let mut s = source(&bus, &ctx).await;
    let polled = s.poll(&ctx, 100).await.unwrap().unwrap();
    assert_eq!(polled.items.iter().filter(|a| a.item.is_ok()).count(), 3);
    let rejected: Vec<_> = polled.items.iter().filter_map(|a| a.item.as_ref().err()).collect();
    assert_eq!(rejected.len(), 1);
}

#[tokio::test]
async fn custody_p08_a_group_joined_for_somebody_else_is_refused_and_parks_nothing() {
    let (bus, ctx, other) = (in_memory(), person(), person());
    BusSink::new(&bus, "test").write(&other, &beats(3)).await.unwrap();
    let mut s = source(&bus, &other).await;
    let e = s.poll(&ctx, 10).await.unwrap_err();
    assert!(e.code() == Code::BUS_MISMATCH && !e.advice().is_worthwhile(), "{e}");
}

#[tokio::test]
async fn a_message_that_comes_again_while_it_is_open_is_handed_over_once() {
    let (bus, ctx) = (in_memory(), person());
    BusSink::new(&bus, "test").write(&ctx, &beats(6)).await.unwrap();
    let spec = GroupSpec::new("slow", [Area::Readings]).scope(ctx.scope().clone()).settle_within(Duration::from_millis(100));
    let mut s = BusSource::new(bus.groups.join(spec).await.unwrap(), Catalogue::builtin()).until_empty();
    let polled = s.poll(&ctx, 100).await.unwrap().unwrap();
    ctx.clock().sleep(Duration::from_millis(200)).await;
    assert!(s.poll(&ctx, 100).await.unwrap().unwrap().items.is_empty(), "it is open already");
    let done: Vec<_> =
        polled.items.iter().map(|a| am_pipeline::Settled { token: a.token, outcome: am_pipeline::Outcome::Delivered }).collect();
    assert_eq!(done.len(), 6);
    s.settle(&ctx, &done).await.unwrap();
    while let Some(more) = s.poll(&ctx, 100).await.unwrap() {
        assert!(more.items.is_empty(), "it is settled");
    }
}
