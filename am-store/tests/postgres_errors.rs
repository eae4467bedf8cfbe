//! What goes wrong between a store and its server, said so that an operator knows what to do.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "test code may fail loudly")]

mod postgres_server;
mod readings;

use am_core::{Clock, Code, Error};
use am_pipeline::TokioClock;
use am_schema::Catalogue;
use am_store::Store;
use am_store::model::ScanQuery;
use am_store::postgres::{Extension, Level, connect};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use postgres_server::{Database, clock, open, options, plain, with_database};
use readings::{batch, ctx, heart};

async fn refused(url: &str, o: am_store::postgres::PostgresOptions) -> Error {
    open(url, o).await.err().unwrap()
}

/// The same server for a user of its own.
fn as_user(url: &str, user: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{user}@{host}")
}

#[tokio::test]
async fn nobody_there_is_unavailable_and_the_password_is_not_repeated() {
    let e = refused("postgres://ada:s3cret@127.0.0.1:1/home", options("am")).await;
    assert_eq!(e.code(), Code::STORE_UNAVAILABLE);
    assert!(e.message().contains("127.0.0.1:1/home") && !format!("{e:?}").contains("s3cret"), "{e:?}");
    let e = refused("postgres://ada:s3cret@127.0.0.1:x/home", options("am")).await;
    assert!(e.code() == Code::BAD_STORE_URL && !format!("{e:?}").contains("s3cret"), "{e:?}");
    let e = Store::open("postgres:home", Default::default(), clock(), Catalogue::builtin()).await.err().unwrap();
    assert_eq!(e.code(), Code::BAD_STORE_URL);
    let e = refused("postgres://127.0.0.1:1/home", options("Robert'); DROP")).await;
    assert_eq!(e.code(), Code::BAD_STORE_URL);
}

/// A server that answers every start with one error, as PostgreSQL does.
async fn says(state: &'static str, message: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = [0u8; 8];
            socket.read_exact(&mut head).await.unwrap();
            if head[4..] == 80_877_103i32.to_be_bytes() {
                // It asks for TLS, which is not there; then it starts.
                socket.write_all(b"N").await.unwrap();
                socket.read_exact(&mut head).await.unwrap();
            }
            let rest = i32::from_be_bytes(head[..4].try_into().unwrap()) as usize - 8;
            socket.read_exact(&mut vec![0; rest]).await.unwrap();
            let fields = format!("SFATAL\0VFATAL\0C{state}\0M{message}\0\0");
            let mut out = vec![b'E'];
            out.extend((fields.len() as i32 + 4).to_be_bytes());
            out.extend(fields.as_bytes());
            socket.write_all(&out).await.unwrap();
        }
    });
    format!("postgres://ada:s3cret@127.0.0.1:{port}/home")
}

