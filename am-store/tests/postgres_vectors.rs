//! Vectors in pgvector: exact answers are those of memory to the bit, and its index guesses well.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code may fail loudly")]

mod postgres_server;

use std::sync::Arc;

use am_core::{Ctx, DeviceId, ManualClock, Scope, Timestamp};
use am_schema::{Catalogue, Reading, v1};
use am_store::memory::{self, MemoryOptions};
use am_store::model::{Generations, Ingest, Metric, NewVector, Op, Predicate, Value, VectorModel, VectorQuery};
use am_store::testkit::Seeded;

use postgres_server::{Database, open, options};

/// Vectors in clouds, as those of texts are.
fn cloudy(g: &mut Seeded, clouds: &[Vec<f32>]) -> Vec<f32> {
    let centre = &clouds[g.below(clouds.len() as u64) as usize];
    centre.iter().map(|c| c + (g.unit() as f32 - 0.5) * 0.8).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_finds_nearly_all_that_comparing_everything_finds() {
    const DIMENSIONS: u32 = 48;
    let Some(db) = Database::new().await else { return };
    let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_772_409_600)));
    let b = open(&db.url, options("am")).await.unwrap();
    let v = b.vectors.clone().unwrap();
    v.register(VectorModel::new("clouds", DIMENSIONS, Metric::Cosine)).await.unwrap();
    let kind = Catalogue::builtin().get("external.memo.raw").unwrap();
    let mut g = Seeded::new(1);
    let clouds: Vec<Vec<f32>> = (0..60).map(|_| (0..DIMENSIONS).map(|_| g.unit() as f32 - 0.5).collect()).collect();
    let people = [("ada", 7_000), ("bob", 3_000)];
    for (user, n) in people {
        let ctx = Ctx::new(Scope::new("acme", user).unwrap(), clock.clone());
        let readings: Vec<Reading> = (0..n)
            .map(|i| {
                let note = v1::Note { text: format!("{i}"), ..Default::default() };
                let at = Timestamp::from_second(1_772_323_200 + i);
                Reading::builder(kind, DeviceId::new("phone").unwrap(), at).payload(&note).build().unwrap()
            })
            .collect();
        for part in readings.chunks(2_000) {
            b.readings.put(&ctx, Ingest { readings: part.to_vec(), ..Default::default() }).await.unwrap();
            let batch = part.iter().map(|r| NewVector::new(r.reference(), cloudy(&mut g, &clouds))).collect();
            v.upsert(&ctx, "clouds", batch).await.unwrap();
        }
    }
    let ctx = Ctx::new(Scope::new("acme", "ada").unwrap(), clock.clone());
    for (what, from, to) in [("everything", 0, 7_000), ("a tenth of the time", 2_000, 2_700)] {
        let (mut found, mut of, mut guessed) = (0, 0, 0);
        for _ in 0..40 {
            let mut q = VectorQuery::new("clouds", cloudy(&mut g, &clouds));
            (q.from, q.to) = (Timestamp::from_second(1_772_323_200 + from), Timestamp::from_second(1_772_323_200 + to));
            let quick = v.search(&ctx, &q).await.unwrap();
            q.exact = true;
            let all = v.search(&ctx, &q).await.unwrap();
            assert!(all.exact && all.searched == Some((to - from) as u64) && all.hits.len() == 10, "{:?}", all.searched);
            guessed += u32::from(!quick.exact);
            of += all.hits.len();
            found += all.hits.iter().filter(|h| quick.hits.iter().any(|q| q == *h)).count();
        }
        let recall = found as f64 / of as f64;
        println!("recall of {what}: {recall:.3}, {guessed} of 40 from the index");
        assert!(recall >= 0.95, "{what}: {recall}");
        assert!(guessed >= 30, "{what}: the index answered only {guessed} of 40");
    }
    b.maintenance.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exact_answers_are_those_of_memory_to_the_bit() {
    let Some(db) = Database::new().await else { return };
    let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_772_409_600)));
    let catalogue = Catalogue::builtin();
    let backends = [open(&db.url, options("am")).await.unwrap(), memory::open(MemoryOptions::default(), clock.clone(), catalogue.clone())];
    let ctx = Ctx::new(Scope::new("acme", "ada").unwrap(), clock);
    let at = |n: u64| Timestamp::from_nanos(1_772_323_200_000_000_000 + n as i64 * 1_000_000_333);
    let mut g = Seeded::new(9);
    let readings: Vec<Reading> = (0..300)
        .map(|n| {
            let device = DeviceId::new(["watch", "band"][g.below(2) as usize]).unwrap();
            match g.below(3) {
                0 => {
                    let b = Reading::builder(catalogue.get("device.health.steps.raw").unwrap(), device, at(n)).ended_at(at(n + 60));
                    b.payload(&v1::Steps { count: n as u32 }).build().unwrap()
                }
                _ => {
                    let b = Reading::builder(catalogue.get("device.health.heartrate.raw").unwrap(), device, at(g.below(40)));
                    b.payload(&v1::HeartRate { bpm: 50 + g.below(60) as i32, ..Default::default() }).build().unwrap()
                }
            }
        })
        .collect();
    // 7 has a rest behind whole lanes; 2,001 is more than an index holds in full.
    for (metric, dimensions) in [(Metric::Cosine, 7u32), (Metric::Dot, 40), (Metric::L2, 3), (Metric::Dot, 2_001)] {
        let name = format!("{metric}-{dimensions}");
        let vector = |g: &mut Seeded, coarse: bool| -> Vec<f32> {
            let one = |g: &mut Seeded| if coarse { g.below(2) as f32 + 0.5 } else { g.unit() as f32 * 20.0 - 10.0 };
            (0..dimensions).map(|_| one(g)).collect()
        };
        let batch: Vec<NewVector> = (0..500)
            .map(|n| {
                let name = readings[g.below(300) as usize].reference();
                NewVector::new(name, vector(&mut g, n % 2 == 0)).part(g.below(3) as u32)
            })
            .collect();
        let mut said = Vec::new();
        for b in &backends {
            let v = b.vectors.as_ref().unwrap();
            b.readings.put(&ctx, Ingest { readings: readings.clone(), ..Default::default() }).await.unwrap();
            v.register(VectorModel::new(&name, dimensions, metric)).await.unwrap();
            said.push(v.upsert(&ctx, &name, batch.clone()).await.unwrap());
        }
        assert_eq!(said[0], said[1], "{name}");
        for round in 0..25 {
            let mut q = VectorQuery::new(&name, vector(&mut g, round % 2 == 0));
            (q.exact, q.limit) = (true, [1, 3, 10, 100, 1_000][round % 5]);
            match g.below(5) {
                0 => (q.from, q.to) = (at(g.below(100)), at(100 + g.below(100))),
                1 => q.kinds = vec![catalogue.get("device.health.steps.raw").unwrap()],
                2 => q.devices = vec![DeviceId::new("band").unwrap()],
                3 => q.filter = Predicate::Field { path: "bpm".into(), op: Op::Gt, value: Value::Number(70.0) },
                _ => q.generations = Generations::All,
            }
            let mut answers = Vec::new();
            for b in &backends {
                let found = b.vectors.as_ref().unwrap().search(&ctx, &q).await.unwrap();
                let hits: Vec<_> = found.hits.iter().map(|h| (h.score.to_bits(), h.part, h.stored.reading.clone())).collect();
                answers.push((found.exact, found.searched, hits));
            }
            assert_eq!(answers[0], answers[1], "{name}, round {round}, limit {}", q.limit);
        }
    }
}
