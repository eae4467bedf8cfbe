//! Lineage walked to its ends: where a reading comes from, and everything that came of it (P05).

use std::collections::{HashSet, VecDeque};

use am_core::{DeviceId, ReadingId, Result, Timestamp};
use am_schema::{ReadingRef, v1};

use crate::limits::bad;
use crate::model::{Generations, ScanQuery, Stored};
use crate::scoped::ScopedStore;

/// One reading on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// How many derivations away from where the walk began.
    pub depth: usize,
    /// Its name.
    pub name: ReadingRef,
    /// The reading, or `None` when a lineage names it but it is no longer there.
    pub stored: Option<Stored>,
    /// The reading that led here.
    pub via: ReadingRef,
}

/// A lineage, walked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ancestry {
    /// Nearest first; every reading once.
    pub steps: Vec<Step>,
    /// True when there was more than asked for.
    pub cut_short: bool,
    /// Spans whose readings are fewer than the lineage counted: (topic, counted, there).
    pub expired: Vec<(String, u64, u64)>,
}

/// The most readings of one walk.
const MAX_STEPS: usize = 100_000;

impl ScopedStore {
    /// Everything that a reading was made from, down to the raw; at most `limit` readings.
    ///
    /// # Errors
    /// `BAD_QUERY` for a limit out of range.
    pub async fn ancestors(&self, name: &ReadingRef, limit: usize) -> Result<Ancestry> {
        self.walk(name, limit, true).await
    }

    /// Everything that was made from a reading, directly or through others, all generations; at most `limit` readings.
    ///
    /// # Errors
    /// `BAD_QUERY` for a limit out of range.
    pub async fn descendants(&self, name: &ReadingRef, limit: usize) -> Result<Ancestry> {
        self.walk(name, limit, false).await
    }

    async fn walk(&self, name: &ReadingRef, limit: usize, up: bool) -> Result<Ancestry> {
        if !(1..=MAX_STEPS).contains(&limit) {
            return Err(bad(format!("the limit of a walk is {limit}, expected 1 to {MAX_STEPS}")));
        }
        let mut out = Ancestry::default();
        let mut seen = HashSet::from([name.clone()]);
        let mut todo = VecDeque::from([(name.clone(), 0usize)]);
        while let Some((at, depth)) = todo.pop_front() {
            self.ctx().check()?;
            let next = match up {
                true => self.parents(&at, limit, &mut out).await?,
                false => {
                    let made = self.outputs(&at, limit.min(crate::limits::MAX_OUTPUTS)).await?;
                    out.cut_short |= made.len() == crate::limits::MAX_OUTPUTS;
                    made.into_iter().map(|s| (s.reading.reference(), Some(s))).collect()
                }
            };
            for (name, stored) in next {
                if !seen.insert(name.clone()) {
                    continue;
                }
                if out.steps.len() == limit {
                    out.cut_short = true;
                    return Ok(out);
                }
                todo.push_back((name.clone(), depth + 1));
                out.steps.push(Step { depth: depth + 1, name, stored, via: at.clone() });
            }
        }
        Ok(out)
    }

    async fn parents(&self, of: &ReadingRef, limit: usize, out: &mut Ancestry) -> Result<Vec<(ReadingRef, Option<Stored>)>> {
        let Some(lineage) = self.inputs(of).await? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let mut alone = Vec::new();
        for input in &lineage.inputs {
            match self.named(input) {
                Some(Named::One(name)) => alone.push(name),
                Some(Named::Span(query)) => {
                    let page = self.scan(&ScanQuery { limit: limit.min(crate::limits::MAX_SCAN), ..query.clone() }).await?;
                    out.cut_short |= page.cursor.is_some();
                    // A span names those that begin in it, not those that reach in.
                    let there: Vec<Stored> = page.items.into_iter().filter(|s| s.reading.recorded_at() >= query.from).collect();
                    if page.cursor.is_none() && (there.len() as u64) < input.count {
                        out.expired.push((input.kind.clone(), input.count, there.len() as u64));
                    }
                    found.extend(there.into_iter().map(|s| (s.reading.reference(), Some(s))));
                }
                None => out.expired.push((input.kind.clone(), input.count.max(1), 0)),
            }
        }
        let stored = self.get_all(&alone).await?;
        found.extend(alone.into_iter().zip(stored));
        Ok(found)
    }

    fn named(&self, input: &v1::LineageInput) -> Option<Named> {
        let kind = self.store().catalogue().get(&input.kind)?;
        let device = DeviceId::new(&input.device_id).ok()?;
        let at = |t: &prost_types::Timestamp| Timestamp::from_parts(t.seconds, t.nanos);
        let from = input.from.as_ref().and_then(at)?;
        match input.to.as_ref().and_then(at) {
            Some(to) => Some(Named::Span(ScanQuery {
                kinds: vec![kind],
                devices: vec![device],
                from,
                to,
                generations: Generations::All,
                ..Default::default()
            })),
            None => {
                let id = ReadingId::from_bytes(<[u8; 16]>::try_from(input.reading_id.as_slice()).ok()?);
                Some(Named::One(ReadingRef { device, kind, recorded_at: from, id }))
            }
        }
    }
}

enum Named {
    One(ReadingRef),
    Span(ScanQuery),
}
