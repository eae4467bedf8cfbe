//! `memory:`: a whole store that lives as long as the process.
//!
//! The same promises as on disk, except that what it acknowledges ends with the process. Bounded: beyond
//! [`MemoryOptions::max_bytes`] it refuses with `STORE_FULL` and keeps what it has.

mod dead_letters;
mod derivations;
mod devices;
mod feed;
mod flows;
mod ingest;
mod key_value;
mod maintenance;
mod readings;
mod rollup;
mod state;
mod text;
mod vectors;

use std::sync::Arc;

use am_core::{Clock, Code, Ctx, Error, Result};
use am_schema::Catalogue;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

use crate::model::Seq;
use crate::traits::Backend;
use state::State;

/// How a store in memory is set up.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MemoryOptions {
    /// About how many bytes it may hold, indexes included.
    pub max_bytes: usize,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        MemoryOptions { max_bytes: 1 << 30 }
    }
}

impl MemoryOptions {
    /// The same with another bound.
    #[must_use]
    pub fn max_bytes(mut self, n: usize) -> Self {
        self.max_bytes = n;
        self
    }
}

/// An empty store in memory.
pub fn open(options: MemoryOptions, clock: Arc<dyn Clock>, catalogue: Catalogue) -> Backend {
    let memory = Arc::new(Memory {
        state: RwLock::new(State::default()),
        head: watch::Sender::new(Head { seq: 0, closed: false }),
        clock,
        catalogue,
        max_bytes: options.max_bytes,
    });
    Backend {
        name: "memory",
        readings: memory.clone(),
        feed: memory.clone(),
        flows: memory.clone(),
        derivations: memory.clone(),
        text: memory.clone(),
        dead_letters: memory.clone(),
        key_value: memory.clone(),
        devices: memory.clone(),
        maintenance: memory.clone(),
        vectors: Some(memory),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    seq: Seq,
    closed: bool,
}

struct Memory {
    state: RwLock<State>,
    head: watch::Sender<Head>,
    clock: Arc<dyn Clock>,
    catalogue: Catalogue,
    max_bytes: usize,
}

fn closed() -> Error {
    Error::new(Code::CLOSED, "the store in memory was closed").op("store.memory")
}

impl Memory {
    fn open_for(&self, ctx: &Ctx) -> Result<RwLockReadGuard<'_, State>> {
        ctx.check()?;
        self.open_all()
    }

    fn open_all(&self) -> Result<RwLockReadGuard<'_, State>> {
        let state = self.state.read();
        if state.closed { Err(closed()) } else { Ok(state) }
    }

    fn change(&self) -> Result<RwLockWriteGuard<'_, State>> {
        let state = self.state.write();
        if state.closed { Err(closed()) } else { Ok(state) }
    }

    /// Whether `more` bytes fit beside what is held, less what they replace.
    fn room(&self, state: &State, more: usize, less: usize) -> Result<()> {
        let want = state.used.saturating_sub(less).saturating_add(more);
        if want <= self.max_bytes || more <= less {
            return Ok(());
        }
        let text = format!("the store in memory holds {} of {} bytes; {more} more do not fit", state.used, self.max_bytes);
        Err(Error::new(Code::STORE_FULL, text).op("store.memory"))
    }

    /// Tells those who wait for the feed.
    fn announce(&self, seq: Seq) {
        self.head.send_if_modified(|h| {
            let grew = seq > h.seq;
            h.seq = h.seq.max(seq);
            grew
        });
    }
}
