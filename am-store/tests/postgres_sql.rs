//! The SQL views over a store that was filled through its own interface: what SQL users see is what the store answers.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code may fail loudly")]

mod postgres_server;

use std::sync::Arc;

use am_core::{Ctx, DeviceId, ManualClock, Scope, Timestamp};
use am_schema::{Catalogue, Reading, v1};
use am_store::model::{AggregateQuery, BucketWidth, Ingest, Metric, NewVector, VectorModel, VectorQuery};
use am_store::postgres;
use am_store::testkit::filled;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use postgres_server::{Database, options};

async fn run(db: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(db).await.unwrap();
}

async fn text(db: &mut PgConnection, sql: &str) -> String {
    sqlx::query_scalar::<_, Option<String>>(AssertSqlSafe(format!("SELECT ({sql})::text"))).fetch_one(db).await.unwrap().unwrap_or_default()
}

async fn become_reader(db: &mut PgConnection, tenant: &str, user: &str) {
    let settings = "SET ROLE am_reader; SET search_path = am_sql, public; SET timezone = 'UTC'";
    run(db, &format!("{settings}; SET am.tenant = '{tenant}'; SET am.user_id = '{user}'")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p08_sql_users_see_what_the_store_answers_for_one_person_and_nothing_else() {
    let Some(own) = Database::new().await else { return };
    let catalogue = Catalogue::builtin();
    let mut settings = options("am");
    settings.views = true;
    let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_772_409_600)));
    let opened = postgres::connect(&own.url, settings.clone(), clock.clone(), catalogue.clone()).await.unwrap();
    let b = opened.backend;
    let at = |n: i64| Timestamp::from_second(1_772_323_200 + n);
    let heart = catalogue.get("device.health.heartrate.raw").unwrap();
    for (tenant, user, bpm) in [("acme", "ada", 60), ("acme", "bob", 80), ("globex", "ada", 100)] {
        let ctx = Ctx::new(Scope::new(tenant, user).unwrap(), clock.clone());
        let device = DeviceId::new(format!("{tenant}-{user}")).unwrap();
        let mut all: Vec<Reading> = catalogue.kinds().map(|k| filled(k, &device, at(90_000), 1).unwrap()).collect();
        all.extend((0..500).map(|n| {
            let beat = v1::HeartRate { bpm: bpm + (n % 17) as i32, ..Default::default() };
            Reading::builder(heart, device.clone(), at(n * 30)).payload(&beat).build().unwrap()
        }));
        b.readings.put(&ctx, Ingest { readings: all, ..Default::default() }).await.unwrap();
    }
    b.maintenance.tidy().await.unwrap();
    let ada = Ctx::new(Scope::new("acme", "ada").unwrap(), clock.clone());
    // Some more, that the rollups do not hold yet.
    let late =
        Reading::builder(heart, DeviceId::new("acme-ada").unwrap(), at(31)).payload(&v1::HeartRate { bpm: 200, ..Default::default() });
    b.readings.put(&ada, Ingest { readings: vec![late.build().unwrap()], ..Default::default() }).await.unwrap();

    let mut db = own.connect().await;
    become_reader(&mut db, "acme", "ada").await;
    let kinds = catalogue.kinds().count();
    assert_eq!(text(&mut db, "SELECT count(*) FROM sensor_readings").await, (kinds + 501).to_string());
    assert_eq!(text(&mut db, "SELECT string_agg(DISTINCT device_id, ',') FROM sensor_readings").await, "acme-ada");
    for (view, width, start) in [("heart_rate_stats", BucketWidth::FiveMinutes, 0), ("readings_hourly", BucketWidth::Hour, 0)] {
        let q = AggregateQuery::new(heart, at(0), at(16_000), width);
        for bucket in b.readings.aggregate(&ada, &q).await.unwrap() {
            let when = format!("to_timestamp({})", bucket.start.as_second() + start);
            let (sql, v) = match view {
                "heart_rate_stats" => ("avg_bpm || ' ' || min_bpm || ' ' || max_bpm || ' ' || reading_count", bucket.values),
                _ => ("avg_value || ' ' || min_value || ' ' || max_value || ' ' || count", bucket.values),
            };
            let only = if view == "readings_hourly" { " AND reading_type = 'heart_rate'" } else { "" };
            let got = text(&mut db, &format!("SELECT {sql} FROM {view} WHERE bucket = {when}{only}")).await;
            let numbers: Vec<f64> = got.split(' ').map(|n| n.parse().unwrap()).collect();
            assert!((numbers[0] - v.mean()).abs() < 1e-9, "{view}: {got} for {v:?}");
            assert_eq!(&numbers[1..], &[v.min, v.max, v.count as f64], "{view}");
        }
    }
    become_reader(&mut db, "acme", "nobody").await;
    assert_eq!(text(&mut db, "SELECT count(*) FROM sensor_readings").await, "0");
    assert!(sqlx::query("SELECT 1 FROM am.reading").fetch_optional(&mut db).await.is_err(), "the reader sees tables");

    if let Some(v) = &b.vectors {
        v.register(VectorModel::new("mini", 3, Metric::Cosine)).await.unwrap();
        let stored = b.readings.scan(&ada, &am_store::model::ScanQuery::of([heart]).limit(50)).await.unwrap().items;
        let batch = stored.iter().zip(1..).map(|(s, n)| NewVector::new(s.reading.reference(), vec![1.0, n as f32 / 10.0, 0.0])).collect();
        v.upsert(&ada, "mini", batch).await.unwrap();
        let hits = v.search(&ada, &VectorQuery::new("mini", vec![1.0, 0.35, 0.0])).await.unwrap().hits;
        become_reader(&mut db, "acme", "ada").await;
        let sql = "SELECT string_agg(source_id, ',') FROM search_similar('[1,0.35,0]')";
        let want: Vec<String> = hits.iter().map(|h| h.stored.reading.id().to_string()).collect();
        assert_eq!(text(&mut db, sql).await, want.join(","));
        assert_eq!(text(&mut db, "SELECT count(*) || min(source_type) FROM embeddings").await, "50heart_rate");
        become_reader(&mut db, "acme", "bob").await;
        assert_eq!(text(&mut db, "SELECT count(*) FROM search_similar('[1,0.35,0]')").await, "0");
        assert!(v.retire("mini").await.unwrap());
        assert_eq!(text(&mut db, "SELECT count(*) FROM embeddings").await, "0");
    }
    db.close().await.unwrap();
    b.maintenance.close().await.unwrap();
    // A second opening makes nothing anew.
    let again = postgres::connect(&own.url, settings, clock, catalogue).await.unwrap();
    assert!(!again.capabilities.to_string().contains("SQL views are not"), "{}", again.capabilities);
    again.backend.maintenance.close().await.unwrap();
}
