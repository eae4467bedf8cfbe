//! The same random work on all backends gives the same answers to every question.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "test code may fail loudly")]

#[cfg(feature = "postgres")]
mod postgres_server;

use std::sync::Arc;
use std::time::Duration;

use am_core::{Ctx, DeviceId, ManualClock, ReadingId, Scope, Timestamp};
use am_pipeline::DeadLetter;
use am_schema::{Catalogue, Decoder, Inputs, ProcessorIdentity, Reading, v1};
use am_store::memory::{self, MemoryOptions};
use am_store::model::{
    AggregateQuery, BucketWidth, Derived, DiscardReason, FeedEvent, FeedQuery, FlowCommit, Generations, Ingest, LatestQuery, Metric,
    NewVector, Op, Order, Predicate, ScanQuery, StateChange, TextQuery, Value, VectorDelete, VectorModel, VectorQuery,
};
use am_store::sqlite::{self, SqliteOptions};
use am_store::testkit::{Seeded, filled};
use am_store::traits::{Backend, DeadLetterQuery};

const WORDS: [&str; 12] =
    ["river", "garden", "kite", "harbour", "running", "shoes", "Café", "letter", "winter", "boat", "sleep", "Überraschung"];

fn at(s: i64) -> Timestamp {
    Timestamp::from_second(1_772_323_200 + s)
}

struct World {
    g: Seeded,
    catalogue: Catalogue,
    made: Vec<Reading>,
}

impl World {
    fn kind(&self, topic: &str) -> am_schema::Kind {
        self.catalogue.get(topic).unwrap()
    }

    fn device(&mut self) -> DeviceId {
        DeviceId::new(["watch", "band", "phone"][self.g.below(3) as usize]).unwrap()
    }

    fn words(&mut self) -> String {
        (0..1 + self.g.below(8)).map(|_| WORDS[self.g.below(12) as usize]).collect::<Vec<_>>().join(" ")
    }

    fn reading(&mut self) -> Reading {
        if !self.made.is_empty() && self.g.below(5) == 0 {
            return self.made[self.g.below(self.made.len() as u64) as usize].clone();
        }
        let (device, when) = (self.device(), at(self.g.below(7_200) as i64));
        let r = match self.g.below(4) {
            0 => {
                let note = v1::Note { title: self.words(), text: self.words(), ..Default::default() };
                Reading::builder(self.kind("external.memo.raw"), device, when).payload(&note).build().unwrap()
            }
            1 => {
                let end = at(7_200 + self.g.below(3_000) as i64);
                let count = self.g.below(100) as u32;
                let b = Reading::builder(self.kind("device.health.steps.raw"), device, when).ended_at(end);
                b.payload(&v1::Steps { count }).build().unwrap()
            }
            2 => {
                // Few keys, so that some conflict.
                let bpm = 60 + self.g.below(3) as i32;
                let b = Reading::builder(self.kind("device.health.heartrate.raw"), device, at(self.g.below(20) as i64 * 100));
                let id = ReadingId::from_bytes([self.g.below(3) as u8; 16]);
                b.id(id).payload(&v1::HeartRate { bpm, ..Default::default() }).build().unwrap()
            }
            _ => {
                let kinds: Vec<_> = self.catalogue.kinds().filter(|k| !k.stage().is_derived()).collect();
                let kind = kinds[self.g.below(kinds.len() as u64) as usize];
                filled(kind, &device, when, self.g.below(50)).unwrap()
            }
        };
        self.made.push(r.clone());
        r
    }

    fn batch(&mut self, scope: &Scope) -> Ingest {
        let n = self.g.below(15);
        let mut batch = Ingest { readings: (0..n).map(|_| self.reading()).collect(), ..Default::default() };
        if self.g.below(4) == 0 {
            let wire = format!("broken {}", self.g.below(6)).into_bytes();
            let rejected = Decoder::new(self.catalogue.clone()).decode(wire.into(), at(0)).unwrap_err();
            batch.rejected.push(DeadLetter::rejected(scope.clone(), at(1), rejected));
            batch.discarded.push((DiscardReason::Filter, 2));
        }
        batch
    }

