//! The one thread that writes. What waits is done in one transaction, synced once, and only then answered.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use am_core::Clock;
use am_schema::Catalogue;
use rusqlite::Connection;
use tokio::sync::watch;

use super::errors::{Failure, explain};
use super::lease::Lease;
use super::options::Synchronous;
use super::queue::{Drained, Entry, How, Queue, Size};
use super::rollup::{self, Addition};
use super::streams::Interned;
use crate::model::Seq;

/// At most so many bytes in one transaction, unless one batch alone has more.
const GROUP_BYTES: usize = 8 << 20;
/// So many entries of the feed without rollups are brought up to date even under load.
const MAX_LAG: u64 = 16_384;
/// So many entries of the feed are rolled up at once.
const ROLLUP_STEP: usize = 16_384;
/// How long the writer waits for work before it rolls up what came last.
const IDLE: Duration = Duration::from_millis(250);

/// What a piece of work writes with.
pub(super) struct Session {
    pub conn: Connection,
    pub ids: Interned,
    /// The last place of the feed that was given.
    pub head: Seq,
    /// The last ingest batch that was given.
    pub batch: u64,
    pub catalogue: Catalogue,
    pub clock: Arc<dyn Clock>,
    pub scratch: Vec<u8>,
    pub path: PathBuf,
    pub synchronous: Synchronous,
    /// How far rollups are, of the feed and of the batches.
    pub rolled_up: (Seq, u64),
    /// What came since, if all of it was seen here; after a lost transaction it is read from the tables instead.
    pub pending: Option<Addition>,
    /// Commits do not wait for the disk now, because only rollups are written.
    pub relaxed: bool,
}

impl Session {
    /// Rolls up at most one step; true when there is more.
    pub(super) fn roll_up(&mut self) -> rusqlite::Result<bool> {
        if self.rolled_up == (self.head, self.batch) {
            return Ok(false);
        }
        // Rollups can be made again: they need no sync of their own, the next commit's covers them.
        if self.synchronous == Synchronous::Full {
            self.relaxed = true;
            self.conn.pragma_update(None, "synchronous", "NORMAL")?;
        }
        let done = self.roll_up_step();
        self.tighten()?;
        self.rolled_up = done?;
        Ok(self.rolled_up != (self.head, self.batch))
    }

    /// From here on, commits wait for the disk again.
    fn tighten(&mut self) -> rusqlite::Result<()> {
        if self.relaxed {
            self.conn.pragma_update(None, "synchronous", "FULL")?;
            self.relaxed = false;
        }
        Ok(())
    }

    fn roll_up_step(&mut self) -> rusqlite::Result<(Seq, u64)> {
        // Taken whatever comes: if this transaction is lost, the next one reads the tables.
        let pending = self.pending.take();
        let tx = self.conn.unchecked_transaction()?;
        let upto = match pending {
            Some(p) => {
                p.apply(&tx, &self.catalogue, self.head)?;
                self.head
            }
            None => rollup::step(&tx, &self.catalogue, self.rolled_up.0, ROLLUP_STEP)?,
        };
        let batch = rollup::balance(&tx, self.rolled_up.1)?;
        tx.commit()?;
        if upto == self.head {
            self.pending = Some(Addition::default());
        }
        Ok((upto, batch))
    }
}

/// The writer's thread.
pub(super) struct Writer {
    pub session: Session,
    pub queue: Arc<Queue>,
    pub head: watch::Sender<Seq>,
    pub group_max_readings: usize,
    /// Let go of last of all.
    pub lease: Option<Lease>,
}

/// Refuses new work when the thread ends, also when it ends by a fault.
struct Shut(Arc<Queue>);

impl Drop for Shut {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Writer {
    pub(super) fn run(mut self) {
        let shut = Shut(self.queue.clone());
        let limit = Size { readings: self.group_max_readings, bytes: GROUP_BYTES };
        let mut together = 0;
        loop {
            match self.queue.drain(limit, IDLE, together) {
                Drained::Work(entries) => {
                    together = entries.len();
                    if let Some(last) = self.serve(entries) {
                        drop(shut);
                        self.end(last);
                        return;
                    }
                    if self.session.head.saturating_sub(self.session.rolled_up.0) >= MAX_LAG {
                        self.roll_up();
                    }
                }
                Drained::Idle => self.roll_up(),
                Drained::Closed => return,
            }
        }
    }

    fn roll_up(&mut self) {
        if let Err(e) = self.session.roll_up() {
            self.recover();
            tracing::warn!(path = %self.session.path.display(), "rollups wait: {e}");
        }
    }

    /// Does the work; gives back the entry that ends the thread.
    fn serve(&mut self, entries: Vec<Entry>) -> Option<Entry> {
        match entries.first().map(|e| e.how) {
            Some(How::Last) => entries.into_iter().next(),
            Some(How::Alone) => {
                for mut e in entries {
                    let failed = e.job.run(&mut self.session).err();
                    if failed.is_some() {
                        self.recover();
                    }
                    let failed = failed.map(|f| f.explain("sqlite.upkeep", &self.session.path));
                    e.job.answer(failed);
                }
                None
            }
            _ => {
                self.group(entries);
                None
            }
        }
    }

    fn group(&mut self, mut entries: Vec<Entry>) {
        let before = (self.session.head, self.session.batch);
        match self.transaction(&mut entries) {
            Ok(()) => {
                if self.session.head != before.0 {
                    self.head.send_replace(self.session.head);
                }
                for e in entries {
                    e.job.answer(None);
                }
            }
            Err(f) => {
                (self.session.head, self.session.batch) = before;
                self.session.ids.forget();
                self.session.pending = None;
                self.recover();
                if entries.len() > 1 && f.is_of_the_work() {
                    // One of them fails for its own reasons: alone, it fails alone.
                    for e in entries {
                        self.group(vec![e]);
                    }
                    return;
                }
                let path = self.session.path.clone();
                match f {
                    Failure::Broken(e) => {
                        for entry in entries {
                            entry.job.answer(Some(explain("sqlite.commit", &path, copy(&e))));
                        }
                    }
                    Failure::Refused(e) | Failure::Damaged(e) => {
                        for entry in entries {
                            let again = am_core::Error::new(e.code(), e.message().to_owned()).op("sqlite.commit");
                            entry.job.answer(Some(again));
                        }
                    }
                }
            }
        }
    }

    fn transaction(&mut self, entries: &mut [Entry]) -> Result<(), Failure> {
        self.session.tighten()?;
        self.session.conn.execute_batch("BEGIN IMMEDIATE")?;
        for e in entries {
            e.job.run(&mut self.session)?;
        }
        self.session.conn.execute_batch("COMMIT")?;
        Ok(())
    }

    /// Ends a transaction that was lost.
    fn recover(&mut self) {
        if !self.session.conn.is_autocommit()
            && let Err(e) = self.session.conn.execute_batch("ROLLBACK")
        {
            tracing::warn!(path = %self.session.path.display(), "rolling back: {e}");
        }
    }

    /// The last work, then everything is let go of, then the answer.
    fn end(self, mut last: Entry) {
        let Writer { mut session, lease, .. } = self;
        let path = session.path.clone();
        let failed = last.job.run(&mut session).err().map(|f| f.explain("sqlite.close", &path));
        drop(session);
        drop(lease);
        last.job.answer(failed);
    }
}

/// The same SQLite error for another caller.
fn copy(e: &rusqlite::Error) -> rusqlite::Error {
    match e {
        rusqlite::Error::SqliteFailure(code, text) => rusqlite::Error::SqliteFailure(*code, text.clone()),
        other => rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ERROR), Some(other.to_string())),
    }
}
