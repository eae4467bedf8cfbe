//! Small values with a time to live.

use std::time::Duration;

use am_core::Code;

use crate::testkit::kit::{Kit, Outcome, holds, refused, same, same_list, scope};
use crate::traits::Versioned;

cases! {
    "kv.round_trip" "P01" "a value comes back, with how often it was written" => round_trip;
    "kv.ttl" "P01" "a value is gone when its time is over, by the clock of the call" => ttl;
    "kv.ttl_renewed" "P01" "writing again sets the time anew" => ttl_renewed;
    "kv.compare_and_put" "P01" "of two writers that read the same version one wins" => compare_and_put;
    "kv.delete" "P01" "a deleted value is gone, and says whether it was there" => delete;
    "kv.keys" "P01" "keys are listed by prefix, in order, page by page" => keys;
    "kv.bounds" "P09" "keys and values out of bounds are refused" => bounds;
    "kv.scopes" "P08" "the same key of two people is two values" => scopes;
}

async fn round_trip(kit: Kit) -> Outcome {
    let kv = &kit.backend().key_value;
    same("nothing", kv.get(&kit.ctx(), "k").await?, None)?;
    for (n, value) in [b"a".to_vec(), Vec::new(), vec![0, 255, 10]].into_iter().enumerate() {
        let version = n as u64 + 1;
        same("the version", kv.put(&kit.ctx(), "k", value.clone(), None).await?, version)?;
        same("the value", kv.get(&kit.ctx(), "k").await?, Some(Versioned { value, version }))?;
    }
    let odd = "ключ/with spaces\u{1f600}%_";
    kv.put(&kit.ctx(), odd, b"x".to_vec(), None).await?;
    same("an odd key", kv.get(&kit.ctx(), odd).await?.map(|v| v.value), Some(b"x".to_vec()))?;
    let big = vec![7; 1 << 20];
    kv.put(&kit.ctx(), "big", big.clone(), None).await?;
    same("1 MiB", kv.get(&kit.ctx(), "big").await?.map(|v| v.value.len()), Some(big.len()))
}

async fn ttl(kit: Kit) -> Outcome {
    let kv = &kit.backend().key_value;
    kv.put(&kit.ctx(), "short", b"1".to_vec(), Some(Duration::from_secs(10))).await?;
    kv.put(&kit.ctx(), "long", b"2".to_vec(), Some(Duration::from_secs(100))).await?;
    kv.put(&kit.ctx(), "ever", b"3".to_vec(), None).await?;
    kit.clock().advance(Duration::from_nanos(9_999_999_999));
    holds("it is there until then", kv.get(&kit.ctx(), "short").await?.is_some())?;
    kit.clock().advance(Duration::from_nanos(1));
    same("when its time is over", kv.get(&kit.ctx(), "short").await?, None)?;
    same_list("keys", &kv.keys(&kit.ctx(), "", None, 10).await?, &["ever".to_owned(), "long".to_owned()])?;
    kit.backend().maintenance.tidy().await?;
    same("after upkeep", kv.get(&kit.ctx(), "short").await?, None)?;
    holds("the others are there", kv.get(&kit.ctx(), "long").await?.is_some() && kv.get(&kit.ctx(), "ever").await?.is_some())?;
    same("it counts as absent", kv.compare_and_put(&kit.ctx(), "short", 0, b"new".to_vec(), None).await?, 1)?;
    kit.clock().advance(Duration::from_secs(1_000_000));
    same_list("keys in the end", &kv.keys(&kit.ctx(), "", None, 10).await?, &["ever".to_owned(), "short".to_owned()])
}

async fn ttl_renewed(kit: Kit) -> Outcome {
    let kv = &kit.backend().key_value;
    kv.put(&kit.ctx(), "k", b"1".to_vec(), Some(Duration::from_secs(10))).await?;
    kit.clock().advance(Duration::from_secs(8));
    kv.put(&kit.ctx(), "k", b"2".to_vec(), Some(Duration::from_secs(10))).await?;
    kit.clock().advance(Duration::from_secs(8));
    same("the renewed value", kv.get(&kit.ctx(), "k").await?.map(|v| v.value), Some(b"2".to_vec()))?;
    kv.put(&kit.ctx(), "k", b"3".to_vec(), None).await?;
    kit.clock().advance(Duration::from_secs(80));
    same("without an end", kv.get(&kit.ctx(), "k").await?.map(|v| v.value), Some(b"3".to_vec()))
}

