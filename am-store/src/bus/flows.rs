//! A flow's cursor, state and commits on the bus.
//!
//! The root entry of a flow is the one thing that decides: it holds the cursor, who works and which steps were committed. A commit
//! publishes what was derived and awaits every acknowledgement, writes the changed parts beside their values of before, and then moves
//! the root with a compare-and-set. A kill before that leaves the old step in force, and the next runner derives the same again under
//! the same ids.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use am_core::{Clock, Code, Ctx, Error, Result, Retry, Timestamp};
use am_pipeline::bus::{Bus, Entries, Message, Parcel};
use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;

use super::feed::{Lease, Progress};
use super::parcels;
use super::saved::{Saved, Stamp, part, root};
use crate::model::{FlowCommit, FlowCommitted, PutOutcome, Seq, StateChange};
use crate::traits::{FlowInfo, FlowState, Flows};

/// Takeovers whose commits are remembered; parts of older ones were put right when they were loaded.
const CLAIMS: usize = 64;

/// How a worker holds a flow.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// A worker that is silent for so long is taken over from, in milliseconds; 15 s.
    pub lease_ms: u64,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        WorkerOptions { lease_ms: 15_000 }
    }
}

/// The root entry.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct Root {
    flow: String,
    version: String,
    cursor: Seq,
    /// Who works, until when.
    owner: String,
    until: i64,
    /// The last committed step of each claim; the newest is the owner's.
    claims: BTreeMap<u64, u64>,
}

impl Root {
    fn claim(&self) -> u64 {
        self.claims.last_key_value().map_or(0, |(c, _)| *c)
    }

    fn stamp(&self) -> Stamp {
        self.claims.last_key_value().map_or(Stamp::default(), |(c, s)| Stamp { claim: *c, step: *s })
    }

    fn committed(&self, s: Stamp) -> bool {
        match self.claims.get(&s.claim) {
            Some(last) => s.step <= *last,
            None => self.claims.first_key_value().is_none_or(|(oldest, _)| s.claim < *oldest),
        }
    }
}

/// What this process knows of a flow that it holds.
struct Held {
    root: Root,
    revision: u64,
    /// The revision and the counting value of each part.
    parts: HashMap<String, (u64, Option<Bytes>)>,
}

/// Flows whose commits go onto the bus.
pub(super) struct BusFlows {
    bus: Bus,
    entries: Arc<dyn Entries>,
    clock: Arc<dyn Clock>,
    options: WorkerOptions,
    me: String,
    held: Arc<tokio::sync::Mutex<HashMap<String, Held>>>,
    progress: Arc<Progress>,
}

fn encoded(root: &Root) -> Result<Bytes> {
    let text = serde_json::to_vec(root).map_err(|e| Error::new(Code::INTERNAL, e.to_string()).op("bus.flows"))?;
    Ok(text.into())
}

impl BusFlows {
    pub(super) fn new(bus: Bus, entries: Arc<dyn Entries>, options: WorkerOptions, clock: Arc<dyn Clock>, progress: Arc<Progress>) -> Self {
        // Random where the machine gives randomness; the time else. It only has to differ between runners.
        let me = am_core::ReadingId::v7(clock.now()).map_or_else(|_| format!("{:?}", clock.now()), |id| id.to_string());
        BusFlows { bus, entries, clock, options, me, held: Arc::default(), progress }
    }

    /// The way to keep what is held.
    pub(super) fn lease(&self) -> Lease {
        Lease {
            length: Duration::from_millis(self.options.lease_ms),
            renew: {
                let (held, entries, clock, length) = (self.held.clone(), self.entries.clone(), self.clock.clone(), self.options.lease_ms);
                Arc::new(move |flow: String| {
                    let (held, entries, clock) = (held.clone(), entries.clone(), clock.clone());
                    Box::pin(async move {
                        let mut all = held.lock().await;
                        let Some(h) = all.get_mut(&flow) else { return Ok(()) };
                        let next = Root { until: until(&*clock, length), ..h.root.clone() };
                        match entries.put(&root(&flow), encoded(&next)?, Some(h.revision)).await {
                            Ok(revision) => {
                                (h.root, h.revision) = (next, revision);
                                Ok(())
                            }
                            Err(e) => {
                                all.remove(&flow);
                                Err(stale(&flow, e))
                            }
                        }
                    })
                })
            },
        }
    }

