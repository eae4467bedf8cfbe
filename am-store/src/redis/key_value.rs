//! Small values with a time to live.

use std::time::Duration;

use am_core::{Code, Ctx, Error, Result, Timestamp};
use async_trait::async_trait;
use redis::{Cmd, Script};

use super::Redis;
use super::names::{Names, digits, range};
use crate::limits;
use crate::traits::{KeyValue, Versioned};

/// Names that ended are swept so long after, for callers whose clocks differ.
const SLACK: Duration = Duration::from_secs(60);
/// Longer than this nothing needs to be let go of by Redis itself; it refuses numbers that are too large.
const LONGEST_TTL_MS: u128 = 100 * 365 * 86_400_000;

/// The scripts, each one round trip; Redis keeps them by their hash.
pub(super) struct Scripts {
    put: Script,
    delete: Script,
    keys: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Scripts {
            put: Script::new(include_str!("put.lua")),
            delete: Script::new(include_str!("delete.lua")),
            keys: Script::new(include_str!("keys.lua")),
        }
    }
}

fn millis(at: Timestamp) -> i64 {
    at.as_nanos().max(0) / 1_000_000
}

impl Redis {
    fn names(&self, ctx: &Ctx) -> Names {
        Names::of(&self.options.prefix, ctx.scope())
    }

    /// Writes if the version is as expected, or whatever it is when none is.
    async fn write(
        &self,
        ctx: &Ctx,
        op: &'static str,
        key: &str,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Result<u64> {
        limits::key(key)?;
        limits::value(&value)?;
        let (names, now) = (self.names(ctx), ctx.now());
        let end = ttl.map(|t| now.saturating_add(t));
        // Redis counts in whole milliseconds; rounding up keeps the value until its end, and the end itself is in the value.
        let live = ttl.map(|t| t.as_nanos().div_ceil(1_000_000).max(1)).filter(|ms| *ms <= LONGEST_TTL_MS);
        let mut call = self.scripts.put.key(names.value(key));
        call.key(names.index()).key(names.ends());
        call.arg(key).arg(value).arg(digits(now)).arg(end.map(digits).unwrap_or_default());
        call.arg(expected.map(|e| e.to_string()).unwrap_or_default());
        call.arg(live.map(|ms| ms.to_string()).unwrap_or_default());
        call.arg(millis(now) - SLACK.as_millis() as i64).arg(end.map_or(0, millis));
        let version: i64 = self.link.call(ctx, op, true, |mut c| async move { call.invoke_async(&mut c).await }).await?;
        match version {
            v if v > 0 => Ok(v.unsigned_abs()),
            v => {
                let held = v.unsigned_abs().saturating_sub(1);
                let wanted = expected.unwrap_or_default();
                Err(Error::new(Code::CAS_MISMATCH, format!("{key} is at version {held}, not {wanted}")).op(op))
            }
        }
    }
}

#[async_trait]
impl KeyValue for Redis {
    async fn get(&self, ctx: &Ctx, key: &str) -> Result<Option<Versioned>> {
        limits::key(key)?;
        let mut ask = Cmd::new();
        ask.arg("HMGET").arg(self.names(ctx).value(key)).arg("v").arg("n").arg("e");
        type Found = (Option<Vec<u8>>, Option<u64>, Option<String>);
        let (value, version, end): Found =
            self.link.call(ctx, "redis.get", false, |mut c| async move { ask.query_async(&mut c).await }).await?;
        let (Some(value), Some(version), Some(end)) = (value, version, end) else { return Ok(None) };
        // Redis has a clock of its own: what counts is that of the call.
        let alive = end.is_empty() || end > digits(ctx.now());
        Ok(alive.then_some(Versioned { value, version }))
    }

    async fn put(&self, ctx: &Ctx, key: &str, value: Vec<u8>, ttl: Option<Duration>) -> Result<u64> {
        self.write(ctx, "redis.put", key, None, value, ttl).await
    }

    async fn compare_and_put(&self, ctx: &Ctx, key: &str, expected: u64, value: Vec<u8>, ttl: Option<Duration>) -> Result<u64> {
        self.write(ctx, "redis.compare_and_put", key, Some(expected), value, ttl).await
    }

    async fn delete(&self, ctx: &Ctx, key: &str) -> Result<bool> {
        limits::key(key)?;
        let names = self.names(ctx);
        let mut call = self.scripts.delete.key(names.value(key));
        call.key(names.index()).key(names.ends()).arg(key).arg(digits(ctx.now()));
        self.link.call(ctx, "redis.delete", true, |mut c| async move { call.invoke_async(&mut c).await }).await
    }

    async fn keys(&self, ctx: &Ctx, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        limits::keys(limit)?;
        let names = self.names(ctx);
        let (mut from, to) = range(prefix, after);
        let mut out = Vec::new();
        // Each step looks at a bounded number of names, so that Redis answers others in between.
        loop {
            let mut call = self.scripts.keys.key(names.index());
            call.key(names.ends()).arg(names.values()).arg(&from).arg(&to).arg(digits(ctx.now())).arg(limit - out.len());
            let mut page: Vec<Vec<u8>> =
                self.link.call(ctx, "redis.keys", false, |mut c| async move { call.invoke_async(&mut c).await }).await?;
            let rest = page.split_off(page.len().min(1));
            for name in rest {
                let odd = |_| Error::new(Code::STORE_CORRUPT, "another program wrote under the prefix of AM").op("redis.keys");
                out.push(String::from_utf8(name).map_err(odd)?);
            }
            match page.pop().filter(|next| !next.is_empty() && out.len() < limit) {
                Some(next) => from = next,
                None => return Ok(out),
            }
        }
    }
}
