//! P01 by power cut: the real backend on a disk that forgets, at a random moment, what was not synced.
//!
//! `AM_CUTS` raises the number of cuts.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fault_vfs;
mod readings;

use std::path::{Path, PathBuf};

use am_core::Scope;
use am_schema::{Catalogue, Reading};
use am_store::model::{Derived, FeedEvent, FeedQuery, FlowCommit, PutOutcome, ScanQuery, StateChange};
use am_store::sqlite::{SqliteOptions, Synchronous, open};
use am_store::traits::Backend;
use fault_vfs::Disk;
use fault_vfs::disk::{Dice, Lose};
use readings::{batch, clock, ctx, heart, kind, magnitude, note};

const FLOW: &str = "motion";

/// A store on a disk whose power can go.
struct Bench {
    disk: Disk,
    _folder: tempfile::TempDir,
    path: PathBuf,
    runtime: tokio::runtime::Runtime,
}

/// What callers know when the power goes.
#[derive(Default)]
struct Known {
    acknowledged: Vec<Reading>,
    attempted: Vec<Reading>,
    /// Epoch and cursor of the last commit that was answered.
    committed: (u64, u64),
    /// The value of the last write that was answered.
    value: Option<Vec<u8>>,
}

impl Bench {
    fn new(name: &str) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("am.db");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Bench { disk: Disk::new(name), _folder: folder, path, runtime }
    }

    fn options(&self) -> SqliteOptions {
        let mut o = SqliteOptions::new(&self.path);
        o.vfs = Some(self.disk.vfs.clone());
        o.readers = 1;
        o
    }

    /// Works until the power goes or the work is done; gives the number of operations.
    fn work(&self, seed: u64, options: SqliteOptions, known: &mut Known) -> u64 {
        self.runtime.block_on(async {
            let Ok(b) = open(options, clock(), Catalogue::builtin()).await else { return };
            let mut dice = Dice(seed ^ 0xabcd);
            for round in 0..12 {
                if step(&b, &mut dice, round, known).await.is_err() {
                    return;
                }
            }
        });
        self.disk.state().operations
    }

    /// About how many operations a whole life has: the longest of a few.
    fn length(&self) -> u64 {
        let lives = (0..4).map(|seed| {
            self.disk.reset(seed, None, Lose::Nothing);
            let mut known = Known::default();
            let length = self.work(seed, self.options(), &mut known);
            assert!(!known.acknowledged.is_empty());
            length
        });
        lives.max().unwrap_or(0)
    }

    /// One seeded life: work, cut, power on, check; gives how many readings were acknowledged. The error says what was lost.
    fn life(&self, seed: u64, cut_at: u64, lose: Lose, synchronous: Synchronous) -> Result<u64, String> {
        self.disk.reset(seed, Some(cut_at), lose);
        let mut known = Known::default();
        let mut options = self.options();
        options.synchronous = synchronous;
        self.work(seed, options, &mut known);
        self.disk.state().power_on();
        self.disk.state().lose = Lose::Nothing;
        integrity(&self.path, &self.disk.vfs)?;
        self.runtime.block_on(async {
            let b = open(self.options(), clock(), Catalogue::builtin()).await.map_err(|e| format!("opening again: {e}"))?;
            check(&b, &known).await.map(|()| known.acknowledged.len() as u64)
        })
    }
}

/// One round of what a busy store does. Fails when the power is gone.
async fn step(b: &Backend, dice: &mut Dice, round: u64, known: &mut Known) -> am_core::Result<()> {
    let ada = ctx("ada");
    let mut parts = Vec::new();
    for part in 0..1 + dice.below(3) {
        let n = 1 + dice.below(12) as i64;
        let first = (round * 100 + part * 30) as i64;
        let mut readings: Vec<Reading> = (first..first + n).map(|s| heart("watch", s, 60 + (s % 90) as i32)).collect();
        if dice.chance(40) {
            // Mostly dots: pages to write, few words to index.
            readings.push(note(first, &format!("words and room {}", "· ".repeat(1 + dice.below(3_000) as usize))));
        }
        if dice.chance(30)
            && let Some(old) = known.acknowledged.last()
        {
            readings.push(old.clone());
        }
        parts.push(readings);
    }
    known.attempted.extend(parts.iter().flatten().cloned());
    let puts = parts.iter().map(|p| b.readings.put(&ada, batch(p.clone())));
    let mut failed = None;
    for (part, answer) in parts.iter().zip(futures(puts).await) {
        match answer {
            Ok(out) => {
                assert!(out.readings.iter().all(|o| matches!(o, PutOutcome::Stored(_) | PutOutcome::Duplicate)));
                known.acknowledged.extend(part.iter().cloned());
            }
            Err(e) => failed = Some(e),
        }
    }
    if let Some(e) = failed {
        return Err(e);
    }
    if dice.chance(60) {
        flow(b, known).await?;
    }
    if dice.chance(30) {
        let value = round.to_be_bytes().to_vec();
        b.key_value.put(&ada, "round", value.clone(), None).await?;
        known.value = Some(value);
    }
    if dice.chance(25) {
        b.maintenance.tidy().await?;
    }
    Ok(())
}

