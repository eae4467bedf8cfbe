//! A throw-away database on the server that `AM_TEST_POSTGRES` names.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc, clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use am_core::{Clock, ManualClock, Result, SystemTicks, Timestamp};
use am_schema::Catalogue;
use am_store::postgres::{self, Extension, PostgresOptions};
use am_store::testkit::{Setting, Subject};
use am_store::traits::Backend;
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Says that a test is skipped, or fails when the environment asks for it.
pub fn server() -> Option<String> {
    match std::env::var("AM_TEST_POSTGRES") {
        Ok(url) if !url.is_empty() => Some(url),
        _ => {
            let wanted = std::env::var("AM_TEST_REQUIRE").unwrap_or_default();
            assert!(!wanted.contains("postgres"), "AM_TEST_REQUIRE asks for PostgreSQL, and AM_TEST_POSTGRES is not set");
            println!("skipped: AM_TEST_POSTGRES is not set");
            None
        }
    }
}

fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTicks::default().now().as_nanos();
    format!("{}_{}_{}", std::process::id(), now % 1_000_000_007, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The address of another database on the same server.
pub fn with_database(url: &str, name: &str) -> String {
    let (before, _) = url.rsplit_once('/').unwrap();
    format!("{before}/{name}")
}

/// A database of a test's own, dropped at the end.
pub struct Database {
    server: String,
    pub name: String,
    pub url: String,
}

impl Database {
    pub async fn new() -> Option<Database> {
        let server = server()?;
        let name = format!("am_test_{}", unique());
        let mut conn = PgConnection::connect(&server).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
        let url = with_database(&server, &name);
        Some(Database { server, name, url })
    }

    /// A connection to it, past the store.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    pub async fn sql(&self, text: &str) {
        let mut conn = self.connect().await;
        sqlx::raw_sql(AssertSqlSafe(text.to_owned())).execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // The test's runtime may be ending: a thread and a runtime of its own.
        let done = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut conn = PgConnection::connect(&server).await.unwrap();
                let _ = sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).execute(&mut conn).await;
            });
        });
        let _ = done.join();
    }
}

/// Small pools: tests run many stores at once.
pub fn options(schema: &str) -> PostgresOptions {
    let mut o = PostgresOptions::default();
    o.schema = schema.into();
    o.connections = 4;
    o.follow_ms = 50;
    // Every case has a schema of its own; tests of the views make them.
    o.views = false;
    o
}

pub fn plain(schema: &str) -> PostgresOptions {
    let mut o = options(schema);
    o.timescale = Extension::Off;
    o.vector = Extension::Off;
    o
}

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(Timestamp::from_second(1_772_352_000)))
}

pub async fn open(url: &str, o: PostgresOptions) -> Result<Backend> {
    postgres::open(url, o, clock(), Catalogue::builtin()).await
}

/// A store in a schema of its own, for the kit.
pub struct InSchema {
    setting: Setting,
    url: String,
    options: PostgresOptions,
}

impl InSchema {
    pub fn new(setting: Setting, url: &str, mut options: PostgresOptions) -> Self {
        options.schema = format!("am_{}", unique());
        InSchema { setting, url: url.into(), options }
    }
}

#[async_trait]
impl Subject for InSchema {
    async fn open(&self) -> Result<Backend> {
        postgres::open(&self.url, self.options.clone(), self.setting.clock.clone(), self.setting.catalogue.clone()).await
    }

    fn durable(&self) -> bool {
        true
    }
}
