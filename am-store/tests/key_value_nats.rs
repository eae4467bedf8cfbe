//! The key-value space on NATS KV against the kit's cases. Needs a server with JetStream: `AM_TEST_NATS`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code may fail loudly and says what it skips")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use am_core::{Clock, Code, Ctx, Error, ReadingId, Result, Scope};
use am_pipeline::TokioClock;
use am_pipeline::bus::Entries;
use am_pipeline::bus::nats::{self, NatsOptions};
use am_store::entries::KeyValueOnEntries;
use am_store::testkit::key_value;
use am_store::traits::KeyValue;
use tokio::sync::OnceCell;

/// The server to test with; `None` says why the test does nothing.
fn server() -> Option<String> {
    let url = std::env::var("AM_TEST_NATS").ok();
    let required = std::env::var("AM_TEST_REQUIRE").is_ok_and(|r| r.split(',').any(|s| s.trim() == "nats"));
    assert!(url.is_some() || !required, "AM_TEST_REQUIRE has nats, but AM_TEST_NATS is not set");
    if url.is_none() {
        println!("skipped: AM_TEST_NATS is not set");
    }
    url
}

/// The entries of a bus of this run's own; streams are made once for all cases.
async fn bucket() -> Result<Arc<dyn Entries>> {
    static BUCKET: OnceCell<Arc<dyn Entries>> = OnceCell::const_new();
    let open = async || {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::default());
        let url = std::env::var("AM_TEST_NATS").unwrap_or_default();
        let mut options = NatsOptions::at([url]);
        let run = ReadingId::v7(clock.now())?.to_string();
        options.prefix = format!("kv{}", run.split('-').next_back().unwrap_or_default());
        options.bucket = format!("{}-state", options.prefix);
        for stream in [&mut options.streams.readings, &mut options.streams.work, &mut options.streams.errors] {
            (stream.replicas, stream.max_bytes) = (1, 1 << 20);
        }
        let bus = nats::open(options, clock).await?;
        bus.entries.ok_or_else(|| Error::new(Code::NOT_FOUND, "this bus has no entries"))
    };
    BUCKET.get_or_try_init(open).await.cloned()
}

/// A part of the bucket of its own: every case begins with nothing there.
struct Part(Arc<dyn Entries>, String);

impl Part {
    fn inner(&self, key: &str) -> String {
        if key.is_empty() { self.1.clone() } else { format!("{}.{key}", self.1) }
    }
}

#[async_trait::async_trait]
impl Entries for Part {
    async fn get(&self, key: &str) -> Result<Option<am_pipeline::bus::Entry>> {
        self.0.get(&self.inner(key)).await
    }
    async fn put(&self, key: &str, value: bytes::Bytes, expected: Option<u64>) -> Result<u64> {
        self.0.put(&self.inner(key), value, expected).await
    }
    async fn delete(&self, key: &str, expected: Option<u64>) -> Result<bool> {
        self.0.delete(&self.inner(key), expected).await
    }
    async fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        let before = format!("{}.", self.1);
        let all = self.0.keys(&self.inner(prefix)).await?;
        Ok(all.into_iter().filter_map(|k| k.strip_prefix(&before).map(str::to_owned)).collect())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_on_nats_pass_the_kit_and_are_seen_at_once() {
    let Some(_) = server() else { return };
    let make: key_value::Make = |_| {
        Box::pin(async {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let part = Part(bucket().await?, format!("c{}", NEXT.fetch_add(1, Ordering::Relaxed)));
            Ok(Arc::new(KeyValueOnEntries::new(Arc::new(part))) as Arc<dyn KeyValue>)
        })
    };
    let report = key_value::run("entries on nats", make, Arc::new(TokioClock::default())).await;
    println!("{report}");
    assert!(report.passed() && report.verdicts.len() >= 9, "{report}");
    what_one_wrote_the_other_sees_at_once().await;
}

/// In the test above, because a connection belongs to the runtime that made it.
async fn what_one_wrote_the_other_sees_at_once() {
    let ctx = Ctx::new(Scope::local(), Arc::new(TokioClock::default()));
    let entries = bucket().await.unwrap();
    let (a, b) = (KeyValueOnEntries::new(entries.clone()), KeyValueOnEntries::new(entries));
    for n in 1..=20u64 {
        assert_eq!(a.put(&ctx, "shared", n.to_string().into_bytes(), None).await.unwrap(), n);
        let seen = b.get(&ctx, "shared").await.unwrap().unwrap();
        assert_eq!((seen.version, seen.value), (n, n.to_string().into_bytes()));
    }
}