    fn derived(&mut self) -> Option<Reading> {
        let n = self.made.len() as u64;
        let inputs: Vec<Reading> = (0..1 + self.g.below(90)).filter_map(|_| self.made.get(self.g.below(n) as usize).cloned()).collect();
        let from = self.g.below(6) as i64 * 600;
        let version = format!("{}", self.g.below(3));
        let p = ProcessorIdentity::new("agree.predict", version, "{}");
        let payload = v1::Prediction { target: "sleep".into(), score: self.g.unit(), label: self.words(), ..Default::default() };
        let b = Reading::builder(self.kind("prediction.sleep.scored"), DeviceId::new("watch").unwrap(), at(from)).payload(&payload);
        (!inputs.is_empty()).then(|| b.derived_from(&p, Inputs::of(&inputs).span(at(from), at(from + 600)), 0).build().unwrap())
    }
}

/// Few different numbers, so that scores are often equal; sometimes one that is no vector.
fn vector(g: &mut Seeded) -> Vec<f32> {
    (0..4 + u64::from(g.below(20) == 0)).map(|_| g.below(3) as f32 - 1.0).collect()
}

impl World {
    /// Vectors of what was made, some of it by somebody else or never stored.
    fn vectors(&mut self) -> Vec<NewVector> {
        let n = self.made.len() as u64;
        let pick = |w: &mut World| w.made.get(w.g.below(n) as usize).map(Reading::reference);
        let names: Vec<_> = (0..self.g.below(20)).filter_map(|_| pick(self)).collect();
        names.into_iter().map(|name| NewVector::new(name, vector(&mut self.g)).part(self.g.below(3) as u32)).collect()
    }

    fn vector_query(&mut self, model: &str, g: &mut Seeded) -> VectorQuery {
        let (x, y) = (g.below(9_000) as i64, g.below(9_000) as i64);
        let mut q = VectorQuery::new(model, vec![1.0, 0.5, g.below(2) as f32, -1.0]);
        (q.limit, q.exact) = (1 + g.below(30) as usize, true);
        match g.below(5) {
            0 => (q.from, q.to) = (at(x.min(y)), at(x.max(y) + 1)),
            1 => q.kinds = vec![self.kind("device.health.heartrate.raw"), self.kind("prediction.sleep.scored")],
            2 => q.devices = vec![DeviceId::new("watch").unwrap()],
            3 => q.filter = Predicate::Field { path: "bpm".into(), op: Op::Gt, value: Value::Number(60.0) },
            _ => q.generations = Generations::All,
        }
        q
    }
}

