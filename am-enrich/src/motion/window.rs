//! `motion.window`.

use std::time::Duration;

use am_core::{Code, Ctx, DeviceId, Error, LookupRange, ReadingId, Result, Timestamp};
use am_pipeline::{Batch, Item, Output, Processor, Setup};
use am_schema::{Catalogue, Inputs, Kind, ProcessorIdentity, Reading, ReadingRef};
use async_trait::async_trait;

use super::features::features;
use super::samples::{Samples, decode};
use crate::snapshot::{Reader, Writer};

/// The version of the state's bytes.
const STATE: u8 = 1;
/// The longest block there is, nanoseconds: blocks that began so long before a window may reach into it.
const LONGEST_BLOCK: i64 = 300_000_000_000;
/// The most blocks that one late block is put together with.
const MAX_NEIGHBOURS: usize = 100_000;

/// Windows lie at multiples of the hop since 1970. A window is emitted once a block reaches beyond it; a block that comes after that
/// derives the windows it touches anew, from all blocks that the store has for them.
pub(super) struct WindowProcessor {
    identity: ProcessorIdentity,
    catalogue: Catalogue,
    raw: Kind,
    windowed: Kind,
    grid: Grid,
    device: Option<DeviceId>,
    state: State,
}

/// Where windows lie, nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Grid {
    size: i64,
    hop: i64,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct State {
    /// Number of the first window that was not emitted, and the time up to which there are samples; `None` before the first block.
    front: Option<(i64, i64)>,
    /// Samples of windows to come, by block in their order.
    pending: Vec<Samples>,
}

impl Grid {
    fn start(self, k: i64) -> i64 {
        k.saturating_mul(self.hop)
    }

    fn end(self, k: i64) -> i64 {
        self.start(k).saturating_add(self.size)
    }

    /// The first window that ends after a time.
    fn first_after(self, t: i64) -> i64 {
        t.saturating_sub(self.size).div_euclid(self.hop) + 1
    }

    /// The last window that begins at or before a time.
    fn last_at(self, t: i64) -> i64 {
        t.div_euclid(self.hop)
    }
}

impl WindowProcessor {
    pub(super) fn new(setup: &Setup) -> Result<Self> {
        let nanos = |name: &str, default: u64| {
            let d = setup.config.duration(name).unwrap_or(Duration::from_millis(default));
            i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)
        };
        let grid = Grid { size: nanos("size", 5_000), hop: nanos("hop", 2_500) };
        let bad = |why: &str| Err(Error::new(Code::BAD_FLOW, format!("motion.window: {why}")).op("motion.window"));
        if !(1_000_000_000..=60_000_000_000).contains(&grid.size) {
            return bad("the size must be 1s to 60s");
        }
        if !(100_000_000..=grid.size).contains(&grid.hop) {
            return bad("the hop must be 100ms to the size");
        }
        Ok(WindowProcessor {
            identity: setup.identity.clone(),
            catalogue: setup.catalogue.clone(),
            raw: super::kind(&setup.catalogue, super::RAW)?,
            windowed: super::kind(&setup.catalogue, super::WINDOWED)?,
            grid,
            device: None,
            state: State::default(),
        })
    }

    async fn take(&mut self, ctx: &Ctx, item: &Item) -> Result<Vec<Reading>> {
        let block = decode(item.reading())?;
        if block.times.is_empty() || self.state.pending.iter().any(|b| b.id == block.id && b.recorded_at == block.recorded_at) {
            return Ok(Vec::new());
        }
        // What can fail comes first: a block is in the state if and only if it was taken.
        let mut made = self.late(ctx, item.device(), &block).await?;
        let mut state = self.state.clone();
        made.extend(self.advance(&mut state, item.device(), block)?);
        self.state = state;
        self.device = Some(item.device().clone());
        Ok(made)
    }

    /// Windows that were passed already and that the block has samples in, made anew.
    async fn late(&self, ctx: &Ctx, device: &DeviceId, block: &Samples) -> Result<Vec<Reading>> {
        let Some((next, _)) = self.state.front else { return Ok(Vec::new()) };
        let last_time = block.times.last().copied().unwrap_or(block.end);
        let (from, to) = (self.grid.first_after(block.start()), self.grid.last_at(last_time).min(next - 1));
        if from > to {
            return Ok(Vec::new());
        }
        let reach = self.grid.start(from).saturating_sub(LONGEST_BLOCK);
        let range = LookupRange::new(self.raw.topic(), Timestamp::from_nanos(reach), Timestamp::from_nanos(self.grid.end(to)))
            .device(device.clone())
            .limit(MAX_NEIGHBOURS);
        let mut blocks = Vec::new();
        for record in ctx.lookup().range(ctx.scope(), range).await? {
            // A neighbour that cannot be decoded is parked when its own turn comes.
            if let Ok(b) = decode(&Reading::from_record(&self.catalogue, record)?)
                && b.end > self.grid.start(from)
            {
                blocks.push(b);
            }
        }
        if blocks.iter().all(|b| b.order() != block.order()) {
            blocks.push(block.clone());
        }
        blocks.sort_by_key(Samples::order);
        let touched = |k: &i64| {
            let i = block.times.partition_point(|t| *t < self.grid.start(*k));
            block.times.get(i).is_some_and(|t| *t < self.grid.end(*k))
        };
        (from..=to).filter(touched).map(|k| self.window(device, k, &blocks)).collect()
    }

    /// Adds a block to the state and emits what is complete.
    fn advance(&self, state: &mut State, device: &DeviceId, mut block: Samples) -> Result<Vec<Reading>> {
        let (next, mark) = state.front.unwrap_or_else(|| (self.grid.first_after(block.start()), block.end));
        let mark = mark.max(block.end);
        block.forget_before(self.grid.start(next));
        if !block.times.is_empty() {
            let at = state.pending.partition_point(|b| b.order() < block.order());
            state.pending.insert(at, block);
        }
        let made = self.emit(state, device, next, mark)?;
        let next = self.grid.first_after(mark).max(next);
        state.front = Some((next, mark));
        let keep = self.grid.start(next);
        state.pending.iter_mut().for_each(|b| b.forget_before(keep));
        state.pending.retain(|b| !b.times.is_empty());
        Ok(made)
    }

    /// The windows from `next` on that end at or before `mark` and have samples.
    fn emit(&self, state: &State, device: &DeviceId, next: i64, mark: i64) -> Result<Vec<Reading>> {
        let mut made = Vec::new();
        let mut k = next;
        loop {
            let from = self.grid.start(k);
            let first = state.pending.iter().filter_map(|b| b.times.get(b.times.partition_point(|t| *t < from))).min();
            let Some(first) = first else { return Ok(made) };
            k = k.max(self.grid.first_after(*first));
            if self.grid.end(k) > mark {
                return Ok(made);
            }
            made.push(self.window(device, k, &state.pending)?);
            k += 1;
        }
    }

    /// One window of blocks in their order.
    fn window(&self, device: &DeviceId, k: i64, blocks: &[Samples]) -> Result<Reading> {
        let (from, to) = (self.grid.start(k), self.grid.end(k));
        let mut rows: Vec<(i64, [f32; 3])> = Vec::new();
        let mut inputs = Vec::new();
        for b in blocks {
            let (i, j) = (b.times.partition_point(|t| *t < from), b.times.partition_point(|t| *t < to));
            if i < j {
                let name = ReadingRef { device: device.clone(), kind: self.raw, recorded_at: b.recorded_at, id: b.id };
                inputs.push(name);
                let (times, values) = (b.times.get(i..j).unwrap_or_default(), b.values.get(i..j).unwrap_or_default());
                rows.extend(times.iter().copied().zip(values.iter().copied()));
            }
        }
        // Stable, so that of two samples of the same time the one of the earlier block stays.
        rows.sort_by_key(|(t, _)| *t);
        rows.dedup_by_key(|(t, _)| *t);
        let (times, values): (Vec<i64>, Vec<[f32; 3]>) = rows.into_iter().unzip();
        let payload = features(&times, &values, self.grid.size as f64 / 1e9);
        let (from, to) = (Timestamp::from_nanos(from), Timestamp::from_nanos(to));
        Reading::builder(self.windowed, device.clone(), from)
            .ended_at(to)
            .payload(&payload)
            .derived_from(&self.identity, Inputs::of_refs(inputs).span(from, to), 0)
            .build()
            .map_err(Error::from)
    }
}