    fn claim_of(&self, flow: &str, found: Option<Root>) -> Result<Root> {
        let now = self.clock.now();
        let mut next = found.unwrap_or_else(|| Root { flow: flow.to_owned(), ..Root::default() });
        let free = next.owner.is_empty() || next.owner == self.me || Timestamp::from_nanos(next.until) <= now;
        if !free {
            let left = Timestamp::from_nanos(next.until).since(now);
            let text = format!("{flow} is run by {} for another {} ms", next.owner, left.as_millis());
            let retry = Retry::Safe { after_ms: u64::try_from(left.as_millis().clamp(100, 2_000)).unwrap_or(2_000) };
            return Err(Error::new(Code::STORE_LOCKED, text).op("bus.flows").retry(retry));
        }
        let claim = next.claim() + 1;
        next.claims.insert(claim, 0);
        while next.claims.len() > CLAIMS {
            next.claims.pop_first();
        }
        next.owner.clone_from(&self.me);
        next.until = until(&*self.clock, self.options.lease_ms);
        Ok(next)
    }

    /// Takes the flow over and reads its parts; those of steps that were never committed are put right.
    async fn take(&self, flow: &str, change: impl FnOnce(&mut Root) + Send) -> Result<Held> {
        let found = self.entries.get(&root(flow)).await?;
        let revision = found.as_ref().map_or(0, |e| e.revision);
        let before = found.map(|e| read_root(flow, &e.value)).transpose()?;
        let old = before.clone().unwrap_or_default();
        let mut next = self.claim_of(flow, before)?;
        change(&mut next);
        let revision = self.entries.put(&root(flow), encoded(&next)?, Some(revision)).await.map_err(|e| stale(flow, e))?;
        let mut parts = HashMap::new();
        let stamp = next.stamp();
        for name in self.entries.keys(&root(flow)).await?.into_iter().filter(|n| *n != root(flow)) {
            let Some(entry) = self.entries.get(&name).await? else { continue };
            let saved = Saved::read(&entry)?;
            let (key, was) = (saved.key.clone(), saved.stamp);
            let value = saved.counting(|s| old.committed(s));
            let mut at = entry.revision;
            if !old.committed(was) {
                let right = Saved { key: key.clone(), stamp, value: value.clone(), before: value.clone() };
                at = self.entries.put(&name, right.encode_to_vec().into(), Some(at)).await.map_err(|e| stale(flow, e))?;
            }
            parts.insert(key, (at, value));
        }
        Ok(Held { root: next, revision, parts })
    }

    /// Publishes all and awaits every acknowledgement.
    async fn publish(&self, messages: Vec<Message>) -> Result<Vec<bool>> {
        let Some(first) = messages.first() else { return Ok(Vec::new()) };
        let ctx = Ctx::new(first.scope.clone(), self.clock.clone());
        self.bus.publisher.publish(&ctx, messages).await.into_iter().map(|r| r.map(|p| p.duplicate)).collect()
    }

    async fn write_part(&self, flow: &str, held: &mut Held, change: StateChange, stamp: Stamp) -> Result<()> {
        let (revision, before) = held.parts.get(&change.key).cloned().unwrap_or_default();
        let value = change.value.map(Bytes::from);
        let saved = Saved { key: change.key.clone(), stamp, value: value.clone(), before };
        let name = part(flow, &change.key);
        let at = self.entries.put(&name, saved.encode_to_vec().into(), Some(revision)).await.map_err(|e| stale(flow, e))?;
        held.parts.insert(change.key, (at, value));
        Ok(())
    }
}

fn until(clock: &dyn Clock, lease_ms: u64) -> i64 {
    clock.now().shifted(i64::try_from(lease_ms).unwrap_or(i64::MAX).saturating_mul(1_000_000)).as_nanos()
}

fn read_root(flow: &str, value: &[u8]) -> Result<Root> {
    serde_json::from_slice(value).map_err(|e| Error::new(Code::STORE_CORRUPT, format!("the entry of the flow {flow}: {e}")).op("bus.flows"))
}

/// Someone else wrote: what this process holds is not in force any more.
fn stale(flow: &str, e: Error) -> Error {
    match e.code() {
        Code::CAS_MISMATCH => Error::new(Code::STALE_COMMIT, format!("{flow} was taken over or reset")).op("bus.flows").source(e),
        _ => e,
    }
}

#[async_trait]
impl Flows for BusFlows {
    async fn load(&self, flow: &str) -> Result<FlowState> {
        let mut all = self.held.lock().await;
        all.remove(flow);
        let held = self.take(flow, |_| {}).await?;
        let state = state_of(&held);
        all.insert(flow.to_owned(), held);
        Ok(state)
    }

