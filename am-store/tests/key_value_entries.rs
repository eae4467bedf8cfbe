//! The key-value space on a bus's entries against the kit's cases, and what is particular to it.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use am_core::{Code, Ctx, Error, ManualClock, Scope, Timestamp};
use am_pipeline::TokioClock;
use am_pipeline::bus::Entries;
use am_pipeline::bus::memory::{self, MemoryBusOptions};
use am_store::entries::KeyValueOnEntries;
use am_store::testkit::key_value;
use am_store::traits::KeyValue;

fn entries(clock: Arc<dyn am_core::Clock>) -> Arc<dyn Entries> {
    memory::open(MemoryBusOptions::default(), clock).entries.expect("the memory bus has entries")
}

fn hands() -> (ManualClock, Ctx) {
    let clock = ManualClock::new(Timestamp::from_second(1_772_409_600));
    let ctx = Ctx::new(Scope::local(), Arc::new(clock.clone()));
    (clock, ctx)
}

#[tokio::test]
async fn values_on_entries_of_the_memory_bus_pass_the_kit() {
    let watch = Arc::new(TokioClock::default());
    let report = key_value::run(
        "entries on memory",
        |s| Box::pin(async move { Ok(Arc::new(KeyValueOnEntries::new(entries(s.clock))) as Arc<dyn KeyValue>) }),
        watch,
    )
    .await;
    println!("{report}");
    assert!(report.passed() && report.verdicts.len() >= 9, "{report}");
}

#[tokio::test]
async fn writers_that_meet_lose_no_write_and_count_every_one() {
    let (clock, ctx) = hands();
    let kv = KeyValueOnEntries::new(entries(Arc::new(clock)));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (kv, ctx) = (kv.clone(), ctx.clone());
        tasks.spawn(async move {
            for _ in 0..25 {
                loop {
                    let held = kv.get(&ctx, "n").await.unwrap();
                    let n: u64 = held.as_ref().map_or(0, |v| String::from_utf8_lossy(&v.value).parse().unwrap());
                    let next = (n + 1).to_string().into_bytes();
                    match kv.compare_and_put(&ctx, "n", held.map_or(0, |v| v.version), next, None).await {
                        Ok(_) => break,
                        Err(e) => assert_eq!(e.code(), Code::CAS_MISMATCH),
                    }
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let held = kv.get(&ctx, "n").await.unwrap().unwrap();
    assert_eq!((held.value, held.version), (b"200".to_vec(), 200));
}

#[tokio::test]
async fn a_value_of_a_megabyte_leaves_one_rest_and_none_when_it_is_gone() {
    let (clock, ctx) = hands();
    let all = entries(Arc::new(clock));
    let kv = KeyValueOnEntries::new(all.clone());
    for round in 0..3u8 {
        kv.put(&ctx, "big", vec![round; 1 << 20], None).await.unwrap();
        assert_eq!(kv.get(&ctx, "big").await.unwrap().unwrap().value, vec![round; 1 << 20]);
        assert_eq!(all.keys("kv-rest").await.unwrap().len(), 1);
    }
    let lost = kv.compare_and_put(&ctx, "big", 1, vec![9; 1 << 20], None).await;
    assert_eq!(lost.unwrap_err().code(), Code::CAS_MISMATCH);
    assert_eq!(all.keys("kv-rest").await.unwrap().len(), 1);
    assert!(kv.delete(&ctx, "big").await.unwrap());
    assert_eq!(all.keys("").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_killed_writer_left_is_swept_by_a_later_write() {
    let (clock, ctx) = hands();
    let all = entries(Arc::new(clock.clone()));
    let kv = KeyValueOnEntries::new(all.clone());
    kv.put(&ctx, "big", vec![1; 1 << 20], None).await.unwrap();
    let orphan = "kv-rest.local.me.big.orphan";
    let written = ctx.now().as_nanos().to_be_bytes().to_vec();
    all.put(orphan, written.into(), None).await.unwrap();
    kv.put(&ctx, "big", vec![2; 1 << 20], None).await.unwrap();
    assert!(all.get(orphan).await.unwrap().is_some(), "its writer may still be under way");
    clock.advance(Duration::from_secs(7_200));
    kv.put(&ctx, "big", vec![3; 1 << 20], None).await.unwrap();
    assert!(all.get(orphan).await.unwrap().is_none());
    assert_eq!(kv.get(&ctx, "big").await.unwrap().unwrap().value, vec![3; 1 << 20]);
}

#[tokio::test]
async fn what_ended_leaves_the_bus_and_long_keys_stand_in_order_with_short_ones() {
    let (clock, ctx) = hands();
    let all = entries(Arc::new(clock.clone()));
    let kv = KeyValueOnEntries::new(all.clone());
    let mut keys: Vec<String> = (0..40).map(|n| format!("k{n:02}")).collect();
    keys.extend((0..7).map(|n| format!("k{n}5{}", "x".repeat(300))));
    for key in &keys {
        kv.put(&ctx, key, b"1".to_vec(), Some(Duration::from_secs(10))).await.unwrap();
    }
    keys.sort();
    let mut got: Vec<String> = Vec::new();
    loop {
        let page = kv.keys(&ctx, "k", got.last().map(String::as_str), 5).await.unwrap();
        if page.is_empty() {
            break;
        }
        got.extend(page);
    }
    assert_eq!(got, keys);
    clock.advance(Duration::from_secs(100));
    assert_eq!(kv.keys(&ctx, "", None, 100).await.unwrap(), Vec::<String>::new());
    assert_eq!(all.keys("").await.unwrap(), Vec::<String>::new(), "they are removed from the bus as well");
}

#[tokio::test]
async fn foreign_bytes_are_told_and_calls_end_with_their_deadline() -> Result<(), Error> {
    let (clock, ctx) = hands();
    let all = entries(Arc::new(clock.clone()));
    let kv = KeyValueOnEntries::new(all.clone());
    all.put("kv.local.me.k", b"not ours".to_vec().into(), None).await?;
    assert_eq!(kv.get(&ctx, "k").await.unwrap_err().code(), Code::STORE_CORRUPT);
    let late = ctx.with_timeout(Duration::from_secs(1));
    clock.advance(Duration::from_secs(1));
    assert_eq!(kv.get(&late, "k").await.unwrap_err().code(), Code::TIMED_OUT);
    ctx.cancel().cancel();
    assert_eq!(kv.put(&ctx, "k", Vec::new(), None).await.unwrap_err().code(), Code::CANCELLED);
    Ok(())
}
