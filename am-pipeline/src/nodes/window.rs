//! Windows in event time, one series for each device.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use am_core::{Code, Ctx, DeviceId, Error, ReadingId, Result, Timestamp};
use am_schema::{Catalogue, Decoder, Inputs, Reading};
use async_trait::async_trait;
use bytes::Bytes;

use super::state::{Reader, Writer};
use crate::{Batch, Item, Output, Processor, Reason, Receipt};

const VERSION: u8 = 1;

/// Which windows there are: `size` long, one starting every `hop`, counted from 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowSpec {
    /// How long a window is.
    pub size: Duration,
    /// How far apart windows start; equal to `size` they do not overlap.
    pub hop: Duration,
    /// How long a window stays open for readings that come late.
    pub lateness: Duration,
    /// The most readings held for one device; more are parked.
    pub max_held: usize,
    /// The most devices held; readings of more are parked.
    pub max_devices: usize,
    /// Whether the end of the input closes windows that could still grow.
    pub close_at_end: bool,
}

impl WindowSpec {
    /// Windows that do not overlap.
    pub fn tumbling(size: Duration) -> Self {
        WindowSpec::hopping(size, size)
    }

    /// Windows that start every `hop`.
    pub fn hopping(size: Duration, hop: Duration) -> Self {
        let lateness = Duration::ZERO;
        WindowSpec { size, hop: hop.min(size), lateness, max_held: 100_000, max_devices: 10_000, close_at_end: true }
    }

    /// How long a window stays open for readings that come late.
    #[must_use]
    pub fn lateness(mut self, d: Duration) -> Self {
        self.lateness = d;
        self
    }

    /// Leaves windows open at the end of the input: their readings are in the state.
    #[must_use]
    pub fn keep_open_at_end(mut self) -> Self {
        self.close_at_end = false;
        self
    }

    /// The start of the first window that holds a time.
    fn first_start(&self, t: Timestamp) -> Timestamp {
        let after = t.saturating_sub(self.size).shifted(1);
        let floor = after.floor(self.hop);
        if floor < after { floor.saturating_add(self.hop) } else { floor }
    }
}

/// A closed window.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pane<'a> {
    /// The device.
    pub device: &'a DeviceId,
    /// From this time on.
    pub start: Timestamp,
    /// Up to, not including, this time.
    pub end: Timestamp,
    /// The readings in order of time, at least one.
    pub readings: &'a [Reading],
}

impl Pane<'_> {
    /// The inputs of a reading made from this window, for its lineage.
    pub fn inputs(&self) -> Inputs {
        Inputs::of(self.readings).span(self.start, self.end)
    }
}

/// The readings of a device that open windows need.
struct Series {
    held: BTreeMap<(Timestamp, ReadingId), Reading>,
    /// The start of the first window that is not closed.
    next: Timestamp,
    newest: Timestamp,
}

/// Closes windows; made by [`window`].
pub struct Window<F> {
    spec: WindowSpec,
    catalogue: Catalogue,
    close: F,
    series: HashMap<DeviceId, Series>,
}

