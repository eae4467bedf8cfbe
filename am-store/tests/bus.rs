//! Gateway, persister and worker over a bus, with faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bus_faults;

use std::sync::Arc;
use std::time::Duration;

use am_core::{CancelToken, Clock, Code, Ctx, Scope, Timestamp};
use am_pipeline::bus::memory::{self, MemoryBusOptions};
use am_pipeline::bus::{Area, Bus, Message};
use am_pipeline::{DeadLetter, Origin, TokioClock};
use am_schema::{Catalogue, Finding, Reading, Rejected};
use am_store::bus::{GatewayOptions, Persister, PersisterOptions, WorkerOptions, gateway, worker};
use am_store::model::{Generations, Ingest, Provenance, PutOutcome, ScanQuery, Stored};
use am_store::runner::{FlowRunner, RunnerOptions};
use am_store::traits::{DeadLetterQuery, Flows};
use am_store::{Store, StoreOptions};
use bus_faults::{beat, faulty, flow};
use bytes::Bytes;

fn clock() -> Arc<dyn Clock> {
    Arc::new(TokioClock::default())
}

async fn store() -> Store {
    Store::open("memory:", StoreOptions::default(), clock(), Catalogue::builtin()).await.unwrap()
}

fn bus() -> Bus {
    memory::open(MemoryBusOptions::default(), clock())
}

fn front(bus: &Bus, inner: &Store) -> Store {
    Store::of(gateway(inner.backend().clone(), bus, GatewayOptions::default()), clock(), Catalogue::builtin())
}

fn ada() -> Scope {
    Scope::new("acme", "ada@example.org").unwrap()
}

/// Beats of two devices, a hundred each, one a second.
fn beats() -> Vec<Reading> {
    (0..200).map(|n| beat(["watch", "band"][n % 2], n as i64, 60 + (n % 40) as i32)).collect()
}

async fn all(store: &Store, scope: &Scope) -> Vec<Stored> {
    let query = ScanQuery::default().generations(Generations::All).limit(100_000);
    store.scoped(scope).scan(&query).await.unwrap().items
}

/// Persists until nothing has come for a while.
async fn persist(store: &Store, bus: &Bus, until: impl Fn(u64) -> bool) {
    let mut p = Persister::new(store, bus, PersisterOptions::default());
    let (status, stop) = (p.status(), CancelToken::new());
    let watch = async {
        loop {
            tokio::task::yield_now().await;
            let s = status.lock().clone();
            if until(s.stored + s.duplicate + s.dead_lettered) {
                return stop.cancel();
            }
            clock().sleep(Duration::from_millis(5)).await;
        }
    };
    let (done, ()) = tokio::join!(p.run(&stop), watch);
    done.unwrap();
}

#[tokio::test]
async fn custody_p02_what_a_gateway_accepts_is_stored_once_and_the_balance_holds() {
    let (bus, db) = (bus(), store().await);
    let front = front(&bus, &db);
    let (mine, readings) = (front.scoped(&ada()), beats());
    let rejected = |n: u8| {
        let r = Rejected::new(Code::INVALID_ITEM, vec![Finding::new("bpm", 900, "20 to 300")], Bytes::from(vec![n; 9]));
        DeadLetter::rejected(ada(), Timestamp::from_second(1_772_352_000), r)
    };
    let provenance = Provenance {
        client: "watch app".into(),
        key_id: "k1".into(),
        received_at: Timestamp::from_second(1_772_352_900),
        ..Default::default()
    };
    for (n, chunk) in readings.chunks(50).enumerate() {
        let batch =
            Ingest { provenance: provenance.clone(), readings: chunk.to_vec(), rejected: vec![rejected(n as u8)], ..Default::default() };
        let out = mine.ingest(batch.clone()).await.unwrap();
        assert!(out.readings.iter().all(|o| matches!(o, PutOutcome::Stored(_))), "{out:?}");
        assert_eq!(out.parked.len(), 1);
        // A client that heard nothing sends again.
        let again = mine.ingest(batch).await.unwrap();
        assert!(again.readings.iter().all(|o| *o == PutOutcome::Duplicate), "{again:?}");
    }
    persist(&db, &bus, |n| n >= 204).await;
    let found = all(&db, &ada()).await;
    let mut wanted = readings.clone();
    wanted.sort_by_key(|r| (r.recorded_at(), r.device().clone()));
    assert_eq!(found.iter().map(|s| s.reading.clone()).collect::<Vec<_>>(), wanted);
    let counts = db.scoped(&ada()).counts().await.unwrap();
    assert_eq!((counts.stored, counts.dead_lettered, counts.balanced()), (200, 4, true), "{counts:?}");
    let p = db.scoped(&ada()).provenance(found[0].batch).await.unwrap().unwrap();
    assert_eq!((p.client.as_str(), p.key_id.as_str(), p.received_at), ("watch app", "k1", provenance.received_at));
    assert_eq!(all(&db, &Scope::new("acme", "bob").unwrap()).await, []);
}

