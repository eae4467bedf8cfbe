//! Files of released versions open in this one. `fixtures/sqlite-vN.db` was written by the code of schema version N and stays as it is.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "test code may fail loudly")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use am_core::{Code, Ctx, ManualClock, Scope, Timestamp};
use am_schema::Catalogue;
use am_store::model::{
    AggregateQuery, BucketWidth, Generations, Metric, NewVector, ScanQuery, TextQuery, VectorModel, VectorOutcome, VectorQuery,
};
use am_store::sqlite::{self, SqliteOptions};
use am_store::traits::Backend;

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_second(1_772_496_000))
}

fn fixture(folder: &Path) -> PathBuf {
    let path = folder.join("am.db");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sqlite-v1.db"), &path).unwrap();
    path
}

async fn open(path: &Path) -> Backend {
    sqlite::open(SqliteOptions::new(path), Arc::new(clock()), Catalogue::builtin()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_version_1_is_copied_brought_up_and_answers_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = fixture(folder.path());
    let before = std::fs::read(&path).unwrap();
    let catalogue = Catalogue::builtin();
    let ctx = Ctx::new(Scope::new("acme", "ada").unwrap(), Arc::new(clock()));

    for round in 0..2 {
        let b = open(&path).await;
        let all = b.readings.scan(&ctx, &ScanQuery::default().generations(Generations::All)).await.unwrap().items;
        assert_eq!(all.len(), 53, "50 heart rates, a note and two generations");
        assert_eq!(b.readings.scan(&ctx, &ScanQuery::default()).await.unwrap().items.len(), 52);
        assert_eq!(b.text.search(&ctx, &TextQuery::new("kite")).await.unwrap().hits.len(), 1);
        let heart = catalogue.get("device.health.heartrate.raw").unwrap();
        let whole = AggregateQuery::new(heart, Timestamp::MIN, Timestamp::MAX, BucketWidth::Whole);
        assert_eq!(b.readings.aggregate(&ctx, &whole).await.unwrap()[0].values.count, 50);
        assert_eq!(b.key_value.get(&ctx, "k").await.unwrap().unwrap().value, b"v");
        assert_eq!(b.flows.load("sleep").await.unwrap().cursor, 10);

        // What version 2 brought.
        let v = b.vectors.clone().unwrap();
        assert_eq!(v.register(VectorModel::new("m", 2, Metric::Cosine)).await.unwrap(), round == 0);
        let vector = NewVector::new(all[0].reading.reference(), vec![1.0, 0.5]);
        let want = if round == 0 { VectorOutcome::Added } else { VectorOutcome::Replaced };
        assert_eq!(v.upsert(&ctx, "m", vec![vector]).await.unwrap(), [want]);
        let found = v.search(&ctx, &VectorQuery::new("m", vec![1.0, 0.5])).await.unwrap();
        assert_eq!(found.hits[0].stored.reading, all[0].reading);
        b.maintenance.close().await.unwrap();
    }

    let copy = folder.path().join("am.db.v1.backup");
    assert!(copy.exists(), "the file was copied first");
    let again = folder.path().join("again.db");
    std::fs::copy(&copy, &again).unwrap();
    assert_eq!(open(&again).await.readings.scan(&ctx, &ScanQuery::default()).await.unwrap().items.len(), 52);
    assert_eq!(before, std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sqlite-v1.db")).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_version_1_cannot_be_followed_before_it_was_brought_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = fixture(folder.path());
    let mut options = SqliteOptions::new(&path);
    options.read_only = true;
    let Err(e) = sqlite::open(options, Arc::new(clock()), Catalogue::builtin()).await else { panic!("it was opened") };
    assert_eq!(e.code(), Code::STORE_READ_ONLY);
    assert!(e.message().contains("version 1"), "{e}");
}
