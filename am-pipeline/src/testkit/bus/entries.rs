//! Small values with compare-and-set.

use std::sync::Arc;

use am_core::{Code, Error, Result as AmResult};
use bytes::Bytes;

use super::bench::Bench;
use crate::bus::{Bus, Entries, LARGEST_VALUE};

fn of(bus: &Bus) -> Result<Arc<dyn Entries>, String> {
    bus.entries.clone().ok_or_else(|| "there are no entries".into())
}

fn text(e: Error) -> String {
    format!("refused: {e}")
}

fn refused<T: std::fmt::Debug>(what: &str, r: AmResult<T>, code: Code) -> Result<(), String> {
    match r {
        Err(e) if e.code() == code => Ok(()),
        other => Err(format!("{what}: {other:?} instead of {code}")),
    }
}

pub(super) async fn value(b: &Bench) -> Result<(), String> {
    let (e, other, key) = (of(&b.bus)?, of(&b.second)?, format!("kit.{}", b.name));
    if e.get(&key).await.map_err(text)?.is_some() {
        return Err("a key that was never written has a value".into());
    }
    let mut before = 0;
    for n in 0..5u8 {
        let value = Bytes::from(vec![n; usize::from(n) * 1_000]);
        let revision = e.put(&key, value.clone(), None).await.map_err(text)?;
        let found = other.get(&key).await.map_err(text)?;
        match found {
            Some(f) if f.value == value && f.revision == revision && revision > before => before = revision,
            other => return Err(format!("revision {revision} was written after {before}, and {other:?} is there")),
        }
    }
    Ok(())
}

pub(super) async fn cas(b: &Bench) -> Result<(), String> {
    let (e, key) = (of(&b.bus)?, format!("kit.{}", b.name));
    let put = |v: &'static str, expected| e.put(&key, Bytes::from_static(v.as_bytes()), expected);
    refused("a write over a revision that never was", put("x", Some(7)).await, Code::CAS_MISMATCH)?;
    let one = put("one", Some(0)).await.map_err(text)?;
    refused("a second first write", put("x", Some(0)).await, Code::CAS_MISMATCH)?;
    let two = put("two", Some(one)).await.map_err(text)?;
    refused("a write over an older revision", put("x", Some(one)).await, Code::CAS_MISMATCH)?;
    refused("a write over a newer revision", put("x", Some(two + 1)).await, Code::CAS_MISMATCH)?;
    match e.get(&key).await.map_err(text)? {
        Some(f) if f.revision == two && f.value == "two" => Ok(()),
        other => Err(format!("{other:?} is there instead of revision {two}")),
    }
}

pub(super) async fn race(b: &Bench) -> Result<(), String> {
    let (e, other, key) = (of(&b.bus)?, of(&b.second)?, format!("kit.{}", b.name));
    let mut revision = 0;
    for round in 0..5u8 {
        let write = |n: u8, e: Arc<dyn Entries>| {
            let key = key.clone();
            async move { e.put(&key, Bytes::from(vec![round, n]), Some(revision)).await }
        };
        let (a, b, c, d) = tokio::join!(write(0, e.clone()), write(1, other.clone()), write(2, e.clone()), write(3, other.clone()));
        let results = [a, b, c, d];
        let winners: Vec<(u8, u64)> = (0..).zip(&results).filter_map(|(n, r)| Some((n, *r.as_ref().ok()?))).collect();
        for r in results.iter().filter_map(|r| r.as_ref().err()) {
            if r.code() != Code::CAS_MISMATCH {
                return Err(format!("a loser is told {r}"));
            }
        }
        let found = e.get(&key).await.map_err(text)?;
        match (winners.as_slice(), found) {
            ([(n, won)], Some(f)) if f.revision == *won && f.value == vec![round, *n] => revision = *won,
            (winners, found) => return Err(format!("round {round}: {winners:?} won, and {found:?} is there")),
        }
    }
    Ok(())
}

