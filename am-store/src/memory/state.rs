//! What the store in memory holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use am_core::{DeviceId, ReadingId, Scope, Timestamp};
use am_schema::{Kind, Reading, ReadingRef};

use super::rollup::Rollups;
use super::text::TextIndex;
use super::vectors::Shelves;
use crate::model::{Origin, Provenance, ReadingKey, Seq, Stored, StreamId, VectorModel};
use crate::traits::{ApiKey, Counts, DeadLetterRow, DeviceRow};

/// About what a row, its map entries and its feed entry take beside the body.
const ROW_BYTES: usize = 512;
/// About what a small record takes beside its texts.
pub(super) const RECORD_BYTES: usize = 256;

#[derive(Default)]
pub(super) struct State {
    pub(super) scopes: HashMap<Scope, ScopeData>,
    /// Entry `n` is at place `n + 1`.
    pub(super) feed: Vec<FeedRow>,
    pub(super) flows: BTreeMap<String, FlowRow>,
    pub(super) keys: HashMap<String, ApiKey>,
    pub(super) models: BTreeMap<String, VectorModel>,
    pub(super) batches: Vec<(Scope, Provenance)>,
    pub(super) streams: u32,
    pub(super) used: usize,
    pub(super) closed: bool,
}

#[derive(Default)]
pub(super) struct ScopeData {
    /// In the order of scans.
    pub(super) streams: BTreeMap<(Kind, DeviceId), Stream>,
    /// Every generation of a slot, oldest first.
    pub(super) slots: HashMap<[u8; 16], Vec<Arc<Stored>>>,
    /// What was made from a reading that a lineage names alone.
    pub(super) outputs: HashMap<(InputStream, Timestamp, [u8; 16]), Vec<Arc<Stored>>>,
    pub(super) spans: HashMap<InputStream, Spans>,
    pub(super) text: TextIndex,
    /// By model.
    pub(super) vectors: HashMap<String, Shelves>,
    pub(super) dead_letters: BTreeMap<String, DeadLetterRow>,
    pub(super) key_values: BTreeMap<String, KvRow>,
    pub(super) devices: BTreeMap<DeviceId, DeviceRow>,
    pub(super) counts: Counts,
}

/// What was made from spans of a stream: by the span's start and the place in the feed, with the span's end.
type Spans = BTreeMap<(Timestamp, Seq), (Timestamp, Arc<Stored>)>;

/// A stream as lineages name it.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct InputStream {
    pub(super) device: String,
    pub(super) topic: String,
}

pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) rows: BTreeMap<(Timestamp, ReadingId), Row>,
    /// The longest span of a reading here, in nanoseconds.
    pub(super) longest: i64,
    pub(super) rollups: Option<Rollups>,
}

pub(super) struct Row {
    pub(super) stored: Arc<Stored>,
    /// False once its slot has a newer generation.
    pub(super) newest: bool,
}

pub(super) struct FeedRow {
    pub(super) scope: Scope,
    pub(super) kind: Kind,
    pub(super) event: Change,
}

pub(super) enum Change {
    Put(Arc<Stored>),
    Superseded { old: ReadingKey, slot: [u8; 16] },
}

#[derive(Default)]
pub(super) struct FlowRow {
    pub(super) cursor: Seq,
    pub(super) epoch: u64,
    pub(super) version: String,
    pub(super) state: BTreeMap<String, Vec<u8>>,
}

pub(super) struct KvRow {
    pub(super) value: Vec<u8>,
    pub(super) version: u64,
    pub(super) expires: Option<Timestamp>,
}

impl KvRow {
    pub(super) fn alive(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|e| now < e)
    }

    pub(super) fn bytes(key: &str, value: &[u8]) -> usize {
        RECORD_BYTES + key.len() + value.len()
    }
}

/// The slot of a derived reading.
pub(super) fn slot_of(r: &Reading) -> Option<[u8; 16]> {
    r.lineage().and_then(|l| <[u8; 16]>::try_from(l.slot.as_slice()).ok())
}

/// About what a reading will take.
pub(super) fn cost_of(r: &Reading) -> usize {
    let texts: usize = if r.kind().text_fields().is_empty() { 0 } else { r.texts().iter().map(|t| t.len()).sum() };
    let inputs = r.lineage().map_or(0, |l| l.inputs.len() * RECORD_BYTES);
    // A word of five letters costs its posting: term, place and position.
    ROW_BYTES + r.body().len() + texts * 12 + inputs
}

/// What became newest and what gave way.
pub(super) struct Added {
    pub(super) seq: Seq,
    pub(super) superseded: Option<ReadingKey>,
}

impl State {
    pub(super) fn head(&self) -> Seq {
        self.feed.len() as Seq
    }

    pub(super) fn scope(&self, scope: &Scope) -> Option<&ScopeData> {
        self.scopes.get(scope)
    }

    pub(super) fn scope_mut(&mut self, scope: &Scope) -> &mut ScopeData {
        if !self.scopes.contains_key(scope) {
            self.scopes.insert(scope.clone(), ScopeData::default());
        }
        self.scopes.entry(scope.clone()).or_default()
    }

