//! `memory:` against the conformance kit.

use std::sync::Arc;

use am_pipeline::TokioClock;
use am_store::memory::{self, MemoryOptions};
use am_store::testkit::{Setting, Volatile, run_all};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_every_promise_of_the_kit() {
    let make = |s: Setting| Ok(Volatile::new(memory::open(MemoryOptions::default(), s.clock, s.catalogue)));
    let report = run_all(make, Arc::new(TokioClock::default())).await;
    println!("{report}");
    assert!(report.passed(), "{report}");
    assert!(report.verdicts.len() >= 60, "the kit has only {} cases", report.verdicts.len());
}
