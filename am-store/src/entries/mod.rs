//! The key-value space on the entries of a bus, such as NATS KV: one service fewer for a deployment that has the bus anyway.
//!
//! A value is as durable as the bus keeps its entries. Its version and its end lie in the value ([`Entries`] knows neither), so they
//! mean the same on every bus; the revisions of the bus decide who was first. Reads and writes of one value are one to two round
//! trips, a page of keys is one per key, because ends lie in the values.
//!
//! ```
//! # use std::sync::Arc;
//! # fn f(store: am_store::Store, bus: am_pipeline::bus::Bus) -> am_store::Store {
//! use am_store::entries::KeyValueOnEntries;
//! match bus.entries {
//!     Some(entries) => store.with_key_value(Arc::new(KeyValueOnEntries::new(entries))),
//!     None => store,
//! }
//! # }
//! ```

mod envelope;
mod names;
mod rest;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use am_core::{Code, Ctx, Error, Result, Retry, Timestamp};
use am_pipeline::bus::Entries;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::limits;
use crate::traits::{KeyValue, Versioned};
use envelope::{Envelope, OWN, corrupt};

/// How often a write begins anew because another one came first; each time somebody got ahead.
const TRIES: usize = 64;
/// Values asked for together while keys are listed.
const TOGETHER: usize = 32;

/// A key-value space on a bus's entries.
#[derive(Clone)]
pub struct KeyValueOnEntries {
    entries: Arc<dyn Entries>,
}

impl KeyValueOnEntries {
    /// On these entries.
    pub fn new(entries: Arc<dyn Entries>) -> Self {
        KeyValueOnEntries { entries }
    }

    /// An entry and its revision, alive or not.
    async fn entry(&self, name: &str) -> Result<Option<(Envelope, u64)>> {
        let Some(found) = self.entries.get(name).await? else { return Ok(None) };
        Ok(Some((Envelope::read(name, &found.value)?, found.revision)))
    }