/// Everything that can be asked, as text; places of the feed are left out, they may be numbered in different ways.
async fn answers(b: &Backend, ctx: &Ctx, w: &mut World, seed: u64) -> Vec<String> {
    let mut g = Seeded::new(seed);
    let mut out = Vec::new();
    let span = |g: &mut Seeded| {
        let (x, y) = (g.below(9_000) as i64, g.below(9_000) as i64);
        (at(x.min(y)), at(x.max(y) + 1))
    };
    for order in [Order::TimeAscending, Order::TimeDescending] {
        for generations in [Generations::Newest, Generations::All] {
            let (from, to) = span(&mut g);
            let filter = match g.below(3) {
                0 => Predicate::True,
                1 => Predicate::Field { path: "bpm".into(), op: Op::Gt, value: Value::Number(60.0) },
                _ => Predicate::Not(Box::new(Predicate::Device(vec![DeviceId::new("band").unwrap()]))),
            };
            let q = ScanQuery::default().between(from, to).order(order).generations(generations).filter(filter);
            let mut q = q.limit(1 + g.below(20) as usize);
            loop {
                let page = b.readings.scan(ctx, &q).await.unwrap();
                out.extend(page.items.iter().map(|s| format!("{:?} {:?} {}", s.reading, s.origin, s.generation)));
                match page.cursor {
                    Some(c) => q = q.after(c),
                    None => break,
                }
            }
        }
    }
    let latest = b.readings.latest(ctx, &LatestQuery::default().at(span(&mut g).0)).await.unwrap();
    out.extend(latest.iter().map(|s| format!("latest {:?}", s.reading)));
    for topic in ["device.health.heartrate.raw", "device.health.steps.raw", "prediction.sleep.scored"] {
        for width in [BucketWidth::Minute, BucketWidth::FiveMinutes, BucketWidth::Hour, BucketWidth::Day, BucketWidth::Whole] {
            let (from, to) = span(&mut g);
            let q = AggregateQuery::new(w.kind(topic), from, to, width);
            for x in b.readings.aggregate(ctx, &q).await.unwrap() {
                let v = x.values;
                out.push(format!("{width:?} {} {} {:.6} {} {} {:.6}", x.start, v.count, v.sum, v.min, v.max, v.m2));
            }
        }
    }
    for _ in 0..6 {
        let (a, c) = (WORDS[g.below(12) as usize], WORDS[g.below(12) as usize]);
        let text = [format!("{a} {c}"), format!("\"{a} {c}\""), format!("{a} -{c}"), a.to_owned()][g.below(4) as usize].clone();
        let found = b.text.search(ctx, &TextQuery::new(text.clone())).await.unwrap();
        out.extend(found.hits.iter().map(|h| format!("{text}: {:.9} {:?}", h.score, h.stored.reading)));
    }
    if let Some(v) = &b.vectors {
        for model in ["cosine", "l2"] {
            for _ in 0..4 {
                let q = w.vector_query(model, &mut g);
                let found = v.search(ctx, &q).await.unwrap();
                out.extend(found.hits.iter().map(|h| format!("{model}: {:?} {} {:?}", h.score.to_bits(), h.part, h.stored.reading)));
                out.push(format!("{model}: {:?} of {:?}", found.exact, found.searched));
            }
        }
    }
    let letters = b.dead_letters.list(ctx, &DeadLetterQuery::default().limit(1_000)).await.unwrap();
    out.extend(letters.iter().map(|l| format!("{l:?}")));
    out.push(format!("{:?} {:?}", b.maintenance.counts(ctx).await.unwrap(), b.maintenance.by_kind(ctx).await.unwrap()));
    for _ in 0..5.min(w.made.len()) {
        let r = &w.made[g.below(w.made.len() as u64) as usize];
        let made = b.derivations.outputs(ctx, &r.reference(), 50).await.unwrap();
        out.extend(made.iter().map(|s| format!("from {:?}: {:?}", r.id(), s.reading)));
    }
    let feed = b.feed.read(Some(ctx.scope()), &FeedQuery::after(0, vec![])).await.unwrap();
    out.extend(feed.entries.iter().map(|e| match &e.event {
        FeedEvent::Put(s) => format!("put {:?} {}", s.reading, s.generation),
        FeedEvent::Superseded { old, slot } => format!("superseded {} {:?} {slot:?}", old.recorded_at, old.id),
        other => format!("{other:?}"),
    }));
    out.push(format!("{:?}", b.key_value.keys(ctx, "", None, 100).await.unwrap()));
    out.push(format!("{:?}", b.flows.load("agree").await.unwrap().state));
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_work_leaves_all_backends_with_the_same_answers() {
    #[cfg(feature = "postgres")]
    let server = postgres_server::Database::new().await;
    for seed in 0..4u64 {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(at(86_400));
        let catalogue = Catalogue::builtin();
        #[allow(unused_mut, reason = "only with PostgreSQL there are more")]
        let mut backends = vec![
            memory::open(MemoryOptions::default(), Arc::new(clock.clone()), catalogue.clone()),
            sqlite::open(SqliteOptions::new(folder.path().join("am.db")), Arc::new(clock.clone()), catalogue.clone()).await.unwrap(),
        ];
        #[cfg(feature = "postgres")]
        if let Some(db) = &server {
            let mut o = postgres_server::options(&format!("agree_{seed}"));
            // Every way into the tables comes up: arrays, COPY, and COPY behind the application's role.
            o.copy_from_readings = [1_000, 1, 5, 1][seed as usize];
            o.role = (seed % 2 == 1).then(|| "am_test_app".to_owned());
            backends.push(am_store::postgres::open(&db.url, o, Arc::new(clock.clone()), catalogue.clone()).await.unwrap());
        }
        let mut w = World { g: Seeded::new(seed), catalogue, made: Vec::new() };
        let scopes = [Scope::new("acme", "ada").unwrap(), Scope::new("acme", "bob").unwrap()];
        for v in backends.iter().filter_map(|b| b.vectors.as_ref()) {
            for model in [VectorModel::new("cosine", 4, Metric::Cosine), VectorModel::new("l2", 4, Metric::L2)] {
                v.register(model).await.unwrap();
            }
        }
        for step in 0..84 {
            let scope = scopes[w.g.below(2) as usize].clone();
            let ctx = Ctx::new(scope.clone(), Arc::new(clock.clone()));
            let what = w.g.below(13);
            let (batch, derived, number, vectors) = (w.batch(&scope), w.derived(), w.g.below(30), w.vectors());
            let model = if number % 2 == 0 { "cosine" } else { "l2" };
            let mut said = Vec::new();
            for b in &backends {
                said.push(match what {
                    0..5 => {
                        let out = b.readings.put(&ctx, batch.clone()).await.unwrap();
                        let plain = out.readings.iter().map(|o| format!("{o:?}").split('(').next().unwrap_or_default().to_owned());
                        format!("{:?} {:?}", plain.collect::<Vec<_>>(), out.parked)
                    }
                    5..8 => {
                        let flow = b.flows.load("agree").await.unwrap();
                        let state =
                            vec![StateChange { key: format!("k{}", number % 4), value: (number % 3 > 0).then(|| vec![number as u8]) }];
                        let derived = derived.iter().map(|d| Derived::live(scope.clone(), d.clone())).collect();
                        let commit =
                            FlowCommit { flow: "agree".into(), epoch: flow.epoch, cursor: 0, state, derived, dead_letters: vec![] };
                        let done = b.flows.commit(commit).await.unwrap();
                        format!("{:?}", done.superseded.iter().map(|k| (k.recorded_at, k.id)).collect::<Vec<_>>())
                    }
                    8 => {
                        let ttl = (number % 2 == 0).then(|| Duration::from_secs(number));
                        format!("{:?}", b.key_value.put(&ctx, &format!("key{}", number % 5), vec![1], ttl).await.unwrap())
                    }
                    9 => format!("{:?}", b.maintenance.tidy().await.unwrap()),
                    10 if number == 0 => {
                        let v = b.vectors.as_ref().unwrap();
                        format!("{:?}", v.delete(&ctx, &VectorDelete::Model(model.into())).await.unwrap())
                    }
                    10 => {
                        let names = vectors.iter().map(|v| v.reading.clone()).take(3).collect();
                        let only = (number % 3 == 0).then(|| model.to_owned());
                        let v = b.vectors.as_ref().unwrap();
                        format!("{:?}", v.delete(&ctx, &VectorDelete::Readings { names, model: only }).await.unwrap())
                    }
                    _ => format!("{:?}", b.vectors.as_ref().unwrap().upsert(&ctx, model, vectors.clone()).await.unwrap()),
                });
            }
            for (b, other) in backends.iter().zip(&said) {
                assert_eq!(&said[0], other, "memory and {}, seed {seed}, step {step}", b.name);
            }
            clock.advance(Duration::from_secs(1));
            if step % 6 == 5 {
                for scope in &scopes {
                    let ctx = Ctx::new(scope.clone(), Arc::new(clock.clone()));
                    let one = answers(&backends[0], &ctx, &mut w, seed * 1_000 + step).await;
                    for other in &backends[1..] {
                        let two = answers(other, &ctx, &mut w, seed * 1_000 + step).await;
                        for (n, (a, b)) in one.iter().zip(&two).enumerate() {
                            assert_eq!(a, b, "memory and {}, seed {seed}, step {step}, answer {n}", other.name);
                        }
                        assert_eq!(one.len(), two.len(), "{}, seed {seed}, step {step}", other.name);
                    }
                }
            }
        }
    }
}