    async fn commit(&self, c: FlowCommit) -> Result<FlowCommitted> {
        if let Some(r) = c.derived.iter().map(|d| &d.reading).find(|r| r.lineage().is_none()) {
            return Err(Error::new(Code::MISSING_LINEAGE, format!("{} {} has no lineage", r.kind(), r.id())).op("bus.commit"));
        }
        let mut all = self.held.lock().await;
        let Some(held) = all.get_mut(&c.flow).filter(|h| epoch(&h.root) == c.epoch) else {
            let text = format!("{} is not held at epoch {}", c.flow, c.epoch);
            return Err(Error::new(Code::STALE_COMMIT, text).op("bus.commit"));
        };
        let now = self.clock.now();
        let limit = self.bus.publisher.body_limit();
        let mut messages: Vec<Message> = c.derived.iter().map(|d| parcels::derived(&d.scope, &d.reading, d.origin, &c.flow, now)).collect();
        let template = Parcel { flow: c.flow.clone(), received_at: now.as_nanos(), ..Default::default() };
        for letter in &c.dead_letters {
            let one = std::slice::from_ref(letter);
            messages.extend(parcels::errors(&letter.scope, &letter.stage, one, &[], limit, &template));
        }
        let mut derived: Vec<PutOutcome> = Vec::with_capacity(c.derived.len());
        for duplicate in self.publish(messages).await?.into_iter().take(c.derived.len()) {
            derived.push(if duplicate { PutOutcome::Duplicate } else { PutOutcome::Stored(c.cursor) });
        }
        let stamp = Stamp { claim: held.root.claim(), step: held.root.stamp().step + 1 };
        let mut wrote = Ok(());
        for change in c.state {
            wrote = self.write_part(&c.flow, held, change, stamp).await;
            if wrote.is_err() {
                break;
            }
        }
        let mut next = Root { cursor: c.cursor, until: until(&*self.clock, self.options.lease_ms), ..held.root.clone() };
        next.claims.insert(stamp.claim, stamp.step);
        let moved = match wrote {
            Ok(()) => self.entries.put(&root(&c.flow), encoded(&next)?, Some(held.revision)).await.map_err(|e| stale(&c.flow, e)),
            Err(e) => Err(e),
        };
        match moved {
            Ok(revision) => {
                (held.root, held.revision) = (next, revision);
                let epoch = epoch(&held.root);
                self.progress.committed(c.cursor);
                Ok(FlowCommitted { derived, superseded: Vec::new(), epoch })
            }
            Err(e) => {
                // Whether it happened is known after loading again.
                all.remove(&c.flow);
                Err(if e.code() == Code::STALE_COMMIT {
                    e
                } else {
                    Error::new(Code::STALE_COMMIT, e.to_string()).op("bus.commit").source(e)
                })
            }
        }
    }

    async fn reset(&self, flow: &str, version: &str, cursor: Seq) -> Result<FlowState> {
        let mut all = self.held.lock().await;
        all.remove(flow);
        let version = version.to_owned();
        let mut held = self.take(flow, |r| (r.version, r.cursor) = (version, cursor)).await?;
        let stamp = Stamp { claim: held.root.claim(), step: 0 };
        for (key, (revision, value)) in std::mem::take(&mut held.parts) {
            let at = match value {
                // Written as committed, so that nothing of before counts whatever happens next.
                Some(_) => {
                    let gone = Saved { key: key.clone(), stamp, value: None, before: None };
                    self.entries.put(&part(flow, &key), gone.encode_to_vec().into(), Some(revision)).await.map_err(|e| stale(flow, e))?
                }
                None => revision,
            };
            held.parts.insert(key, (at, None));
        }
        let state = state_of(&held);
        all.insert(flow.to_owned(), held);
        Ok(state)
    }

    async fn list(&self) -> Result<Vec<FlowInfo>> {
        let mut out = Vec::new();
        // Roots have two segments, parts have three.
        for name in self.entries.keys("flow").await?.into_iter().filter(|n| n.split('.').count() == 2) {
            if let Some(e) = self.entries.get(&name).await? {
                let r = read_root(&name, &e.value)?;
                out.push(FlowInfo { flow: r.flow, cursor: r.cursor, version: r.version });
            }
        }
        out.sort_by(|a, b| a.flow.cmp(&b.flow));
        Ok(out)
    }
}

/// One number of both parts of the stamp: a claim would have to commit 2^40 times to run into the next.
fn epoch(root: &Root) -> u64 {
    let s = root.stamp();
    s.claim.wrapping_shl(40) | s.step
}

fn state_of(held: &Held) -> FlowState {
    let mut state: Vec<(String, Vec<u8>)> = held.parts.iter().filter_map(|(k, (_, v))| Some((k.clone(), v.as_ref()?.to_vec()))).collect();
    state.sort();
    FlowState { cursor: held.root.cursor, epoch: epoch(&held.root), version: held.root.version.clone(), state }
}
