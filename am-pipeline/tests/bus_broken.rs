//! Buses that are broken on purpose: the cases catch each of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use am_core::{Ctx, Result};
use am_pipeline::bus::memory::{self, MemoryBusOptions};
use am_pipeline::bus::{
    Area, Bus, Consumer, Delivery, Entries, Entry, GroupSpec, Groups, Message, Pressure, Published, Publisher, Sequenced, Tag, Tail,
    TailSpec, Tails,
};
use am_pipeline::{TokioClock, testkit};
use async_trait::async_trait;
use bytes::Bytes;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    DropsOne,
    Reorders,
    ForgetsIds,
    OneIdForAll,
    LosesTrace,
    PublishesCancelled,
    FlatPressure,
    LeaksScope,
    LeaksTailScope,
    IgnoresTopics,
    ForgetsUnsettled,
    AgainAtOnce,
    NeverLast,
    DropsLast,
    LosesOnCancel,
    NoLimit,
    NeverWaits,
    OneMemberOnly,
    NoLag,
    SkipsOne,
    RepeatsOne,
    NoCutOff,
    TailLosesOnCancel,
    NoCas,
    TextPrefix,
    KeepsRemoved,
    TakesAnyKey,
}

#[derive(Clone)]
struct Broken {
    inner: Bus,
    fault: Fault,
    calls: Arc<AtomicU64>,
}

impl Broken {
    fn bus(fault: Fault) -> Bus {
        let inner = memory::open(MemoryBusOptions::default(), Arc::new(TokioClock::default()));
        let broken = Arc::new(Broken { inner: inner.clone(), fault, calls: Arc::default() });
        Bus { publisher: broken.clone(), groups: broken.clone(), tails: Some(broken.clone()), entries: Some(broken), ..inner }
    }

    fn nth(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }
}

#[async_trait]
impl Publisher for Broken {
    async fn publish(&self, ctx: &Ctx, mut messages: Vec<Message>) -> Vec<Result<Published>> {
        let n = messages.len();
        match self.fault {
            Fault::DropsOne if n > 1 => {
                messages.truncate(n - 1);
                let mut out = self.inner.publisher.publish(ctx, messages).await;
                out.push(Ok(Published { sequence: u64::MAX, duplicate: false }));
                return out;
            }
            Fault::Reorders => messages.reverse(),
            Fault::ForgetsIds => messages.iter_mut().for_each(|m| m.id = format!("x{}", self.nth())),
            // As a stream that compares ids of all people does.
            Fault::OneIdForAll => {
                let mut seen = std::collections::HashSet::new();
                messages.retain(|m| seen.insert(m.id.clone()));
                let mut out = self.inner.publisher.publish(ctx, messages).await;
                while out.len() < n {
                    out.push(Ok(Published { sequence: 1, duplicate: true }));
                }
                return out;
            }
            Fault::LosesTrace => messages.iter_mut().for_each(|m| m.trace = Default::default()),
            Fault::PublishesCancelled => {
                return self.inner.publisher.publish(&testkit::ctx(), messages).await;
            }
            _ => {}
        }
        let mut out = self.inner.publisher.publish(ctx, messages).await;
        if self.fault == Fault::Reorders {
            out.reverse();
        }
        out
    }

