//! `postgres:` against the conformance kit, at every level that one server can show.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code may fail loudly, and says what it skips")]

mod postgres_server;

use std::sync::Arc;

use am_pipeline::TokioClock;
use am_store::postgres::{Extension, PostgresOptions};
use am_store::testkit::run_some;

use postgres_server::{Database, InSchema, options, plain};

async fn passes(options: PostgresOptions) {
    let Some(db) = Database::new().await else { return };
    let only = std::env::var("AM_CASE").unwrap_or_default();
    let make = |setting| Ok(InSchema::new(setting, &db.url, options.clone()));
    let report = run_some(make, Arc::new(TokioClock::default()), |c| c.id.starts_with(&only)).await;
    println!("{report}");
    assert!(report.passed(), "{report}");
    assert!(!only.is_empty() || report.verdicts.len() >= 60, "the kit has only {} cases", report.verdicts.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_with_timescale_keeps_every_promise_of_the_kit() {
    let mut o = options("am");
    o.timescale = Extension::Auto;
    passes(o).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_alone_keeps_every_promise_of_the_kit() {
    passes(plain("am")).await;
}

/// Behind row-level security, by `COPY` and with arrays, however small the batches are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p08_the_applications_role_keeps_every_promise_of_the_kit() {
    let mut o = options("am");
    o.role = Some("am_test_app".into());
    o.copy_from_readings = 20;
    passes(o).await;
}
