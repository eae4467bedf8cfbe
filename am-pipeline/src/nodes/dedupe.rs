//! Lets repetitions go.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use am_core::{Ctx, Result, Timestamp};
use am_schema::Reading;
use async_trait::async_trait;

use super::state::{Reader, Writer};
use crate::{Batch, Output, Processor, Reason};

const VERSION: u8 = 1;

/// The first half of a BLAKE3 digest.
type Key = [u8; 16];

/// By what readings are the same.
type KeyOf = Box<dyn Fn(&Reading, &mut Vec<u8>) + Send>;

/// Discards readings that are the same as one up to a horizon before them, by their own time.
pub struct Dedupe {
    horizon: Duration,
    capacity: usize,
    key_of: KeyOf,
    seen: HashMap<Key, Timestamp>,
    /// In the order they were first seen.
    order: VecDeque<Key>,
    scratch: Vec<u8>,
}

impl Dedupe {
    /// The same device, kind and payload bytes within the horizon; remembers at most `capacity` keys, the oldest are forgotten first.
    pub fn new(horizon: Duration, capacity: usize) -> Dedupe {
        Dedupe {
            horizon,
            capacity: capacity.max(1),
            key_of: Box::new(|r, key| {
                for part in [r.device().as_str().as_bytes(), r.kind().topic().as_bytes(), r.payload_bytes()] {
                    key.extend_from_slice(&(part.len() as u64).to_le_bytes());
                    key.extend_from_slice(part);
                }
            }),
            seen: HashMap::new(),
            order: VecDeque::new(),
            scratch: Vec::new(),
        }
    }

    /// The same when the bytes that the closure appends are the same.
    #[must_use]
    pub fn by(mut self, key_of: impl Fn(&Reading, &mut Vec<u8>) + Send + 'static) -> Dedupe {
        self.key_of = Box::new(key_of);
        self
    }

    /// Whether the reading is a repetition; remembers it otherwise.
    fn repeats(&mut self, r: &Reading) -> bool {
        self.scratch.clear();
        (self.key_of)(r, &mut self.scratch);
        let mut key = Key::default();
        key.iter_mut().zip(blake3::hash(&self.scratch).as_bytes()).for_each(|(k, b)| *k = *b);
        let at = r.recorded_at();
        if let Some(seen) = self.seen.get_mut(&key) {
            if at.since(*seen).max(seen.since(at)) <= self.horizon {
                return true;
            }
            *seen = (*seen).max(at);
            return false;
        }
        while self.order.len() >= self.capacity {
            if let Some(old) = self.order.pop_front() {
                self.seen.remove(&old);
            }
        }
        self.seen.insert(key, at);
        self.order.push_back(key);
        false
    }
}

#[async_trait]
impl Processor for Dedupe {
    async fn process(&mut self, _: &Ctx, batch: Batch, out: &mut Output) -> Result<()> {
        for item in batch {
            if self.repeats(item.reading()) {
                out.discard(item, Reason::DUPLICATE);
            } else {
                out.emit(item);
            }
        }
        Ok(())
    }

    async fn flush(&mut self, _: &Ctx, _: &mut Output) -> Result<()> {
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let mut w = Writer::new(VERSION);
        w.number(self.order.len() as u64);
        for key in &self.order {
            w.bytes(key);
            w.time(self.seen.get(key).copied().unwrap_or_default());
        }
        Ok(w.done())
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.seen.clear();
        self.order.clear();
        let Some(mut r) = Reader::new("dedupe", VERSION, state)? else { return Ok(()) };
        for _ in 0..r.number()? {
            let mut key = Key::default();
            key.iter_mut().zip(r.bytes()?).for_each(|(k, b)| *k = *b);
            self.seen.insert(key, r.time()?);
            self.order.push_back(key);
        }
        Ok(())
    }
}
