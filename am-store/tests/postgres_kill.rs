//! Processes that write to PostgreSQL, and its sessions, killed at random moments: what was acknowledged is there, exactly once.
#![cfg(feature = "postgres")]
#![allow(clippy::panic, clippy::unwrap_used, clippy::print_stdout, reason = "test code may fail loudly, and says what it skips")]

mod postgres_server;
mod readings;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use am_core::{Clock, Ctx, Timestamp};
use am_pipeline::TokioClock;
use am_store::model::{Derived, FeedEvent, FeedQuery, FlowCommit, ScanQuery, StateChange};
use am_store::testkit::Seeded;
use am_store::traits::Backend;

use postgres_server::{Database, open, options};
use readings::{batch, ctx, heart, magnitude};

/// Held while a test uses the server; the one that kills it waits for all others.
static SERVER: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

const URL: &str = "AM_TEST_KILL_URL";
const FROM: &str = "AM_TEST_KILL_FROM";
/// Readings of one batch.
const BATCH: i64 = 40;

fn loops() -> u64 {
    std::env::var("AM_KILL_LOOPS").ok().and_then(|n| n.parse().ok()).unwrap_or(6)
}

fn batch_of(n: i64) -> Vec<am_schema::Reading> {
    (0..BATCH).map(|i| heart("watch", n * BATCH + i, 60)).collect()
}

/// What a killed process was doing: it puts batch after batch, commits a step of a flow for each, and says what was answered.
async fn write_for_ever(url: &str, from: i64) {
    let mut o = options("am");
    o.copy_from_readings = 20;
    let b = open(url, o).await.unwrap();
    let out = std::io::stdout();
    for n in from.. {
        // The one before comes again: its answer may have been lost.
        let again = if n > from { batch_of(n - 1) } else { batch_of(n) };
        let (ada, bob) = (ctx("ada"), ctx("ada"));
        let (x, y) = tokio::join!(b.readings.put(&ada, batch(batch_of(n))), b.readings.put(&bob, batch(again)));
        if x.is_err() || y.is_err() {
            return;
        }
        writeln!(out.lock(), "put {n}").unwrap();
        let flow = b.flows.load("kill").await.unwrap();
        let input = heart("watch", n * BATCH, 60);
        let commit = FlowCommit {
            flow: "kill".into(),
            epoch: flow.epoch,
            cursor: flow.cursor,
            state: vec![StateChange { key: "n".into(), value: Some(n.to_string().into_bytes()) }],
            derived: vec![Derived::live(ada.scope().clone(), magnitude(std::slice::from_ref(&input), "1", 1.0))],
            dead_letters: vec![],
        };
        if b.flows.commit(commit).await.is_err() {
            return;
        }
        writeln!(out.lock(), "derived {n}").unwrap();
    }
}

/// Does nothing unless it is the child of [`killed`].
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_is_killed() {
    let (Ok(url), Ok(from)) = (std::env::var(URL), std::env::var(FROM)) else { return };
    write_for_ever(&url, from.parse().unwrap()).await;
}

