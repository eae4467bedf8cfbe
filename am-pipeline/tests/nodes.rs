//! What the ready-made nodes do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use am_core::{CancelToken, Code, Error, Scope, Timestamp};
use am_pipeline::nodes::{Dedupe, JsonLines, Log, LogOptions, Null, ReplayLetters, Throttle, WindowSpec, channel, map, window};
use am_pipeline::{
    Attempts, Batch, DeadLetterFile, DeadLetters, Decided, Jitter, LetterQuery, Origin, Outcome, Output, Pipeline, Processor, Reason, Sink,
    Source, exec,
};
use am_schema::{Catalogue, Reading};
use parking_lot::Mutex;
use support::*;

/// A heart rate of one device at a second, as a processor sees it.
fn at(second: i64) -> Reading {
    beat((second + 1_000) as u64, 1)
}

async fn feed(p: &mut impl Processor, readings: Vec<Reading>) -> (Decided, Vec<Option<Outcome>>) {
    let (ledger, batch) = Batch::issue(readings, Origin::Live);
    let mut out = Output::new();
    p.process(&ctx(), batch, &mut out).await.unwrap();
    let decided = out.take();
    let outcomes = ledger.outcomes();
    (decided, outcomes)
}

/// Counts the readings of each window, by its start in seconds.
fn counting(spec: WindowSpec, seen: Arc<Mutex<BTreeMap<i64, usize>>>) -> impl Processor {
    window(spec, Catalogue::builtin(), move |pane| {
        assert!(pane.readings.iter().all(|r| pane.start <= r.recorded_at() && r.recorded_at() < pane.end));
        assert_eq!(seen.lock().insert(pane.start.as_second() - 1_772_353_000, pane.readings.len()), None, "a window closes once");
        Ok(Vec::new())
    })
}

#[tokio::test]
async fn windows_close_once_the_lateness_has_passed_and_late_readings_are_discarded() {
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let spec = WindowSpec::tumbling(Duration::from_secs(10)).lateness(Duration::from_secs(5));
    let mut w = counting(spec, seen.clone());
    feed(&mut w, vec![at(2), at(11), at(9), at(14)]).await;
    assert!(seen.lock().is_empty(), "the first window waits for late readings");
    feed(&mut w, vec![at(15)]).await;
    assert_eq!(*seen.lock(), [(0, 2)].into());
    let (_, outcomes) = feed(&mut w, vec![at(8), at(12), at(50)]).await;
    assert!(matches!(&outcomes[0], Some(Outcome::Discarded(r)) if *r == Reason::LATE));
    assert_eq!(*seen.lock(), [(0, 2), (10, 4)].into(), "windows without readings are not there");
    w.flush(&ctx(), &mut Output::new()).await.unwrap();
    assert_eq!(*seen.lock(), [(0, 2), (10, 4), (50, 1)].into());
}

#[tokio::test]
async fn hopping_windows_hold_each_reading_as_often_as_they_overlap() {
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let mut w = counting(WindowSpec::hopping(Duration::from_secs(10), Duration::from_secs(5)), seen.clone());
    feed(&mut w, (0..30).map(at).collect()).await;
    w.flush(&ctx(), &mut Output::new()).await.unwrap();
    assert_eq!(*seen.lock(), [(-5, 5), (0, 10), (5, 10), (10, 10), (15, 10), (20, 10), (25, 5)].into());
}