/// Polls all at once, so that they share transactions.
async fn futures<T: Send + 'static, F: Future<Output = T>>(all: impl Iterator<Item = F>) -> Vec<T> {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (f, d) in all.iter_mut().zip(&mut done) {
            if d.is_none()
                && let std::task::Poll::Ready(t) = f.as_mut().poll(cx)
            {
                *d = Some(t);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// One commit of a flow that counts heart readings and derives one reading per commit.
async fn flow(b: &Backend, known: &mut Known) -> am_core::Result<()> {
    let state = b.flows.load(FLOW).await?;
    let counted = state.state.first().map_or(0, |(_, v)| u64::from_le_bytes(v.as_slice().try_into().unwrap()));
    let page = b.feed.read(None, &FeedQuery::after(state.cursor, vec![kind("device.health.heartrate.raw")])).await?;
    let inputs: Vec<Reading> = page
        .entries
        .into_iter()
        .filter_map(|e| match e.event {
            FeedEvent::Put(s) => Some(s.reading),
            _ => None,
        })
        .collect();
    if inputs.is_empty() {
        return Ok(());
    }
    let total = counted + inputs.len() as u64;
    let derived = magnitude(&inputs, "1", 1.0);
    let commit = FlowCommit {
        flow: FLOW.into(),
        epoch: state.epoch,
        cursor: page.next,
        state: vec![StateChange { key: "counted".into(), value: Some(total.to_le_bytes().to_vec()) }],
        derived: vec![Derived::live(Scope::new("acme", "ada").unwrap(), derived)],
        dead_letters: vec![],
    };
    let done = b.flows.commit(commit).await?;
    known.committed = (done.epoch, page.next);
    Ok(())
}

fn integrity(path: &Path, vfs: &str) -> Result<(), String> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_CREATE;
    let conn = rusqlite::Connection::open_with_flags_and_vfs(path, flags, vfs).map_err(|e| format!("opening: {e}"))?;
    let said: String = conn.query_row("PRAGMA integrity_check", [], |r| r.get(0)).map_err(|e| format!("integrity check: {e}"))?;
    if said == "ok" { Ok(()) } else { Err(format!("integrity check: {said}")) }
}

async fn check(b: &Backend, known: &Known) -> Result<(), String> {
    let failed = |what: &str, e: am_core::Error| format!("{what}: {e}");
    let ada = ctx("ada");
    let raw = |r: &Reading| !r.kind().stage().is_derived();
    let query = || {
        let mut q = ScanQuery::default();
        q.limit = 100_000;
        q
    };
    let stored: Vec<Reading> =
        b.readings.scan(&ada, &query()).await.map_err(|e| failed("scan", e))?.items.into_iter().map(|s| s.reading).collect();
    let key = |r: &Reading| (r.kind(), r.recorded_at(), r.id(), r.body().clone());
    let mut times = std::collections::HashMap::new();
    stored.iter().for_each(|r| *times.entry(key(r)).or_insert(0) += 1);
    for r in &known.acknowledged {
        match times.get(&key(r)) {
            Some(1) => {}
            n => return Err(format!("{r:?} was acknowledged and is there {n:?} times")),
        }
    }
    let attempted: std::collections::HashSet<_> = known.attempted.iter().map(key).collect();
    if let Some(s) = stored.iter().find(|s| raw(s) && !attempted.contains(&key(s))) {
        return Err(format!("{s:?} was never put"));
    }

    // The flow's state, cursor and rows are of one and the same commit, and not older than the last that was answered.
    let state = b.flows.load(FLOW).await.map_err(|e| failed("load", e))?;
    let counted = state.state.first().map_or(0, |(_, v)| u64::from_le_bytes(v.as_slice().try_into().unwrap()));
    let mut beats = 0;
    let mut derived = 0;
    let mut last = 0;
    let page = {
        let mut q = FeedQuery::after(0, vec![]);
        q.limit = 4_096;
        b.feed.read(None, &q).await.map_err(|e| failed("feed", e))?
    };
    for e in &page.entries {
        if e.seq != last + 1 {
            return Err(format!("the feed goes from {last} to {}", e.seq));
        }
        last = e.seq;
        if let FeedEvent::Put(s) = &e.event {
            let is_beat = s.reading.kind() == kind("device.health.heartrate.raw");
            beats += u64::from(is_beat && e.seq <= state.cursor);
            derived += u64::from(!raw(&s.reading));
        }
    }
    if counted != beats || derived != state.epoch {
        return Err(format!("the flow counted {counted} of {beats} and derived {derived} in {} commits", state.epoch));
    }
    if (state.epoch, state.cursor) < known.committed {
        return Err(format!("the flow is at {:?}, {:?} was answered", (state.epoch, state.cursor), known.committed));
    }
    let value = b.key_value.get(&ada, "round").await.map_err(|e| failed("value", e))?.map(|v| v.value);
    if value < known.value {
        return Err(format!("the value is {value:?}, {:?} was answered", known.value));
    }

    // Sending everything again completes it, and adds nothing twice.
    b.readings.put(&ada, batch(known.attempted.clone())).await.map_err(|e| failed("put", e))?;
    let again = b.readings.scan(&ada, &query()).await.map_err(|e| failed("scan", e))?.items;
    let mut attempted = known.attempted.clone();
    attempted.sort_by_key(|r| (r.recorded_at(), r.id()));
    attempted.dedup();
    if again.iter().filter(|s| raw(&s.reading)).count() != attempted.len() {
        return Err(format!("after sending all again there are {} for {}", again.len(), attempted.len()));
    }
    let counts = b.maintenance.counts(&ada).await.map_err(|e| failed("counts", e))?;
    if !counts.balanced() || counts.stored != attempted.len() as u64 {
        return Err(format!("the balance is off: {counts:?}"));
    }
    b.maintenance.close().await.map_err(|e| failed("close", e))
}

