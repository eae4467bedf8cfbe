//! The key-value space on Redis against the kit's cases, and what is particular to it. Needs a server: `AM_TEST_REDIS`.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code may fail loudly and says what it skips")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use am_core::{Clock, Code, Ctx, ReadingId, Scope};
use am_pipeline::TokioClock;
use am_store::memory::{self, MemoryOptions};
use am_store::redis::{self, Durability, Redis, RedisOptions};
use am_store::testkit::key_value;
use am_store::traits::KeyValue;
use am_store::{Store, StoreOptions};

/// Held while a test uses the server; the one that kills it waits for all others.
static SERVER: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

/// The server to test with; `None` says why the test does nothing.
fn server() -> Option<String> {
    let url = std::env::var("AM_TEST_REDIS").ok();
    let required = std::env::var("AM_TEST_REQUIRE").is_ok_and(|r| r.split(',').any(|s| s.trim() == "redis"));
    assert!(url.is_some() || !required, "AM_TEST_REQUIRE has redis, but AM_TEST_REDIS is not set");
    if url.is_none() {
        println!("skipped: AM_TEST_REDIS is not set");
    }
    url
}

/// Keys of nobody else.
fn fresh(url: &str) -> RedisOptions {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let run = ReadingId::v7(TokioClock::default().now()).unwrap();
    RedisOptions::new(url).prefix(format!("am-test:{run}:{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

fn ctx() -> Ctx {
    Ctx::new(Scope::local(), Arc::new(TokioClock::default()))
}

async fn opened(url: &str) -> Arc<Redis> {
    redis::open(fresh(url)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_on_redis_pass_the_kit() {
    let Some(_) = server() else { return };
    let _up = SERVER.read().await;
    let make: key_value::Make = |_| {
        Box::pin(async {
            let url = std::env::var("AM_TEST_REDIS").unwrap_or_default();
            Ok(redis::open(fresh(&url)).await? as Arc<dyn KeyValue>)
        })
    };
    let report = key_value::run("redis", make, Arc::new(TokioClock::default())).await;
    println!("{report}");
    assert!(report.passed() && report.verdicts.len() >= 9, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_several_connections_count_every_write_once() {
    let Some(url) = server() else { return };
    let _up = SERVER.read().await;
    let options = fresh(&url);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let kv = redis::open(options.clone()).await.unwrap();
        tasks.spawn(async move {
            let mut won = 0u64;
            while won < 50 {
                let held = kv.get(&ctx(), "n").await.unwrap().map_or(0, |v| v.version);
                match kv.compare_and_put(&ctx(), "n", held, vec![0], None).await {
                    Ok(version) => {
                        assert_eq!(version, held + 1);
                        won += 1;
                    }
                    Err(e) => assert_eq!(e.code(), Code::CAS_MISMATCH),
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let kv = redis::open(options).await.unwrap();
    assert_eq!(kv.get(&ctx(), "n").await.unwrap().unwrap().version, 200);
}

#[tokio::test]
async fn redis_lets_go_of_what_ended_and_the_list_follows() {
    let Some(url) = server() else { return };
    let _up = SERVER.read().await;
    let kv = opened(&url).await;
    kv.put(&ctx(), "short", b"1".to_vec(), Some(Duration::from_millis(50))).await.unwrap();
    kv.put(&ctx(), "long", b"1".to_vec(), Some(Duration::from_secs(3_600))).await.unwrap();
    let clock = TokioClock::default();
    for _ in 0..100 {
        if kv.get(&ctx(), "short").await.unwrap().is_none() {
            break;
        }
        clock.sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(kv.keys(&ctx(), "", None, 10).await.unwrap(), ["long"]);
    assert_eq!(kv.compare_and_put(&ctx(), "short", 0, b"2".to_vec(), None).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_are_listed_in_order_in_steps() {
    let Some(url) = server() else { return };
    let _up = SERVER.read().await;
    let kv = opened(&url).await;
    let mut tasks = tokio::task::JoinSet::new();
    for part in 0..10 {
        let kv = kv.clone();
        tasks.spawn(async move {
            for n in 0..500 {
                // Most end at once, so that a page has to look behind many that are gone.
                let ttl = (n % 5 != 0).then_some(Duration::from_millis(1));
                kv.put(&ctx(), &format!("p/{:05}", part * 500 + n), Vec::new(), ttl).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    // The server's clock says when the last ones end.
    TokioClock::default().sleep(Duration::from_millis(50)).await;
    let want: Vec<String> = (0..5_000).filter(|n| n % 5 == 0).map(|n| format!("p/{n:05}")).collect();
    assert_eq!(kv.keys(&ctx(), "p/", None, 10_000).await.unwrap(), want);
    assert_eq!(kv.keys(&ctx(), "p/", Some("p/02500"), 3).await.unwrap(), ["p/02505", "p/02510", "p/02515"]);
}

#[tokio::test]
async fn a_store_keeps_its_values_on_redis_and_its_readings_at_home() {
    let Some(url) = server() else { return };
    let _up = SERVER.read().await;
    let clock = Arc::new(TokioClock::default());
    let catalogue = am_schema::Catalogue::builtin();
    let backend = memory::open(MemoryOptions::default(), clock.clone(), catalogue.clone());
    let (home, kv) = (backend.key_value.clone(), opened(&url).await);
    let store = Store::of(backend, clock, catalogue).with_key_value(kv.clone());
    store.backend().key_value.put(&ctx(), "k", b"1".to_vec(), None).await.unwrap();
    assert!(kv.get(&ctx(), "k").await.unwrap().is_some());
    assert!(home.get(&ctx(), "k").await.unwrap().is_none());
    let _ = StoreOptions::default();
}

#[tokio::test]
async fn the_server_tells_how_durable_it_is() {
    let Some(url) = server() else { return };
    let _up = SERVER.read().await;
    let told = opened(&url).await.durability(&ctx()).await.unwrap();
    println!("durability: {told:?}");
    assert_ne!(told, Durability::Untold);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_within_the_time_and_without_the_password() {
    let mut options = RedisOptions::new("redis://ada:hunter2@127.0.0.1:1");
    options.connect_ms = 300;
    let e = redis::open(options).await.unwrap_err();
    assert_eq!(e.code(), Code::STORE_UNAVAILABLE, "{e:?}");
    assert!(!format!("{e:?}").contains("hunter2"), "{e:?}");
    for bad in ["", "http://x", "am.db"] {
        let e = redis::open(RedisOptions::new(bad)).await.unwrap_err();
        assert_eq!(e.code(), Code::BAD_STORE_URL, "{bad}: {e:?}");
    }
    assert_eq!(redis::open(RedisOptions::default().prefix("a{b")).await.unwrap_err().code(), Code::BAD_STORE_URL);
}

#[tokio::test]
async fn a_wrong_password_is_refused_by_its_code() {
    let Some(url) = server() else { return };
    let _up = SERVER.read().await;
    let mut info = url.replacen("redis://", "redis://nobody:hunter2@", 1);
    if url.contains('@') {
        info = url.clone();
    }
    let e = redis::open(RedisOptions::new(info)).await.unwrap_err();
    assert_eq!(e.code(), Code::STORE_REFUSED, "{e:?}");
    assert!(!format!("{e:?}").contains("hunter2"), "{e:?}");
}

/// A kill of the server is only tried where the services can be told to (`AM_TEST_SERVICES_CTL`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_found_again_and_keeps_what_its_log_has() {
    let Some(url) = server() else { return };
    let _up = SERVER.write().await;
    let Ok(ctl) = std::env::var("AM_TEST_SERVICES_CTL") else {
        println!("skipped: AM_TEST_SERVICES_CTL is not set");
        return;
    };
    let kv = opened(&url).await;
    let synced = kv.durability(&ctx()).await.unwrap() == Durability::Synced;
    let writer = tokio::spawn({
        let kv = kv.clone();
        async move {
            let (mut acknowledged, mut failed) = (Vec::new(), 0);
            let clock = TokioClock::default();
            for n in 0.. {
                let within = ctx().with_timeout(Duration::from_secs(2));
                match kv.put(&within, &format!("k{n:06}"), vec![1; 100], None).await {
                    Ok(version) => {
                        assert_eq!(version, 1);
                        acknowledged.push(format!("k{n:06}"));
                    }
                    Err(e) => {
                        assert!(e.advice().is_worthwhile(), "{e:?}");
                        failed += 1;
                        clock.sleep(Duration::from_millis(20)).await;
                    }
                }
                if failed > 0 && acknowledged.last().is_some_and(|k| *k == format!("k{n:06}")) {
                    break;
                }
            }
            (acknowledged, failed)
        }
    });
    TokioClock::default().sleep(Duration::from_millis(300)).await;
    let status = tokio::process::Command::new("sh").args(["-c", &format!("{ctl} restart redis --kill")]).status().await.unwrap();
    assert!(status.success());
    let (acknowledged, failed) = writer.await.unwrap();
    println!("{} acknowledged, {failed} refused while it was away; synced: {synced}", acknowledged.len());
    assert!(failed > 0, "the server was away");
    if synced {
        let mut there = Vec::new();
        loop {
            let page = kv.keys(&ctx(), "", there.last().map(|k: &String| k.as_str()), 10_000).await.unwrap();
            if page.is_empty() {
                break;
            }
            there.extend(page);
        }
        assert!(acknowledged.iter().all(|k| there.binary_search(k).is_ok()), "what was acknowledged is there");
    }
}