#[tokio::test]
async fn a_window_that_cannot_be_processed_is_parked_and_one_that_cannot_now_stays_open() {
    let mut tries = 0;
    let mut w = window(WindowSpec::tumbling(Duration::from_secs(10)), Catalogue::builtin(), move |pane| {
        tries += 1;
        match pane.start.as_second() - 1_772_353_000 {
            0 if tries == 1 => Err(Error::new(Code::OVERLOADED, "not now")),
            10 => Err(Error::new(Code::INVALID_ITEM, "never")),
            _ => Ok(vec![pane.readings[0].clone()]),
        }
    });
    let mut out = Output::new();
    let attempts = Attempts::new(2).backoff(am_core::policy::Backoff::new(0, 0));
    let (_ledger, batch) = Batch::issue(vec![at(1), at(2), at(11), at(12), at(13)], Origin::Live);
    let first = exec::process(&mut w, &ctx(), batch, &mut out, &attempts, &mut Jitter::seeded(1)).await;
    assert_eq!((first.emitted.len(), first.parked.len()), (1, 0), "the window is closed by the second try");
    let (second, _) = feed(&mut w, vec![at(21)]).await;
    assert_eq!(second.parked.len(), 3);
    assert!(second.parked[0].1.message().contains("never"));
}

#[tokio::test]
async fn dedupe_forgets_beyond_its_horizon_and_its_capacity() {
    let heart = |n: u64| beat(n * 60, 1);
    let mut d = Dedupe::new(Duration::from_secs(100), 2);
    let discarded = async |d: &mut Dedupe, r: Reading| feed(d, vec![r]).await.0.discarded;
    let mut got = Vec::new();
    for n in [0, 0, 1, 3] {
        got.push(discarded(&mut d, heart(n)).await);
    }
    assert_eq!(got, [0, 1, 1, 0], "the same payload again, 60 s later, and 180 s later");
    for n in 1..4 {
        assert_eq!(discarded(&mut d, beat(n, 1)).await, 0);
    }
    assert_eq!(discarded(&mut d, heart(3)).await, 0, "it was forgotten for newer ones");
}

#[tokio::test]
async fn a_throttle_passes_one_per_interval_device_and_kind() {
    let mut t = Throttle::new(Duration::from_secs(10), 100, Catalogue::builtin());
    let (decided, _) = feed(&mut t, (0..40).map(|n| beat(n, 2)).collect()).await;
    assert_eq!((decided.emitted.len(), decided.discarded), (8, 32));
}

#[tokio::test]
async fn two_pipelines_joined_by_a_channel_keep_custody() {
    let (source, told) = Script::new(1_000, 3, 5);
    let (end, start) = channel(4);
    let shelf = Shelf::new(1).failing(0, 10);
    let letters = Arc::new(am_pipeline::DeadLetterMemory::default());
    let first = Pipeline::builder("first").source("script", source).sink("out", end).dead_letters_shared(letters.clone()).build().unwrap();
    let second = Pipeline::builder("second").source("in", start).sink("shelf", shelf.clone()).dead_letters_shared(letters.clone());
    let second = second.build().unwrap();
    let (ctx, never) = (ctx(), CancelToken::new());
    let (a, b) = tokio::join!(first.run(&ctx, never.clone()), second.run(&ctx, never.clone()));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!((a.totals.received, a.totals.delivered), (1_000, 1_000), "what the second one parked is in its custody");
    assert_eq!((b.totals.delivered, b.totals.parked, letters.len()), (900, 100, 100));
    assert_eq!(told.lock().outcomes.len(), 1_000);
}

#[tokio::test]
async fn custody_p02_dead_letters_are_replayed_and_end_when_they_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let letters: Arc<dyn DeadLetters> = Arc::new(DeadLetterFile::open(dir.path().join("letters"), 1_000).unwrap());
    let ctx = ctx();
    let (mut source, _) = Script::new(100, 2, 1);
    source.invalid_every = 10;
    let odd = |r: &Reading| if r.sequence() % 2 == 1 { Err(Error::new(Code::INVALID_ITEM, "odd")) } else { Ok(r.clone()) };
    let broken = Pipeline::builder("broken").source("script", source).processor("odd", map(odd)).sink("null", Null);
    let report = broken.dead_letters_shared(letters.clone()).build().unwrap().run(&ctx, CancelToken::new()).await.unwrap();
    assert_eq!((report.totals.parked, report.totals.delivered), (60, 40));
    let shelf = Shelf::new(0);
    let replay = ReplayLetters::new(letters.clone(), Catalogue::builtin(), LetterQuery::new().stage("odd"));
    let repaired = Pipeline::builder("repaired").source("letters", replay).sink("shelf", shelf.clone());
    let report = repaired.dead_letters_shared(letters.clone()).build().unwrap().run(&ctx, CancelToken::new()).await.unwrap();
    assert_eq!((report.totals.delivered, shelf.kept.lock().len()), (50, 50));
    let left = letters.list(&ctx, &LetterQuery::new().limit(1_000)).await.unwrap();
    assert_eq!(left.len(), 10, "what never was a reading is still there");
    assert!(left.iter().all(|l| l.stage == "ingest" && !l.findings.is_empty()));
}

