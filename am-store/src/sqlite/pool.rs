//! Connections that read.

use std::path::PathBuf;
use std::sync::Arc;

use am_core::{Code, Error, Result};
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::errors::{Failure, explain};
use super::queue::closed;

/// A bounded set of read-only connections; each call has one to itself on a thread that may block.
pub(super) struct Pool {
    seats: Arc<Semaphore>,
    size: u32,
    shared: Arc<Idle>,
}

struct Idle {
    connections: Mutex<Vec<Connection>>,
    path: PathBuf,
    vfs: Option<String>,
    cache_kib: u32,
}

impl Pool {
    pub(super) fn new(path: PathBuf, vfs: Option<String>, size: usize, cache_kib: u32) -> Self {
        let size = size.clamp(1, 16);
        let shared = Arc::new(Idle { connections: Mutex::default(), path, vfs, cache_kib: cache_kib / size as u32 });
        Pool { seats: Arc::new(Semaphore::new(size)), size: size as u32, shared }
    }

    /// Runs a read.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        op: &'static str,
        work: impl FnOnce(&Connection) -> std::result::Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let seat = self.seats.clone().acquire_owned().await.map_err(|_| closed())?;
        let shared = self.shared.clone();
        let done = tokio::task::spawn_blocking(move || {
            let answer = shared.run(op, work);
            drop(seat);
            answer
        });
        done.await.map_err(|e| Error::new(Code::INTERNAL, format!("a read ended without an answer: {e}")).op(op))?
    }

    /// Waits for reads in flight, then closes all connections.
    pub(super) async fn close(&self) {
        if let Ok(all) = self.seats.acquire_many(self.size).await {
            self.seats.close();
            self.shared.connections.lock().clear();
            drop(all);
        }
    }
}

impl Idle {
    fn run<T>(&self, op: &'static str, work: impl FnOnce(&Connection) -> std::result::Result<T, Failure>) -> Result<T> {
        let idle = self.connections.lock().pop();
        let conn = match idle {
            Some(c) => c,
            None => self.open().map_err(|e| explain(op, &self.path, e))?,
        };
        let answer = work(&conn).map_err(|f| f.explain(op, &self.path));
        // A connection that failed on the file may hold on to what it saw: the next read opens a new one.
        let sound = !matches!(&answer, Err(e) if matches!(e.code(), Code::STORE_CORRUPT | Code::STORE_UNAVAILABLE | Code::IO));
        if sound && conn.is_autocommit() {
            self.connections.lock().push(conn);
        }
        answer
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let conn = open_read_only(&self.path, self.vfs.as_deref())?;
        conn.pragma_update(None, "query_only", true)?;
        conn.pragma_update(None, "cache_size", -i64::from(self.cache_kib.max(256)))?;
        conn.pragma_update(None, "mmap_size", 0)?;
        conn.set_prepared_statement_cache_capacity(64);
        Ok(conn)
    }
}

/// A connection that cannot write.
pub(super) fn open_read_only(path: &std::path::Path, vfs: Option<&str>) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = match vfs {
        Some(v) => Connection::open_with_flags_and_vfs(path, flags, v)?,
        None => Connection::open_with_flags(path, flags)?,
    };
    conn.busy_timeout(std::time::Duration::from_secs(1))?;
    Ok(conn)
}
