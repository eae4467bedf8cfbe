//! Vectors, compared one by one.

use std::collections::BTreeMap;

use am_core::{Ctx, DeviceId, ReadingId, Result, Timestamp};
use am_schema::{Kind, ReadingRef};
use async_trait::async_trait;

use super::Memory;
use super::state::{RECORD_BYTES, ScopeData, Stream};
use crate::limits;
use crate::model::{
    Generations, NewVector, Predicate, Seq, VectorDelete, VectorFault, VectorHit, VectorHits, VectorModel, VectorOutcome, VectorQuery,
};
use crate::predicate::in_span;
use crate::traits::Vectors;
use crate::vectors::{self, Target, Top, norm};

/// About what a vector takes beside its numbers.
const VECTOR_BYTES: usize = 128;
/// After so many vectors a search looks whether it is still waited for.
const CHECK_EVERY: u64 = 8_192;

fn cost(dimensions: usize) -> usize {
    VECTOR_BYTES + dimensions * size_of::<f32>()
}

/// The vectors of one scope and model.
#[derive(Default)]
pub(super) struct Shelves {
    /// In the order of scans.
    streams: BTreeMap<(Kind, DeviceId), Shelf>,
    /// The newest reading that was given a vector.
    upto: Seq,
}

/// Which vector of a stream.
type Spot = (Timestamp, ReadingId, u32);

/// The vectors of one stream: the numbers side by side, so that a search runs through them in one go.
#[derive(Default)]
struct Shelf {
    places: BTreeMap<Spot, usize>,
    spots: Vec<Spot>,
    norms: Vec<f64>,
    values: Vec<f32>,
}

impl Shelf {
    /// True when there was none before.
    fn put(&mut self, spot: Spot, v: &[f32]) -> bool {
        if let Some(n) = self.places.get(&spot).copied() {
            if let Some(held) = self.values.chunks_exact_mut(v.len()).nth(n) {
                held.copy_from_slice(v);
            }
            if let Some(held) = self.norms.get_mut(n) {
                *held = norm(v);
            }
            return false;
        }
        self.places.insert(spot, self.spots.len());
        self.spots.push(spot);
        self.norms.push(norm(v));
        self.values.extend_from_slice(v);
        true
    }

    /// Removes all parts of a reading. The last vector takes the place of a removed one.
    fn remove(&mut self, at: Timestamp, id: ReadingId, dimensions: usize) -> u64 {
        let mut gone = 0;
        while let Some((spot, n)) = self.places.range((at, id, 0)..=(at, id, u32::MAX)).next().map(|(s, n)| (*s, *n)) {
            let last = self.spots.len() - 1;
            self.places.remove(&spot);
            self.spots.swap_remove(n);
            self.norms.swap_remove(n);
            if n < last {
                self.values.copy_within(last * dimensions.., n * dimensions);
                if let Some(moved) = self.spots.get(n) {
                    self.places.insert(*moved, n);
                }
            }
            self.values.truncate(last * dimensions);
            gone += 1;
        }
        gone
    }
}

/// A place in the order of hits with equal scores: time, stream, id, part.
type Place = (Timestamp, usize, ReadingId, u32);

fn search(ctx: &Ctx, data: &ScopeData, shelves: &Shelves, target: &Target, q: &VectorQuery, dimensions: usize) -> Result<VectorHits> {
    let mut top: Top<Place> = Top::new(q.limit);
    let mut searched = 0u64;
    let asked = shelves.streams.iter().filter(|((kind, device), _)| {
        (q.kinds.is_empty() || q.kinds.contains(kind)) && (q.devices.is_empty() || q.devices.contains(device))
    });
    let streams: Vec<(&Stream, &Shelf)> = asked.filter_map(|(name, shelf)| Some((data.streams.get(name)?, shelf))).collect();
    for (n, (stream, shelf)) in streams.iter().enumerate() {
        let from = Timestamp::from_nanos(q.from.as_nanos().saturating_sub(stream.longest));
        let vectors = shelf.values.chunks_exact(dimensions);
        for (((at, id, part), norm), v) in shelf.spots.iter().zip(&shelf.norms).zip(vectors) {
            if *at < from || *at >= q.to {
                continue;
            }
            searched += 1;
            if searched.is_multiple_of(CHECK_EVERY) {
                ctx.check()?;
            }
            let (score, place) = (target.score(v, *norm), (*at, n, *id, *part));
            if top.wants(score, &place) && wanted(stream, (*at, *id), q) {
                top.push(score, place);
            }
        }
    }
    let hit = |(score, (at, n, id, part)): (f64, Place)| {
        let row = streams.get(n)?.0.rows.get(&(at, id))?;
        Some(VectorHit { score, part, stored: row.stored.as_ref().clone() })
    };
    Ok(VectorHits::exact(top.into_best().into_iter().filter_map(hit).collect(), searched, shelves.upto))
}

/// Whether the reading is what was asked for; found out only for those that would be among the best.
fn wanted(stream: &Stream, key: (Timestamp, ReadingId), q: &VectorQuery) -> bool {
    stream.rows.get(&key).is_some_and(|row| {
        let r = &row.stored.reading;
        (row.newest || q.generations == Generations::All)
            && (key.0 >= q.from || in_span(r, q.from, q.to))
            && (q.filter == Predicate::True || q.filter.matches(r))
    })
}

