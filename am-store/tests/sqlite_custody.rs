//! What the SQLite backend promises within one machine: nothing acknowledged is lost, nothing is stored twice, one writer.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod readings;

use std::path::Path;

use am_core::{Code, Scope};
use am_schema::{Catalogue, Reading};
use am_store::model::{Derived, FeedQuery, FlowCommit, PutOutcome, ScanQuery, StateChange};
use am_store::sqlite::{SqliteOptions, open};
use am_store::traits::Backend;
use readings::{batch, clock, ctx, heart, magnitude, note};
use rusqlite::Connection;

async fn store(path: &Path) -> Backend {
    open(SqliteOptions::new(path), clock(), Catalogue::builtin()).await.unwrap()
}

async fn all(b: &Backend, user: &str) -> Vec<Reading> {
    let page = b.readings.scan(&ctx(user), &ScanQuery::default()).await.unwrap();
    page.items.into_iter().map(|s| s.reading).collect()
}

#[tokio::test]
async fn custody_p04_the_same_batch_twice_adds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let b = store(&dir.path().join("am.db")).await;
    let readings: Vec<Reading> = (0..50).map(|n| heart("watch", n, 60 + n as i32)).chain([note(3, "hello twice")]).collect();
    let first = b.readings.put(&ctx("ada"), batch(readings.clone())).await.unwrap();
    assert!(first.readings.iter().all(|o| matches!(o, PutOutcome::Stored(_))));
    let head = b.feed.head().await.unwrap();
    let second = b.readings.put(&ctx("ada"), batch(readings.clone())).await.unwrap();
    assert!(second.readings.iter().all(|o| *o == PutOutcome::Duplicate));
    assert_eq!((b.feed.head().await.unwrap(), all(&b, "ada").await.len()), (head, 51));
    // Another person's store is not affected, and has its own.
    let other = b.readings.put(&ctx("eve"), batch(readings)).await.unwrap();
    assert!(other.readings.iter().all(|o| matches!(o, PutOutcome::Stored(_))));
    let c = b.maintenance.counts(&ctx("ada")).await.unwrap();
    assert_eq!((c.received, c.stored, c.duplicate), (102, 51, 51));
    assert!(c.balanced());
}

#[tokio::test]
async fn custody_p04_the_same_reading_twice_in_one_batch_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let b = store(&dir.path().join("am.db")).await;
    let (a, changed) = (heart("watch", 1, 60), heart("watch", 1, 61));
    let out = b.readings.put(&ctx("ada"), batch(vec![a.clone(), a.clone(), changed])).await.unwrap();
    assert!(matches!(&out.readings[..], [PutOutcome::Stored(1), PutOutcome::Duplicate, PutOutcome::Conflict(_)]), "{:?}", out.readings);
    let PutOutcome::Conflict(id) = &out.readings[2] else { return };
    let letter = b.dead_letters.get(&ctx("ada"), id).await.unwrap().unwrap().letter;
    assert_eq!(letter.code, Code::CLOCK_CONFLICT);
    assert_eq!(all(&b, "ada").await, [a]);
    assert!(b.maintenance.counts(&ctx("ada")).await.unwrap().balanced());
}

#[tokio::test]
async fn custody_p01_what_was_acknowledged_is_there_after_the_store_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("am.db");
    let readings: Vec<Reading> = (0..200).map(|n| heart("watch", n, 60)).collect();
    {
        let b = store(&path).await;
        // Many callers at once share transactions; each is answered for its own.
        let mut tasks = Vec::new();
        for part in readings.chunks(7) {
            let (b, part) = (b.clone(), part.to_vec());
            tasks.push(tokio::spawn(async move { b.readings.put(&ctx("ada"), batch(part)).await.unwrap().readings.len() }));
        }
        let mut acknowledged = 0;
        for t in tasks {
            acknowledged += t.await.unwrap();
        }
        assert_eq!(acknowledged, 200);
        // Dropped, not closed: the log is still beside the file.
    }
    let b = store(&path).await;
    assert_eq!(all(&b, "ada").await, readings);
    assert_eq!(b.feed.head().await.unwrap(), 200);
    let seqs: Vec<u64> = b.feed.read(None, &FeedQuery::after(0, vec![])).await.unwrap().entries.iter().map(|e| e.seq).collect();
    assert_eq!(seqs, (1..=200).collect::<Vec<_>>());
    b.maintenance.close().await.unwrap();
    assert_eq!(b.readings.put(&ctx("ada"), batch(vec![])).await.unwrap_err().code(), Code::CLOSED);
    assert!(!dir.path().join("am.db-wal").exists(), "closing folds the log");
}

