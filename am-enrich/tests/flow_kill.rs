//! A process that takes in blocks and runs the motion flow is killed again and again; what is derived is as if it never was.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod series;
mod signal;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use am_core::{Clock, Scope};
use am_enrich::motion::{ACTIVITY, RAW, WINDOWED};
use am_pipeline::{Jitter, TokioClock};
use am_schema::Catalogue;
use am_store::model::{FeedEvent, FeedQuery, Generations};
use am_store::runner::RunnerOptions;
use am_store::traits::DeadLetterQuery;
use am_store::{Store, StoreOptions};
use signal::{all, memory, runner};

/// More blocks than are taken in between the kills; what comes on top is at the end.
const PLENTY: usize = 1_000_000;

fn worker() -> PathBuf {
    // target/<profile>/deps/flow_kill-… -> target/<profile>/examples/flow_series; built here, so that it is never an older one.
    let deps = std::env::current_exe().unwrap();
    let profile = deps.parent().and_then(Path::parent).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "-q", "-p", "am-enrich", "--example", "flow_series"]).arg("--target-dir").arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().unwrap().success());
    let file = profile.join("examples/flow_series");
    assert!(file.is_file());
    file
}

async fn open(path: &Path) -> Store {
    let clock = Arc::new(TokioClock::default());
    Store::open(&format!("sqlite:{}", path.display()), StoreOptions::default(), clock, Catalogue::builtin()).await.unwrap()
}

#[tokio::test]
async fn custody_p01_custody_p02_custody_p05_a_flow_that_is_killed_derives_what_one_that_is_not_derives() {
    let loops: u32 = std::env::var("AM_KILL_LOOPS").ok().and_then(|v| v.parse().ok()).unwrap_or(50);
    let (clock, mut dice) = (TokioClock::default(), Jitter::seeded(20_260_301));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("am.db");
    let worker = worker();
    for _ in 0..loops {
        let mut child = Command::new(&worker).arg(&path).arg(PLENTY.to_string()).stdout(Stdio::null()).spawn().unwrap();
        clock.sleep(Duration::from_micros((dice.unit() * 220_000.0) as u64 + 5_000)).await;
        assert!(child.try_wait().unwrap().is_none(), "the worker ended by itself");
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let store = open(&path).await;
    let taken = all(&store, RAW, Generations::All).await.len();
    store.close().await.unwrap();
    drop(store);
    let total = taken + 20;
    let last = Command::new(&worker).arg(&path).arg(total.to_string()).output().unwrap();
    assert!(last.status.success() && last.stdout == b"done\n", "{}", String::from_utf8_lossy(&last.stderr));

    let calm = memory().await;
    let blocks: Vec<_> = (0..total).map(series::block).collect();
    for some in blocks.chunks(500) {
        calm.scoped(&Scope::local()).put(some.to_vec()).await.unwrap();
    }
    runner(&calm, RunnerOptions::default()).drain().await.unwrap();

    let killed = open(&path).await;
    let mut derived = 0;
    for topic in [RAW, WINDOWED, ACTIVITY] {
        let of = |rows: Vec<am_store::model::Stored>| -> BTreeMap<_, _> {
            let n = rows.len();
            let map: BTreeMap<_, _> = rows.into_iter().map(|s| (s.reading.reference(), (s.generation, s.reading.body().clone()))).collect();
            assert_eq!(map.len(), n, "{topic}: each once");
            map
        };
        let (a, b) = (of(all(&killed, topic, Generations::All).await), of(all(&calm, topic, Generations::All).await));
        assert_eq!(a.len(), b.len(), "{topic}");
        let other = a.iter().zip(&b).find(|(x, y)| x != y);
        let told = other.map(|(x, y)| (x.0, x.1.0, y.0, y.1.0, x.1.1 == y.1.1));
        assert!(told.is_none(), "{topic}: the same readings in the same generations: {told:?}");
        derived += if topic == RAW { 0 } else { a.len() };
    }
    // Each once on the feed too, and the balance holds (P02).
    let mut after = 0;
    let mut on_feed = 0;
    loop {
        let page = killed.feed(&FeedQuery::after(after, Vec::new())).await.unwrap();
        on_feed += page.entries.iter().filter(|e| matches!(e.event, FeedEvent::Put(_))).count();
        if page.next == after {
            break;
        }
        after = page.next;
    }
    assert_eq!(on_feed, total + derived);
    let mine = killed.scoped(&Scope::local());
    let counts = mine.counts().await.unwrap();
    assert!(counts.balanced() && counts.stored == total as u64, "{counts:?}");
    assert!(mine.dead_letters(&DeadLetterQuery::default()).await.unwrap().is_empty());
    // The state is the same as well: it goes on from there in the same way.
    let state = |s: am_store::traits::FlowState| (s.version, s.state);
    let (a, b) = (killed.backend().flows.load("motion").await.unwrap(), calm.backend().flows.load("motion").await.unwrap());
    assert_eq!(state(a), state(b));
    let late = all(&calm, WINDOWED, Generations::All).await.iter().filter(|s| s.generation > 0).count();
    eprintln!("{loops} kills, {total} blocks, {derived} derived, {late} of them anew");
    assert!(late > 0 && derived > total);
}