#[async_trait]
impl Vectors for Memory {
    async fn register(&self, model: VectorModel) -> Result<bool> {
        vectors::model(&model)?;
        let mut state = self.change()?;
        if let Some(held) = state.models.get(&model.name) {
            return vectors::same_model(held, &model).map(|()| false);
        }
        limits::models(state.models.len())?;
        self.room(&state, RECORD_BYTES, 0)?;
        state.used += RECORD_BYTES;
        state.models.insert(model.name.clone(), model);
        Ok(true)
    }

    async fn models(&self) -> Result<Vec<VectorModel>> {
        Ok(self.open_all()?.models.values().cloned().collect())
    }

    async fn retire(&self, model: &str) -> Result<bool> {
        let mut guard = self.change()?;
        let state = &mut *guard;
        let Some(held) = state.models.remove(model) else { return Ok(false) };
        let shelves = state.scopes.values_mut().filter_map(|d| d.vectors.remove(model));
        let vectors: usize = shelves.flat_map(|s| s.streams.into_values()).map(|s| s.spots.len()).sum();
        state.used = state.used.saturating_sub(RECORD_BYTES + vectors * cost(held.dimensions as usize));
        Ok(true)
    }

    async fn upsert(&self, ctx: &Ctx, model: &str, batch: Vec<NewVector>) -> Result<Vec<VectorOutcome>> {
        ctx.check()?;
        limits::vector_batch(&batch)?;
        let mut guard = self.change()?;
        let state = &mut *guard;
        let held = state.models.get(model).cloned().ok_or_else(|| vectors::unknown_model(model))?;
        // Asked for as if all were new; only those that are will be counted.
        self.room(state, batch.len() * cost(held.dimensions as usize), 0)?;
        let data = state.scope_mut(ctx.scope());
        let mut out = Vec::with_capacity(batch.len());
        let mut shelves = data.vectors.remove(model).unwrap_or_default();
        let mut added = 0;
        for v in batch {
            if let Some(fault) = vectors::fault_of(&held, &v) {
                out.push(VectorOutcome::Refused(fault));
                continue;
            }
            let Some(row) = data.row(&v.reading) else {
                out.push(VectorOutcome::Refused(VectorFault::UnknownReading));
                continue;
            };
            shelves.upto = shelves.upto.max(row.stored.seq);
            let ReadingRef { device, kind, recorded_at, id } = v.reading;
            let new = shelves.streams.entry((kind, device)).or_default().put((recorded_at, id, v.part), &v.values);
            added += usize::from(new);
            out.push(if new { VectorOutcome::Added } else { VectorOutcome::Replaced });
        }
        data.vectors.insert(model.to_owned(), shelves);
        state.used += added * cost(held.dimensions as usize);
        Ok(out)
    }

    async fn search(&self, ctx: &Ctx, query: &VectorQuery) -> Result<VectorHits> {
        let state = self.open_for(ctx)?;
        let model = state.models.get(&query.model).ok_or_else(|| vectors::unknown_model(&query.model))?;
        vectors::query(model, query)?;
        let target = Target::new(query.vector.clone(), model.metric);
        let found = state.scope(ctx.scope()).and_then(|d| Some((d, d.vectors.get(&query.model)?)));
        match found {
            Some((data, shelves)) => search(ctx, data, shelves, &target, query, model.dimensions as usize),
            None => Ok(VectorHits::exact(Vec::new(), 0, 0)),
        }
    }

    async fn delete(&self, ctx: &Ctx, which: &VectorDelete) -> Result<u64> {
        ctx.check()?;
        let mut guard = self.change()?;
        let state = &mut *guard;
        let (names, only): (&[ReadingRef], Option<&str>) = match which {
            VectorDelete::Readings { names, model } => (names, model.as_deref()),
            VectorDelete::Model(m) => (&[], Some(m)),
        };
        limits::names(names.len())?;
        let models: Vec<VectorModel> = state.models.values().filter(|m| only.is_none_or(|o| o == m.name)).cloned().collect();
        if models.is_empty()
            && let Some(name) = only
        {
            return Err(vectors::unknown_model(name));
        }
        let data = state.scope_mut(ctx.scope());
        let (mut gone, mut freed) = (0u64, 0);
        for m in models {
            let dimensions = m.dimensions as usize;
            let here: u64 = match which {
                VectorDelete::Model(_) => {
                    let shelves = data.vectors.remove(&m.name).unwrap_or_default();
                    shelves.streams.values().map(|s| s.spots.len() as u64).sum()
                }
                VectorDelete::Readings { names, .. } => {
                    let Some(shelves) = data.vectors.get_mut(&m.name) else { continue };
                    let remove = |n: &ReadingRef| {
                        let shelf = shelves.streams.get_mut(&(n.kind, n.device.clone()));
                        shelf.map_or(0, |s| s.remove(n.recorded_at, n.id, dimensions))
                    };
                    names.iter().map(remove).sum()
                }
            };
            gone += here;
            freed += here as usize * cost(dimensions);
        }
        state.used = state.used.saturating_sub(freed);
        Ok(gone)
    }
}
