//! Flaws of what changes the store.

use std::time::Duration;

use am_core::{Code, Ctx, Error, ReadingId, Result};
use am_pipeline::DeadLetter;
use am_schema::Reading;
use async_trait::async_trait;

use super::Flaw;
use super::flawed::Flawed;
use crate::model::{FlowCommit, FlowCommitted, Ingest, IngestOutcome, PutOutcome, Seq, StateChange};
use crate::traits::{DeadLetterQuery, DeadLetterRow, DeadLetters, FlowInfo, FlowState, Flows, KeyValue, Resolution, Versioned};

impl Flawed {
    pub(super) async fn take_in(&self, ctx: &Ctx, mut batch: Ingest) -> Result<IngestOutcome> {
        let b = self.open()?;
        ctx.check()?;
        {
            let mut memo = self.memo.lock();
            memo.scopes.insert(ctx.scope().clone());
            memo.provenance = batch.provenance.clone();
        }
        match self.flaw {
            Some(Flaw::ForgetsReadings) if batch.readings.len() > 20 => {
                batch.readings.pop();
                let mut out = b.readings.put(ctx, batch).await?;
                out.readings.push(PutOutcome::Stored(b.feed.head().await?));
                Ok(out)
            }
            Some(Flaw::StoresTwice) => {
                let again = batch.clone();
                let out = b.readings.put(ctx, batch).await?;
                let twins = again.readings.iter().zip(&out.readings).filter(|(_, o)| **o == PutOutcome::Duplicate);
                let twins: Vec<Reading> = twins.filter_map(|(r, _)| self.twin(r)).collect();
                b.readings.put(ctx, Ingest { readings: twins, ..Default::default() }).await?;
                Ok(out)
            }
            Some(Flaw::HidesConflicts) => {
                let names: Vec<_> = batch.readings.iter().map(Reading::reference).collect();
                let there = b.readings.get(ctx, &names).await?;
                let mut conflicts = Vec::new();
                let mut keep = Vec::new();
                for (n, (r, old)) in batch.readings.drain(..).zip(there).enumerate() {
                    if old.is_some_and(|o| !o.reading.same_content(&r)) { conflicts.push(n) } else { keep.push(r) }
                }
                let mut out = b.readings.put(ctx, Ingest { readings: keep, ..batch }).await?;
                conflicts.into_iter().for_each(|n| out.readings.insert(n, PutOutcome::Duplicate));
                Ok(out)
            }
            Some(Flaw::AcknowledgesEarly) => {
                let before = self.memo.lock().held_back.take();
                if let Some((ctx, batch)) = before {
                    b.readings.put(&ctx, batch).await?;
                }
                let head = b.feed.head().await?;
                let readings = (head + 1..).zip(&batch.readings).map(|(seq, _)| PutOutcome::Stored(seq)).collect();
                let parked = batch.rejected.iter().map(|l| l.id.clone()).collect();
                self.memo.lock().held_back = Some((ctx.clone(), batch));
                Ok(IngestOutcome { readings, parked, batch: 1 })
            }
            Some(Flaw::LosesLetters) => {
                let lost: Vec<String> = batch.rejected.drain(..).map(|l| l.id).collect();
                Ok(IngestOutcome { parked: lost, ..b.readings.put(ctx, batch).await? })
            }
            _ => b.readings.put(ctx, batch).await,
        }
    }

    fn twin(&self, r: &Reading) -> Option<Reading> {
        let mut memo = self.memo.lock();
        memo.extra = memo.extra.wrapping_add(1);
        Reading::from_parts(r.kind(), r.device().clone(), r.recorded_at(), ReadingId::from_bytes([memo.extra; 16]), r.body().clone()).ok()
    }
}

#[async_trait]
impl Flows for Flawed {
    async fn load(&self, flow: &str) -> Result<FlowState> {
        self.open()?.flows.load(flow).await
    }