async fn compare_and_put(kit: Kit) -> Outcome {
    let kv = &kit.backend().key_value;
    refused("of an absent key", kv.compare_and_put(&kit.ctx(), "k", 1, b"x".to_vec(), None).await, Code::CAS_MISMATCH)?;
    same("the first write", kv.compare_and_put(&kit.ctx(), "k", 0, b"1".to_vec(), None).await?, 1)?;
    refused("another first write", kv.compare_and_put(&kit.ctx(), "k", 0, b"x".to_vec(), None).await, Code::CAS_MISMATCH)?;
    let (ctx_a, ctx_b) = (kit.ctx(), kit.ctx());
    let (a, b) =
        tokio::join!(kv.compare_and_put(&ctx_a, "k", 1, b"a".to_vec(), None), kv.compare_and_put(&ctx_b, "k", 1, b"b".to_vec(), None));
    holds("one of two wins", a.is_ok() != b.is_ok())?;
    let want = if a.is_ok() { b"a" } else { b"b" };
    same("the value", kv.get(&kit.ctx(), "k").await?, Some(Versioned { value: want.to_vec(), version: 2 }))
}

async fn delete(kit: Kit) -> Outcome {
    let kv = &kit.backend().key_value;
    same("what is not there", kv.delete(&kit.ctx(), "k").await?, false)?;
    kv.put(&kit.ctx(), "k", b"1".to_vec(), None).await?;
    same("what is there", kv.delete(&kit.ctx(), "k").await?, true)?;
    same("afterwards", kv.get(&kit.ctx(), "k").await?, None)?;
    same("again", kv.delete(&kit.ctx(), "k").await?, false)
}

async fn keys(kit: Kit) -> Outcome {
    let kv = &kit.backend().key_value;
    let names = ["a", "a/1", "a/10", "a/2", "a0", "b/1", "a_x", "a%"];
    for k in names {
        kv.put(&kit.ctx(), k, Vec::new(), None).await?;
    }
    let mut sorted: Vec<String> = names.iter().map(|k| (*k).to_owned()).collect();
    sorted.sort();
    same_list("all", &kv.keys(&kit.ctx(), "", None, 100).await?, &sorted)?;
    for prefix in ["a", "a/", "a_", "a%", "c", "b/1"] {
        let want: Vec<String> = sorted.iter().filter(|k| k.starts_with(prefix)).cloned().collect();
        same_list(&format!("under {prefix:?}"), &kv.keys(&kit.ctx(), prefix, None, 100).await?, &want)?;
        let mut got: Vec<String> = Vec::new();
        for _ in 0..8 {
            let page = kv.keys(&kit.ctx(), prefix, got.last().map(String::as_str), 2).await?;
            got.extend(page);
        }
        same_list(&format!("under {prefix:?}, two at a time"), &got, &want)?;
    }
    Ok(())
}

async fn bounds(kit: Kit) -> Outcome {
    let kv = &kit.backend().key_value;
    for key in [String::new(), "k".repeat(513), "a\0b".into()] {
        refused("a key out of bounds", kv.put(&kit.ctx(), &key, Vec::new(), None).await, Code::BAD_QUERY)?;
    }
    kv.put(&kit.ctx(), &"k".repeat(512), Vec::new(), None).await?;
    refused("a value out of bounds", kv.put(&kit.ctx(), "k", vec![0; (1 << 20) + 1], None).await, Code::TOO_LARGE)
}

async fn scopes(kit: Kit) -> Outcome {
    let kv = &kit.backend().key_value;
    let bob = kit.ctx_of(scope("acme", "bob"));
    kv.put(&kit.ctx(), "k", b"ada".to_vec(), None).await?;
    kv.put(&kit.ctx(), "mine", b"ada".to_vec(), None).await?;
    same("bob's first write", kv.put(&bob, "k", b"bob".to_vec(), None).await?, 1)?;
    same("ada's", kv.get(&kit.ctx(), "k").await?.map(|v| v.value), Some(b"ada".to_vec()))?;
    same_list("bob's keys", &kv.keys(&bob, "", None, 10).await?, &["k".to_owned()])?;
    same("bob deletes ada's", kv.delete(&bob, "mine").await?, false)?;
    holds("ada's is there", kv.get(&kit.ctx(), "mine").await?.is_some())
}
