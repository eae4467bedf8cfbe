//! `sqlite:`: one file, one writing thread, several readers.
//!
//! What waits for the writer is committed in one transaction with one sync, and only then answered. A reading's row number is its
//! place in the feed. `docs/adr/0005-sqlite-layout.md` says why the tables are as they are.

mod aggregate;
mod codec;
mod dead_letters;
mod derivations;
mod devices;
mod errors;
mod feed;
mod flows;
mod ingest;
mod insert;
mod key_value;
mod lease;
mod maintenance;
mod migrate;
mod open;
mod options;
mod pool;
mod queue;
mod readings;
mod rollup;
mod rollup_plan;
mod scan;
mod schema;
mod streams;
mod text;
mod vectors;
mod writer;

pub use open::open;
pub use options::{SqliteOptions, Synchronous};

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use am_core::{Clock, Code, Ctx, Error, Result};
use am_schema::Catalogue;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use crate::model::Seq;
use errors::Failure;
use pool::Pool;
use queue::{How, Lane, Queue, Size, closed};
use streams::Names;
use writer::Session;

/// An open store.
struct Sqlite {
    path: PathBuf,
    catalogue: Catalogue,
    clock: Arc<dyn Clock>,
    pool: Pool,
    names: Arc<Names>,
    writer: Option<Hand>,
    /// Raised once the store is closed.
    closed: watch::Sender<bool>,
}

/// The way to the writer's thread.
struct Hand {
    queue: Arc<Queue>,
    head: watch::Receiver<Seq>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.queue.close();
        // What waits is still written, and the lease is free when this returns.
        if let Some(t) = self.thread.lock().take() {
            let _ = t.join();
        }
    }
}

impl Sqlite {
    fn hand(&self) -> Result<&Hand> {
        if *self.closed.borrow() {
            return Err(closed());
        }
        self.writer.as_ref().ok_or_else(|| {
            Error::new(Code::STORE_READ_ONLY, format!("{} is open for reading only", self.path.display())).op("sqlite.write")
        })
    }

    /// Work in the writer's next transaction, for a caller with a scope.
    async fn write<T, F>(&self, ctx: &Ctx, lane: Lane, size: Size, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Session) -> std::result::Result<T, Failure> + Send + 'static,
    {
        ctx.check()?;
        let done = async {
            let answer = self.hand()?.queue.submit(lane, How::Grouped, size, work).await?;
            answer_of(answer).await
        };
        let Some(left) = ctx.time_left() else {
            return tokio::select! {
                answer = done => answer,
                () = ctx.cancel().cancelled() => Err(cut_short(ctx)),
            };
        };
        tokio::select! {
            answer = done => answer,
            () = ctx.cancel().cancelled() => Err(cut_short(ctx)),
            () = ctx.clock().sleep(left) => Err(cut_short(ctx)),
        }
    }

    /// Work of the process itself.
    async fn write_alone<T, F>(&self, how: How, size: Size, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Session) -> std::result::Result<T, Failure> + Send + 'static,
    {
        let answer = self.hand()?.queue.submit(Lane::Live, how, size, work).await?;
        answer_of(answer).await
    }

    /// A read for a caller with a scope.
    async fn read<T, F>(&self, ctx: &Ctx, op: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> std::result::Result<T, Failure> + Send + 'static,
    {
        ctx.check()?;
        self.read_any(op, work).await
    }

    /// A read of the process itself.
    async fn read_any<T, F>(&self, op: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> std::result::Result<T, Failure> + Send + 'static,
    {
        if *self.closed.borrow() {
            return Err(closed());
        }
        self.pool.read(op, work).await
    }
}

async fn answer_of<T>(answer: oneshot::Receiver<Result<T>>) -> Result<T> {
    answer.await.map_err(|_| Error::new(Code::CLOSED, "the writer ended before it answered").op("sqlite.write"))?
}

/// Why a write is not waited for any longer. It may still happen, and is then found as a duplicate.
fn cut_short(ctx: &Ctx) -> Error {
    match ctx.check() {
        Err(e) => e.retry(am_core::Retry::IfIdempotent),
        Ok(()) => Error::new(Code::TIMED_OUT, "the deadline has passed"),
    }
}