#[tokio::test]
async fn what_a_server_says_at_the_door_becomes_a_code_and_an_advice() {
    for (state, code, advice) in [
        ("28P01", Code::STORE_REFUSED, "password"),
        ("28000", Code::STORE_REFUSED, "pg_hba.conf"),
        ("3D000", Code::STORE_UNFIT, "CREATE DATABASE"),
        ("53300", Code::STORE_UNAVAILABLE, "max_connections"),
        ("57P03", Code::STORE_UNAVAILABLE, "as the server says"),
        ("53100", Code::STORE_FULL, "free some space"),
    ] {
        let e = refused(&says(state, "as the server says").await, options("am")).await;
        assert_eq!(e.code(), code, "{e}");
        assert!(e.message().contains(advice) && !format!("{e:?}").contains("s3cret"), "{e:?}");
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_newer_or_of_another_program_is_refused_untouched() {
    let Some(db) = Database::new().await else { return };
    let e = refused(&with_database(&db.url, "am_test_nowhere"), options("am")).await;
    assert!(e.code() == Code::STORE_UNFIT && e.message().contains("CREATE DATABASE"), "{e}");
    db.sql("CREATE SCHEMA foreigner; CREATE TABLE foreigner.t (x int)").await;
    let e = refused(&db.url, options("foreigner")).await;
    assert!(e.code() == Code::BAD_STORE_URL && e.message().contains("another program"), "{e}");
    open(&db.url, options("am")).await.unwrap().maintenance.close().await.unwrap();
    db.sql("INSERT INTO am.am_version (version) VALUES (99)").await;
    let e = refused(&db.url, options("am")).await;
    assert!(e.code() == Code::STORE_NEWER && e.message().contains("version 99"), "{e}");
    let mut o = options("empty");
    o.read_only = true;
    let e = refused(&db.url, o).await;
    assert!(e.code() == Code::STORE_READ_ONLY && e.message().contains("no store yet"), "{e}");
}

#[tokio::test]
async fn what_is_off_is_told_and_what_is_required_is_missed() {
    let Some(db) = Database::new().await else { return };
    let opened = connect(&db.url, plain("am"), clock(), Catalogue::builtin()).await.unwrap();
    assert_eq!((opened.capabilities.level, opened.capabilities.vector), (Level::Plain, None));
    let text = opened.capabilities.notes.join("\n");
    assert!(text.contains("TimescaleDB is off") && text.contains("pgvector is off"), "{text}");
    opened.backend.maintenance.close().await.unwrap();
    // A user who may not add extensions.
    let user = format!("am_test_user_{}", std::process::id());
    db.sql(&format!("CREATE ROLE {user} LOGIN; REVOKE CREATE ON DATABASE {} FROM PUBLIC", db.name)).await;
    let mut o = options("mine");
    o.timescale = Extension::Required;
    let e = refused(&as_user(&db.url, &user), o.clone()).await;
    assert!(e.code() == Code::STORE_UNFIT && e.message().contains("CREATE EXTENSION timescaledb"), "{e}");
    o.timescale = Extension::Auto;
    let e = refused(&as_user(&db.url, &user), o).await;
    assert!(e.code() == Code::STORE_REFUSED && e.message().contains("grant"), "{e}");
    db.sql(&format!("DROP OWNED BY {user}; DROP ROLE {user}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_only_read_opens_for_reading() {
    let Some(db) = Database::new().await else { return };
    let b = open(&db.url, options("am")).await.unwrap();
    b.readings.put(&ctx("ada"), batch(vec![heart("watch", 1, 60)])).await.unwrap();
    let user = format!("am_test_reader_{}", std::process::id());
    db.sql(&format!(
        "CREATE ROLE {user} LOGIN; GRANT USAGE ON SCHEMA am TO {user}; GRANT SELECT ON ALL TABLES IN SCHEMA am TO {user};
         GRANT SELECT ON ALL SEQUENCES IN SCHEMA am TO {user}"
    ))
    .await;
    let reader = open(&as_user(&db.url, &user), options("am")).await.unwrap();
    assert_eq!(reader.readings.scan(&ctx("ada"), &ScanQuery::default()).await.unwrap().items.len(), 1);
    assert_eq!(reader.feed.head().await.unwrap(), 1);
    reader.maintenance.ready().await.unwrap();
    let e = reader.readings.put(&ctx("ada"), batch(vec![heart("watch", 2, 60)])).await.unwrap_err();
    assert_eq!(e.code(), Code::STORE_READ_ONLY);
    let e = reader.key_value.put(&ctx("ada"), "k", vec![1], None).await.unwrap_err();
    assert_eq!(e.code(), Code::STORE_READ_ONLY);
    reader.maintenance.close().await.unwrap();
    b.maintenance.close().await.unwrap();
    db.sql(&format!("DROP OWNED BY {user}; DROP ROLE {user}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_the_server_ends_are_begun_anew() {
    let Some(db) = Database::new().await else { return };
    let b = open(&db.url, options("am")).await.unwrap();
    for n in 0..5 {
        b.readings.put(&ctx("ada"), batch(vec![heart("watch", n, 60)])).await.unwrap();
        db.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
            .await;
        let found = b.readings.scan(&ctx("ada"), &ScanQuery::default()).await.unwrap();
        assert_eq!(found.items.len() as i64, n + 1);
    }
    assert_eq!(b.feed.head().await.unwrap(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
    let Some(db) = Database::new().await else { return };
    let mut o = options("am");
    o.statement_timeout_ms = 300;
    let b = open(&db.url, o).await.unwrap();
    b.readings.put(&ctx("ada"), batch(vec![heart("watch", 1, 60)])).await.unwrap();
    // Someone holds the table: the server gives the statement up, and says so.
    let mut holder = db.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE am.reading IN ACCESS EXCLUSIVE MODE").execute(&mut holder).await.unwrap();
    let e = b.readings.put(&ctx("ada"), batch(vec![heart("watch", 2, 60)])).await.unwrap_err();
    assert!(e.code() == Code::STORE_UNAVAILABLE && e.message().contains("statement_timeout_ms"), "{e}");
    drop(holder);
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::default());
    for _ in 0..100 {
        if b.readings.put(&ctx("ada"), batch(vec![heart("watch", 2, 60)])).await.is_ok() {
            assert_eq!(b.feed.head().await.unwrap(), b.feed.head().await.unwrap());
            return;
        }
        clock.sleep(Duration::from_millis(50)).await;
    }
    panic!("the store did not come back");
}
