//! Lineage, both ways.

use std::sync::Arc;

use am_core::{Ctx, Result, Timestamp};
use am_schema::ReadingRef;
use async_trait::async_trait;

use super::Memory;
use super::state::InputStream;
use crate::cursor::Place;
use crate::limits;
use crate::model::Stored;
use crate::traits::{Derivations, LineageInputs};

#[async_trait]
impl Derivations for Memory {
    async fn inputs(&self, ctx: &Ctx, name: &ReadingRef) -> Result<Option<LineageInputs>> {
        let state = self.open_for(ctx)?;
        let row = state.scope(ctx.scope()).and_then(|d| d.row(name));
        Ok(row.and_then(|r| r.stored.reading.lineage()).map(|l| l.as_ref().clone()))
    }

    async fn outputs(&self, ctx: &Ctx, name: &ReadingRef, limit: usize) -> Result<Vec<Stored>> {
        limits::outputs(limit)?;
        let state = self.open_for(ctx)?;
        let Some(data) = state.scope(ctx.scope()) else { return Ok(Vec::new()) };
        let stream = || InputStream { device: name.device.to_string(), topic: name.kind.topic().to_owned() };
        let mut found: Vec<Arc<Stored>> = Vec::new();
        if let Some(alone) = data.outputs.get(&(stream(), name.recorded_at, *name.id.as_bytes())) {
            found.extend(alone.iter().cloned());
        }
        if let Some(spans) = data.spans.get(&stream()) {
            let begun = spans.range(..(Timestamp::from_nanos(name.recorded_at.as_nanos().saturating_add(1)), 0));
            found.extend(begun.filter(|(_, (to, _))| *to > name.recorded_at).map(|(_, (_, s))| s.clone()));
        }
        found.sort_by_cached_key(|s| Place::of(&s.reading));
        found.dedup_by(|a, b| Arc::ptr_eq(a, b));
        Ok(found.iter().take(limit).map(|s| s.as_ref().clone()).collect())
    }

    async fn generations(&self, ctx: &Ctx, slot: &[u8; 16]) -> Result<Vec<Stored>> {
        let state = self.open_for(ctx)?;
        let all = state.scope(ctx.scope()).and_then(|d| d.slots.get(slot));
        Ok(all.into_iter().flatten().map(|s| s.as_ref().clone()).collect())
    }
}
