//! `postgres:`: a server for many processes, with TimescaleDB where it is there.
//!
//! Batches that wait are taken in together, in one transaction, and only then answered. Numbers of the feed are drawn within the
//! transaction; a reader goes no further than the oldest transaction that still may add one, so that a late commit never hides behind
//! a cursor. `docs/adr/0009-postgres-layout.md` says why things lie as they do, `docs/postgres.md` how to set a server up.

mod aggregate;
mod bell;
mod capabilities;
mod codec;
mod connect;
mod cover;
mod dead_letters;
mod derivations;
mod derived;
mod devices;
mod errors;
mod feed;
mod flows;
mod ingest;
mod insert;
mod key_value;
mod maintenance;
mod migrate;
mod names;
mod open;
mod options;
mod pool;
mod postings;
mod queue;
mod readings;
mod rollup;
mod rollup_plan;
mod rollup_step;
mod rows;
mod scan;
mod schema;
mod stream;
mod streams;
mod text;
mod types;
mod vector_search;
mod vectors;
pub mod views;
mod writer;

pub use capabilities::{Capabilities, Level};
pub use open::{Opened, connect, open};
pub use options::{Extension, PostgresOptions};

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use am_core::{Clock, Code, Ctx, Error, Result, Scope};
use am_schema::Catalogue;
use parking_lot::Mutex;
use sqlx::postgres::PgPool;
use sqlx::{Postgres as Engine, Transaction};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use bell::Bell;
use errors::{Failure, closed};
use names::Names;
use pool::Pool;
use queue::Queue;

/// What all parts of an open store share.
struct Db {
    /// `host:port/database`, for messages.
    place: String,
    read_only: bool,
    catalogue: Catalogue,
    clock: Arc<dyn Clock>,
    /// Real time, for what happens between this process and the server.
    watch: Arc<dyn Clock>,
    patience: Duration,
    follow: Duration,
    pool: Pool,
    names: Names,
    bell: Arc<Bell>,
    /// Raised once the store is closed.
    shut: watch::Sender<bool>,
}

/// An open store.
struct Postgres {
    db: Arc<Db>,
    queue: Arc<Queue>,
    /// Of the writers and the tasks beside them.
    writing: PgPool,
    writers: Mutex<Vec<JoinHandle<()>>>,
    followers: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // What waits is still written: writers end by themselves when the queue is empty.
        self.queue.close();
        for t in self.followers.lock().drain(..) {
            t.abort();
        }
    }
}

impl Db {
    /// Runs work for a caller: not once the store is closed, not longer than the caller's deadline or the server's patience.
    async fn run<T>(
        &self,
        ctx: Option<&Ctx>,
        op: &'static str,
        work: impl Future<Output = std::result::Result<T, Failure>> + Send,
    ) -> Result<T> {
        if *self.shut.borrow() {
            return Err(closed());
        }
        let Some(ctx) = ctx else {
            return tokio::select! {
                done = work => done.map_err(|f| f.explain(op, &self.place)),
                () = self.watch.sleep(self.patience) => Err(self.silent(op)),
            };
        };
        ctx.check()?;
        let late = async {
            match ctx.time_left() {
                Some(left) => ctx.clock().sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            done = work => done.map_err(|f| f.explain(op, &self.place)),
            () = ctx.cancel().cancelled() => Err(cut_short(ctx)),
            () = late => Err(cut_short(ctx)),
            () = self.watch.sleep(self.patience) => Err(self.silent(op)),
        }
    }

    fn silent(&self, op: &'static str) -> Error {
        let text = format!("{}: the server did not answer within {} s", self.place, self.patience.as_secs());
        Error::new(Code::STORE_UNAVAILABLE, text).op(op).retry(am_core::Retry::IfIdempotent)
    }

    /// A view of the database for a person's question.
    async fn snapshot(&self, ctx: &Ctx) -> std::result::Result<Transaction<'static, Engine>, Failure> {
        self.pool.snapshot(Some(ctx.scope())).await
    }

    /// A transaction that writes, of a person or of the program itself.
    async fn change(&self, scope: Option<&Scope>) -> std::result::Result<Transaction<'static, Engine>, Failure> {
        self.writable()?;
        self.pool.change(scope).await
    }

    fn writable(&self) -> Result<()> {
        match self.read_only {
            true => Err(Error::new(Code::STORE_READ_ONLY, format!("{} is open for reading only", self.place)).op("postgres.write")),
            false => Ok(()),
        }
    }
}

/// Why a call is not waited for any longer. A write may still happen, and is then found as a duplicate.
fn cut_short(ctx: &Ctx) -> Error {
    match ctx.check() {
        Err(e) => e.retry(am_core::Retry::IfIdempotent),
        Ok(()) => Error::new(Code::TIMED_OUT, "the deadline has passed"),
    }
}