fn cuts() -> u64 {
    std::env::var("AM_CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(240)
}

#[test]
fn power_cut_at_any_operation_loses_nothing_that_was_acknowledged() {
    let bench = Bench::new("cut-all");
    let length = bench.length();
    let mut acknowledged = 0;
    for seed in 0..cuts() {
        let cut_at = 1 + Dice(seed ^ 0x5eed).below(length);
        match bench.life(seed, cut_at, Lose::Nothing, Synchronous::Full) {
            Ok(n) => acknowledged += n,
            Err(lost) => panic!("seed {seed}, cut at operation {cut_at}: {lost}"),
        }
    }
    assert!(acknowledged > 10 * cuts(), "cuts come while there is something to lose: {acknowledged}");
}

/// How many of the seeded lives show a loss when the disk or the store is made worse on purpose.
fn losses(name: &str, lives: u64, lose: Lose, synchronous: Synchronous) -> u64 {
    let bench = Bench::new(name);
    let length = bench.length();
    let mut found = 0;
    for seed in 0..lives {
        let cut_at = 1 + Dice(seed ^ 0x5eed).below(length);
        found += u64::from(bench.life(seed, cut_at, lose, synchronous).is_err());
    }
    found
}

#[test]
fn power_cut_without_the_syncs_of_the_log_is_caught() {
    assert!(losses("lose-log", 40, Lose::LogSyncs, Synchronous::Full) > 0);
}

#[test]
fn power_cut_without_the_syncs_of_the_file_is_caught() {
    assert!(losses("lose-file", 80, Lose::FileSyncs, Synchronous::Full) > 0);
}

#[test]
fn power_cut_without_the_syncs_of_the_folder_is_caught() {
    assert!(losses("lose-folder", 40, Lose::FolderSyncs, Synchronous::Full) > 0);
}

#[test]
fn power_cut_with_synchronous_off_is_caught() {
    assert!(losses("sync-off", 40, Lose::Nothing, Synchronous::Off) > 0);
}

#[test]
fn a_full_disk_refuses_the_batch_and_the_store_goes_on_once_there_is_room() {
    let bench = Bench::new("full");
    bench.disk.reset(1, None, Lose::Nothing);
    bench.runtime.block_on(async {
        let b = open(bench.options(), clock(), Catalogue::builtin()).await.unwrap();
        let ada = ctx("ada");
        b.readings.put(&ada, batch(vec![heart("watch", 0, 60)])).await.unwrap();
        bench.disk.state().capacity = 600_000;
        let mut stored = vec![heart("watch", 0, 60)];
        let mut refused = None;
        for n in 1..2_000 {
            let r = note(n, &format!("{n} {}", "much text ".repeat(2_000)));
            match b.readings.put(&ada, batch(vec![r.clone()])).await {
                Ok(_) => stored.push(r),
                Err(e) => {
                    refused = Some((e, r));
                    break;
                }
            }
        }
        let (e, r) = refused.expect("the disk is full at some point");
        assert_eq!(e.code(), am_core::Code::STORE_FULL, "{e}");
        assert!(e.message().contains("am.db"), "{e}");
        bench.disk.state().capacity = usize::MAX;
        b.maintenance.ready().await.unwrap();
        b.readings.put(&ada, batch(vec![r.clone()])).await.unwrap();
        stored.push(r);
        let items = b.readings.scan(&ada, &ScanQuery::default()).await.unwrap().items;
        assert_eq!(items.into_iter().map(|s| s.reading).collect::<Vec<_>>(), stored);
        assert!(b.maintenance.counts(&ada).await.unwrap().balanced());
    });
}
