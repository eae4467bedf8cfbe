//! The kit itself: honest backends pass, every broken one is caught.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use am_core::{BoxFuture, Clock, Monotonic, Timestamp};
use am_pipeline::TokioClock;
use am_store::testkit::broken::{FLAWS, Reopened};
use am_store::testkit::{Ending, Setting, cases, run_all, run_some};

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