    async fn commit(&self, mut commit: FlowCommit) -> Result<FlowCommitted> {
        let b = self.open()?;
        let derived = commit.derived.clone();
        if self.has(Flaw::TakesStaleCommits) {
            commit.epoch = b.flows.load(&commit.flow).await?.epoch;
        }
        let done = b.flows.commit(commit).await;
        if self.has(Flaw::TearsCommits) && done.is_err() {
            for d in derived {
                let ctx = Ctx::new(d.scope, self.clock.clone());
                b.readings.put(&ctx, Ingest { readings: vec![d.reading], ..Default::default() }).await?;
            }
        }
        done
    }

    async fn reset(&self, flow: &str, version: &str, cursor: Seq) -> Result<FlowState> {
        let b = self.open()?;
        let before = b.flows.load(flow).await?;
        let fresh = b.flows.reset(flow, version, cursor).await?;
        if !self.has(Flaw::KeepsStateOnReset) {
            return Ok(fresh);
        }
        let state = before.state.into_iter().map(|(key, value)| StateChange { key, value: Some(value) }).collect();
        b.flows.commit(FlowCommit { flow: flow.into(), epoch: fresh.epoch, cursor, state, ..Default::default() }).await?;
        b.flows.load(flow).await
    }

    async fn list(&self) -> Result<Vec<FlowInfo>> {
        self.open()?.flows.list().await
    }
}

#[async_trait]
impl DeadLetters for Flawed {
    async fn park(&self, ctx: &Ctx, letters: Vec<DeadLetter>) -> Result<()> {
        self.memo.lock().scopes.insert(ctx.scope().clone());
        self.open()?.dead_letters.park(ctx, letters).await
    }

    async fn list(&self, ctx: &Ctx, query: &DeadLetterQuery) -> Result<Vec<DeadLetterRow>> {
        self.open()?.dead_letters.list(ctx, query).await
    }

    async fn get(&self, ctx: &Ctx, id: &str) -> Result<Option<DeadLetterRow>> {
        let b = self.open()?;
        let own = b.dead_letters.get(ctx, id).await?;
        if own.is_none() && self.has(Flaw::LeaksLetters) {
            for scope in self.everybody() {
                if let Some(row) = b.dead_letters.get(&ctx.with_scope(scope), id).await? {
                    return Ok(Some(row));
                }
            }
        }
        Ok(own)
    }

    async fn amend(&self, ctx: &Ctx, letter: DeadLetter) -> Result<()> {
        self.open()?.dead_letters.amend(ctx, letter).await
    }

    async fn resolve(&self, ctx: &Ctx, id: &str, how: Resolution) -> Result<()> {
        self.open()?.dead_letters.resolve(ctx, id, how).await
    }
}

#[async_trait]
impl KeyValue for Flawed {
    async fn get(&self, ctx: &Ctx, key: &str) -> Result<Option<Versioned>> {
        self.open()?.key_value.get(ctx, key).await
    }

    async fn put(&self, ctx: &Ctx, key: &str, value: Vec<u8>, ttl: Option<Duration>) -> Result<u64> {
        let ttl = ttl.filter(|_| !self.has(Flaw::IgnoresTtl));
        self.open()?.key_value.put(ctx, key, value, ttl).await
    }

    async fn compare_and_put(&self, ctx: &Ctx, key: &str, expected: u64, value: Vec<u8>, ttl: Option<Duration>) -> Result<u64> {
        let b = self.open()?;
        match self.has(Flaw::IgnoresVersions) {
            true => b.key_value.put(ctx, key, value, ttl).await,
            false => b.key_value.compare_and_put(ctx, key, expected, value, ttl).await,
        }
    }

    async fn delete(&self, ctx: &Ctx, key: &str) -> Result<bool> {
        self.open()?.key_value.delete(ctx, key).await
    }

    async fn keys(&self, ctx: &Ctx, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        self.open()?.key_value.keys(ctx, prefix, after, limit).await
    }
}

/// What a closed store says to those who wait.
pub(super) fn closed() -> Error {
    Error::new(Code::CLOSED, "the store was closed")
}
