//! The functions in SQL against the schema's own JSON.

use am_core::{DeviceId, Timestamp};
use std::str::FromStr;

use am_schema::{Catalogue, Inputs, Payload, ProcessorIdentity, Reading, ReadingRef, json, v1};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use super::{schema_of, script};
use crate::testkit::{Seeded, filled};

/// The tables that the views read, as the migrations make them but for keys and walls.
const TABLES: &str = "CREATE SCHEMA am;
  CREATE TABLE am.scope (id int, tenant_id text COLLATE \"C\", user_id text COLLATE \"C\");
  CREATE TABLE am.stream (id int, scope int, topic text COLLATE \"C\", device text COLLATE \"C\");
  CREATE TABLE am.reading (seq bigint, at timestamptz, batch bigint, flags bigint, value double precision, stream int, ns smallint,
    id uuid, body bytea);
  CREATE TABLE am.ingest (batch bigint, traceparent text);
  CREATE TABLE am.projection (name text, upto bigint);
  CREATE TABLE am.rollup (stream int, width smallint, bucket bigint, count bigint, sum double precision, min double precision,
    max double precision, m2 double precision);
  INSERT INTO am.projection VALUES ('rollup', 0);
  INSERT INTO am.ingest VALUES (1, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
  INSERT INTO am.scope VALUES (1, 'acme', 'ada'), (2, 'acme', 'bob'), (3, 'globex', 'ada');";

/// A database of its own with the views; `None` where no server is given.
async fn database(name: &str) -> Option<PgConnection> {
    let Ok(url) = std::env::var("AM_TEST_POSTGRES") else {
        let required = std::env::var("AM_TEST_REQUIRE").unwrap_or_default();
        assert!(!required.contains("postgres"), "AM_TEST_POSTGRES is not set, and AM_TEST_REQUIRE has postgres");
        println!("skipped: AM_TEST_POSTGRES is not set");
        return None;
    };
    let mut server = PgConnection::connect(&url).await.unwrap();
    let name = format!("am_views_{name}_{}", std::process::id());
    run(&mut server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
    run(&mut server, &format!("CREATE DATABASE {name}")).await;
    let mut db = PgConnection::connect_with(&PgConnectOptions::from_str(&url).unwrap().database(&name)).await.unwrap();
    run(&mut db, TABLES).await;
    // A second time changes nothing.
    for _ in 0..2 {
        run(&mut db, &script(&Catalogue::builtin(), "am", false)).await;
    }
    Some(db)
}

/// Removes the database of a test that went well.
async fn remove(db: PgConnection, name: &str) {
    db.close().await.unwrap();
    let mut server = PgConnection::connect(&std::env::var("AM_TEST_POSTGRES").unwrap()).await.unwrap();
    run(&mut server, &format!("DROP DATABASE am_views_{name}_{} WITH (FORCE)", std::process::id())).await;
}

async fn run(db: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(db).await.unwrap();
}

async fn text(db: &mut PgConnection, sql: &str) -> String {
    sqlx::query_scalar::<_, Option<String>>(AssertSqlSafe(format!("SELECT ({sql})::text"))).fetch_one(db).await.unwrap().unwrap_or_default()
}

/// A stored body.
fn body(r: &Reading) -> Vec<u8> {
    [&[0u8], &r.body()[..]].concat()
}

async fn store(db: &mut PgConnection, scope: i32, r: &Reading) {
    let (topic, device) = (r.kind().topic(), r.device().as_str());
    let held: Option<i32> = sqlx::query_scalar("SELECT id FROM am.stream WHERE scope = $1 AND topic = $2 AND device = $3")
        .bind(scope)
        .bind(topic)
        .bind(device)
        .fetch_optional(&mut *db)
        .await
        .unwrap();
    let stream: i32 = match held {
        Some(id) => id,
        None => sqlx::query_scalar("INSERT INTO am.stream SELECT count(*) + 1, $1, $2, $3 FROM am.stream RETURNING id")
            .bind(scope)
            .bind(topic)
            .bind(device)
            .fetch_one(&mut *db)
            .await
            .unwrap(),
    };
    sqlx::query(
        "INSERT INTO am.reading SELECT count(*) + 1, to_timestamp($1::double precision), 1, 0, $2, $3, 0, encode($4, 'hex')::uuid, $5
         FROM am.reading",
    )
    .bind(r.recorded_at().as_second() as f64)
    .bind(r.scalar())
    .bind(stream)
    .bind(r.id().as_bytes().to_vec())
    .bind(body(r))
    .execute(db)
    .await
    .unwrap();
}

/// From here on the session is a person's who may read the views and nothing else.
async fn become_reader(db: &mut PgConnection, tenant: &str, user: &str) {
    run(
        db,
        &format!(
            "SET ROLE am_reader; SET search_path = am_sql; SET am.tenant = '{tenant}'; SET am.user_id = '{user}'; SET timezone = 'UTC'"
        ),
    )
    .await;
}

fn reading(topic: &str, at: i64, device: &str, payload: &impl Payload) -> Reading {
    let kind = Catalogue::builtin().get(topic).unwrap();
    let b = Reading::builder(kind, DeviceId::new(device).unwrap(), Timestamp::from_second(1_772_323_200 + at)).payload(payload);
    let b = if kind.needs_span() { b.ended_at(Timestamp::from_second(1_772_323_200 + at + 60)) } else { b };
    let input = ReadingRef {
        device: DeviceId::new(device).unwrap(),
        kind,
        recorded_at: Timestamp::from_second(at),
        id: am_core::ReadingId::from_bytes([1; 16]),
    };
    let b = match kind.stage().is_derived() {
        true => b.derived_from(&ProcessorIdentity::new("test", "1", ""), Inputs::of_refs([input]), 0),
        false => b,
    };
    b.metadata("room", "hall").build().unwrap()
}

#[test]
fn the_page_about_sql_lists_every_view_with_its_columns() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sql.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (before, _) = text.split_once("\n## Every kind\n").unwrap();
    let want = format!("{before}\n## Every kind\n{}", super::listed(&Catalogue::builtin()));
    if std::env::var_os("AM_WRITE_DOCS").is_some() {
        std::fs::write(&page, &want).unwrap();
    } else {
        assert!(text == want, "docs/sql.md lists other views; run this test with AM_WRITE_DOCS=1");
    }
}

#[tokio::test]
async fn every_kind_reads_as_its_canonical_json() {
    let Some(mut db) = database("json").await else { return };
    let views = schema_of("am");
    let (mut seen, catalogue) = (0, Catalogue::builtin());
    for kind in catalogue.kinds() {
        for seed in 0..6 {
            let r = filled(kind, &DeviceId::new("watch").unwrap(), Timestamp::from_second(1_772_323_200), seed).unwrap();
            let sql = format!("SELECT {views}.payload_json($1, {views}.payload($2, $1))::text, {views}.metadata($2)::text");
            let row = sqlx::query(AssertSqlSafe(sql)).bind(kind.field() as i32).bind(body(&r)).fetch_one(&mut db).await.unwrap();
            let got: serde_json::Value = serde_json::from_str(&row.get::<String, _>(0)).unwrap();
            let want: serde_json::Value = serde_json::from_str(&json::canonical(kind.message(), r.payload_bytes())).unwrap();
            assert_eq!(got, want, "{kind} {seed}");
            assert_eq!(row.get::<String, _>(1), format!("{{\"seed\": \"{seed}\"}}"), "{kind}");
            seen += 1;
        }
    }
    println!("{seen} readings");
    remove(db, "json").await;
}

#[tokio::test]
async fn numbers_and_texts_are_read_to_the_bit() {
    let Some(mut db) = database("numbers").await else { return };
    let mut g = Seeded::new(5);
    let special = [0, 1, 0x8000_0000_0000_0000, 0x000f_ffff_ffff_ffff, 0x0010_0000_0000_0000, 0x7fef_ffff_ffff_ffff, 0x7ff0_0000_0000_0000];
    for bits in special.into_iter().chain((0..400).map(|_| g.number())) {
        let (double, single) = (f64::from_bits(bits), f32::from_bits((bits >> 32) as u32));
        let sql = "SELECT am_sql.f64($1), am_sql.f32($2), am_sql.unsigned64(am_sql.i64($1))::text, am_sql.signed32(am_sql.i32($2))";
        let row =
            sqlx::query(sql).bind(double.to_le_bytes().to_vec()).bind(single.to_le_bytes().to_vec()).fetch_one(&mut db).await.unwrap();
        let (d, s): (f64, f32) = (row.get(0), row.get(1));
        assert!(d.to_bits() == double.to_bits() || d.is_nan() && double.is_nan(), "{bits:x}: {d:e} for {double:e}");
        assert!(s.to_bits() == single.to_bits() || s.is_nan() && single.is_nan(), "{bits:x}: {s:e} for {single:e}");
        assert_eq!((row.get::<String, _>(2), row.get::<i32, _>(3)), (bits.to_string(), single.to_bits() as i32));
    }
    for n in [0u64, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), i64::MAX as u64, u64::MAX] {
        let mut wire = Vec::new();
        am_schema::wire::put_varint(&mut wire, n);
        let row = sqlx::query("SELECT v, q FROM am_sql.varint($1, 0)").bind(&wire).fetch_one(&mut db).await.unwrap();
        assert_eq!((row.get::<i64, _>(0) as u64, row.get::<i32, _>(1) as usize), (n, wire.len()));
    }
    let kind = Catalogue::builtin().get("external.memo.raw").unwrap();
    let note = v1::Note { text: "ab 'ä' \\ \"\n".into(), tags: vec!["x".into(), String::new()], ..Default::default() };
    let r = reading(kind.topic(), 0, "phone", &note);
    let row = sqlx::query("SELECT am_sql.json_note(am_sql.payload($1, $2))::text").bind(body(&r)).bind(kind.field() as i32);
    let got: serde_json::Value = serde_json::from_str(&row.fetch_one(&mut db).await.unwrap().get::<String, _>(0)).unwrap();
    assert_eq!(got, serde_json::json!({"text": "ab 'ä' \\ \"\n", "tags": ["x", ""]}));
    let nul: String = sqlx::query_scalar("SELECT am_sql.utf8($1)").bind(&b"a\0b\0"[..]).fetch_one(&mut db).await.unwrap();
    assert_eq!(nul, "a\u{fffd}b\u{fffd}");
    // Bytes that break off end the reading of them, and nothing else.
    for cut in 1..r.body().len() {
        let broken = &body(&r)[..cut];
        sqlx::query("SELECT am_sql.json_note(am_sql.payload($1, $2)), am_sql.metadata($1), am_sql.ended_at($1)")
            .bind(broken)
            .bind(kind.field() as i32)
            .fetch_one(&mut db)
            .await
            .unwrap();
    }
    remove(db, "numbers").await;
}

#[tokio::test]
async fn views_have_the_columns_that_the_documents_name() {
    let Some(mut db) = database("columns").await else { return };
    for n in 0..12 {
        let heart = v1::HeartRate { bpm: 60 + n, confidence: 0.5, zone: 3, source: "strap".into() };
        store(&mut db, 1, &reading("device.health.heartrate.raw", i64::from(n) * 60, "watch", &heart)).await;
    }
    let gps = v1::Gps { latitude: 48.2, longitude: -16.37, accuracy: Some(5.0), ..Default::default() };
    store(&mut db, 1, &reading("device.sensor.gps.raw", 5, "phone", &gps)).await;
    let spo2 = v1::Quantity { value: 97.5, code: "spo2".into(), ..Default::default() };
    store(&mut db, 1, &reading("device.health.vitals.raw", 6, "watch", &spo2)).await;
    let object = |class: &str, confidence| v1::objects_detected::Object { class: class.into(), confidence, ..Default::default() };
    let seen = v1::ObjectsDetected { objects: vec![object("cup", 0.9), object("dog", 0.75)], width: 640, height: 480 };
    store(&mut db, 1, &reading("media.image.objects_detected", 7, "phone", &seen)).await;
    let alert = v1::Alert { rule: "high".into(), severity: 2, value: Some(180.0), ..Default::default() };
    store(&mut db, 1, &reading("alert.rule.fired", 8, "watch", &alert)).await;
    become_reader(&mut db, "acme", "ada").await;
    for (sql, want) in [
        (
            "SELECT string_agg(bpm || ' ' || zone || ' ' || confidence || ' ' || source, ',') FROM heart_rate WHERE bpm = 61",
            "61 cardio 0.5 strap",
        ),
        (
            "SELECT device_id || ' ' || time || ' ' || (metadata ->> 'room') FROM heart_rate ORDER BY recorded_at LIMIT 1",
            "watch 2026-03-01 00:00:00+00 hall",
        ),
        ("SELECT latitude + longitude FROM gps WHERE altitude IS NULL AND accuracy = 5", "31.830000000000002"),
        (
            "SELECT string_agg(object_class || ' ' || confidence || ' ' || width, ',' ORDER BY object_class) FROM detected_objects",
            "cup 0.9 640,dog 0.75 640",
        ),
        ("SELECT count(*) FROM sensor_readings", "16"),
        (
            "SELECT data ->> 'bpm' || ' ' || trace_id FROM sensor_readings WHERE reading_type = 'heart_rate' ORDER BY recorded_at DESC LIMIT 1",
            "71 0af7651916cd43dd8448eb211c80319c",
        ),
        (
            "SELECT sum(value) || ' ' || min(unit) || ' ' || min(tenant_id) || ' ' || min(quality) FROM readings WHERE reading_type = 'heart_rate'",
            "786 /min acme 1",
        ),
        ("SELECT value || unit FROM readings WHERE reading_type = 'spo2'", "97.5%"),
        ("SELECT event_type || ' ' || severity || ' ' || (data ->> 'rule') FROM events", "alerts warning high"),
        (
            "SELECT string_agg(avg_bpm || ' ' || min_bpm || ' ' || max_bpm || ' ' || reading_count, ',' ORDER BY bucket) FROM heart_rate_stats",
            "62 60 64 5,67 65 69 5,70.5 70 71 2",
        ),
        (
            "SELECT avg_value || ' ' || count || ' ' || round(stddev_value::numeric, 6) FROM readings_hourly WHERE reading_type = 'heart_rate'",
            "65.5 12 3.605551",
        ),
    ] {
        assert_eq!(text(&mut db, sql).await, want, "{sql}");
    }
    // Half of it summed up, half of it not yet.
    run(&mut db, "RESET ROLE; UPDATE am.projection SET upto = 6;
        INSERT INTO am.rollup SELECT stream, 2, extract(epoch FROM '2026-03-01'::timestamptz)::bigint / 3600, 6, sum(value), min(value), max(value), 17.5
        FROM am.reading WHERE seq <= 6 GROUP BY stream").await;
    become_reader(&mut db, "acme", "ada").await;
    let hour =
        "SELECT avg_value || ' ' || count || ' ' || round(stddev_value::numeric, 6) FROM readings_hourly WHERE reading_type = 'heart_rate'";
    assert_eq!(text(&mut db, hour).await, "65.5 12 3.605551");
    remove(db, "columns").await;
}

#[tokio::test]
async fn custody_p08_the_reader_sees_one_person_and_no_table() {
    let Some(mut db) = database("wall").await else { return };
    let catalogue = Catalogue::builtin();
    let mut views: Vec<String> = catalogue.kinds().map(super::names::of).collect();
    for scope in 1..=3 {
        for kind in catalogue.kinds() {
            let r = filled(kind, &DeviceId::new(format!("of-{scope}")).unwrap(), Timestamp::from_second(1_772_323_200), 1).unwrap();
            store(&mut db, scope, &r).await;
        }
    }
    views.extend(["sensor_readings", "readings", "events", "heart_rate_stats", "readings_hourly"].map(str::to_owned));
    become_reader(&mut db, "acme", "ada").await;
    for view in &views {
        let all = text(&mut db, &format!("SELECT count(*) FROM {view}")).await;
        assert_ne!(all, "0", "{view} shows nothing of ada's");
        // Whole rows as text, so that no column is left out; a function that looks cannot see more than the view lets through.
        let strange = format!("SELECT count(*) FROM {view} AS v WHERE v::text LIKE '%of-2%' OR v::text LIKE '%of-3%'");
        assert_eq!(text(&mut db, &strange).await, "0", "{view}");
    }
    for (tenant, user) in [("", ""), ("acme", ""), ("acme", "nobody"), ("ACME", "ada"), ("acm", "eada"), ("globex", "bob"), ("%", "%")] {
        become_reader(&mut db, tenant, user).await;
        for view in &views {
            assert_eq!(text(&mut db, &format!("SELECT count(*) FROM {view}")).await, "0", "{view} for {tenant:?} {user:?}");
        }
    }
    run(&mut db, "RESET am.tenant; RESET am.user_id").await;
    assert_eq!(text(&mut db, "SELECT count(*) FROM sensor_readings").await, "0", "without the settings");
    // A function that the planner takes for cheap does not see what the view holds back.
    become_reader(&mut db, "acme", "ada").await;
    run(&mut db, "RESET ROLE").await;
    run(
        &mut db,
        "CREATE FUNCTION am_sql.peek(x text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN
        IF x LIKE 'of-2' OR x LIKE 'of-3' THEN RAISE EXCEPTION 'seen: %', x; END IF; RETURN true; END $$",
    )
    .await;
    become_reader(&mut db, "acme", "ada").await;
    for view in ["heart_rate", "sensor_readings", "gps", "transcripts"] {
        assert_ne!(text(&mut db, &format!("SELECT count(*) FROM {view} WHERE am_sql.peek(device_id)")).await, "0", "{view}");
    }
    for table in ["reading", "stream", "scope", "ingest", "rollup", "projection"] {
        let e = sqlx::query(AssertSqlSafe(format!("SELECT * FROM am.{table}"))).fetch_optional(&mut db).await.unwrap_err();
        assert!(e.to_string().contains("permission denied"), "{table}: {e}");
    }
    for change in ["DELETE FROM heart_rate", "UPDATE kinds SET topic = ''", "CREATE TABLE am_sql.mine (x int)"] {
        assert!(sqlx::query(AssertSqlSafe(change.to_owned())).execute(&mut db).await.is_err(), "{change}");
    }
    remove(db, "wall").await;
}

#[tokio::test]
async fn custody_p08_what_is_alike_is_found_within_one_persons_vectors() {
    let Some(mut db) = database("alike").await else { return };
    if sqlx::raw_sql("CREATE EXTENSION vector").execute(&mut db).await.is_err() {
        println!("skipped: the server has no pgvector");
        return;
    }
    let tables = "CREATE TABLE am.meta (key text PRIMARY KEY, value text);".to_owned() + include_str!("../sql/v2_vectors.sql");
    run(&mut db, &tables.replace("{schema}", "am")).await;
    run(&mut db, &script(&Catalogue::builtin(), "am", true)).await;
    run(&mut db, "INSERT INTO am.vector_model (name, dimensions, metric, version) VALUES ('mini', 3, 0, ''), ('wide', 2001, 2, '')").await;
    run(&mut db, "SELECT am.make_vectors(id) FROM am.vector_model; SELECT am.renew_embeddings()").await;
    let kind = Catalogue::builtin().get("external.memo.raw").unwrap();
    for scope in 1..=3 {
        for n in 0..20 {
            let note = v1::Note { text: format!("note {n}"), ..Default::default() };
            store(&mut db, scope, &reading(kind.topic(), n, &format!("of-{scope}"), &note)).await;
        }
    }
    run(
        &mut db,
        "INSERT INTO am.vector_1 (scope, stream, at, ns, id, part, v)
          SELECT st.scope, r.stream, r.at, r.ns, r.id, 0, format('[1,%s,0]', extract(second FROM r.at)::int / 10.0)::vector
          FROM am.reading r JOIN am.stream st ON st.id = r.stream;
        INSERT INTO am.vector_2 (scope, stream, at, ns, id, part, v)
          SELECT st.scope, r.stream, r.at, r.ns, r.id, 0, array_fill(extract(second FROM r.at)::real, ARRAY[2001])::vector
          FROM am.reading r JOIN am.stream st ON st.id = r.stream;
        UPDATE am.reading SET flags = 4 WHERE seq % 20 = 1",
    )
    .await;
    let best = "SELECT string_agg(r.data ->> 'text' || ' ' || round(s.similarity::numeric, 4), ',' ORDER BY s.similarity DESC)
        FROM search_similar('[1,0.2,0]', 3) AS s JOIN (SELECT data, recorded_at FROM sensor_readings) AS r
        ON r.recorded_at = (SELECT (e.metadata ->> 'recorded_at')::timestamptz FROM embeddings e WHERE e.id = s.id)";
    run(&mut db, "GRANT USAGE ON SCHEMA public TO am_reader").await;
    become_reader(&mut db, "acme", "ada").await;
    run(&mut db, "SET search_path = am_sql, public").await;
    assert_eq!(text(&mut db, best).await, "note 2 1.0000,note 3 0.9956,note 1 0.9952");
    let far = "SELECT string_agg(round(similarity::numeric, 2)::text, ',') FROM search_similar(array_fill(5::real, ARRAY[2001])::vector, 2, 'wide')";
    assert_eq!(text(&mut db, far).await, "0.00,-44.73");
    assert_eq!(
        text(&mut db, "SELECT count(*) || ' ' || min(source_type) || ' ' || max(metadata ->> 'device_id') FROM embeddings").await,
        "38 notes of-1"
    );
    for (tenant, user, n) in [("acme", "bob", "38"), ("acme", "nobody", "0"), ("", "", "0")] {
        become_reader(&mut db, tenant, user).await;
        run(&mut db, "SET search_path = am_sql, public").await;
        assert_eq!(text(&mut db, "SELECT count(*) FROM embeddings").await, n);
        let mine = "SELECT count(*) FROM search_similar('[1,0.2,0]', 1000) s JOIN embeddings e USING (id)";
        let all = "SELECT count(*) FROM search_similar('[1,0.2,0]', 1000)";
        assert_eq!(text(&mut db, mine).await, text(&mut db, all).await);
    }
    assert!(sqlx::query("SELECT * FROM am.vector_1").fetch_optional(&mut db).await.is_err());
    run(&mut db, "RESET ROLE; DELETE FROM am.vector_model WHERE id = 2; SELECT am.renew_embeddings(); SELECT am.drop_vectors(2)").await;
    remove(db, "alike").await;
}
