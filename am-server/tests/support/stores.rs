//! Stores that fail, or stop, when a test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use am_core::{Code, Ctx, Error, Result};
use am_schema::ReadingRef;
use am_store::model::{AggregateQuery, Bucket, Ingest, IngestOutcome, LatestQuery, Page, Provenance, ScanQuery, Stored};
use am_store::traits::{Backend, Readings};
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

/// What a [`Gated`] store does with batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Work,
    /// Holds every batch back until the mode changes.
    Hold,
    /// Refuses every batch with this code.
    Fail(Code),
}

/// Wraps another store's readings.
pub struct Gated {
    inner: Arc<dyn Readings>,
    mode: watch::Sender<Mode>,
    held: AtomicUsize,
    most: Mutex<usize>,
}

impl Gated {
    /// The same store, with its batches under control.
    pub fn over(store: &Backend) -> (Backend, Arc<Gated>) {
        let gated = Arc::new(Gated {
            inner: store.readings.clone(),
            mode: watch::Sender::new(Mode::Work),
            held: AtomicUsize::new(0),
            most: Mutex::new(0),
        });
        (Backend { readings: gated.clone(), ..store.clone() }, gated)
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many batches are held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// How many batches were ever held at once.
    pub fn most_held(&self) -> usize {
        *self.most.lock()
    }
}

struct Count<'a>(&'a AtomicUsize);

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Readings for Gated {
    async fn put(&self, ctx: &Ctx, batch: Ingest) -> Result<IngestOutcome> {
        let mut mode = self.mode.subscribe();
        let now = {
            let n = self.held.fetch_add(1, Ordering::SeqCst) + 1;
            let _held = Count(&self.held);
            {
                let mut most = self.most.lock();
                *most = n.max(*most);
            }
            *mode.wait_for(|m| *m != Mode::Hold).await.unwrap()
        };
        match now {
            Mode::Fail(code) => Err(Error::new(code, "told to fail by a test")),
            _ => self.inner.put(ctx, batch).await,
        }
    }

    async fn get(&self, ctx: &Ctx, names: &[ReadingRef]) -> Result<Vec<Option<Stored>>> {
        self.inner.get(ctx, names).await
    }

    async fn scan(&self, ctx: &Ctx, query: &ScanQuery) -> Result<Page<Stored>> {
        self.inner.scan(ctx, query).await
    }

    async fn latest(&self, ctx: &Ctx, query: &LatestQuery) -> Result<Vec<Stored>> {
        self.inner.latest(ctx, query).await
    }

    async fn aggregate(&self, ctx: &Ctx, query: &AggregateQuery) -> Result<Vec<Bucket>> {
        self.inner.aggregate(ctx, query).await
    }

    async fn provenance(&self, ctx: &Ctx, batch: u64) -> Result<Option<Provenance>> {
        self.inner.provenance(ctx, batch).await
    }
}
