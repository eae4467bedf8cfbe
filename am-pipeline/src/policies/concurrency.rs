//! So many at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};

use am_core::{Code, Ctx, Error, Result};
use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::{Call, Policy};

/// Lets so many calls through at the same time and so many wait; refuses the others.
#[derive(Debug)]
pub struct Concurrency {
    places: Semaphore,
    waiting: AtomicUsize,
    queue: usize,
}

impl Concurrency {
    /// `limit` at the same time, `queue` waiting.
    pub fn new(limit: usize, queue: usize) -> Concurrency {
        Concurrency { places: Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS)), waiting: AtomicUsize::new(0), queue }
    }
}

/// Leaves the queue, also when the wait is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[async_trait]
impl Policy for Concurrency {
    async fn run(&self, ctx: &Ctx, call: &mut dyn Call) -> Result<()> {
        let refuse = |what: String| Error::new(Code::OVERLOADED, what).op("policy.concurrency");
        let place = match self.places.try_acquire() {
            Ok(p) => p,
            Err(_) => {
                let before = self.waiting.fetch_add(1, Ordering::AcqRel);
                let _waiting = Waiting(&self.waiting);
                if before >= self.queue {
                    return Err(refuse(format!("{} calls wait already", self.queue)));
                }
                self.places.acquire().await.map_err(|e| refuse(e.to_string()))?
            }
        };
        let result = call.attempt(ctx).await;
        drop(place);
        result
    }
}
