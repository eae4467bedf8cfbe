//! A bus within one process: for tests, and for programs that want the parts of a cluster without its servers.
//!
//! What it holds ends with the process, so "safe" means as safe as the process. It is bounded: when a stream is full it refuses, as a
//! stream with "discard new" does, until every group and tail has settled what is oldest.

mod consumer;
mod entries;
mod log;
mod tail;

use std::sync::{Arc, Weak};
use std::time::Duration;

use am_core::{Clock, Code, Ctx, Error, Result};
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Bus, Durability, Message, Pressure, Published, Publisher};
use entries::MemoryEntries;
use log::Log;

/// How large the bus may grow.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MemoryBusOptions {
    /// Bytes of all bodies of a stream; 64 MiB.
    pub bytes: usize,
    /// How long a message that nobody wants is kept; 7 days.
    pub age: Duration,
    /// For so long the same id is the same message; 2 minutes.
    pub duplicates: Duration,
    /// Bytes of one body; 1 MB.
    pub body: usize,
}

impl Default for MemoryBusOptions {
    fn default() -> Self {
        MemoryBusOptions { bytes: 64 << 20, age: Duration::from_secs(7 * 86_400), duplicates: Duration::from_secs(120), body: 1_000_000 }
    }
}

/// A new, empty bus.
pub fn open(options: MemoryBusOptions, clock: Arc<dyn Clock>) -> Bus {
    let shared = Arc::new_cyclic(|me| Shared {
        me: me.clone(),
        log: Mutex::new(Log::new(options.clone())),
        clock,
        moved: watch::Sender::new(0),
        options,
    });
    Bus {
        name: "memory",
        durability: Durability::Process,
        publisher: shared.clone(),
        groups: shared.clone(),
        tails: Some(shared),
        entries: Some(Arc::new(MemoryEntries::default())),
    }
}

/// The bus itself.
struct Shared {
    /// For the readers it hands out.
    me: Weak<Shared>,
    log: Mutex<Log>,
    clock: Arc<dyn Clock>,
    /// Counts what was published, for those who wait.
    moved: watch::Sender<u64>,
    options: MemoryBusOptions,
}

fn gone() -> Error {
    Error::new(Code::CLOSED, "the bus is gone").op("bus.memory")
}

impl Shared {
    /// Tries until it gives something or `wait` is over; tries again whenever something is published.
    async fn wait_for<T>(&self, wait: Duration, mut attempt: impl FnMut(&mut Log, Duration) -> Option<T> + Send) -> Option<T> {
        let until = self.clock.monotonic().saturating_add(wait);
        let mut moved = self.moved.subscribe();
        loop {
            moved.mark_unchanged();
            let now = self.clock.monotonic();
            if let Some(found) = attempt(&mut self.log.lock(), now) {
                return Some(found);
            }
            let left = until.saturating_sub(now);
            if left.is_zero() {
                return None;
            }
            // Deliveries that run out are looked for from time to time.
            let nap = left.min(Duration::from_millis(50));
            tokio::select! {
                _ = moved.changed() => {}
                () = self.clock.sleep(nap) => {}
            }
        }
    }
}

#[async_trait]
impl Publisher for Shared {
    async fn publish(&self, ctx: &Ctx, messages: Vec<Message>) -> Vec<Result<Published>> {
        if let Err(e) = ctx.check() {
            let copy = |_| Err(Error::new(e.code(), e.message().to_owned()).op("bus.publish"));
            return messages.iter().map(copy).collect();
        }
        let now = self.clock.monotonic();
        let mut log = self.log.lock();
        let out = messages
            .into_iter()
            .map(|m| match m.body.len() > self.options.body {
                true => {
                    let text = format!("a body has {} bytes, more than {}", m.body.len(), self.options.body);
                    Err(Error::new(Code::TOO_LARGE, text).op("bus.publish"))
                }
                false => log.publish(m, now),
            })
            .collect();
        drop(log);
        self.moved.send_modify(|n| *n += 1);
        out
    }

    async fn pressure(&self) -> Result<Pressure> {
        Ok(self.log.lock().pressure(self.clock.monotonic()))
    }

    fn body_limit(&self) -> usize {
        self.options.body
    }

    async fn ready(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
