//! Batches that wait for a writer: bounded by bytes, in two lanes.

use std::collections::VecDeque;
use std::sync::Arc;

use am_core::Result;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::errors::closed;
use super::ingest::Batch;
use crate::model::{IngestOutcome, Origin};

/// What may wait, in KiB: beyond it, callers wait before they hand their work over.
const ROOM_KIB: u32 = 32 << 10;
/// At most so many bytes in one transaction, unless one batch alone has more.
const GROUP_BYTES: usize = 8 << 20;

/// A batch with the way back to its caller.
pub(super) struct Entry {
    pub batch: Batch,
    pub reply: oneshot::Sender<Result<IngestOutcome>>,
    readings: usize,
    bytes: usize,
    _room: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Waiting {
    /// Live work, and backfill.
    lanes: [VecDeque<Entry>; 2],
    round: u8,
    closed: bool,
}

/// The queue between callers and writers.
pub(super) struct Queue {
    room: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    bell: Notify,
}

impl Queue {
    pub(super) fn new() -> Self {
        Queue { room: Arc::new(Semaphore::new(ROOM_KIB as usize)), waiting: Mutex::default(), bell: Notify::new() }
    }

    /// Hands a batch over and gives the way its answer comes back. Waits while the queue is full.
    pub(super) async fn submit(&self, batch: Batch) -> Result<oneshot::Receiver<Result<IngestOutcome>>> {
        let (readings, bytes) = batch.size();
        let kib = u32::try_from(bytes >> 10).unwrap_or(ROOM_KIB).saturating_add(1).min(ROOM_KIB);
        let room = self.room.clone().acquire_many_owned(kib).await.map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        let backfill = batch.ingest.provenance.origin == Origin::Backfill;
        let mut w = self.waiting.lock();
        if w.closed {
            return Err(closed());
        }
        let [live, late] = &mut w.lanes;
        let lane = if backfill { late } else { live };
        lane.push_back(Entry { batch, reply, readings, bytes, _room: room });
        drop(w);
        self.bell.notify_one();
        Ok(answer)
    }

    /// No more work: what waits is still done.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.room.close();
        self.bell.notify_waiters();
        self.bell.notify_one();
    }

    /// What waits, up to a number of readings; `None` once the queue is closed and empty.
    ///
    /// # Cancel safety
    /// Safe: work is taken at once or not at all.
    pub(super) async fn next(&self, most: usize) -> Option<Vec<Entry>> {
        loop {
            let rung = self.bell.notified();
            tokio::pin!(rung);
            // Before the look, so that what comes in between is not missed.
            rung.as_mut().enable();
            let (work, more, closed) = self.take(most);
            if more || closed {
                // Another writer may go on with what is left, or must see the end too.
                self.bell.notify_one();
            }
            match (work.is_empty(), closed) {
                (false, _) => return Some(work),
                (true, true) => return None,
                (true, false) => rung.await,
            }
        }
    }

    fn take(&self, most: usize) -> (Vec<Entry>, bool, bool) {
        let mut w = self.waiting.lock();
        // Live work goes first, but every fourth round begins with backfill, so that it never starves.
        w.round = w.round.wrapping_add(1);
        let backfill_first = w.round.is_multiple_of(4);
        let [live, late] = &mut w.lanes;
        let mut work: Vec<Entry> = Vec::new();
        let (mut readings, mut bytes) = (0, 0);
        loop {
            let lane = match (live.is_empty(), late.is_empty()) {
                (true, true) => break,
                (false, true) => &mut *live,
                (true, false) => &mut *late,
                (false, false) if backfill_first && work.is_empty() => &mut *late,
                (false, false) => &mut *live,
            };
            let fits = lane.front().is_some_and(|e| work.is_empty() || (readings + e.readings <= most && bytes + e.bytes <= GROUP_BYTES));
            if !fits {
                break;
            }
            let Some(e) = lane.pop_front() else { break };
            readings += e.readings;
            bytes += e.bytes;
            work.push(e);
        }
        (work, !live.is_empty() || !late.is_empty(), w.closed)
    }
}
