//! Servers for the tests of the bus on NATS, and streams of a test's own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use am_pipeline::TokioClock;
use am_pipeline::bus::nats::{self, NatsOptions};
use am_pipeline::bus::{Area, Bus};

/// The servers that a variable names; says so when there are none, and fails when they are required.
pub fn servers(variable: &str) -> Option<Vec<String>> {
    match std::env::var(variable) {
        Ok(urls) if !urls.is_empty() => Some(urls.split(',').map(str::to_owned).collect()),
        _ => {
            let required = std::env::var("AM_TEST_REQUIRE").unwrap_or_default();
            let service = if variable.ends_with("CLUSTER") { "nats-cluster" } else { "nats" };
            let missed = !variable.ends_with("AUTH") && required.split(',').any(|r| r == service);
            assert!(!missed, "{variable} is not set, and {service} is required");
            eprintln!("skipped: {variable} names no server");
            None
        }
    }
}

/// Streams of a test's own on some servers, removed by [`Own::remove`].
pub struct Own {
    pub options: NatsOptions,
    js: async_nats::jetstream::Context,
}

impl Own {
    /// With small streams: so much fits into each.
    pub async fn new(urls: &[String], bytes: u64) -> Own {
        static TESTS: AtomicU64 = AtomicU64::new(0);
        let mut options = NatsOptions::at(urls.to_vec());
        let now = am_core::Clock::now(&TokioClock::default()).as_nanos() as u64 / 1_000;
        options.prefix =
            format!("t{:x}{:x}", (now ^ u64::from(std::process::id()) << 32) & 0xFFFF_FFFF_FFFF, TESTS.fetch_add(1, Ordering::Relaxed));
        options.answer_within = Duration::from_secs(5);
        for s in [&mut options.streams.readings, &mut options.streams.work, &mut options.streams.errors] {
            s.max_bytes = bytes;
        }
        let client = async_nats::ConnectOptions::new().retry_on_initial_connect().connect(urls).await.unwrap();
        Own { options, js: async_nats::jetstream::new(client) }
    }

    pub async fn open(&self) -> Bus {
        nats::open(self.options.clone(), Arc::new(TokioClock::default())).await.unwrap()
    }

    /// Past AM, as another program.
    pub fn js(&self) -> &async_nats::jetstream::Context {
        &self.js
    }

    pub fn stream(&self, area: Area) -> String {
        self.options.stream(area)
    }

    pub async fn remove(self) {
        for area in Area::ALL {
            let _ = self.js.delete_stream(self.options.stream(area)).await;
        }
        let _ = self.js.delete_stream(format!("KV_{}", self.options.bucket())).await;
    }
}
