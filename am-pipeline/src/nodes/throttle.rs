//! Thins out what comes too often.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use am_core::{Ctx, DeviceId, Result, Timestamp};
use am_schema::{Catalogue, Kind};
use async_trait::async_trait;

use super::state::{Reader, Writer};
use crate::{Batch, Output, Processor, Reason};

const VERSION: u8 = 1;

/// Passes at most one reading per device, kind and interval, by the readings' own time: the same input is thinned out the same way
/// whenever it is processed. The others are discarded for the reason `throttled`.
pub struct Throttle {
    every: Duration,
    catalogue: Catalogue,
    capacity: usize,
    last: HashMap<(DeviceId, Kind), Timestamp>,
    order: VecDeque<(DeviceId, Kind)>,
}

impl Throttle {
    /// One reading per interval; remembers at most `capacity` pairs of device and kind.
    pub fn new(every: Duration, capacity: usize, catalogue: Catalogue) -> Throttle {
        Throttle { every, catalogue, capacity: capacity.max(1), last: HashMap::new(), order: VecDeque::new() }
    }
}

#[async_trait]
impl Processor for Throttle {
    async fn process(&mut self, _: &Ctx, batch: Batch, out: &mut Output) -> Result<()> {
        for item in batch {
            let at = item.recorded_at();
            let key = (item.device().clone(), item.kind());
            match self.last.get_mut(&key) {
                Some(last) if at.since(*last).max(last.since(at)) < self.every => {
                    out.discard(item, Reason::THROTTLED);
                    continue;
                }
                Some(last) => *last = (*last).max(at),
                None => {
                    while self.order.len() >= self.capacity {
                        if let Some(old) = self.order.pop_front() {
                            self.last.remove(&old);
                        }
                    }
                    self.last.insert(key.clone(), at);
                    self.order.push_back(key);
                }
            }
            out.emit(item);
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
            w.bytes(key.0.as_str().as_bytes());
            w.bytes(key.1.topic().as_bytes());
            w.time(self.last.get(key).copied().unwrap_or_default());
        }
        Ok(w.done())
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.last.clear();
        self.order.clear();
        let Some(mut r) = Reader::new("throttle", VERSION, state)? else { return Ok(()) };
        for _ in 0..r.number()? {
            let (device, topic, at) = (DeviceId::new(r.text()?)?, r.text()?, r.time()?);
            // A kind that is no longer in the catalogue brings no more readings.
            if let Some(kind) = self.catalogue.get(topic) {
                self.last.insert((device.clone(), kind), at);
                self.order.push_back((device, kind));
            }
        }
        Ok(())
    }
}