#[async_trait]
impl Processor for WindowProcessor {
    async fn process(&mut self, ctx: &Ctx, batch: Batch, out: &mut Output) -> Result<()> {
        for item in batch {
            match self.take(ctx, &item).await {
                Ok(made) => {
                    made.into_iter().for_each(|r| out.emit_from(&item, r));
                    out.absorb(item);
                }
                Err(e) if e.advice().is_worthwhile() => out.retry(item, e),
                Err(e) => out.park(item, e),
            }
        }
        Ok(())
    }

    async fn flush(&mut self, _ctx: &Ctx, out: &mut Output) -> Result<()> {
        if let (Some((next, _)), Some(device)) = (self.state.front, self.device.clone()) {
            self.emit(&self.state, &device, next, i64::MAX)?.into_iter().for_each(|r| out.derive(r));
            self.state.pending.clear();
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let Some((next, mark)) = self.state.front else { return Ok(Vec::new()) };
        let mut w = Writer::new(STATE);
        w.i64(next);
        w.i64(mark);
        w.len(self.state.pending.len());
        for b in &self.state.pending {
            w.i64(b.recorded_at.as_nanos());
            w.id(b.id);
            w.i64(b.end);
            w.len(b.times.len());
            for (t, v) in b.times.iter().zip(&b.values) {
                w.i64(*t);
                v.iter().for_each(|c| w.f32(*c));
            }
        }
        Ok(w.finish())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<()> {
        self.device = None;
        self.state = State::default();
        let Some(mut r) = Reader::open("motion.window", bytes, STATE)? else { return Ok(()) };
        let front = (r.i64()?, r.i64()?);
        let mut pending = Vec::new();
        for _ in 0..r.len(36)? {
            let (recorded_at, id, end): (i64, ReadingId, i64) = (r.i64()?, r.id()?, r.i64()?);
            let n = r.len(20)?;
            let (mut times, mut values) = (Vec::with_capacity(n), Vec::with_capacity(n));
            for _ in 0..n {
                times.push(r.i64()?);
                values.push([r.f32()?, r.f32()?, r.f32()?]);
            }
            pending.push(Samples { recorded_at: Timestamp::from_nanos(recorded_at), id, times, values, end });
        }
        r.end()?;
        self.state = State { front: Some(front), pending };
        Ok(())
    }
}
