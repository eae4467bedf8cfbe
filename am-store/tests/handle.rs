//! The handle that users hold: addresses, replay, history.
#![allow(clippy::unwrap_used, reason = "test code may fail loudly")]

use std::sync::Arc;

use am_core::{Code, DeviceId, Lookup, LookupRange, ManualClock, Scope, Timestamp};
use am_pipeline::DeadLetter;
use am_schema::{Catalogue, Inputs, Reading, v1};
use am_store::traits::{DeadLetterQuery, Resolution};
use am_store::{Repair, Replayed, Store, StoreOptions};

fn at(s: i64) -> Timestamp {
    Timestamp::from_second(1_772_323_200 + s)
}

async fn store() -> Store {
    let clock = Arc::new(ManualClock::new(at(86_400)));
    Store::open("memory:", StoreOptions::default(), clock, Catalogue::builtin()).await.unwrap()
}

fn heart(s: i64, bpm: i32) -> Reading {
    let kind = Catalogue::builtin().get("device.health.heartrate.raw").unwrap();
    let payload = v1::HeartRate { bpm, ..Default::default() };
    Reading::builder(kind, DeviceId::new("watch").unwrap(), at(s)).payload(&payload).build().unwrap()
}

#[tokio::test]
async fn an_unknown_address_says_what_there_is() {
    let clock = Arc::new(ManualClock::new(at(0)));
    let e = Store::open("mysql://localhost/am", StoreOptions::default(), clock, Catalogue::builtin()).await.unwrap_err();
    assert_eq!(e.code(), Code::BAD_STORE_URL);
    assert!(e.to_string().contains("memory:") && e.to_string().contains("sqlite:PATH"), "{e}");
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn the_same_calls_work_on_disk_and_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("am.db").display());
    let clock = Arc::new(ManualClock::new(at(86_400)));
    for round in 0..2 {
        let store = Store::open(&url, StoreOptions::default(), clock.clone(), Catalogue::builtin()).await.unwrap();
        let mine = store.scoped(&Scope::local());
        mine.put(vec![heart(1, 60), heart(2, 61)]).await.unwrap();
        assert_eq!(mine.get(&heart(1, 60).reference()).await.unwrap().map(|s| s.reading), Some(heart(1, 60)));
        assert_eq!(mine.counts().await.unwrap().duplicate, round * 2);
        store.close().await.unwrap();
        assert_eq!(mine.counts().await.unwrap_err().code(), Code::CLOSED);
    }
}

#[tokio::test]
async fn custody_p02_a_json_letter_is_repaired_as_json_and_its_provenance_names_it() {
    let store = store().await;
    let mine = store.scoped(&Scope::local());
    let broken =
        r#"{"device_id":"watch","recorded_at":"2026-03-01T00:00:05Z","kind":"device.health.heartrate.raw","heart_rate":{"bpm":5000}}"#;
    let mut decoder = am_schema::Decoder::new(Catalogue::builtin());
    let rejected = decoder.decode_json(broken, at(86_400)).unwrap_err();
    let letter = DeadLetter::rejected(Scope::local(), at(86_400), rejected);
    mine.park(vec![letter.clone()]).await.unwrap();
    assert!(matches!(mine.replay(&letter.id, Repair::AsIs).await.unwrap(), Replayed::Failed(_)));
    let done = mine.replay(&letter.id, Repair::Json(broken.replace("5000", "50"))).await.unwrap();
    assert_eq!(done, Replayed::Stored);
    let row = mine.dead_letter(&letter.id).await.unwrap().unwrap();
    assert_eq!(row.resolution.map(|r| r.0), Some(Resolution::Replayed));
    let stored = mine.scan(&Default::default()).await.unwrap().items;
    let provenance = mine.provenance(stored[0].batch).await.unwrap().unwrap();
    assert_eq!((provenance.client.as_str(), provenance.batch_id), ("replay", letter.id));
}