    /// A value that has not ended.
    async fn living(&self, name: &str, now: Timestamp) -> Result<Option<Envelope>> {
        match self.entry(name).await? {
            Some((e, _)) if e.alive(now) => Ok(Some(e)),
            Some((e, revision)) => {
                self.bury(name, &e, revision, now).await;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    async fn read(&self, ctx: &Ctx, key: &str) -> Result<Option<Versioned>> {
        let name = names::value(ctx.scope(), key);
        let mut missing = String::new();
        for _ in 0..TRIES {
            let Some(e) = self.living(&name, ctx.now()).await? else { return Ok(None) };
            let mut value = e.value.to_vec();
            if e.rest.is_empty() {
                return Ok(Some(Versioned { value, version: e.version }));
            }
            match self.get_rest(&e.rest).await? {
                Some(rest) => {
                    value.extend_from_slice(&rest);
                    return Ok(Some(Versioned { value, version: e.version }));
                }
                // Someone wrote meanwhile; if not, the rest is lost.
                None if e.rest == missing => return Err(corrupt(&name, "names a rest that is not there")),
                None => missing = e.rest,
            }
        }
        Err(busy(key))
    }

    async fn write(&self, ctx: &Ctx, key: &str, expected: Option<u64>, value: &[u8], ttl: Option<Duration>) -> Result<u64> {
        let name = names::value(ctx.scope(), key);
        let (own, over) = value.split_at(value.len().min(OWN));
        let mut rest = None;
        let mut written = Err(busy(key));
        for _ in 0..TRIES {
            let found = self.entry(&name).await?;
            let held = found.as_ref().filter(|(e, _)| e.alive(ctx.now())).map_or(0, |(e, _)| e.version);
            if let Some(wanted) = expected.filter(|e| *e != held) {
                let text = format!("{key} is at version {held}, not {wanted}");
                written = Err(Error::new(Code::CAS_MISMATCH, text).op("entries.compare_and_put"));
                break;
            }
            if !over.is_empty() && rest.is_none() {
                rest = Some(self.put_rest(ctx, key, over).await?);
            }
            let envelope = Envelope {
                version: held + 1,
                end: ttl.map(|t| ctx.now().saturating_add(t)),
                key: key.to_owned(),
                rest: rest.clone().unwrap_or_default(),
                value: Bytes::copy_from_slice(own),
            };
            let revision = found.as_ref().map_or(0, |(_, revision)| *revision);
            match self.entries.put(&name, envelope.write(), Some(revision)).await {
                Ok(_) => {
                    if let Some((old, _)) = found.filter(|(old, _)| !old.rest.is_empty()) {
                        self.drop_rest(&old.rest).await;
                    }
                    return Ok(held + 1);
                }
                Err(e) if e.code() == Code::CAS_MISMATCH => {}
                // It may have been written and name the rest, which stays therefore.
                Err(e) => return Err(e),
            }
        }
        if let Some(name) = rest {
            self.drop_rest(&name).await;
        }
        written
    }

    async fn remove(&self, ctx: &Ctx, key: &str) -> Result<bool> {
        let name = names::value(ctx.scope(), key);
        for _ in 0..TRIES {
            let Some((e, revision)) = self.entry(&name).await? else { return Ok(false) };
            match self.entries.delete(&name, Some(revision)).await {
                Ok(_) => {
                    if !e.rest.is_empty() {
                        self.drop_rest(&e.rest).await;
                    }
                    return Ok(e.alive(ctx.now()));
                }
                Err(e) if e.code() == Code::CAS_MISMATCH => {}
                Err(e) => return Err(e),
            }
        }
        Err(busy(key))
    }

    /// The keys of the values under these names that have not ended, asked for together.
    async fn alive(&self, ctx: &Ctx, names: &[String]) -> Result<Vec<String>> {
        let mut asked: JoinSet<Result<Option<String>>> = JoinSet::new();
        for name in names {
            let (me, name, now) = (self.clone(), name.clone(), ctx.now());
            asked.spawn(async move { Ok(me.living(&name, now).await?.map(|e| e.key)) });
        }
        let mut out = Vec::new();
        while let Some(one) = asked.join_next().await {
            let ended = |e| Error::new(Code::INTERNAL, format!("a look-up ended without an answer: {e}")).op("entries.keys");
            out.extend(one.map_err(ended)??);
        }
        Ok(out)
    }

    async fn list(&self, ctx: &Ctx, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let fits = |key: &str| key.starts_with(prefix) && after.is_none_or(|a| key > a);
        let (mut told, mut untold) = (Vec::new(), Vec::new());
        for name in self.entries.keys(&names::person(ctx.scope())).await? {
            match names::key(&name) {
                Some(key) if fits(&key) => told.push((key, name)),
                Some(_) => {}
                None => untold.push(name),
            }
        }
        // Long keys are only in their values, so all of those are looked at before anything can be put in order.
        let mut long = Vec::new();
        for some in untold.chunks(TOGETHER) {
            long.extend(self.alive(ctx, some).await?.into_iter().filter(|k| fits(k)));
        }
        told.sort();
        let mut out = Vec::new();
        for some in told.chunks(TOGETHER) {
            let some: Vec<String> = some.iter().map(|(_, name)| name.clone()).collect();
            out.extend(self.alive(ctx, &some).await?);
            if out.len() >= limit {
                break;
            }
        }
        // What lies behind the last one that was looked at may come after keys that were not.
        out.sort();
        out.truncate(limit);
        let full = out.len() == limit;
        let last = out.last().cloned().filter(|_| full);
        out.extend(long.into_iter().filter(|k| last.as_ref().is_none_or(|l| k < l)));
        out.sort();
        out.truncate(limit);
        Ok(out)
    }
}

fn busy(key: &str) -> Error {
    Error::new(Code::STORE_UNAVAILABLE, format!("{key} is written by others all the time")).op("entries.write")
}

/// A call within its deadline and until it is cancelled.
async fn within<T>(ctx: &Ctx, wrote: bool, call: impl Future<Output = Result<T>>) -> Result<T> {
    ctx.check()?;
    let late = async {
        match ctx.time_left() {
            Some(left) => ctx.clock().sleep(left).await,
            None => std::future::pending().await,
        }
    };
    let (code, text) = tokio::select! {
        r = call => return r.map_err(of_store),
        () = late => (Code::TIMED_OUT, "the bus did not answer within the deadline"),
        () = ctx.cancel().cancelled() => (Code::CANCELLED, "cancelled by the caller"),
    };
    let e = Error::new(code, text).op("entries");
    Err(if wrote { e.retry(Retry::IfIdempotent) } else { e })
}

/// What the bus says, in the words of a store.
fn of_store(e: Error) -> Error {
    let code = match e.code() {
        Code::BUS_UNAVAILABLE => Code::STORE_UNAVAILABLE,
        Code::BUS_REFUSED => Code::STORE_REFUSED,
        Code::OVERLOADED => Code::STORE_FULL,
        _ => return e,
    };
    let (text, advice) = (e.message().to_owned(), e.advice());
    Error::new(code, text).op("entries").retry(advice).source(e)
}

#[async_trait]
impl KeyValue for KeyValueOnEntries {
    async fn get(&self, ctx: &Ctx, key: &str) -> Result<Option<Versioned>> {
        limits::key(key)?;
        within(ctx, false, self.read(ctx, key)).await
    }

    async fn put(&self, ctx: &Ctx, key: &str, value: Vec<u8>, ttl: Option<Duration>) -> Result<u64> {
        limits::key(key)?;
        limits::value(&value)?;
        within(ctx, true, self.write(ctx, key, None, &value, ttl)).await
    }

    async fn compare_and_put(&self, ctx: &Ctx, key: &str, expected: u64, value: Vec<u8>, ttl: Option<Duration>) -> Result<u64> {
        limits::key(key)?;
        limits::value(&value)?;
        within(ctx, true, self.write(ctx, key, Some(expected), &value, ttl)).await
    }

    async fn delete(&self, ctx: &Ctx, key: &str) -> Result<bool> {
        limits::key(key)?;
        within(ctx, true, self.remove(ctx, key)).await
    }

    async fn keys(&self, ctx: &Ctx, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        limits::keys(limit)?;
        within(ctx, false, self.list(ctx, prefix, after, limit)).await
    }
}
