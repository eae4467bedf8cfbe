//! How well the index of pgvector guesses.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code may fail loudly")]

mod postgres_server;

use std::sync::Arc;

use am_core::{Ctx, DeviceId, ManualClock, Scope, Timestamp};
use am_schema::{Catalogue, Reading, v1};
use am_store::model::{Ingest, Metric, NewVector, VectorModel, VectorQuery};
use am_store::testkit::Seeded;

use postgres_server::{Database, open, options};

/// Vectors in clouds, as those of texts are.
fn cloudy(g: &mut Seeded, clouds: &[Vec<f32>]) -> Vec<f32> {
    let centre = &clouds[g.below(clouds.len() as u64) as usize];
    centre.iter().map(|c| c + (g.unit() as f32 - 0.5) * 0.8).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_finds_nearly_all_that_comparing_everything_finds() {
    const DIMENSIONS: u32 = 48;
    let Some(db) = Database::new().await else { return };
    let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_772_409_600)));
    let b = open(&db.url, options("am")).await.unwrap();
    let v = b.vectors.clone().unwrap();
    v.register(VectorModel::new("clouds", DIMENSIONS, Metric::Cosine)).await.unwrap();
    let kind = Catalogue::builtin().get("external.memo.raw").unwrap();
    let mut g = Seeded::new(1);
    let clouds: Vec<Vec<f32>> = (0..60).map(|_| (0..DIMENSIONS).map(|_| g.unit() as f32 - 0.5).collect()).collect();
    let people = [("ada", 7_000), ("bob", 3_000)];
    for (user, n) in people {
        let ctx = Ctx::new(Scope::new("acme", user).unwrap(), clock.clone());
        let readings: Vec<Reading> = (0..n)
            .map(|i| {
                let note = v1::Note { text: format!("{i}"), ..Default::default() };
                let at = Timestamp::from_second(1_772_323_200 + i);
                Reading::builder(kind, DeviceId::new("phone").unwrap(), at).payload(&note).build().unwrap()
            })
            .collect();
        for part in readings.chunks(2_000) {
            b.readings.put(&ctx, Ingest { readings: part.to_vec(), ..Default::default() }).await.unwrap();
            let batch = part.iter().map(|r| NewVector::new(r.reference(), cloudy(&mut g, &clouds))).collect();
            v.upsert(&ctx, "clouds", batch).await.unwrap();
        }
    }
    let ctx = Ctx::new(Scope::new("acme", "ada").unwrap(), clock.clone());
    for (what, from, to) in [("everything", 0, 7_000), ("a tenth of the time", 2_000, 2_700)] {
        let (mut found, mut of, mut guessed) = (0, 0, 0);
        for _ in 0..40 {
            let mut q = VectorQuery::new("clouds", cloudy(&mut g, &clouds));
            (q.from, q.to) = (Timestamp::from_second(1_772_323_200 + from), Timestamp::from_second(1_772_323_200 + to));
            let quick = v.search(&ctx, &q).await.unwrap();
            q.exact = true;
            let all = v.search(&ctx, &q).await.unwrap();
            assert!(all.exact && all.searched == Some((to - from) as u64) && all.hits.len() == 10, "{:?}", all.searched);
            guessed += u32::from(!quick.exact);
            of += all.hits.len();
            found += all.hits.iter().filter(|h| quick.hits.iter().any(|q| q == *h)).count();
        }
        let recall = found as f64 / of as f64;
        println!("recall of {what}: {recall:.3}, {guessed} of 40 from the index");
        assert!(recall >= 0.95, "{what}: {recall}");
        assert!(guessed >= 30, "{what}: the index answered only {guessed} of 40");
    }
    b.maintenance.close().await.unwrap();
}
