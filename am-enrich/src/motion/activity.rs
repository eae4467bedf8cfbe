//! `motion.activity`.

use am_core::{Ctx, DeviceId, Error, ReadingId, Result, Timestamp};
use am_pipeline::{Batch, Item, Output, Processor, Setup};
use am_schema::{Inputs, Kind, ProcessorIdentity, Reading, ReadingRef, v1};
use async_trait::async_trait;

use super::classify::{Scores, classify};
use crate::snapshot::{Reader, Writer};

/// The version of the state's bytes.
const STATE: u8 = 1;
/// How many windows are kept to smooth by.
const KEPT: usize = 32;
/// How much the window itself counts, the one before, and the one before that.
const WEIGHTS: [f32; 3] = [0.5, 0.3, 0.2];

/// One activity per window, over the window's bounds, so that a window that is derived anew fills the same slot. Smoothed by the two
/// windows before; a late window derives those after it anew as far as they are still kept.
pub(super) struct ActivityProcessor {
    identity: ProcessorIdentity,
    windowed: Kind,
    activity: Kind,
    /// In the order they came.
    kept: Vec<Seen>,
}

#[derive(Debug, Clone, PartialEq)]
struct Seen {
    start: i64,
    end: i64,
    id: ReadingId,
    /// `None` when the window holds too little.
    scores: Option<Scores>,
}

impl Seen {
    /// Whether the window reaches to the start of a later one.
    fn precedes(&self, later: &Seen) -> bool {
        self.start < later.start && self.end >= later.start
    }
}

impl ActivityProcessor {
    pub(super) fn new(setup: &Setup) -> Result<Self> {
        Ok(ActivityProcessor {
            identity: setup.identity.clone(),
            windowed: super::kind(&setup.catalogue, super::WINDOWED)?,
            activity: super::kind(&setup.catalogue, super::ACTIVITY)?,
            kept: Vec::new(),
        })
    }

    fn take(&mut self, item: &Item) -> Result<Vec<Reading>> {
        let window: v1::MotionWindow = item.payload()?;
        let start = item.recorded_at();
        let end = item.ended_at().unwrap_or(start);
        let seen = Seen { start: start.as_nanos(), end: end.as_nanos(), id: item.id(), scores: classify(&window) };
        let mut kept = self.kept.clone();
        kept.retain(|s| (s.start, s.end) != (seen.start, seen.end));
        kept.push(seen.clone());
        if kept.len() > KEPT {
            kept.remove(0);
        }
        // Itself, and later windows that are smoothed by it.
        let mut touched: Vec<&Seen> = kept.iter().filter(|s| **s == seen || before(&kept, s).contains(&&seen)).collect();
        touched.sort_by_key(|s| s.start);
        let made = touched.into_iter().map(|s| self.activity(item.device(), s, &kept)).collect::<Result<_>>()?;
        self.kept = kept;
        Ok(made)
    }

    fn activity(&self, device: &DeviceId, seen: &Seen, kept: &[Seen]) -> Result<Reading> {
        let (mut inputs, mut windows, mut payload) = (vec![seen], 0, v1::Activity::default());
        match &seen.scores {
            None => {
                payload.activity = v1::activity::Class::Unknown.into();
            }
            Some(own) => {
                let earlier = before(kept, seen);
                inputs.extend(&earlier);
                let parts = earlier.iter().filter_map(|s| s.scores.as_ref());
                let all: Vec<&Scores> = std::iter::once(own).chain(parts).collect();
                let ranked = Scores::mixed(WEIGHTS.into_iter().zip(all.iter().copied())).ranked();
                let best = ranked.first().copied().unwrap_or((v1::activity::Class::Unknown, 0.0));
                let next = ranked.get(1).map_or(0.0, |r| r.1);
                windows += all.iter().filter(|s| s.ranked().first().is_some_and(|r| r.0 == best.0)).count();
                payload.activity = best.0.into();
                payload.confidence = best.1.clamp(0.0, 1.0);
                payload.margin = (best.1 - next).clamp(0.0, 1.0);
                payload.candidates = ranked
                    .into_iter()
                    .map(|(class, score)| v1::activity::Candidate { activity: class.into(), score: score.clamp(0.0, 1.0) })
                    .collect();
            }
        }
        payload.windows = windows as u32;
        inputs.sort_by_key(|s| s.start);
        let names = inputs.into_iter().map(|s| ReadingRef {
            device: device.clone(),
            kind: self.windowed,
            recorded_at: Timestamp::from_nanos(s.start),
            id: s.id,
        });
        let (from, to) = (Timestamp::from_nanos(seen.start), Timestamp::from_nanos(seen.end));
        Reading::builder(self.activity, device.clone(), from)
            .ended_at(to)
            .payload(&payload)
            .derived_from(&self.identity, Inputs::of_refs(names).span(from, to), 0)
            .build()
            .map_err(Error::from)
    }
}

/// The two windows before, the nearest first; windows that say nothing do not count.
fn before<'a>(kept: &'a [Seen], of: &Seen) -> Vec<&'a Seen> {
    let mut earlier: Vec<&Seen> = kept.iter().filter(|s| s.scores.is_some() && s.precedes(of)).collect();
    earlier.sort_by_key(|s| std::cmp::Reverse(s.start));
    earlier.truncate(WEIGHTS.len() - 1);
    earlier
}

#[async_trait]
impl Processor for ActivityProcessor {
    async fn process(&mut self, _ctx: &Ctx, batch: Batch, out: &mut Output) -> Result<()> {
        for item in batch {
            match self.take(&item) {
                Ok(made) => {
                    made.into_iter().for_each(|r| out.emit_from(&item, r));
                    out.absorb(item);
                }
                Err(e) => out.park(item, e),
            }
        }
        Ok(())
    }

    async fn flush(&mut self, _ctx: &Ctx, _out: &mut Output) -> Result<()> {
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        if self.kept.is_empty() {
            return Ok(Vec::new());
        }
        let mut w = Writer::new(STATE);
        w.len(self.kept.len());
        for s in &self.kept {
            w.i64(s.start);
            w.i64(s.end);
            w.id(s.id);
            // Five scores, or five times -1 for a window that says nothing.
            s.scores.map_or([-1.0; 5], |s| s.of).into_iter().for_each(|v| w.f32(v));
        }
        Ok(w.finish())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<()> {
        self.kept.clear();
        let Some(mut r) = Reader::open("motion.activity", bytes, STATE)? else { return Ok(()) };
        let mut kept = Vec::new();
        for _ in 0..r.len(52)? {
            let (start, end, id) = (r.i64()?, r.i64()?, r.id()?);
            let of = [r.f32()?, r.f32()?, r.f32()?, r.f32()?, r.f32()?];
            kept.push(Seen { start, end, id, scores: of.iter().all(|v| *v >= 0.0).then_some(Scores { of }) });
        }
        r.end()?;
        self.kept = kept;
        Ok(())
    }
}
