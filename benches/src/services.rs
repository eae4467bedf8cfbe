//! The services that some figures need, and what a run has there for itself: a database and streams of its own, gone at the end.

use std::sync::Arc;

use am_core::SystemTicks;
use am_pipeline::TokioClock;
use am_pipeline::bus::nats::{self, NatsOptions};
use am_pipeline::bus::{Area, Bus};
use am_schema::Catalogue;
use am_store::postgres::{self, PostgresOptions};
use am_store::traits::Backend;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::served::Failed;

/// Where a service is, or why a figure that needs it is not measured.
pub(crate) fn address(variable: &str, name: &str) -> Result<String, String> {
    let found = std::env::var(variable).ok().filter(|url| !url.trim().is_empty());
    found.ok_or_else(|| format!("there is no {name}: {variable} is not set; `cargo xtask bench` starts one where it can"))
}

/// The address of PostgreSQL.
pub(crate) fn postgres() -> Result<String, String> {
    address("AM_TEST_POSTGRES", "PostgreSQL")
}

/// The address of NATS.
pub(crate) fn nats() -> Result<String, String> {
    address("AM_TEST_NATS", "NATS")
}

/// A name that no other run has.
fn unique() -> String {
    let now = SystemTicks::now(&SystemTicks::default()).as_nanos();
    format!("{:x}{:x}", std::process::id(), now % 1_000_000_000_039)
}

/// A database of this run's own.
pub(crate) struct Database {
    server: String,
    name: String,
    pub(crate) url: String,
}

impl Database {
    /// Makes one on a server. [`Database::drop`] removes it.
    pub(crate) async fn create(server: &str) -> Result<Database, Failed> {
        let name = format!("am_bench_{}", unique());
        let mut conn = PgConnection::connect(server).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut conn).await?;
        conn.close().await?;
        let (before, _) = server.rsplit_once('/').ok_or("the address of PostgreSQL names no database")?;
        Ok(Database { url: format!("{before}/{name}"), name, server: server.to_owned() })
    }

    /// AM's store in it, in a schema of this name.
    pub(crate) async fn store(&self, schema: &str, change: impl FnOnce(&mut PostgresOptions)) -> Result<Backend, Failed> {
        let mut options = PostgresOptions::default();
        options.schema = schema.to_owned();
        change(&mut options);
        Ok(postgres::open(&self.url, options, Arc::new(TokioClock::default()), Catalogue::builtin()).await?)
    }

    /// A session past AM.
    pub(crate) async fn connect(&self) -> Result<PgConnection, Failed> {
        Ok(PgConnection::connect(&self.url).await?)
    }

    /// Whether TimescaleDB is in it, once a store was opened there.
    pub(crate) async fn has_timescale(&self) -> Result<bool, Failed> {
        let asked = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'timescaledb')");
        Ok(asked.fetch_one(&mut self.connect().await?).await?)
    }

    /// Writes out what the server holds back, so that it does not do so while something is measured; not every user may ask for it.
    pub(crate) async fn checkpoint(&self) -> Result<(), Failed> {
        let _ = sqlx::raw_sql("CHECKPOINT").execute(&mut self.connect().await?).await;
        Ok(())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A thread and a runtime of its own: the bench's may be ending.
        let removed = std::thread::spawn(move || -> Result<(), Failed> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut conn = PgConnection::connect(&server).await?;
                sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).execute(&mut conn).await?;
                Ok(())
            })
        });
        if !removed.join().is_ok_and(|r| r.is_ok()) {
            eprintln!("the database {} could not be removed", self.name);
        }
    }
}

/// Streams of this run's own; [`Streams::remove`] removes them.
pub(crate) struct Streams {
    url: String,
    pub(crate) prefix: String,
}

impl Streams {
    /// A prefix that no other run has; nothing is made yet.
    pub(crate) fn new(url: &str) -> Streams {
        Streams { url: url.to_owned(), prefix: format!("b{}", unique()) }
    }

    /// The bus on them; the streams are made where they are not there.
    pub(crate) async fn open(&self) -> Result<Bus, Failed> {
        Ok(nats::open(options(&self.url, &self.prefix), Arc::new(TokioClock::default())).await?)
    }

    /// Takes them away.
    pub(crate) async fn remove(&self) -> Result<(), Failed> {
        let options = options(&self.url, &self.prefix);
        let js = async_nats::jetstream::new(async_nats::connect(&options.urls).await?);
        for area in Area::ALL {
            let _ = js.delete_stream(options.stream(area)).await;
        }
        let _ = js.delete_stream(format!("KV_{}", options.bucket())).await;
        Ok(())
    }
}

/// A bus of this prefix: small streams, everything else as is usual.
pub(crate) fn options(url: &str, prefix: &str) -> NatsOptions {
    let mut options = NatsOptions::at(url.split(','));
    prefix.clone_into(&mut options.prefix);
    let streams = &mut options.streams;
    streams.readings.max_bytes = 768 << 20;
    for stream in [&mut streams.work, &mut streams.errors] {
        stream.max_bytes = 16 << 20;
    }
    options
}
