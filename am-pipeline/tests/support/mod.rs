//! What the tests of the runtime share.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each test file takes what it needs"
)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use am_core::{Code, Ctx, DeviceId, Error, ReadingId, Result, Scope, Timestamp};
use am_pipeline::{
    Arrival, Batch, Jitter, Origin, Outcome, Output, Polled, Processor, Settled, Severity, Sink, Source, Token, TokioClock, Written,
};
use am_schema::{Catalogue, Finding, Reading, Rejected, v1};
use async_trait::async_trait;
use parking_lot::Mutex;

pub fn ctx() -> Ctx {
    Ctx::new(Scope::local(), Arc::new(TokioClock::default()))
}

/// Reading number `n`, of one of `devices` devices; its sequence is its number.
pub fn beat(n: u64, devices: u64) -> Reading {
    let kind = Catalogue::builtin().get("device.health.heartrate.raw").unwrap();
    let at = Timestamp::from_second(1_772_352_000 + n as i64);
    Reading::builder(kind, DeviceId::new(format!("watch-{}", n % devices)).unwrap(), at)
        .id(ReadingId::from_bytes(u128::from(n).to_be_bytes()))
        .sequence(n)
        .payload(&v1::HeartRate { bpm: 60 + (n % 60) as i32, confidence: 0.9, ..Default::default() })
        .build()
        .unwrap()
}

/// What a source was told, by token; and whether it was ever told twice of the same hand-over.
#[derive(Default)]
pub struct Told {
    pub outcomes: BTreeMap<u64, Severity>,
    pub open: BTreeMap<u64, usize>,
    pub most_open: usize,
    pub wrong: Vec<String>,
}

/// Hands over `count` readings in chunks of random size, some of them invalid; what is to be tried again comes again.
pub struct Script {
    pub count: u64,
    pub devices: u64,
    pub next: u64,
    pub again: VecDeque<u64>,
    pub random: Jitter,
    pub invalid_every: u64,
    pub told: Arc<Mutex<Told>>,
}

impl Script {
    pub fn new(count: u64, devices: u64, seed: u64) -> (Script, Arc<Mutex<Told>>) {
        let told = Arc::<Mutex<Told>>::default();
        let s =
            Script { count, devices, next: 0, again: VecDeque::new(), random: Jitter::seeded(seed), invalid_every: 0, told: told.clone() };
        (s, told)
    }
}

impl Script {
    /// What a poll gives; `None` while all that is left is on its way.
    fn hand_over(&mut self, room: usize) -> Option<Option<Polled>> {
        let mut told = self.told.lock();
        let n = 1 + (self.random.word() as usize % room.min(97));
        let mut items = Vec::new();
        while items.len() < n {
            let number = match self.again.pop_front() {
                Some(x) => x,
                None if self.next < self.count => {
                    self.next += 1;
                    self.next - 1
                }
                None => break,
            };
            if told.open.insert(number, 1).is_some() {
                told.wrong.push(format!("{number} is handed over twice at the same time"));
            }
            let bad = self.invalid_every > 0 && number % self.invalid_every == 0;
            let finding = || Finding::new("bpm", number, "made up");
            let rejected = || Rejected::new(Code::INVALID_ITEM, vec![finding()], number.to_be_bytes().to_vec().into());
            let item = if bad { Err(rejected()) } else { Ok(beat(number, self.devices)) };
            items.push(Arrival { token: Token(number), item });
        }
        told.most_open = told.most_open.max(told.open.len());
        if items.is_empty() {
            return told.open.is_empty().then_some(None);
        }
        Some(Some(Polled { items, origin: Origin::Live }))
    }
}

#[async_trait]
impl Source for Script {
    async fn poll(&mut self, _: &Ctx, room: usize) -> Result<Option<Polled>> {
        assert!(room > 0, "asked without room");
        tokio::task::yield_now().await;
        match self.hand_over(room) {
            Some(polled) => Ok(polled),
            None => std::future::pending().await,
        }
    }

    async fn settle(&mut self, _: &Ctx, outcomes: &[Settled]) -> Result<()> {
        let mut told = self.told.lock();
        for s in outcomes {
            if told.open.remove(&s.token.0).is_none() {
                told.wrong.push(format!("{} ended without being open", s.token.0));
            }
            if let Outcome::Retry(_) = s.outcome {
                self.again.push_back(s.token.0);
            }
            told.outcomes.insert(s.token.0, s.outcome.severity());
        }
        Ok(())
    }
}

/// Keeps readings by number; fails in ways that a seed decides.
#[derive(Clone)]
pub struct Shelf {
    pub kept: Arc<Mutex<BTreeMap<u64, usize>>>,
    pub order: Arc<Mutex<Vec<(DeviceId, u64)>>>,
    pub random: Jitter,
    /// One in so many writes fails as a whole, one in so many readings fails for good; 0 for never.
    pub fails: u64,
    pub poison: u64,
    pub writes: Arc<AtomicUsize>,
}

impl Shelf {
    pub fn new(seed: u64) -> Shelf {
        Shelf {
            kept: Default::default(),
            order: Default::default(),
            random: Jitter::seeded(seed),
            fails: 0,
            poison: 0,
            writes: Default::default(),
        }
    }

    pub fn failing(mut self, fails: u64, poison: u64) -> Shelf {
        (self.fails, self.poison) = (fails, poison);
        self
    }
}

#[async_trait]
impl Sink for Shelf {
    async fn write(&mut self, _: &Ctx, readings: &[Reading]) -> Result<Written> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        if self.fails > 0 && self.random.word().is_multiple_of(self.fails) {
            return Err(Error::new(Code::STORE_UNAVAILABLE, "away for a moment").retry(am_core::Retry::Safe { after_ms: 0 }));
        }
        let mut failed = Vec::new();
        for (i, r) in readings.iter().enumerate() {
            if self.poison > 0 && r.sequence() % self.poison == 0 {
                failed.push((i, Error::new(Code::INVALID_ITEM, "never that one")));
            } else {
                *self.kept.lock().entry(r.sequence()).or_default() += 1;
                self.order.lock().push((r.device().clone(), r.sequence()));
            }
        }
        Ok(if failed.is_empty() { Written::All } else { Written::Partial(failed) })
    }
}

/// Decides at random, panics and drops included; 1:n emission too.
pub struct Whim(pub Jitter);

#[async_trait]
impl Processor for Whim {
    async fn process(&mut self, _: &Ctx, batch: Batch, out: &mut Output) -> Result<()> {
        for item in batch {
            if item.sequence() % 101 == 7 {
                panic!("a poison item");
            }
            match self.0.word() % 40 {
                0 => drop(item),
                1 => out.discard(item, "whim"),
                2 => out.park(item, Error::new(Code::INVALID_ITEM, "whim")),
                3 => out.retry(item, Error::new(Code::OVERLOADED, "whim").retry(am_core::Retry::Safe { after_ms: 0 })),
                4 => {
                    out.emit_from(&item, item.reading().clone());
                    out.emit_from(&item, item.reading().clone());
                    out.absorb(item);
                }
                5 => {
                    tokio::task::yield_now().await;
                    out.emit(item);
                }
                6 => return Err(Error::new(Code::PROCESSOR_FAILED, "a whim in the middle of a batch")),
                _ => out.emit(item),
            }
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
