//! Small values with a time to live.

use std::ops::Bound;
use std::time::Duration;

use am_core::{Code, Ctx, Error, Result};
use async_trait::async_trait;

use super::Memory;
use super::state::{KvRow, State};
use crate::limits;
use crate::traits::{KeyValue, Versioned};

impl Memory {
    /// Writes if the version is as expected, or whatever it is when none is.
    fn write(&self, ctx: &Ctx, key: &str, expected: Option<u64>, value: Vec<u8>, ttl: Option<Duration>) -> Result<u64> {
        ctx.check()?;
        limits::key(key)?;
        limits::value(&value)?;
        let now = ctx.now();
        let mut guard = self.change()?;
        let state = &mut *guard;
        let held = state.scope(ctx.scope()).and_then(|d| d.key_values.get(key));
        let version = held.filter(|r| r.alive(now)).map_or(0, |r| r.version);
        if let Some(e) = expected.filter(|e| *e != version) {
            return Err(Error::new(Code::CAS_MISMATCH, format!("{key} is at version {version}, not {e}")).op("store.compare_and_put"));
        }
        let (more, less) = (KvRow::bytes(key, &value), held.map_or(0, |r| KvRow::bytes(key, &r.value)));
        self.room(state, more, less)?;
        state.used = state.used.saturating_sub(less).saturating_add(more);
        let row = KvRow { value, version: version + 1, expires: ttl.map(|t| now.saturating_add(t)) };
        state.scope_mut(ctx.scope()).key_values.insert(key.to_owned(), row);
        Ok(version + 1)
    }
}

impl State {
    /// Lets go of values whose time is over.
    pub(super) fn forget_expired(&mut self, now: am_core::Timestamp) {
        let mut freed = 0;
        for data in self.scopes.values_mut() {
            data.key_values.retain(|k, r| {
                let keep = r.alive(now);
                freed += if keep { 0 } else { KvRow::bytes(k, &r.value) };
                keep
            });
        }
        self.used = self.used.saturating_sub(freed);
    }
}

#[async_trait]
impl KeyValue for Memory {
    async fn get(&self, ctx: &Ctx, key: &str) -> Result<Option<Versioned>> {
        limits::key(key)?;
        let now = ctx.now();
        let state = self.open_for(ctx)?;
        let row = state.scope(ctx.scope()).and_then(|d| d.key_values.get(key)).filter(|r| r.alive(now));
        Ok(row.map(|r| Versioned { value: r.value.clone(), version: r.version }))
    }

    async fn put(&self, ctx: &Ctx, key: &str, value: Vec<u8>, ttl: Option<Duration>) -> Result<u64> {
        self.write(ctx, key, None, value, ttl)
    }

    async fn compare_and_put(&self, ctx: &Ctx, key: &str, expected: u64, value: Vec<u8>, ttl: Option<Duration>) -> Result<u64> {
        self.write(ctx, key, Some(expected), value, ttl)
    }

    async fn delete(&self, ctx: &Ctx, key: &str) -> Result<bool> {
        ctx.check()?;
        limits::key(key)?;
        let now = ctx.now();
        let mut guard = self.change()?;
        let state = &mut *guard;
        let gone = state.scope_mut(ctx.scope()).key_values.remove(key);
        state.used = state.used.saturating_sub(gone.as_ref().map_or(0, |r| KvRow::bytes(key, &r.value)));
        Ok(gone.is_some_and(|r| r.alive(now)))
    }

    async fn keys(&self, ctx: &Ctx, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        limits::keys(limit)?;
        let now = ctx.now();
        let state = self.open_for(ctx)?;
        let Some(data) = state.scope(ctx.scope()) else { return Ok(Vec::new()) };
        let from = match after.filter(|a| *a >= prefix) {
            Some(a) => Bound::Excluded(a),
            None => Bound::Included(prefix),
        };
        let rows = data.key_values.range::<str, _>((from, Bound::Unbounded));
        Ok(rows.take_while(|(k, _)| k.starts_with(prefix)).filter(|(_, r)| r.alive(now)).map(|(k, _)| k.clone()).take(limit).collect())
    }
}