#[tokio::test]
async fn a_put_that_fails_does_not_fail_those_in_the_same_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let b = store(&dir.path().join("am.db")).await;
    let stale = FlowCommit { flow: "f".into(), epoch: 7, ..Default::default() };
    let ada = ctx("ada");
    let (first, refused, second) = tokio::join!(
        b.readings.put(&ada, batch(vec![heart("watch", 1, 60)])),
        b.flows.commit(stale),
        b.readings.put(&ada, batch(vec![heart("watch", 2, 60)])),
    );
    assert_eq!(refused.unwrap_err().code(), Code::STALE_COMMIT);
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(all(&b, "ada").await.len(), 2);
}

#[tokio::test]
async fn custody_p05_a_newer_derivation_takes_the_slot_and_lineage_leads_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let b = store(&dir.path().join("am.db")).await;
    let ada = ctx("ada");
    let raw = heart("watch", 1, 60);
    b.readings.put(&ada, batch(vec![raw.clone()])).await.unwrap();
    let scope = Scope::new("acme", "ada").unwrap();
    let derived = |v: &str, peak| magnitude(std::slice::from_ref(&raw), v, peak);
    let state = vec![StateChange { key: "ada".into(), value: Some(b"one".to_vec()) }];
    let commit = |epoch, r: Reading| FlowCommit {
        flow: "motion".into(),
        epoch,
        cursor: 1,
        derived: vec![Derived::live(scope.clone(), r)],
        state: state.clone(),
        ..Default::default()
    };
    let one = b.flows.commit(commit(0, derived("1", 1.0))).await.unwrap();
    assert!(one.superseded.is_empty());
    let again = b.flows.commit(commit(one.epoch, derived("1", 1.0))).await.unwrap();
    assert_eq!(again.derived, [PutOutcome::Duplicate]);
    let two = b.flows.commit(commit(again.epoch, derived("2", 2.0))).await.unwrap();
    assert_eq!(two.superseded.len(), 1);
    let outputs = b.derivations.outputs(&ada, &raw.reference(), 10).await.unwrap();
    assert_eq!(outputs.iter().map(|s| s.generation).collect::<Vec<_>>(), [0, 1]);
    assert!(b.derivations.outputs(&ctx("eve"), &raw.reference(), 10).await.unwrap().is_empty());
    let newest = all(&b, "ada").await;
    assert_eq!(newest, [raw.clone(), derived("2", 2.0)]);
    let inputs = b.derivations.inputs(&ada, &newest[1].reference()).await.unwrap().unwrap();
    assert_eq!(inputs.inputs[0].reading_id, raw.id().as_bytes());
    let slot: [u8; 16] = inputs.slot.as_slice().try_into().unwrap();
    assert_eq!(b.derivations.generations(&ada, &slot).await.unwrap().len(), 2);
    assert!(b.derivations.generations(&ctx("eve"), &slot).await.unwrap().is_empty());
    let loaded = b.flows.load("motion").await.unwrap();
    assert_eq!((loaded.cursor, loaded.epoch, loaded.state.len()), (1, 3, 1));
}

#[tokio::test]
async fn a_second_writer_is_refused_with_pid_and_path_and_a_reader_follows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("am.db");
    let b = store(&path).await;
    let e = open(SqliteOptions::new(&path), clock(), Catalogue::builtin()).await.err().unwrap();
    assert_eq!(e.code(), Code::STORE_LOCKED);
    assert!(e.message().contains(&std::process::id().to_string()) && e.message().contains("am.db"), "{e}");
    let mut options = SqliteOptions::new(&path);
    options.read_only = true;
    let follower = open(options, clock(), Catalogue::builtin()).await.unwrap();
    assert_eq!(follower.feed.head().await.unwrap(), 0);
    b.readings.put(&ctx("ada"), batch(vec![heart("watch", 1, 60)])).await.unwrap();
    follower.feed.wait(0).await.unwrap();
    assert_eq!(all(&follower, "ada").await.len(), 1);
    let refused = follower.readings.put(&ctx("ada"), batch(vec![])).await.unwrap_err();
    assert_eq!(refused.code(), Code::STORE_READ_ONLY);
    b.maintenance.close().await.unwrap();
    store(&path).await;
}

#[tokio::test]
async fn files_that_are_newer_foreign_or_broken_are_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("am.db");
    store(&path).await.maintenance.close().await.unwrap();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let foreign = dir.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    let broken = dir.path().join("broken.db");
    std::fs::write(&broken, "this is no database, and long enough to be read as one ".repeat(40)).unwrap();
    for (path, code, says) in [
        (path, Code::STORE_NEWER, "version 99"),
        (foreign, Code::BAD_STORE_URL, "another program"),
        (broken, Code::STORE_CORRUPT, "broken.db"),
    ] {
        let before = std::fs::read(&path).unwrap();
        let e = open(SqliteOptions::new(&path), clock(), Catalogue::builtin()).await.err().unwrap();
        assert_eq!(e.code(), code, "{e}");
        assert!(e.message().contains(says), "{e}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
