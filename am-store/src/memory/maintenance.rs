//! Numbers and upkeep.

use std::collections::BTreeMap;

use am_core::{Ctx, Result};
use async_trait::async_trait;

use super::Memory;
use crate::traits::{Counts, KindCount, Maintenance, Stats};

#[async_trait]
impl Maintenance for Memory {
    async fn counts(&self, ctx: &Ctx) -> Result<Counts> {
        let state = self.open_for(ctx)?;
        Ok(state.scope(ctx.scope()).map(|d| d.counts).unwrap_or_default())
    }

    async fn by_kind(&self, ctx: &Ctx) -> Result<Vec<KindCount>> {
        let state = self.open_for(ctx)?;
        let mut by_topic: BTreeMap<&str, u64> = BTreeMap::new();
        for ((kind, _), s) in state.scope(ctx.scope()).into_iter().flat_map(|d| &d.streams) {
            *by_topic.entry(kind.topic()).or_default() += s.rows.len() as u64;
        }
        Ok(by_topic.into_iter().map(|(topic, readings)| KindCount { topic: topic.to_owned(), readings }).collect())
    }

    async fn stats(&self) -> Result<Stats> {
        let head = self.open_all()?.head();
        // Rollups are kept as readings arrive.
        Ok(Stats { head, rolled_up_to: head, bytes_on_disk: 0 })
    }

    async fn tidy(&self) -> Result<()> {
        let now = self.clock.now();
        self.change()?.forget_expired(now);
        Ok(())
    }

    async fn ready(&self) -> Result<()> {
        self.open_all().map(|_| ())
    }

    async fn close(&self) -> Result<()> {
        let mut state = self.state.write();
        state.closed = true;
        drop(state);
        self.head.send_modify(|h| h.closed = true);
        Ok(())
    }
}