    async fn pressure(&self) -> Result<Pressure> {
        if self.fault == Fault::FlatPressure { Ok(Pressure::default()) } else { self.inner.publisher.pressure().await }
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

struct Member(Box<dyn Consumer>, Fault, Vec<Tag>);

#[async_trait]
impl Groups for Broken {
    async fn join(&self, mut spec: GroupSpec) -> Result<Box<dyn Consumer>> {
        match self.fault {
            Fault::LeaksScope => spec.scope = None,
            Fault::IgnoresTopics => spec.topics.clear(),
            Fault::NoLimit => spec.in_flight = 1_000,
            Fault::NeverLast => spec.deliveries = 0,
            // Each member has a group of its own.
            Fault::OneMemberOnly => spec.name = format!("g{}", self.nth()),
            _ => {}
        }
        Ok(Box::new(Member(self.inner.groups.join(spec).await?, self.fault, Vec::new())))
    }
}

#[async_trait]
impl Consumer for Member {
    async fn fetch(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let wait = if self.1 == Fault::NeverWaits { Duration::ZERO } else { wait };
        let got = self.0.fetch(max, wait).await?;
        let tags: Vec<Tag> = got.iter().map(|d| d.tag).collect();
        match self.1 {
            Fault::ForgetsUnsettled => self.0.ack(&tags).await?,
            Fault::DropsLast => self.2 = got.iter().filter(|d| d.last).map(|d| d.tag).collect(),
            // It counts as settled, and is gone when the future is dropped here.
            Fault::LosesOnCancel => {
                self.0.ack(&tags).await?;
                tokio::task::yield_now().await;
            }
            _ => {}
        }
        Ok(got)
    }

    async fn ack(&mut self, tags: &[Tag]) -> Result<()> {
        self.0.ack(tags).await
    }

    async fn again(&mut self, tags: &[Tag], after: Duration) -> Result<()> {
        match self.1 {
            Fault::AgainAtOnce => self.0.again(tags, Duration::ZERO).await,
            Fault::DropsLast if tags.iter().any(|t| self.2.contains(t)) => self.0.ack(tags).await,
            _ => self.0.again(tags, after).await,
        }
    }

    async fn lag(&mut self) -> Result<u64> {
        if self.1 == Fault::NoLag { Ok(0) } else { self.0.lag().await }
    }
}

struct Reader(Box<dyn Tail>, Fault);

#[async_trait]
impl Tails for Broken {
    async fn open(&self, mut spec: TailSpec) -> Result<Box<dyn Tail>> {
        match self.fault {
            Fault::SkipsOne if spec.after > 0 => spec.after = self.inner.tails.as_ref().unwrap().head(spec.area).await?.min(spec.after + 1),
            Fault::RepeatsOne => spec.after = spec.after.saturating_sub(1),
            Fault::NoCutOff => spec.name = format!("t{}", self.nth()),
            Fault::LeaksTailScope => spec.scope = None,
            _ => {}
        }
        Ok(Box::new(Reader(self.inner.tails.as_ref().unwrap().open(spec).await?, self.fault)))
    }

    async fn head(&self, area: Area) -> Result<u64> {
        self.inner.tails.as_ref().unwrap().head(area).await
    }

    async fn lag(&self, area: Area, name: &str) -> Result<Option<u64>> {
        self.inner.tails.as_ref().unwrap().lag(area, name).await
    }
}

#[async_trait]
impl Tail for Reader {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Sequenced>> {
        let got = self.0.next(max, wait).await;
        if self.1 == Fault::TailLosesOnCancel {
            tokio::task::yield_now().await;
        }
        got
    }

    async fn done(&mut self, sequence: u64) -> Result<()> {
        self.0.done(sequence).await
    }
}

#[async_trait]
impl Entries for Broken {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        if self.fault == Fault::TakesAnyKey && am_pipeline::bus::check_key(key).is_err() {
            return Ok(None);
        }
        self.inner.entries.as_ref().unwrap().get(key).await
    }

    async fn put(&self, key: &str, value: Bytes, expected: Option<u64>) -> Result<u64> {
        let expected = if self.fault == Fault::NoCas { None } else { expected };
        self.inner.entries.as_ref().unwrap().put(key, value, expected).await
    }

    async fn delete(&self, key: &str, expected: Option<u64>) -> Result<bool> {
        let e = self.inner.entries.as_ref().unwrap();
        if self.fault == Fault::KeepsRemoved && e.get(key).await?.is_some() {
            return e.put(key, Bytes::new(), expected).await.map(|_| true);
        }
        e.delete(key, expected).await
    }

    async fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        let e = self.inner.entries.as_ref().unwrap();
        if self.fault == Fault::TextPrefix {
            return Ok(e.keys("").await?.into_iter().filter(|k| k.starts_with(prefix)).collect());
        }
        e.keys(prefix).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_broken_bus_is_caught_by_the_case_for_it() {
    use Fault::*;
    let caught = [
        (DropsOne, "publish.order"),
        (Reorders, "publish.order"),
        (ForgetsIds, "publish.again"),
        (OneIdForAll, "publish.people"),
        (LosesTrace, "publish.whole"),
        (PublishesCancelled, "publish.over"),
        (FlatPressure, "pressure.moves"),
        (LeaksScope, "apart.group"),
        (LeaksTailScope, "apart.tail"),
        (IgnoresTopics, "group.filters"),
        (ForgetsUnsettled, "settle.late"),
        (AgainAtOnce, "settle.again"),
        (NeverLast, "settle.last"),
        (DropsLast, "settle.last"),
        (LosesOnCancel, "group.cancel"),
        (NoLimit, "group.in_flight"),
        (NeverWaits, "group.wait"),
        (OneMemberOnly, "group.shares"),
        (NoLag, "group.lag"),
        (SkipsOne, "tail.resume"),
        (RepeatsOne, "tail.resume"),
        (NoCutOff, "tail.takeover"),
        (TailLosesOnCancel, "tail.cancel"),
        (NoCas, "entries.cas"),
        (TextPrefix, "entries.keys"),
        (KeepsRemoved, "entries.delete"),
        (TakesAnyKey, "entries.limits"),
    ];
    let runs: Vec<_> = caught
        .into_iter()
        .map(|(fault, case)| {
            tokio::spawn(async move {
                let bus = Broken::bus(fault);
                let verdicts = testkit::bus_only(|| std::future::ready(bus.clone()), |id| id == case).await;
                match verdicts.as_slice() {
                    [v] if v.failure.is_some() => Ok(()),
                    other => Err(format!("{fault:?} is not caught by {case}: {other:?}")),
                }
            })
        })
        .collect();
    let mut missed = Vec::new();
    for run in runs {
        if let Err(e) = run.await.unwrap() {
            missed.push(e);
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