#[tokio::test]
async fn custody_p01_a_store_that_is_away_loses_nothing_and_holds_nothing_in_memory() {
    let (bus, db) = (bus(), store().await);
    let front = front(&bus, &db);
    for chunk in beats().chunks(7) {
        front.scoped(&ada()).put(chunk.to_vec()).await.unwrap();
    }
    // Every third write fails, some of them after they were done.
    let shaky = Store::of(bus_faults::shaky(db.backend().clone()), clock(), Catalogue::builtin());
    persist(&shaky, &bus, |n| n >= 200).await;
    assert_eq!(all(&db, &ada()).await.len(), 200);
    assert!(db.scoped(&ada()).counts().await.unwrap().balanced());
}

#[tokio::test]
async fn custody_p10_a_gateway_refuses_before_the_stream_forgets_what_nobody_stored() {
    let mut options = MemoryBusOptions::default();
    options.bytes = 40_000;
    let (bus, db) = (memory::open(options, clock()), store().await);
    let front = front(&bus, &db);
    // Someone must want the messages, or nothing is waiting for anybody.
    bus.groups.join(am_pipeline::bus::GroupSpec::new("am-persister", [Area::Readings, Area::Errors])).await.unwrap();
    let readings: Vec<Reading> = (0..2_000).map(|n| beat("watch", n, 60)).collect();
    let (mut taken, mut refused) = (0, None);
    for chunk in readings.chunks(50) {
        match front.scoped(&ada()).put(chunk.to_vec()).await {
            Ok(_) => taken += 50,
            Err(e) => {
                refused = Some(e);
                break;
            }
        }
    }
    let e = refused.expect("the stream is small");
    assert_eq!(e.code(), Code::OVERLOADED);
    assert!(e.message().contains("70 %") && taken > 100, "{e} after {taken}");
    assert_eq!(front.backend().maintenance.ready().await.unwrap_err().code(), Code::OVERLOADED);
    persist(&db, &bus, |n| n >= taken).await;
    front.scoped(&ada()).put(readings[..50].to_vec()).await.unwrap();
}

#[tokio::test]
async fn custody_p02_what_is_no_message_of_ours_is_parked_and_the_rest_goes_on() {
    let (bus, db) = (bus(), store().await);
    let ctx = Ctx::new(ada(), clock());
    let odd = Message {
        area: Area::Readings,
        scope: ada(),
        topic: "device.health.heartrate.raw".into(),
        device: None,
        id: "odd".into(),
        trace: Default::default(),
        body: Bytes::from_static(b"\xff\xff\xff"),
    };
    bus.publisher.publish(&ctx, vec![odd]).await.remove(0).unwrap();
    front(&bus, &db).scoped(&ada()).put(vec![beat("watch", 1, 70)]).await.unwrap();
    persist(&db, &bus, |n| n >= 2).await;
    let letters = db.scoped(&ada()).dead_letters(&DeadLetterQuery::default()).await.unwrap();
    assert_eq!((letters.len(), letters[0].letter.code, &letters[0].letter.wire[..]), (1, Code::UNDECODABLE, &b"\xff\xff\xff"[..]));
    assert_eq!(all(&db, &ada()).await.len(), 1);
}

fn options() -> RunnerOptions {
    RunnerOptions::default().batch(16).linger(Duration::ZERO)
}