/// Collects readings into windows in event time and makes readings of each window when it closes: once a reading of the same device is
/// later than its end by the allowed lateness. Windows without readings are not there. Readings whose windows have all closed are
/// discarded as late.
///
/// When the closure fails for a reason that passes, the window stays open; otherwise its readings are parked and it is left behind.
pub fn window<F>(spec: WindowSpec, catalogue: Catalogue, close: F) -> Window<F>
where
    F: FnMut(&Pane<'_>) -> Result<Vec<Reading>> + Send,
{
    Window { spec, catalogue, close, series: HashMap::new() }
}

impl<F: FnMut(&Pane<'_>) -> Result<Vec<Reading>> + Send> Window<F> {
    fn take(&mut self, item: Item, out: &mut Output) {
        let (at, id) = (item.recorded_at(), item.id());
        if !self.series.contains_key(item.device()) && self.series.len() >= self.spec.max_devices {
            return out.park(item, full(format!("more than {} devices in one window processor", self.spec.max_devices)));
        }
        let open = self.spec.first_start(at.saturating_sub(self.spec.lateness));
        let fresh = || Series { held: BTreeMap::new(), next: open, newest: at };
        let s = self.series.entry(item.device().clone()).or_insert_with(fresh);
        if s.next > at {
            return out.discard(item, Reason::LATE);
        }
        if s.held.len() >= self.spec.max_held && !s.held.contains_key(&(at, id)) {
            return out.park(item, full(format!("more than {} readings in the open windows of a device", self.spec.max_held)));
        }
        s.newest = s.newest.max(at);
        s.held.insert((at, id), item.reading().clone().detached());
        out.absorb(item);
    }

    /// Closes what is complete at `s.newest`, or everything.
    fn close(spec: &WindowSpec, close: &mut F, device: &DeviceId, s: &mut Series, all: bool, out: &mut Output) -> Result<()> {
        // Windows that start before this are complete.
        let open = spec.first_start(s.newest.saturating_sub(spec.lateness));
        while let Some((first, _)) = s.held.first_key_value() {
            // Windows before the first reading are empty.
            let start = s.next.max(spec.first_start(first.0));
            let end = start.saturating_add(spec.size);
            if !all && start >= open {
                break;
            }
            let range = (start, ReadingId::from_bytes([0; 16]))..(end, ReadingId::from_bytes([0; 16]));
            let readings: Vec<Reading> = s.held.range(range).map(|(_, r)| r.clone()).collect();
            if !readings.is_empty() {
                match close(&Pane { device, start, end, readings: &readings }) {
                    Ok(made) => made.into_iter().for_each(|r| out.derive(r)),
                    Err(e) if e.advice().is_worthwhile() => return Err(e),
                    Err(e) => {
                        let text = format!("the window from {start} to {end}: {}", e.message());
                        for r in readings {
                            let item = Item::new(r, Receipt::detached(), crate::Origin::Live);
                            out.park(item, Error::new(e.code(), text.clone()).retry(e.advice()));
                        }
                    }
                }
            }
            s.next = start.saturating_add(spec.hop);
            let keep = s.held.split_off(&(s.next, ReadingId::from_bytes([0; 16])));
            s.held = keep;
        }
        s.next = s.next.max(open);
        Ok(())
    }
}

fn full(message: String) -> Error {
    // Waiting would not help: the windows close by what comes next, which waits behind.
    Error::new(Code::OVERLOADED, message).op("window").retry(am_core::Retry::Never)
}

#[async_trait]
impl<F: FnMut(&Pane<'_>) -> Result<Vec<Reading>> + Send> Processor for Window<F> {
    async fn process(&mut self, _: &Ctx, batch: Batch, out: &mut Output) -> Result<()> {
        for item in batch {
            let device = item.device().clone();
            self.take(item, out);
            if let Some(s) = self.series.get_mut(&device) {
                Self::close(&self.spec, &mut self.close, &device, s, false, out)?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self, _: &Ctx, out: &mut Output) -> Result<()> {
        let mut devices: Vec<DeviceId> = self.series.keys().cloned().collect();
        devices.sort();
        for device in devices {
            if let Some(s) = self.series.get_mut(&device) {
                Self::close(&self.spec, &mut self.close, &device, s, self.spec.close_at_end, out)?;
            }
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let mut w = Writer::new(VERSION);
        let mut all: Vec<_> = self.series.iter().collect();
        all.sort_by(|a, b| a.0.cmp(b.0));
        w.number(all.len() as u64);
        for (device, s) in all {
            w.bytes(device.as_str().as_bytes());
            w.time(s.next);
            w.time(s.newest);
            w.number(s.held.len() as u64);
            s.held.values().for_each(|r| w.bytes(&r.to_wire()));
        }
        Ok(w.done())
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.series.clear();
        let Some(mut r) = Reader::new("window", VERSION, state)? else { return Ok(()) };
        let mut decoder = Decoder::new(self.catalogue.clone()).trusted();
        for _ in 0..r.number()? {
            let device = DeviceId::new(r.text()?)?;
            let (next, newest) = (r.time()?, r.time()?);
            let mut held = BTreeMap::new();
            for _ in 0..r.number()? {
                let reading = decoder.decode(Bytes::copy_from_slice(r.bytes()?), Timestamp::MAX)?;
                held.insert((reading.recorded_at(), reading.id()), reading);
            }
            self.series.insert(device, Series { held, next, newest });
        }
        Ok(())
    }
}