pub(super) async fn delete(b: &Bench) -> Result<(), String> {
    let (e, key) = (of(&b.bus)?, format!("kit.{}", b.name));
    let put = |expected| e.put(&key, Bytes::from_static(b"v"), expected);
    if e.delete(&key, None).await.map_err(text)? || e.delete(&key, Some(0)).await.map_err(text)? {
        return Err("there was something to remove where nothing was written".into());
    }
    let one = put(None).await.map_err(text)?;
    refused("removing another revision", e.delete(&key, Some(one + 9)).await, Code::CAS_MISMATCH)?;
    refused("removing what should not be there", e.delete(&key, Some(0)).await, Code::CAS_MISMATCH)?;
    if !e.delete(&key, Some(one)).await.map_err(text)? || e.get(&key).await.map_err(text)?.is_some() {
        return Err("a removed key is still there".into());
    }
    refused("writing over a removed revision", put(Some(one)).await, Code::CAS_MISMATCH)?;
    let two = put(Some(0)).await.map_err(text)?;
    if two <= one {
        return Err(format!("the revision went from {one} to {two} over a removal"));
    }
    match (e.delete(&key, None).await.map_err(text)?, e.delete(&key, None).await.map_err(text)?) {
        (true, false) => Ok(()),
        other => Err(format!("removing twice says {other:?}")),
    }
}

pub(super) async fn keys(b: &Bench) -> Result<(), String> {
    let (e, base) = (of(&b.bus)?, format!("kit.{}", b.name));
    for leaf in ["a", "b", "b.c", "bc", "d.e.f", "=Zw"] {
        e.put(&format!("{base}.{leaf}"), Bytes::from_static(b"v"), None).await.map_err(text)?;
    }
    e.put(&format!("{base}.gone"), Bytes::from_static(b"v"), None).await.map_err(text)?;
    e.delete(&format!("{base}.gone"), None).await.map_err(text)?;
    let list = |below: &str| {
        let prefix = if below.is_empty() { base.clone() } else { format!("{base}.{below}") };
        let e = &e;
        async move { e.keys(&prefix).await.map_err(text) }
    };
    let want = |leaves: &[&str]| leaves.iter().map(|l| format!("{base}.{l}")).collect::<Vec<_>>();
    let mut all = want(&["=Zw", "a", "b", "b.c", "bc", "d.e.f"]);
    all.sort();
    for (below, want) in [("", all), ("b", want(&["b", "b.c"])), ("d.e", want(&["d.e.f"])), ("x", Vec::new()), ("gone", Vec::new())] {
        let got = list(below).await?;
        if got != want {
            return Err(format!("below {below:?} there is {got:?} instead of {want:?}"));
        }
    }
    let everything = e.keys("").await.map_err(text)?;
    if everything.iter().filter(|k| k.starts_with(&base)).count() == 6 { Ok(()) } else { Err("the empty prefix misses some".into()) }
}

pub(super) async fn limits(b: &Bench) -> Result<(), String> {
    let (e, key) = (of(&b.bus)?, format!("kit.{}", b.name));
    for bad in ["", ".", "a.", ".a", "a..b", "a b", "a*", ">", "ä", "a/b", &"k".repeat(513)] {
        refused(&format!("the key {bad:?}"), e.put(bad, Bytes::new(), None).await, Code::BAD_ID)?;
        refused(&format!("the key {bad:?}"), e.get(bad).await, Code::BAD_ID)?;
        refused(&format!("the key {bad:?}"), e.delete(bad, None).await, Code::BAD_ID)?;
    }
    refused("a value that is too large", e.put(&key, Bytes::from(vec![1; LARGEST_VALUE + 1]), None).await, Code::TOO_LARGE)?;
    let value = Bytes::from(vec![7; LARGEST_VALUE]);
    e.put(&key, value.clone(), None).await.map_err(text)?;
    let found = e.get(&key).await.map_err(text)?.map(|f| f.value == value);
    e.delete(&key, None).await.map_err(text)?;
    let long = format!("{key}.{}", "k".repeat(511 - key.len()));
    e.put(&long, Bytes::new(), None).await.map_err(text)?;
    if found == Some(true) { Ok(()) } else { Err("the largest value did not come back".into()) }
}
