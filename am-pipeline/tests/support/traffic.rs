//! Messages that are published, shared and read in order while something goes wrong.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use am_core::{Clock, Code, Ctx, DeviceId, Scope};
use am_pipeline::TokioClock;
use am_pipeline::bus::nats;
use am_pipeline::bus::{Area, Bus, Consumer, GroupSpec, Message, Parcel, Parcels, Tail, TailSpec};

use super::servers::Own;

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(TokioClock::default())
}

pub fn ctx() -> Ctx {
    Ctx::new(Scope::local(), clock())
}

pub async fn pause(ms: u64) {
    clock().sleep(Duration::from_millis(ms)).await;
}

pub fn message(n: u64, bytes: usize) -> Message {
    Message {
        area: Area::Readings,
        scope: Scope::local(),
        topic: "device.health.heartrate.raw".into(),
        device: DeviceId::new("watch").ok(),
        id: format!("m{n}"),
        trace: Default::default(),
        body: Parcel { client: n.to_string(), client_version: "x".repeat(bytes), ..Default::default() }.to_body(),
    }
}

pub fn number(m: &Message) -> u64 {
    Parcel::from_body(m.body.clone()).unwrap().client.parse().unwrap()
}

/// Publishes under the same ids until the bus has them all, as an outbox does; how often that failed.
pub async fn deliver(bus: &Bus, from: u64, to: u64, pace_ms: u64) -> usize {
    let mut failed = 0;
    for n in (from..to).step_by(10) {
        let batch = || (n..(n + 10).min(to)).map(|n| message(n, 100)).collect::<Vec<_>>();
        loop {
            let results = bus.publisher.publish(&ctx(), batch()).await;
            match results.iter().find_map(|r| r.as_ref().err()) {
                None => break,
                Some(e) => assert!(e.advice().is_worthwhile(), "{e}"),
            }
            failed += 1;
            pause(50).await;
        }
        pause(pace_ms).await;
    }
    failed
}

/// Takes and settles until each number came; how often each did.
pub async fn take_all(c: &mut Box<dyn Consumer>, count: u64) -> BTreeMap<u64, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..400 {
        if seen.len() as u64 == count {
            return seen;
        }
        match c.fetch(16, Duration::from_millis(500)).await {
            Ok(got) => {
                for d in &got {
                    *seen.entry(number(d.message.as_ref().unwrap())).or_default() += 1;
                }
                let tags: Vec<_> = got.iter().map(|d| d.tag).collect();
                let _ = c.ack(&tags).await;
            }
            Err(e) => {
                assert_eq!(e.code(), Code::BUS_UNAVAILABLE, "{e}");
                pause(50).await;
            }
        }
    }
    panic!("{} of {count} messages came", seen.len());
}

/// Reads in order until each number came.
pub async fn read_all(t: &mut Box<dyn Tail>, count: u64) {
    let mut next = 0;
    for _ in 0..400 {
        if next == count {
            return;
        }
        match t.next(16, Duration::from_millis(500)).await {
            Ok(got) => {
                for s in &got {
                    assert_eq!(number(s.message.as_ref().unwrap()), next, "in order, each once");
                    next += 1;
                }
                if let Some(s) = got.last() {
                    let _ = t.done(s.sequence).await;
                }
            }
            Err(e) => {
                assert_eq!(e.code(), Code::BUS_UNAVAILABLE, "{e}");
                pause(50).await;
            }
        }
    }
    panic!("{next} of {count} messages came");
}

pub fn tail(name: &str) -> TailSpec {
    TailSpec { name: name.into(), area: Area::Readings, scope: None, topics: Vec::new(), after: 0 }
}

pub fn group(name: &str) -> GroupSpec {
    GroupSpec::new(name, [Area::Readings]).settle_within(Duration::from_secs(2))
}

/// Tries until the bus answers, as a program that starts does.
pub async fn patiently<T, F: Future<Output = am_core::Result<T>>>(work: impl Fn() -> F) -> T {
    for _ in 0..200 {
        match work().await {
            Ok(v) => return v,
            Err(e) => assert_eq!(e.code(), Code::BUS_UNAVAILABLE, "{e}"),
        }
        pause(150).await;
    }
    panic!("the bus does not come back");
}

/// Publishes, takes from a group and reads a tail while `trouble` happens; everything is there at the end.
pub async fn survives(own: &Own, urls: Vec<String>, count: u64, trouble: impl Future<Output = ()>) -> usize {
    let mut options = own.options.clone();
    options.urls = urls;
    options.publish_within = Duration::from_secs(2);
    options.answer_within = Duration::from_secs(2);
    let bus = patiently(|| nats::open(options.clone(), clock())).await;
    let mut c = patiently(|| bus.groups.join(group("g"))).await;
    let mut t = patiently(|| bus.tails.as_ref().unwrap().open(tail("t"))).await;
    let (failed, seen, (), ()) = tokio::join!(deliver(&bus, 0, count, 10), take_all(&mut c, count), read_all(&mut t, count), trouble);
    assert_eq!(seen.keys().copied().collect::<BTreeSet<_>>(), (0..count).collect());
    // Ids kept every message from being there twice.
    let messages = || async {
        let mut stream = own.js().get_stream(own.stream(Area::Readings)).await.ok()?;
        Some(stream.info().await.ok()?.state.messages)
    };
    let mut there = None;
    for _ in 0..100 {
        there = messages().await;
        if there.is_some() {
            break;
        }
        pause(150).await;
    }
    assert_eq!(there, Some(count));
    failed
}