#[tokio::test]
async fn custody_p02_a_letter_of_a_processor_asks_for_a_reset_and_stays() {
    let store = store().await;
    let mine = store.scoped(&Scope::local());
    mine.put(vec![heart(1, 60)]).await.unwrap();
    let e = am_core::Error::new(Code::PROCESSOR_FAILED, "no model");
    let letter = DeadLetter::failed(Scope::local(), at(9), "heart.hrv", &heart(1, 60), &e, 3);
    mine.park(vec![letter.clone()]).await.unwrap();
    let done = mine.replay(&letter.id, Repair::AsIs).await.unwrap();
    assert_eq!(done, Replayed::NeedsReset { stage: "heart.hrv".into() });
    assert_eq!(mine.dead_letters(&DeadLetterQuery::default()).await.unwrap().len(), 1);
    mine.drop_letter(&letter.id).await.unwrap();
    assert_eq!(mine.dead_letters(&DeadLetterQuery::default()).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_conflict_replayed_with_a_new_key_is_taken_in() {
    let store = store().await;
    let mine = store.scoped(&Scope::local());
    let kind = heart(1, 60).kind();
    let rival = |s: i64, bpm: i32| {
        let b = Reading::builder(kind, DeviceId::new("watch").unwrap(), at(s)).id(am_core::ReadingId::from_bytes([1; 16]));
        b.payload(&v1::HeartRate { bpm, ..Default::default() }).build().unwrap()
    };
    mine.put(vec![rival(1, 60)]).await.unwrap();
    mine.put(vec![rival(1, 90)]).await.unwrap();
    let letter = mine.dead_letters(&DeadLetterQuery::default()).await.unwrap().remove(0).letter;
    assert!(matches!(mine.replay(&letter.id, Repair::AsIs).await.unwrap(), Replayed::Failed(l) if l.code == Code::CLOCK_CONFLICT));
    let done = mine.replay(&letter.id, Repair::Wire(rival(2, 90).to_wire().into())).await.unwrap();
    assert_eq!(done, Replayed::Stored);
    assert!(mine.counts().await.unwrap().balanced());
}

#[tokio::test]
async fn history_answers_by_scope_and_remembers_what_was_asked() {
    let store = store().await;
    let mine = store.scoped(&Scope::local());
    mine.put((0..10).map(|n| heart(n, 60 + n as i32)).collect()).await.unwrap();
    mine.set_value("home", b"here".to_vec(), None).await.unwrap();
    let history = store.lookup();
    let (me, topic) = (Scope::local(), "device.health.heartrate.raw");
    let found = history.latest(&me, None, topic, at(4)).await.unwrap().unwrap();
    assert_eq!(Reading::from_record(store.catalogue(), found).unwrap(), heart(4, 64));
    let some = history.range(&me, LookupRange::new(topic, at(2), at(9)).limit(3)).await.unwrap();
    assert_eq!(some.len(), 3);
    assert_eq!(history.value(&me, "home").await.unwrap().as_deref(), Some(b"here".as_slice()));
    let stranger = Scope::new("globex", "me").unwrap();
    assert_eq!(history.latest(&stranger, None, topic, at(4)).await.unwrap(), None);
    assert_eq!(history.latest(&me, None, "no.such.topic", at(4)).await.unwrap_err().code(), Code::UNKNOWN_KIND);

    let asked = history.take();
    assert_eq!(asked.len(), 4);
    assert!(history.take().is_empty());
    assert_ne!(asked[0].digest, asked[3].digest, "another answer has another digest");
    let inputs = asked.iter().fold(Inputs::of(&[heart(1, 61)]), |inputs, a| a.name_in(inputs));
    let kind = store.catalogue().get("prediction.sleep.scored").unwrap();
    let p = am_schema::ProcessorIdentity::new("p", "1", "{}");
    let payload = v1::Prediction { target: "sleep".into(), ..Default::default() };
    let derived =
        Reading::builder(kind, DeviceId::new("watch").unwrap(), at(1)).payload(&payload).derived_from(&p, inputs, 0).build().unwrap();
    let lineage = derived.lineage().unwrap();
    assert_eq!(lineage.lookups.len(), 4);
    assert!(lineage.lookups[0].what.starts_with("latest device.health"));

    for n in 0..400 {
        history.value(&me, &format!("k{n}")).await.unwrap();
    }
    assert_eq!(history.take().len(), 256, "what is remembered is bounded");
}

#[tokio::test]
async fn custody_p05_a_lineage_whose_raw_is_gone_says_so() {
    let store = store().await;
    let mine = store.scoped(&Scope::local());
    let raw: Vec<Reading> = (0..100).map(|n| heart(n, 60)).collect();
    mine.put(raw[..40].to_vec()).await.unwrap();
    let kind = store.catalogue().get("prediction.sleep.scored").unwrap();
    let p = am_schema::ProcessorIdentity::new("p", "1", "{}");
    let payload = v1::Prediction { target: "sleep".into(), ..Default::default() };
    let b = Reading::builder(kind, DeviceId::new("watch").unwrap(), at(0)).payload(&payload);
    let derived = b.derived_from(&p, Inputs::of(&raw), 0).build().unwrap();
    mine.put(vec![derived.clone()]).await.unwrap();
    let up = mine.ancestors(&derived.reference(), 1_000).await.unwrap();
    assert_eq!((up.steps.len(), up.expired), (40, vec![("device.health.heartrate.raw".to_owned(), 100, 40)]));
    assert_eq!(mine.ancestors(&derived.reference(), 0).await.unwrap_err().code(), Code::BAD_QUERY);
}