    /// Stores a reading whose key is free.
    pub(super) fn add(&mut self, scope: &Scope, reading: Reading, origin: Origin, batch: u64) -> Added {
        let seq = self.head() + 1;
        let fresh = StreamId(self.streams + 1);
        self.used += cost_of(&reading);
        let slot = slot_of(&reading);
        let kind = reading.kind();
        let data = self.scope_mut(scope);
        let stream = data.streams.entry((kind, reading.device().clone())).or_insert_with(|| Stream {
            id: fresh,
            rows: BTreeMap::new(),
            longest: 0,
            rollups: kind.scalar().map(|_| Rollups::default()),
        });
        let is_fresh = stream.id == fresh;
        let key = ReadingKey { stream: stream.id, recorded_at: reading.recorded_at(), id: reading.id() };
        let said = reading.lineage().map_or(0, |l| l.generation);
        let before = slot.and_then(|s| data.slots.get(&s)).and_then(|g| g.last()).cloned();
        let generation = before.as_ref().map_or(said, |b| said.max(b.generation.saturating_add(1)));
        if let Some(end) = reading.ended_at() {
            stream.longest = stream.longest.max(end.as_nanos().saturating_sub(reading.recorded_at().as_nanos()));
        }
        if let (Some(rollups), Some(v)) = (&mut stream.rollups, reading.scalar()) {
            rollups.add(reading.recorded_at(), v);
        }
        let stored = Arc::new(Stored::new(seq, key, origin, batch, generation, reading));
        stream.rows.insert((key.recorded_at, key.id), Row { stored: stored.clone(), newest: true });
        data.text.add(&stored);
        data.link(&stored);
        if let Some(s) = slot {
            data.slots.entry(s).or_default().push(stored.clone());
        }
        if let Some(b) = &before {
            data.give_way(b);
        }
        if is_fresh {
            self.streams += 1;
        }
        self.feed.push(FeedRow { scope: scope.clone(), kind, event: Change::Put(stored) });
        if let (Some(b), Some(slot)) = (&before, slot) {
            self.feed.push(FeedRow { scope: scope.clone(), kind, event: Change::Superseded { old: b.key, slot } });
        }
        Added { seq, superseded: before.map(|b| b.key) }
    }

    /// Parks a letter; false when it is there already.
    pub(super) fn park(&mut self, scope: &Scope, mut letter: am_pipeline::DeadLetter) -> bool {
        if self.scope(scope).is_some_and(|d| d.dead_letters.contains_key(&letter.id)) {
            return false;
        }
        self.used += letter_cost(&letter);
        letter.scope = scope.clone();
        self.scope_mut(scope).dead_letters.insert(letter.id.clone(), DeadLetterRow { letter, resolution: None });
        true
    }
}

/// About what a letter takes.
pub(super) fn letter_cost(l: &am_pipeline::DeadLetter) -> usize {
    let findings: usize = l.findings.iter().map(|f| f.field.len() + f.value.len() + f.rule.len() + 96).sum();
    RECORD_BYTES + l.wire.len() + l.message.len() + findings
}

impl ScopeData {
    pub(super) fn row(&self, name: &ReadingRef) -> Option<&Row> {
        self.streams.get(&(name.kind, name.device.clone()))?.rows.get(&(name.recorded_at, name.id))
    }

    /// Files a derived reading under its inputs.
    fn link(&mut self, stored: &Arc<Stored>) {
        let Some(lineage) = stored.reading.lineage() else { return };
        for input in &lineage.inputs {
            let stream = InputStream { device: input.device_id.clone(), topic: input.kind.clone() };
            let at = |t: &Option<prost_types::Timestamp>| t.as_ref().and_then(|t| Timestamp::from_parts(t.seconds, t.nanos));
            match (at(&input.from), at(&input.to), <[u8; 16]>::try_from(input.reading_id.as_slice())) {
                (Some(from), Some(to), _) => {
                    self.spans.entry(stream).or_default().insert((from, stored.seq), (to, stored.clone()));
                }
                (Some(from), None, Ok(id)) => self.outputs.entry((stream, from, id)).or_default().push(stored.clone()),
                _ => {}
            }
        }
    }

    /// Takes a reading out of what is read by default.
    fn give_way(&mut self, old: &Arc<Stored>) {
        let r = &old.reading;
        self.text.remove(old);
        let Some(stream) = self.streams.get_mut(&(r.kind(), r.device().clone())) else { return };
        if let Some(row) = stream.rows.get_mut(&(r.recorded_at(), r.id())) {
            row.newest = false;
        }
        if let Some(rollups) = &mut stream.rollups {
            let (from, to) = Rollups::minute_of(r.recorded_at());
            let lo = (from, ReadingId::from_bytes([0; 16]));
            let hi = (to, ReadingId::from_bytes([0; 16]));
            let left = stream.rows.range(lo..hi).filter(|(_, row)| row.newest);
            rollups.rebuild(
                r.recorded_at(),
                left.filter_map(|(_, row)| Some((row.stored.reading.recorded_at(), row.stored.reading.scalar()?))),
            );
        }
    }
}
