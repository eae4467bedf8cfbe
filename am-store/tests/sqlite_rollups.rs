//! Rollups never change an answer: at any lag behind the feed, after late data and after re-derivation, it is that of `memory:`.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod readings;

use am_core::{DeviceId, Scope, Timestamp};
use am_schema::{Catalogue, KindDef, Reading, v1};
use am_store::memory::{self, MemoryOptions};
use am_store::model::{AggregateQuery, BucketWidth, Derived, FlowCommit};
use am_store::sqlite::{SqliteOptions, open};
use am_store::traits::Backend;
use readings::{at, batch, clock, ctx, heart, kind, magnitude};

const WIDTHS: [BucketWidth; 5] = [BucketWidth::Minute, BucketWidth::FiveMinutes, BucketWidth::Hour, BucketWidth::Day, BucketWidth::Whole];

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

/// Both give the same numbers for a query.
async fn agree(one: &Backend, other: &Backend, q: &AggregateQuery) {
    let (a, b) = (one.readings.aggregate(&ctx("ada"), q).await.unwrap(), other.readings.aggregate(&ctx("ada"), q).await.unwrap());
    assert_eq!(a.iter().map(|b| b.start).collect::<Vec<_>>(), b.iter().map(|b| b.start).collect::<Vec<_>>(), "{q:?}");
    for (a, b) in a.iter().zip(&b) {
        let (x, y) = (a.values, b.values);
        assert_eq!((x.count, x.min, x.max, x.first.0, x.last.0), (y.count, y.min, y.max, y.first.0, y.last.0), "{q:?} at {}", a.start);
        assert!(near(x.sum, y.sum) && near(x.m2, y.m2) && near(x.first.1, y.first.1) && near(x.last.1, y.last.1), "{q:?}: {x:?} {y:?}");
    }
}

async fn agree_on_all(one: &Backend, other: &Backend, topic: &str, spans: &[(Timestamp, Timestamp)]) {
    for &(from, to) in spans {
        for width in WIDTHS {
            let mut q = AggregateQuery::new(kind(topic), from, to, width);
            agree(one, other, &q).await;
            q.devices = vec![DeviceId::new("watch").unwrap()];
            agree(one, other, &q).await;
        }
    }
}

fn spans() -> Vec<(Timestamp, Timestamp)> {
    vec![
        (Timestamp::MIN, Timestamp::MAX),
        (at(-100_000), at(300_000)),
        (at(59), at(61)),
        (at(30), at(90_030)),
        (at(-86_400), at(86_400)),
        (at(10), at(10)),
    ]
}

#[tokio::test]
async fn rollups_and_the_tail_beyond_them_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = open(SqliteOptions::new(dir.path().join("am.db")), clock(), Catalogue::builtin()).await.unwrap();
    let memory = memory::open(MemoryOptions::default(), clock(), Catalogue::builtin());
    let mut dice = 7u64;
    let mut roll = |n: u64| {
        dice = dice.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (dice >> 33) % n
    };
    for round in 0..6 {
        let readings: Vec<Reading> = (0..120)
            .map(|_| heart(["watch", "band", "phone"][roll(3) as usize], roll(200_000) as i64 - 50_000, 40 + roll(120) as i32))
            .collect();
        for b in [&sqlite, &memory] {
            b.readings.put(&ctx("ada"), batch(readings.clone())).await.unwrap();
        }
        agree_on_all(&sqlite, &memory, "device.health.heartrate.raw", &spans()).await;
        if round % 2 == 1 {
            sqlite.maintenance.tidy().await.unwrap();
            let stats = sqlite.maintenance.stats().await.unwrap();
            assert_eq!(stats.rolled_up_to, stats.head);
            agree_on_all(&sqlite, &memory, "device.health.heartrate.raw", &spans()).await;
        }
    }
    let (a, b) = (sqlite.maintenance.by_kind(&ctx("ada")).await.unwrap(), memory.maintenance.by_kind(&ctx("ada")).await.unwrap());
    assert_eq!(a, b);
}

#[tokio::test]
async fn a_superseded_reading_leaves_rollups_before_and_after_they_catch_up() {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = open(SqliteOptions::new(dir.path().join("am.db")), clock(), Catalogue::builtin()).await.unwrap();
    let memory = memory::open(MemoryOptions::default(), clock(), Catalogue::builtin());
    let scope = Scope::new("acme", "ada").unwrap();
    let raw: Vec<Reading> = (0..40).map(|n| heart("watch", n * 700, 60)).collect();
    for version in ["1", "2", "3"] {
        for b in [&sqlite, &memory] {
            let state = b.flows.load("motion").await.unwrap();
            let derived = raw
                .iter()
                .map(|r| Derived::live(scope.clone(), magnitude(std::slice::from_ref(r), version, version.parse().unwrap())))
                .collect();
            b.flows.commit(FlowCommit { flow: "motion".into(), epoch: state.epoch, derived, ..Default::default() }).await.unwrap();
        }
        agree_on_all(&sqlite, &memory, "motion.events.significant", &spans()).await;
        sqlite.maintenance.tidy().await.unwrap();
        agree_on_all(&sqlite, &memory, "motion.events.significant", &spans()).await;
    }
}

#[tokio::test]
async fn a_catalogue_that_counts_another_number_makes_the_rollups_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("am.db");
    let of = |number: &str| {
        Catalogue::builtin()
            .with(KindDef::raw("device.health.custom_rate.raw", 10).title("A rate").every(1.0).scalar(number, "/min"))
            .unwrap()
    };
    let sum = async |catalogue: Catalogue, put: bool| {
        let kind = catalogue.get("device.health.custom_rate.raw").unwrap();
        let b = open(SqliteOptions::new(&path), clock(), catalogue).await.unwrap();
        if put {
            let payload = v1::HeartRate { bpm: 61, confidence: 0.5, ..Default::default() };
            let all: Vec<Reading> = (0..90)
                .map(|n| Reading::builder(kind, DeviceId::new("watch").unwrap(), at(n)).payload(&payload).build().unwrap())
                .collect();
            b.readings.put(&ctx("ada"), batch(all)).await.unwrap();
        }
        b.maintenance.tidy().await.unwrap();
        let q = AggregateQuery::new(kind, at(-60), at(600), BucketWidth::Minute);
        let sum: f64 = b.readings.aggregate(&ctx("ada"), &q).await.unwrap().iter().map(|b| b.values.sum).sum();
        b.maintenance.close().await.unwrap();
        sum
    };
    assert_eq!(sum(of("bpm"), true).await, 61.0 * 90.0);
    // A program without the kind leaves it alone.
    let b = open(SqliteOptions::new(&path), clock(), Catalogue::builtin()).await.unwrap();
    b.maintenance.tidy().await.unwrap();
    b.maintenance.close().await.unwrap();
    assert_eq!(sum(of("confidence"), false).await, 0.5 * 90.0);
}