fn work(bus: &Bus, db: &Store) -> FlowRunner {
    let lease = serde_json::from_str::<WorkerOptions>(r#"{"lease_ms": 200}"#).unwrap();
    let backend = worker(db.backend().clone(), bus, "test", lease, clock(), Catalogue::builtin()).unwrap();
    FlowRunner::new(&Store::of(backend, clock(), Catalogue::builtin()), flow("1"), options()).unwrap()
}

/// What an embedded store has after the same input.
async fn embedded() -> Vec<Reading> {
    let db = store().await;
    for chunk in beats().chunks(7) {
        db.scoped(&ada()).put(chunk.to_vec()).await.unwrap();
    }
    FlowRunner::new(&db, flow("1"), options()).unwrap().drain().await.unwrap();
    all(&db, &ada()).await.into_iter().map(|s| s.reading).collect()
}

/// The rows that count, with the content that hangs on the state.
async fn persisted(db: &Store) -> Vec<Reading> {
    all(db, &ada()).await.into_iter().map(|s| s.reading).collect()
}

#[tokio::test]
async fn custody_p01_a_worker_on_the_bus_derives_what_an_embedded_flow_derives() {
    let (bus, db) = (bus(), store().await);
    let front = front(&bus, &db);
    for chunk in beats().chunks(7) {
        front.scoped(&ada()).put(chunk.to_vec()).await.unwrap();
    }
    let mut runner = work(&bus, &db);
    runner.drain().await.unwrap();
    let s = runner.status();
    assert_eq!((s.get().taken, s.get().derived), (200, 200));
    persist(&db, &bus, |n| n >= 400).await;
    assert_eq!(persisted(&db).await, embedded().await);
    let counts = db.scoped(&ada()).counts().await.unwrap();
    assert_eq!((counts.received, counts.stored), (200, 200), "what was derived was not received");
}

#[tokio::test]
async fn custody_p01_a_worker_that_is_cut_off_at_any_call_repeats_nothing_and_skips_nothing() {
    let wanted = embedded().await;
    for after in 1..60 {
        let (whole, db) = (bus(), store().await);
        let front = front(&whole, &db);
        for chunk in beats().chunks(7) {
            front.scoped(&ada()).put(chunk.to_vec()).await.unwrap();
        }
        // The bus answers so many calls; the next one is lost, done or not, and everything after it.
        let cut = faulty(&whole, after);
        let mut first = work(&cut, &db);
        let ended = first.drain().await;
        drop(first);
        let mut second = work(&whole, &db);
        let stop = CancelToken::new();
        let status = second.status();
        let watch = async {
            while status.get().cursor >> 12 < 29 || status.get().commits == 0 {
                clock().sleep(Duration::from_millis(5)).await;
            }
            stop.cancel();
        };
        tokio::select! {
            done = async { tokio::join!(second.run(&stop), watch) } => done.0.unwrap(),
            () = clock().sleep(Duration::from_secs(20)) => panic!("cut after {after} calls ({ended:?}): {:?}", second.status().get()),
        }
        second.drain().await.unwrap();
        persist(&db, &whole, |n| n >= 400).await;
        assert_eq!(persisted(&db).await, wanted, "cut after {after} calls");
    }
}

#[tokio::test]
async fn a_second_worker_waits_and_takes_over_and_the_first_commits_nothing_more() {
    let (bus, db) = (bus(), store().await);
    let (mut first, mut second) = (work(&bus, &db), work(&bus, &db));
    front(&bus, &db).scoped(&ada()).put(beats()[..20].to_vec()).await.unwrap();
    first.drain().await.unwrap();
    let e = second.drain().await.unwrap_err();
    assert_eq!(e.code(), Code::STORE_LOCKED);
    assert!(e.advice().is_worthwhile(), "{e}");
    clock().sleep(Duration::from_millis(250)).await;
    second.drain().await.unwrap();
    front(&bus, &db).scoped(&ada()).put(beats()[20..40].to_vec()).await.unwrap();
    assert!(first.drain().await.is_err(), "the flow is the second one's now");
    second.drain().await.unwrap();
    assert_eq!(second.status().get().derived, 20);
    persist(&db, &bus, |n| n >= 80).await;
    assert_eq!(all(&db, &ada()).await.len(), 80);
}

#[tokio::test]
async fn custody_p04_what_a_sender_repeats_in_other_batches_reaches_a_flow_once() {
    let (bus, db) = (bus(), store().await);
    let front = front(&bus, &db);
    // The same readings cut otherwise are other messages.
    for size in [7, 11, 50] {
        for chunk in beats().chunks(size) {
            front.scoped(&ada()).put(chunk.to_vec()).await.unwrap();
        }
        let mut runner = work(&bus, &db);
        runner.drain().await.unwrap();
        clock().sleep(Duration::from_millis(250)).await;
    }
    persist(&db, &bus, |n| n >= 800).await;
    assert_eq!(persisted(&db).await, embedded().await);
}

#[tokio::test]
async fn a_reset_derives_again_and_adds_nothing() {
    let (bus, db) = (bus(), store().await);
    front(&bus, &db).scoped(&ada()).put(beats()[..20].to_vec()).await.unwrap();
    let mut runner = work(&bus, &db);
    runner.drain().await.unwrap();
    runner.reset().await.unwrap();
    runner.drain().await.unwrap();
    let s = runner.status().get();
    assert_eq!((s.derived, s.duplicates), (20, 20));
    let backend = worker(db.backend().clone(), &bus, "test", WorkerOptions::default(), clock(), Catalogue::builtin()).unwrap();
    let flows: Arc<dyn Flows> = backend.flows;
    assert_eq!(flows.list().await.unwrap().iter().map(|f| f.flow.as_str()).collect::<Vec<_>>(), ["test"]);
    persist(&db, &bus, |n| n >= 40).await;
    assert_eq!(all(&db, &ada()).await.len(), 40);
}

#[tokio::test]
async fn what_comes_of_backfill_is_backfill_on_the_bus_too() {
    let (bus, db) = (bus(), store().await);
    let provenance = Provenance { origin: Origin::Backfill, ..Default::default() };
    let batch = Ingest { provenance, readings: beats()[..4].to_vec(), ..Default::default() };
    front(&bus, &db).scoped(&ada()).ingest(batch).await.unwrap();
    work(&bus, &db).drain().await.unwrap();
    persist(&db, &bus, |n| n >= 8).await;
    assert!(all(&db, &ada()).await.iter().all(|s| s.origin == Origin::Backfill));
}
