//! History for processors.

use std::sync::Arc;

use am_core::{BoxFuture, Clock, Code, Ctx, DeviceId, Error, Lookup, LookupRange, Record, Result, Scope, Timestamp};
use am_schema::{Catalogue, Inputs, Kind};
use parking_lot::Mutex;

use crate::limits::MAX_SCAN;
use crate::model::{LatestQuery, ScanQuery, Stored};
use crate::traits::Backend;

/// The most questions that are told apart; later ones share the last place.
const MAX_ASKED: usize = 256;

/// The store as the history that a processor may ask. It keeps what was asked until [`StoreLookup::take`].
#[derive(Clone)]
pub struct StoreLookup {
    backend: Backend,
    clock: Arc<dyn Clock>,
    catalogue: Catalogue,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A question that was asked, for the lineage of what was made from its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What, such as `latest device.sensor.gps.raw of phone`.
    pub what: String,
    /// As of when. [`Timestamp::MAX`] for values, which have no time.
    pub at: Timestamp,
    /// BLAKE3 of the answer.
    pub digest: [u8; 32],
}

impl Asked {
    /// Names the question in a lineage.
    #[must_use]
    pub fn name_in(&self, inputs: Inputs) -> Inputs {
        inputs.lookup(self.what.clone(), self.at, &self.digest)
    }
}

impl StoreLookup {
    pub(crate) fn new(backend: Backend, clock: Arc<dyn Clock>, catalogue: Catalogue) -> Self {
        StoreLookup { backend, clock, catalogue, asked: Arc::default() }
    }

    /// The same history with a record of its own, for one partition of a flow.
    #[must_use]
    pub fn fresh(&self) -> Self {
        StoreLookup { asked: Arc::default(), ..self.clone() }
    }

    /// What was asked since the last time, in order.
    pub fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock())
    }

    fn note<'b>(&self, what: String, at: Timestamp, answer: impl Iterator<Item = &'b [u8]>) {
        let mut h = blake3::Hasher::new();
        for part in answer {
            h.update(&(part.len() as u64).to_le_bytes());
            h.update(part);
        }
        let mut asked = self.asked.lock();
        match asked.get_mut(MAX_ASKED - 1) {
            None => asked.push(Asked { what, at, digest: *h.finalize().as_bytes() }),
            Some(last) => {
                let mut both = blake3::Hasher::new();
                both.update(&last.digest);
                both.update(h.finalize().as_bytes());
                *last = Asked { what: "further questions".into(), at: last.at.max(at), digest: *both.finalize().as_bytes() };
            }
        }
    }

    fn kind(&self, topic: &str) -> Result<Kind> {
        let unknown = || Error::new(Code::UNKNOWN_KIND, format!("{topic} is not in the catalogue")).op("store.lookup");
        self.catalogue.get(topic).ok_or_else(unknown)
    }

    fn ctx(&self, scope: &Scope) -> Ctx {
        Ctx::new(scope.clone(), self.clock.clone())
    }
}

fn record(s: &Stored) -> Record {
    Record { wire: s.reading.to_wire() }
}

fn of(device: Option<&DeviceId>) -> String {
    device.map(|d| format!(" of {d}")).unwrap_or_default()
}

impl Lookup for StoreLookup {
    fn latest<'a>(
        &'a self,
        scope: &'a Scope,
        device: Option<&'a DeviceId>,
        topic: &'a str,
        at: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Record>>> {
        Box::pin(async move {
            let query = LatestQuery { kinds: vec![self.kind(topic)?], devices: device.into_iter().cloned().collect(), at };
            let found = self.backend.readings.latest(&self.ctx(scope), &query).await?;
            let best = found.iter().max_by_key(|s| (s.reading.recorded_at(), s.reading.device().clone(), s.reading.id())).map(record);
            self.note(format!("latest {topic}{}", of(device)), at, best.iter().map(|r| r.wire.as_slice()));
            Ok(best)
        })
    }

    fn range<'a>(&'a self, scope: &'a Scope, range: LookupRange) -> BoxFuture<'a, Result<Vec<Record>>> {
        Box::pin(async move {
            let query = ScanQuery {
                kinds: vec![self.kind(&range.topic)?],
                devices: range.device.iter().cloned().collect(),
                from: range.from,
                to: range.to,
                limit: range.limit,
                ..Default::default()
            };
            crate::limits::scan(&ScanQuery { limit: range.limit.clamp(1, MAX_SCAN), ..query.clone() })?;
            let page = match range.limit {
                0 => Vec::new(),
                n => self.backend.readings.scan(&self.ctx(scope), &ScanQuery { limit: n.min(MAX_SCAN), ..query }).await?.items,
            };
            let records: Vec<Record> = page.iter().map(record).collect();
            let what = format!("{}{} from {} to {}, at most {}", range.topic, of(range.device.as_ref()), range.from, range.to, range.limit);
            self.note(what, range.to, records.iter().map(|r| r.wire.as_slice()));
            Ok(records)
        })
    }

    fn value<'a>(&'a self, scope: &'a Scope, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        Box::pin(async move {
            crate::limits::key(key)?;
            let value = self.backend.key_value.get(&self.ctx(scope), key).await?.map(|v| v.value);
            self.note(format!("value {key}"), Timestamp::MAX, value.iter().map(Vec::as_slice));
            Ok(value)
        })
    }
}