#[tokio::test]
async fn json_lines_and_letters_are_read_and_bad_lines_go_to_the_dead_letters() {
    let letter =
        am_pipeline::DeadLetter::failed(Scope::local(), Timestamp::from_second(0), "x", &beat(2, 1), &Error::new(Code::INTERNAL, "x"), 1);
    let text = format!("{}\n\n{{\"device_id\": 5}}\nnot json\n{}\n{}", beat(1, 1).to_json(), letter.to_json(), beat(3, 1).to_json());
    let letters = Arc::new(am_pipeline::DeadLetterMemory::default());
    let shelf = Shelf::new(0);
    let lines = JsonLines::new(std::io::Cursor::new(text), Catalogue::builtin());
    let p = Pipeline::builder("lines").source("lines", lines).sink("shelf", shelf.clone()).dead_letters_shared(letters.clone());
    let report = p.build().unwrap().run(&ctx(), CancelToken::new()).await.unwrap();
    assert_eq!((report.totals.delivered, report.totals.parked), (3, 2));
    assert_eq!(shelf.kept.lock().keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(letters.len(), 2);
}

#[tokio::test]
async fn a_log_carries_on_where_its_cursor_stood_cuts_a_torn_end_and_trims_what_was_passed() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Log::open(dir.path(), Catalogue::builtin(), LogOptions::default().segment_bytes(2_000)).unwrap();
    let log = open();
    for n in 0..20 {
        log.sink().write(&ctx(), &(n * 10..n * 10 + 10).map(|i| beat(i, 3)).collect::<Vec<_>>()).await.unwrap();
    }
    let mut source = log.source("reader", false).unwrap();
    let polled = source.poll(&ctx(), 75).await.unwrap().unwrap();
    let done = |items: &[am_pipeline::Arrival]| -> Vec<am_pipeline::Settled> {
        items.iter().map(|a| am_pipeline::Settled { token: a.token, outcome: Outcome::Delivered }).collect()
    };
    source.settle(&ctx(), &done(&polled.items[..70])).await.unwrap();
    drop((source, log));
    let last = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().unwrap() == "log").max().unwrap();
    let whole = std::fs::metadata(&last).unwrap().len();
    std::fs::File::options().append(true).open(&last).unwrap().set_len(whole - 3).unwrap();
    let log = open();
    log.sink().write(&ctx(), &[beat(199, 3), beat(198, 3)]).await.unwrap();
    let mut source = log.source("reader", false).unwrap();
    let mut got = Vec::new();
    while let Some(polled) = source.poll(&ctx(), 64).await.unwrap() {
        source.settle(&ctx(), &done(&polled.items)).await.unwrap();
        got.extend(polled.items.into_iter().map(|a| a.item.unwrap().sequence()));
    }
    assert_eq!(got, (70..200).collect::<Vec<_>>(), "from the cursor on, the torn one written again, the other one not twice");
    assert!(log.trim().unwrap() > 3);
    assert!(log.source("reader", false).unwrap().poll(&ctx(), 1).await.unwrap().is_none());
    assert!(log.source("../x", false).is_err());
}
