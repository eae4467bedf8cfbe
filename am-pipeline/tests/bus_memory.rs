//! The memory bus passes the cases for buses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use am_pipeline::TokioClock;
use am_pipeline::bus::memory::{self, MemoryBusOptions};
use am_pipeline::testkit;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_bus_holds_the_cases() {
    let bus = memory::open(MemoryBusOptions::default(), Arc::new(TokioClock::default()));
    testkit::hold(&testkit::bus(|| std::future::ready(bus.clone())).await);
}