fn start(url: &str, from: i64) -> (Child, Receiver<String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process_that_is_killed", "--nocapture"])
        .env(URL, url)
        .env(FROM, from.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (tell, lines) = sync_channel(4_096);
    let out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    (child, lines)
}

/// What processes had acknowledged when they ended: the last batch put, and those that something was derived from.
#[derive(Debug, Default)]
struct Acknowledged {
    put: Option<i64>,
    derived: HashSet<i64>,
}

impl Acknowledged {
    fn hear(&mut self, line: &str) {
        // The harness's own words may stand before it on the same line.
        if let Some((_, n)) = line.rsplit_once("put ") {
            self.put = n.parse().ok().or(self.put);
        } else if let Some((_, n)) = line.rsplit_once("derived ") {
            self.derived.extend(n.parse::<i64>());
        }
    }
}

async fn everything(b: &Backend, ctx: &Ctx) -> Vec<am_schema::Reading> {
    let mut out = Vec::new();
    let mut q = ScanQuery::default().between(Timestamp::MIN, Timestamp::MAX).limit(10_000);
    loop {
        let page = b.readings.scan(ctx, &q).await.unwrap();
        out.extend(page.items.into_iter().map(|s| s.reading));
        match page.cursor {
            Some(c) => q = q.after(c),
            None => return out,
        }
    }
}

async fn check(b: &Backend, acknowledged: &Acknowledged) {
    let ada = ctx("ada");
    let all = everything(b, &ada).await;
    let names: HashSet<_> = all.iter().map(am_schema::Reading::reference).collect();
    assert_eq!(names.len(), all.len(), "each is there once");
    for n in 0..=acknowledged.put.unwrap_or(-1) {
        assert!(batch_of(n).iter().all(|r| names.contains(&r.reference())), "batch {n} was acknowledged and is not whole");
    }
    for n in &acknowledged.derived {
        let input = heart("watch", n * BATCH, 60);
        let made = b.derivations.outputs(&ada, &input.reference(), 10).await.unwrap();
        assert_eq!(made.len(), 1, "what was derived from batch {n}");
    }
    // Batches are whole or not at all.
    let raw = all.iter().filter(|r| r.lineage().is_none()).count() as i64;
    assert_eq!(raw % BATCH, 0);
    let counts = b.maintenance.counts(&ada).await.unwrap();
    assert!(counts.balanced() && counts.stored == raw as u64, "{counts:?}, {raw} readings");
    let (mut after, mut on_feed) = (0, HashSet::new());
    loop {
        let mut q = FeedQuery::after(after, vec![]);
        q.limit = 4_096;
        let page = b.feed.read(None, &q).await.unwrap();
        for e in page.entries {
            let FeedEvent::Put(s) = e.event else { panic!("nothing is superseded here") };
            assert!(on_feed.insert(s.reading.reference()), "{:?} is twice on the feed", s.reading);
        }
        after = page.next;
        if page.next >= page.head {
            break;
        }
    }
    assert_eq!(on_feed, names, "the feed has what the store has");
}

/// Lets a process write, and lets `strike` hit at a random moment.
async fn round(db: &Database, seed: u64, acknowledged: &mut Acknowledged, strike: impl AsyncFnOnce(&mut Child)) {
    let from = acknowledged.put.map_or(0, |n| n + 1);
    let (mut child, lines) = start(&db.url, from);
    let mut g = Seeded::new(seed);
    let (least, pause) = (g.below(12), Duration::from_micros(g.below(20_000)));
    let mut heard = 0;
    while heard <= least {
        match lines.recv_timeout(Duration::from_secs(60)) {
            Ok(line) => {
                acknowledged.hear(&line);
                heard += u64::from(line.contains("put ") || line.contains("derived "));
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("the process says nothing"),
        }
    }
    TokioClock::default().sleep(pause).await;
    strike(&mut child).await;
    child.wait().unwrap();
    while let Ok(line) = lines.recv_timeout(Duration::from_secs(10)) {
        acknowledged.hear(&line);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p01_a_killed_process_loses_nothing_it_acknowledged() {
    let Some(db) = Database::new().await else { return };
    let _up = SERVER.read().await;
    let mut acknowledged = Acknowledged::default();
    for seed in 0..loops() {
        round(&db, seed, &mut acknowledged, async |child: &mut Child| child.kill().unwrap()).await;
        let b = open(&db.url, options("am")).await.unwrap();
        check(&b, &acknowledged).await;
        b.maintenance.close().await.unwrap();
    }
    assert!(acknowledged.put.is_some() && !acknowledged.derived.is_empty(), "{acknowledged:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p01_a_server_that_ends_its_sessions_loses_nothing_that_was_acknowledged() {
    let Some(db) = Database::new().await else { return };
    let _up = SERVER.read().await;
    let mut acknowledged = Acknowledged::default();
    for seed in 100..100 + loops() {
        round(&db, seed, &mut acknowledged, async |child: &mut Child| {
            for _ in 0..3 {
                db.sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
                )
                .await;
            }
            child.kill().unwrap();
        })
        .await;
        let b = open(&db.url, options("am")).await.unwrap();
        check(&b, &acknowledged).await;
        b.maintenance.close().await.unwrap();
    }
}

/// Only where the environment lends the server's life: `AM_TEST_SERVICES_CTL` begins a shell command that restarts it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p01_a_killed_server_loses_nothing_that_was_acknowledged() {
    let control = std::env::var("AM_TEST_SERVICES_CTL").unwrap_or_default();
    if control.is_empty() {
        println!("skipped: AM_TEST_SERVICES_CTL is not set; `cargo xtask test` sets it");
        return;
    }
    let Some(db) = Database::new().await else { return };
    let _up = SERVER.write().await;
    let mut acknowledged = Acknowledged::default();
    for seed in 200..200 + loops() {
        round(&db, seed, &mut acknowledged, async |child: &mut Child| {
            let done = Command::new("sh").args(["-c", &format!("{control} restart postgres --kill")]).status().unwrap();
            assert!(done.success(), "{control} restart postgres --kill");
            child.kill().unwrap();
        })
        .await;
        let b = open(&db.url, options("am")).await.unwrap();
        check(&b, &acknowledged).await;
        b.maintenance.close().await.unwrap();
    }
}
