//! Flows: cursors, state, and the one commit.

use am_core::{Code, Error, Result};
use async_trait::async_trait;

use super::Memory;
use super::ingest::{Fate, Plan};
use super::state::{KvRow, State};
use crate::limits::bad;
use crate::model::{Derived, FlowCommit, FlowCommitted, PutOutcome, Seq};
use crate::traits::{FlowInfo, FlowState, Flows};

#[async_trait]
impl Flows for Memory {
    async fn load(&self, flow: &str) -> Result<FlowState> {
        let mut state = self.change()?;
        Ok(snapshot(&mut state, flow))
    }

    async fn commit(&self, commit: FlowCommit) -> Result<FlowCommitted> {
        let now = self.clock.now();
        let mut guard = self.change()?;
        let state = &mut *guard;
        let epoch = state.flows.get(&commit.flow).map_or(0, |f| f.epoch);
        if epoch != commit.epoch {
            let text = format!("{} is at epoch {epoch}, the commit was made for {}", commit.flow, commit.epoch);
            return Err(Error::new(Code::STALE_COMMIT, text).op("store.commit"));
        }
        within_feed(state, commit.cursor)?;
        if let Some(r) = commit.derived.iter().map(|d| &d.reading).find(|r| r.lineage().is_none()) {
            return Err(Error::new(Code::MISSING_LINEAGE, format!("{} {} has no lineage", r.kind(), r.id())).op("store.commit"));
        }
        let mut plan = Plan::new(state, &commit.flow, now);
        let fates: Vec<Fate> = commit.derived.iter().map(|d| plan.reading(&d.scope, &d.reading)).collect();
        commit.dead_letters.iter().for_each(|l| plan.letter(&l.scope, l));
        let (mut more, mut less) = (plan.cost, 0);
        let held = state.flows.get(&commit.flow);
        for c in &commit.state {
            more += c.value.as_ref().map_or(0, |v| KvRow::bytes(&c.key, v));
            less += held.and_then(|f| f.state.get(&c.key)).map_or(0, |v| KvRow::bytes(&c.key, v));
        }
        self.room(state, more, less)?;

        let mut out = FlowCommitted { epoch: epoch + 1, ..Default::default() };
        for (Derived { scope, reading, origin }, fate) in commit.derived.into_iter().zip(fates) {
            let known = fate.outcome();
            if let Fate::Conflict(letter) = fate {
                state.park(&scope, *letter);
            }
            out.derived.push(known.unwrap_or_else(|| {
                let added = state.add(&scope, reading, origin, 0);
                out.superseded.extend(added.superseded);
                PutOutcome::Stored(added.seq)
            }));
        }
        for letter in commit.dead_letters {
            let scope = letter.scope.clone();
            state.park(&scope, letter);
        }
        let row = state.flows.entry(commit.flow).or_default();
        for c in commit.state {
            let old = row.state.get(&c.key).map_or(0, |v| KvRow::bytes(&c.key, v));
            state.used -= old.min(state.used);
            match c.value {
                Some(v) => {
                    state.used += KvRow::bytes(&c.key, &v);
                    row.state.insert(c.key, v);
                }
                None => {
                    row.state.remove(&c.key);
                }
            }
        }
        row.cursor = commit.cursor;
        row.epoch = out.epoch;
        let head = state.head();
        drop(guard);
        self.announce(head);
        Ok(out)
    }

    async fn reset(&self, flow: &str, version: &str, cursor: Seq) -> Result<FlowState> {
        let mut guard = self.change()?;
        let state = &mut *guard;
        within_feed(state, cursor)?;
        let row = state.flows.entry(flow.to_owned()).or_default();
        let freed: usize = row.state.iter().map(|(k, v)| KvRow::bytes(k, v)).sum();
        row.state.clear();
        row.version = version.to_owned();
        row.cursor = cursor;
        row.epoch += 1;
        state.used -= freed.min(state.used);
        Ok(snapshot(state, flow))
    }

    async fn list(&self) -> Result<Vec<FlowInfo>> {
        let state = self.open_all()?;
        Ok(state.flows.iter().map(|(name, f)| FlowInfo { flow: name.clone(), cursor: f.cursor, version: f.version.clone() }).collect())
    }
}

fn within_feed(state: &State, cursor: Seq) -> Result<()> {
    match cursor <= state.head() {
        true => Ok(()),
        false => Err(bad(format!("the cursor {cursor} is beyond the head of the feed, {}", state.head()))),
    }
}

fn snapshot(state: &mut State, flow: &str) -> FlowState {
    let f = state.flows.entry(flow.to_owned()).or_default();
    FlowState {
        cursor: f.cursor,
        epoch: f.epoch,
        version: f.version.clone(),
        state: f.state.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
    }
}
