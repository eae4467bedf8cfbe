//! An import as a source of a pipeline.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use am_core::{Code, Ctx, Error, Result};
use am_pipeline::{Arrival, Origin, Outcome, Polled, Settled, Source, Token};
use am_schema::Reading;
use async_trait::async_trait;
use parking_lot::Mutex;

use crate::{FolderImport, ImportOptions, ImportReport, Imported};

/// Readings of a folder of exports, as old data that is taken in late. What is skipped is in the report.
///
/// Files are read off the async threads. Readings that are to be retried come again, before new ones.
pub struct ImportSource {
    import: Arc<Mutex<FolderImport>>,
    /// Handed over and not settled.
    open: VecDeque<(u64, Reading)>,
    again: VecDeque<(u64, Reading)>,
    /// Read, but the poll that asked for them was dropped.
    left: Arc<Mutex<VecDeque<Reading>>>,
    next: u64,
}

impl ImportSource {
    /// Lists the files.
    ///
    /// # Errors
    /// `IO` when the folder cannot be read.
    pub fn open(root: &Path, options: ImportOptions) -> Result<Self> {
        Ok(ImportSource {
            import: Arc::new(Mutex::new(FolderImport::open(root, options)?)),
            open: VecDeque::new(),
            again: VecDeque::new(),
            left: Arc::default(),
            next: 1,
        })
    }

    /// What it came to so far.
    pub fn report(&self) -> ImportReport {
        self.import.lock().report().clone()
    }

    /// How many files were begun, of how many.
    pub fn progress(&self) -> (usize, usize) {
        self.import.lock().progress()
    }

    fn hand_over(&mut self, items: Vec<(u64, Reading)>) -> Polled {
        self.open.extend(items.iter().cloned());
        let items = items.into_iter().map(|(n, r)| Arrival { token: Token(n), item: Ok(r) }).collect();
        Polled { items, origin: Origin::Backfill }
    }
}

#[async_trait]
impl Source for ImportSource {
    async fn poll(&mut self, _ctx: &Ctx, room: usize) -> Result<Option<Polled>> {
        let room = room.clamp(1, 4_096);
        if !self.again.is_empty() {
            let n = room.min(self.again.len());
            let items = self.again.drain(..n).collect();
            return Ok(Some(self.hand_over(items)));
        }
        let (import, left) = (self.import.clone(), self.left.clone());
        // The readings go into `left` on the blocking thread, so that a poll dropped meanwhile loses none.
        let ended = tokio::task::spawn_blocking(move || {
            let mut import = import.lock();
            let mut left = left.lock();
            while left.len() < room {
                match import.next() {
                    Some(Imported::Reading(r)) => left.push_back(r),
                    Some(Imported::Skipped(_)) => {}
                    None => return true,
                }
            }
            false
        })
        .await
        .map_err(|e| Error::new(Code::INTERNAL, e.to_string()).op("import.poll"))?;
        let taken: Vec<Reading> = {
            let mut left = self.left.lock();
            let n = room.min(left.len());
            left.drain(..n).collect()
        };
        if taken.is_empty() && ended {
            return Ok(if self.open.is_empty() { None } else { Some(Polled { items: Vec::new(), origin: Origin::Backfill }) });
        }
        let first = self.next;
        self.next += taken.len() as u64;
        Ok(Some(self.hand_over((first..).zip(taken).collect())))
    }

    async fn settle(&mut self, _ctx: &Ctx, outcomes: &[Settled]) -> Result<()> {
        for s in outcomes {
            let Some(i) = self.open.iter().position(|(n, _)| *n == s.token.0) else { continue };
            if let (Some(item), Outcome::Retry(..)) = (self.open.remove(i), &s.outcome) {
                self.again.push_back(item);
            }
        }
        Ok(())
    }
}
