//! Work that waits for the writer: bounded by bytes, in two lanes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use am_core::{Code, Error, Result};
use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::errors::Failure;
use super::writer::Session;

/// What may wait, in KiB: beyond it, callers wait before they hand their work over.
const ROOM_KIB: u32 = 32 << 10;

/// A piece of work for the writer. It may run twice: when a transaction is lost for another's sake, it runs again alone.
pub(super) trait Job: Send {
    fn run(&mut self, session: &mut Session) -> std::result::Result<(), Failure>;
    /// Called once, after the commit or the failure.
    fn answer(self: Box<Self>, failed: Option<Error>);
}

/// A closure with the way back to its caller.
struct Call<T, F> {
    work: F,
    done: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnMut(&mut Session) -> std::result::Result<T, Failure> + Send> Job for Call<T, F> {
    fn run(&mut self, session: &mut Session) -> std::result::Result<(), Failure> {
        self.done = Some(match (self.work)(session) {
            Ok(t) => Ok(t),
            Err(Failure::Refused(e)) => Err(e),
            Err(broken) => return Err(broken),
        });
        Ok(())
    }

    fn answer(self: Box<Self>, failed: Option<Error>) {
        let answer = match (failed, self.done) {
            (Some(e), _) => Err(e),
            (None, Some(done)) => done,
            (None, None) => Err(Error::new(Code::INTERNAL, "the writer answered work that did not run")),
        };
        // A caller that went away does not change what is stored.
        let _ = self.reply.send(answer);
    }
}

/// How the work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// In a transaction with others.
    Grouped,
    /// Outside of any transaction.
    Alone,
    /// Outside of any transaction; the writer ends after it.
    Last,
}

/// Work in the queue.
pub(super) struct Entry {
    pub job: Box<dyn Job>,
    pub how: How,
    pub readings: usize,
    pub bytes: usize,
    _room: OwnedSemaphorePermit,
}

/// Which lane; live work goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Live = 0,
    Backfill = 1,
}

/// How long the next of several callers is waited for.
const MOMENT: Duration = Duration::from_micros(100);

#[derive(Default)]
struct Waiting {
    lanes: [VecDeque<Entry>; 2],
    round: u8,
    closed: bool,
}

impl Waiting {
    fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The queue between callers and the writer.
pub(super) struct Queue {
    room: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    bell: Condvar,
}

/// How large the work is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    pub readings: usize,
    pub bytes: usize,
}

/// What the writer found.
pub(super) enum Drained {
    Work(Vec<Entry>),
    Idle,
    Closed,
}

impl Queue {
    pub(super) fn new() -> Self {
        Queue { room: Arc::new(Semaphore::new(ROOM_KIB as usize)), waiting: Mutex::default(), bell: Condvar::new() }
    }

    /// Hands work over and gives the way its answer comes back. Waits while the queue is full.
    pub(super) async fn submit<T, F>(&self, lane: Lane, how: How, size: Size, work: F) -> Result<oneshot::Receiver<Result<T>>>
    where
        T: Send + 'static,
        F: FnMut(&mut Session) -> std::result::Result<T, Failure> + Send + 'static,
    {
        let kib = u32::try_from(size.bytes >> 10).unwrap_or(ROOM_KIB).saturating_add(1).min(ROOM_KIB);
        let room = self.room.clone().acquire_many_owned(kib).await.map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Call { work, done: None, reply });
        let mut w = self.waiting.lock();
        if w.closed {
            return Err(closed());
        }
        let entry = Entry { job, how, readings: size.readings, bytes: size.bytes, _room: room };
        match lane {
            Lane::Live => w.lanes[0].push_back(entry),
            Lane::Backfill => w.lanes[1].push_back(entry),
        }
        drop(w);
        self.bell.notify_one();
        Ok(answer)
    }

    /// No more work: what waits is still done.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.room.close();
        self.bell.notify_one();
    }

    /// What waits, up to a limit and ending with the first that is not grouped; waits for `patience` when nothing does. When
    /// `together` callers were answered at once, they mostly come back at once: a moment is given for all of them to arrive, so that
    /// the first does not take a transaction and its sync for itself.
    pub(super) fn drain(&self, limit: Size, patience: Duration, together: usize) -> Drained {
        let mut w = self.waiting.lock();
        if w.is_empty() && !w.closed {
            self.bell.wait_for(&mut w, patience);
        }
        while together > 1 && !w.is_empty() && !w.closed && w.len() < together {
            if self.bell.wait_for(&mut w, MOMENT).timed_out() {
                break;
            }
        }
        let mut work = Vec::new();
        let mut sum = Size::default();
        // Live work goes first, but every fourth round begins with backfill, so that it never starves.
        w.round = w.round.wrapping_add(1);
        let backfill_first = w.round.is_multiple_of(4);
        loop {
            let lane = match (w.lanes[0].is_empty(), w.lanes[1].is_empty()) {
                (true, true) => break,
                (false, true) => 0,
                (true, false) => 1,
                (false, false) => usize::from(backfill_first && work.is_empty()),
            };
            let Some(next) = w.lanes[lane].front() else { break };
            let fits = work.is_empty() || (sum.readings + next.readings <= limit.readings && sum.bytes + next.bytes <= limit.bytes);
            if !fits || (next.how != How::Grouped && !work.is_empty()) {
                break;
            }
            let Some(next) = w.lanes[lane].pop_front() else { break };
            sum.readings += next.readings;
            sum.bytes += next.bytes;
            let grouped = next.how == How::Grouped;
            work.push(next);
            if !grouped {
                break;
            }
        }
        match (work.is_empty(), w.closed) {
            (false, _) => Drained::Work(work),
            (true, true) => Drained::Closed,
            (true, false) => Drained::Idle,
        }
    }
}

/// The error of every call after `close`.
pub(super) fn closed() -> Error {
    Error::new(Code::CLOSED, "the store is closed")
}
