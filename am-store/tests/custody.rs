//! The kit itself: honest backends pass, every broken one is caught.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use am_core::{BoxFuture, Clock, Code, DeviceId, ManualClock, Monotonic, Result, Scope, Timestamp};
use am_pipeline::TokioClock;
use am_schema::{Catalogue, Reading, v1};
use am_store::Store;
use am_store::memory::{self, MemoryOptions};
use am_store::model::ScanQuery;
use am_store::testkit::broken::{FLAWS, Reopened};
use am_store::testkit::{Ending, Setting, Subject, Volatile, cases, run_all, run_some};
use am_store::traits::Backend;

fn watch() -> Arc<TokioClock> {
    Arc::new(TokioClock::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wrapper_without_a_flaw_passes_every_case() {
    let report = run_all(|s: Setting| Ok(Reopened::new(s, None)), watch()).await;
    assert!(report.passed(), "{report}");
    assert!(report.durable);
}

/// A watch that loses patience sooner: a broken backend may never answer.
struct Hurried(TokioClock);

impl Clock for Hurried {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn monotonic(&self) -> Monotonic {
        self.0.monotonic()
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep(d / 12)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_broken_backend_is_caught_by_the_case_that_is_there_for_it() {
    let watch = Arc::new(Hurried(TokioClock::default()));
    let mut missed = Vec::new();
    for known in FLAWS {
        let make = |s: Setting| Ok(Reopened::new(s, Some(known.flaw)));
        let report = run_some(make, watch.clone(), |c| c.id == known.caught_by).await;
        match report.verdicts.as_slice() {
            [v] if matches!(v.result, Ending::Failed(_)) => println!("{:?}: {report}", known.flaw),
            _ => missed.push(format!("{:?} ({}) is not caught by {}: {report}", known.flaw, known.what, known.caught_by)),
        }
    }
    assert!(FLAWS.len() >= 30);
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// The cases of one promise, on both backends.
async fn promise(id: &str) {
    let clock = watch();
    let memory = |s: Setting| Ok(Volatile::new(memory::open(MemoryOptions::default(), s.clock, s.catalogue)));
    let report = run_some(memory, clock.clone(), |c| c.promise == id).await;
    assert!(report.passed(), "{report}");
    #[cfg(feature = "sqlite")]
    {
        let report = run_some(on_disk::make, clock, |c| c.promise == id).await;
        assert!(report.passed() && report.durable, "{report}");
    }
}

#[cfg(feature = "sqlite")]
mod on_disk {
    use super::*;
    use am_store::sqlite::{self, SqliteOptions};

    pub(super) struct OnDisk(Setting, tempfile::TempDir);

    pub(super) fn make(s: Setting) -> Result<OnDisk> {
        Ok(OnDisk(s, tempfile::tempdir().map_err(|e| am_core::Error::io("test", "a folder", e))?))
    }

    #[async_trait::async_trait]
    impl Subject for OnDisk {
        async fn open(&self) -> Result<Backend> {
            sqlite::open(SqliteOptions::new(self.1.path().join("am.db")), self.0.clock.clone(), self.0.catalogue.clone()).await
        }

        fn durable(&self) -> bool {
            true
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p02_nothing_is_dropped_silently() {
    promise("P02").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p04_taking_in_twice_adds_nothing() {
    promise("P04").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p05_derived_readings_name_their_inputs_and_give_way_to_better_ones() {
    promise("P05").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p08_tenants_never_meet() {
    promise("P08").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p09_bad_questions_are_refused_by_name() {
    promise("P09").await;
}

#[tokio::test]
async fn custody_p10_a_store_in_memory_refuses_beyond_its_bound_and_keeps_what_it_acknowledged() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_772_323_200)));
    let backend = memory::open(MemoryOptions::default().max_bytes(300_000), clock.clone(), Catalogue::builtin());
    let store = Store::of(backend, clock, Catalogue::builtin());
    let mine = store.scoped(&Scope::local());
    let note = store.catalogue().get("external.memo.raw").unwrap();
    let device = DeviceId::new("phone").unwrap();
    let reading = |n: i64| {
        let payload = v1::Note { text: format!("note {n} {}", "x".repeat(500)), ..Default::default() };
        Reading::builder(note, device.clone(), Timestamp::from_second(n)).payload(&payload).build().unwrap()
    };
    let mut acknowledged = 0;
    let refusal = loop {
        let batch: Vec<Reading> = (0..5).map(|i| reading(acknowledged + i)).collect();
        match mine.put(batch).await {
            Ok(out) => acknowledged += out.readings.len() as i64,
            Err(e) => break e,
        }
        assert!(acknowledged < 10_000, "300 kB hold 5 MB of texts");
    };
    assert_eq!(refusal.code(), Code::STORE_FULL);
    assert!(acknowledged > 10);
    let there = mine.scan(&ScanQuery::default()).await.unwrap().items;
    assert_eq!(there.len() as i64, acknowledged, "a refused batch leaves nothing");
    assert_eq!(mine.counts().await.unwrap().received, acknowledged as u64);
    let big = mine.set_value("k", vec![0; 400_000], None).await.unwrap_err();
    assert_eq!(big.code(), Code::STORE_FULL);
    assert_eq!(mine.value("k").await.unwrap(), None);
}

#[test]
fn cases_have_ids_of_their_own_and_name_a_promise() {
    let ids: HashSet<&str> = cases().map(|c| c.id).collect();
    assert_eq!(ids.len(), cases().count());
    for c in cases() {
        assert!(c.promise.starts_with('P') && c.promise.len() == 3, "{c:?}");
        assert!(!c.what.ends_with('.') && c.what.chars().next().is_some_and(|f| !f.is_uppercase()), "{c:?}: {}", c.what);
    }
    for known in FLAWS {
        assert!(ids.contains(known.caught_by), "{known:?} names an unknown case");
    }
}
