//! The server as a process, killed at random instants: what it acknowledged is there afterwards, exactly once (P01, P02).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test program may fail loudly")]

mod support;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use am_core::{DeviceId, ReadingId};
use am_schema::v1::{self, Outcome, reading::Data};
use am_schema::{Catalogue, ReadingRef};
use am_store::model::ScanQuery;
use am_store::{Store, StoreOptions};
use parking_lot::Mutex;
use support::*;

/// A small generator with a printable state (Marsaglia, "Xorshift RNGs", 2003).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// A server process. Killed when dropped.
struct Process {
    child: Child,
    grpc: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The example's program; built here when only this test was asked for.
fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().and_then(Path::parent).unwrap();
    let program = target.join("examples").join(format!("serve{}", std::env::consts::EXE_SUFFIX));
    if !program.exists() {
        let built = Command::new(env!("CARGO")).args(["build", "-p", "am-server", "--example", "serve"]).status().unwrap();
        assert!(built.success());
    }
    program
}

fn start(program: &Path, store: &str) -> Process {
    let mut child = Command::new(program)
        .args(["--store", store, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--open", "acme/ada"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let told: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("the server said {line:?}: {e}"));
    Process { child, grpc: told["grpc"].as_str().unwrap().parse().unwrap() }
}

/// What the clients know.
#[derive(Default)]
struct Ledger {
    /// Readings that were answered as stored or known, by number.
    acknowledged: HashMap<u64, u32>,
    /// Answered as rejected.
    parked: HashSet<u64>,
    /// Told STORED, which may happen once per reading.
    told_stored: HashMap<u64, u32>,
}

impl Ledger {
    fn note(&mut self, sent: &[u64], answered: &[i32]) {
        assert_eq!(sent.len(), answered.len());
        for (i, o) in sent.iter().zip(outcomes(answered)) {
            match o {
                Outcome::Stored => {
                    *self.acknowledged.entry(*i).or_default() += 1;
                    *self.told_stored.entry(*i).or_default() += 1;
                }
                Outcome::Duplicate => *self.acknowledged.entry(*i).or_default() += 1,
                Outcome::Rejected => drop(self.parked.insert(*i)),
                Outcome::Retry => {}
                other => panic!("reading {i} was answered {other:?}"),
            }
        }
    }

    fn settled(&self, i: u64) -> bool {
        self.acknowledged.contains_key(&i) || self.parked.contains(&i)
    }
}

/// Every 17th breaks a rule.
fn is_bad(i: u64) -> bool {
    i % 17 == 3
}

fn reading(i: u64) -> v1::Reading {
    let mut r = beat(i);
    if let (true, Some(Data::HeartRate(h))) = (is_bad(i), &mut r.data) {
        h.bpm = -1;
    }
    r
}

fn name(i: u64) -> ReadingRef {
    let r = beat(i);
    let at = r.recorded_at.unwrap();
    ReadingRef {
        device: DeviceId::new(&r.device_id).unwrap(),
        kind: Catalogue::builtin().get(&r.kind).unwrap(),
        recorded_at: am_core::Timestamp::from_parts(at.seconds, at.nanos).unwrap(),
        id: ReadingId::parse(&r.reading_id).unwrap(),
    }
}

/// Numbers of one client: apart from those of others.
const EACH: u64 = 10_000_000;

/// Sends what is not settled yet, oldest first, until the server dies.
async fn load(addr: SocketAddr, client: u64, seed: u64, ledger: Arc<Mutex<Ledger>>, next: Arc<Mutex<Vec<u64>>>) {
    let Ok(mut c) = try_channel(addr).await.map(Client::new) else { return };
    let mut dice = Dice(seed);
    let (tx, rx) = tokio::sync::mpsc::channel(8);
    let (sent_tx, mut sent_rx) = tokio::sync::mpsc::channel::<Vec<u64>>(64);
    let first = client * EACH;
    let feeder_ledger = ledger.clone();
    let feeder = tokio::spawn(async move {
        // What the last server left open comes again, and some of what it had acknowledged.
        let reached = next.lock()[client as usize];
        let mut again: Vec<u64> = {
            let l = feeder_ledger.lock();
            (first..first + reached).filter(|i| !l.settled(*i) || i % 101 == 0).collect()
        };
        again.truncate(5_000);
        loop {
            let n = 1 + dice.roll(120);
            let mut numbers: Vec<u64> = again.drain(..again.len().min(n as usize / 2)).collect();
            {
                let mut next = next.lock();
                let at = &mut next[client as usize];
                numbers.extend(first + *at..first + *at + n);
                *at += n;
            }
            let message = batch("b", numbers.iter().map(|i| reading(*i)).collect());
            if sent_tx.send(numbers).await.is_err() || tx.send(message).await.is_err() {
                return;
            }
        }
    });
    let batches = futures_util::stream::unfold(rx, |mut rx| async { rx.recv().await.map(|m| (m, rx)) });
    if let Ok(answers) = c.stream_batches(batches).await {
        let mut answers = answers.into_inner();
        while let Ok(Some(a)) = answers.message().await {
            let numbers = sent_rx.recv().await.unwrap();
            ledger.lock().note(&numbers, &a.outcomes);
        }
    }
    feeder.abort();
}

async fn open_store(url: &str) -> Store {
    Store::open(url, StoreOptions::default(), clock(), Catalogue::builtin()).await.unwrap()
}

/// Everything acknowledged so far is there.
async fn check(url: &str, ledger: &Mutex<Ledger>, since: &mut HashSet<u64>) {
    let store = open_store(url).await;
    let fresh: Vec<u64> = ledger.lock().acknowledged.keys().copied().filter(|i| !since.contains(i)).collect();
    for part in fresh.chunks(1_000) {
        let names: Vec<ReadingRef> = part.iter().map(|i| name(*i)).collect();
        let found = store.backend().readings.get(&ctx(), &names).await.unwrap();
        for (i, f) in part.iter().zip(found) {
            assert!(f.is_some(), "reading {i} was acknowledged and is gone");
        }
    }
    since.extend(fresh);
    let c = counts(store.backend()).await;
    assert!(c.balanced(), "{c:?}");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p01_every_acknowledged_reading_survives_kills_exactly_once() {
    let loops: u64 = std::env::var("AM_KILL_LOOPS").ok().and_then(|n| n.parse().ok()).unwrap_or(50);
    let seed: u64 = std::env::var("AM_KILL_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0x5eed_1e55_c0ff_ee01);
    println!("AM_KILL_LOOPS={loops} AM_KILL_SEED={seed}");
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("am.db").display());
    let program = program();
    let (ledger, next) = (Arc::new(Mutex::new(Ledger::default())), Arc::new(Mutex::new(vec![0u64; 4])));
    let (mut dice, mut checked, mut mid_flight) = (Dice(seed), HashSet::new(), 0);
    for _ in 0..loops {
        let mut process = start(&program, &url);
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..4 {
            clients.spawn(load(process.grpc, client, dice.roll(u64::MAX - 1) + 1, ledger.clone(), next.clone()));
        }
        let wait = Duration::from_micros(dice.roll(250_000));
        clock().sleep(wait).await;
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        within("the clients to notice", async { while clients.join_next().await.is_some() {} }).await;
        let sent: u64 = next.lock().iter().sum();
        let settled = {
            let l = ledger.lock();
            (l.acknowledged.len() + l.parked.len()) as u64
        };
        mid_flight += u64::from(sent > settled);
        check(&url, &ledger, &mut checked).await;
    }
    assert!(mid_flight > loops / 2, "only {mid_flight} of {loops} kills hit work in flight");

    let store = open_store(&url).await;
    let ledger = std::mem::take(&mut *ledger.lock());
    let (mut seen, mut query) = (HashSet::new(), ScanQuery::default());
    query.limit = 10_000;
    loop {
        let page = store.backend().readings.scan(&ctx(), &query).await.unwrap();
        for s in &page.items {
            assert!(seen.insert(s.reading.id()), "{} is there twice", s.reading.id());
        }
        match page.cursor {
            Some(c) => query.cursor = Some(c),
            None => break,
        }
    }
    for i in ledger.acknowledged.keys() {
        assert!(seen.contains(&name(*i).id), "reading {i} was acknowledged and is gone");
        assert!(!is_bad(*i));
    }
    assert!(ledger.parked.iter().all(|i| is_bad(*i)) && !ledger.parked.is_empty());
    if let Some((i, n)) = ledger.told_stored.iter().find(|(_, n)| **n > 1) {
        panic!("reading {i} was told STORED {n} times");
    }
    let c = counts(store.backend()).await;
    assert!(c.balanced() && c.stored == seen.len() as u64, "{c:?} and {} rows", seen.len());
    assert!(c.dead_lettered >= ledger.parked.len() as u64, "{c:?}, {} parked", ledger.parked.len());
    println!("{loops} kills, {} acknowledged, {} rows, {c:?}", ledger.acknowledged.len(), seen.len());
}

#[cfg(unix)]
#[tokio::test]
async fn sigterm_drains_the_process_and_it_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("am.db").display());
    let mut process = start(&program(), &url);
    let mut client = Client::new(channel(process.grpc).await);
    let a = client.batch_upload(batch("b", beats(0..100))).await.unwrap().into_inner();
    assert_eq!(outcomes(&a.outcomes), [Outcome::Stored; 100]);
    assert!(Command::new("kill").args(["-TERM", &process.child.id().to_string()]).status().unwrap().success());
    let status = tokio::task::spawn_blocking(move || process.child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    let store = open_store(&url).await;
    assert_eq!(counts(store.backend()).await.stored, 100);
}
