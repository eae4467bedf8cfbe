//! One lane of a node: takes batches, runs its processor or sink, passes on, parks, settles.

use std::collections::HashMap;
use std::sync::Arc;

use am_core::{Ctx, DeviceId, Error, Result};

use super::inlet::Inlet;
use super::outlet::Outlet;
use super::parking::Parking;
use super::status::Counters;
use crate::outcome::Outcome;
use crate::receipt::Receipt;
use crate::{Attempts, Batch, Decided, Item, Jitter, Output, Processor, Sink, exec};

/// Makes a processor for one key or lane.
pub(super) type MakeProcessor = Arc<dyn Fn() -> Result<Box<dyn Processor>> + Send + Sync>;

/// What runs in a lane.
pub(super) enum Work {
    /// One processor for all keys.
    One(Box<dyn Processor>),
    /// A processor for each device.
    PerDevice { make: MakeProcessor, live: HashMap<DeviceId, (Box<dyn Processor>, u64)>, max: usize, turn: u64 },
    /// A sink.
    Sink(Box<dyn Sink>),
}

pub(super) struct Lane {
    pub(super) ctx: Ctx,
    pub(super) inlet: Inlet,
    pub(super) work: Work,
    pub(super) outlet: Outlet,
    pub(super) parking: Parking,
    pub(super) counters: Arc<Counters>,
    pub(super) attempts: Attempts,
    pub(super) jitter: Jitter,
}

impl Lane {
    /// Runs until the input is at its end, then flushes.
    pub(super) async fn run(mut self) -> Result<()> {
        let mut out = Output::new();
        let ctx = self.ctx.clone();
        while let Some(items) = self.inlet.next(&ctx).await {
            let start = ctx.clock().monotonic();
            let n = items.len();
            let decided = self.step(&ctx, items, &mut out).await?;
            self.counters.took(ctx.clock().monotonic().saturating_sub(start));
            if let Work::Sink(_) = self.work {
                self.counters.add(|c| &c.given, n - decided.parked.len());
            }
            self.pass_on(&ctx, decided).await?;
        }
        match &mut self.work {
            Work::One(p) => {
                let flushed = flush(p.as_mut(), &ctx, &mut out).await?;
                self.pass_on(&ctx, flushed).await
            }
            Work::PerDevice { live, .. } => {
                let mut all = Decided::default();
                let mut left: Vec<_> = live.drain().collect();
                left.sort_by(|a, b| a.0.cmp(&b.0));
                for (_, (mut p, _)) in left {
                    all.extend(flush(p.as_mut(), &ctx, &mut out).await?);
                }
                self.pass_on(&ctx, all).await
            }
            Work::Sink(_) => Ok(()),
        }
    }

    async fn step(&mut self, ctx: &Ctx, items: Vec<Item>, out: &mut Output) -> Result<Decided> {
        let (attempts, jitter) = (&self.attempts, &mut self.jitter);
        match &mut self.work {
            Work::Sink(sink) => Ok(exec::deliver(sink.as_mut(), ctx, items, attempts, jitter).await),
            Work::One(p) => Ok(exec::process(p.as_mut(), ctx, Batch::from(items), out, attempts, jitter).await),
            Work::PerDevice { make, live, max, turn } => {
                let mut all = Decided::default();
                for (device, part) in by_device(items) {
                    *turn += 1;
                    if !live.contains_key(&device) {
                        if live.len() >= *max
                            && let Some(idle) = live.iter().min_by_key(|(_, (_, used))| *used).map(|(d, _)| d.clone())
                            && let Some((mut old, _)) = live.remove(&idle)
                        {
                            all.extend(flush(old.as_mut(), ctx, out).await?);
                        }
                        live.insert(device.clone(), (make()?, *turn));
                    }
                    if let Some((p, used)) = live.get_mut(&device) {
                        *used = *turn;
                        all.extend(exec::process(p.as_mut(), ctx, Batch::from(part), out, attempts, jitter).await);
                    }
                }
                Ok(all)
            }
        }
    }

    /// Passes on, parks and settles what was decided.
    async fn pass_on(&mut self, ctx: &Ctx, decided: Decided) -> Result<()> {
        let Decided { emitted, absorbed, mut parked, discarded, failures, .. } = decided;
        self.counters.add(|c| &c.discarded, discarded as usize);
        self.counters.add(|c| &c.errors, failures as usize);
        if !emitted.is_empty() {
            self.counters.add(|c| &c.given, emitted.len());
            parked.extend(self.outlet.send(emitted).await);
        }
        // What is in the processor's memory is delivered: a plain pipeline keeps state no longer than it runs.
        Receipt::settle_all(absorbed, &Outcome::Delivered);
        self.counters.add(|c| &c.parked, parked.len());
        self.parking.park(ctx, parked).await
    }
}

/// Splits a batch by device; each part keeps its order, the parts stand in order of their first items.
fn by_device(items: Vec<Item>) -> Vec<(DeviceId, Vec<Item>)> {
    let mut parts: Vec<(DeviceId, Vec<Item>)> = Vec::new();
    let mut place: HashMap<DeviceId, usize> = HashMap::new();
    for item in items {
        // Neighbours are mostly of one device.
        if let Some((_, last)) = parts.last_mut().filter(|(d, _)| d == item.device()) {
            last.push(item);
            continue;
        }
        let at = *place.entry(item.device().clone()).or_insert(parts.len());
        match parts.get_mut(at) {
            Some((_, part)) => part.push(item),
            None => parts.push((item.device().clone(), vec![item])),
        }
    }
    parts
}

/// Ends a processor: what it does not finish cannot be tried again, so a failure ends the pipeline.
async fn flush(p: &mut dyn Processor, ctx: &Ctx, out: &mut Output) -> Result<Decided> {
    p.flush(ctx, out).await.map_err(|e| Error::new(e.code(), format!("flush: {}", e.message())).source(e))?;
    let mut decided = out.take();
    // There is no later try after the end: what it could not do now is kept aside.
    let retry = std::mem::take(&mut decided.retry);
    decided.parked.extend(retry);
    Ok(decided)
}
