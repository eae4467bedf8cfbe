//! The wrapper: forwards to a store in memory, until it is closed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use am_core::{Clock, Code, Ctx, Error, Result, Scope, Timestamp};
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Flaw;
use crate::model::{Bucket, Ingest, Provenance};
use crate::traits::{ApiKey, Backend, Counts, DeviceRow, Devices, KindCount, Maintenance, Stats};

/// A backend with at most one flaw.
pub(super) struct Flawed {
    pub(super) inner: Backend,
    pub(super) flaw: Option<Flaw>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) closed: watch::Sender<bool>,
    pub(super) memo: Mutex<Memo>,
}

/// What some flaws remember.
#[derive(Default)]
pub(super) struct Memo {
    pub(super) scopes: HashSet<Scope>,
    pub(super) held_back: Option<(Ctx, Ingest)>,
    pub(super) answers: HashMap<String, Vec<Bucket>>,
    pub(super) provenance: Provenance,
    pub(super) vectors: HashSet<String>,
    pub(super) extra: u8,
}

impl Flawed {
    pub(super) fn new(inner: Backend, flaw: Option<Flaw>, clock: Arc<dyn Clock>) -> Self {
        Flawed { inner, flaw, clock, closed: watch::Sender::new(false), memo: Mutex::default() }
    }

    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Refuses when it was closed.
    pub(super) fn open(&self) -> Result<&Backend> {
        match *self.closed.borrow() {
            true => Err(Error::new(Code::CLOSED, "the store was closed")),
            false => Ok(&self.inner),
        }
    }

    /// Every scope that put something, for those who leak.
    pub(super) fn everybody(&self) -> Vec<Scope> {
        self.memo.lock().scopes.iter().cloned().collect()
    }
}

#[async_trait]
impl Devices for Flawed {
    async fn register(&self, ctx: &Ctx, device: DeviceRow) -> Result<bool> {
        self.open()?.devices.register(ctx, device).await
    }

    async fn list(&self, ctx: &Ctx) -> Result<Vec<DeviceRow>> {
        self.open()?.devices.list(ctx).await
    }

    async fn add_key(&self, key: ApiKey) -> Result<()> {
        self.open()?.devices.add_key(key).await
    }

    async fn key(&self, id: &str) -> Result<Option<ApiKey>> {
        let key = self.open()?.devices.key(id).await?;
        Ok(key.map(|k| if self.has(Flaw::ForgetsRevocation) { ApiKey { revoked_at: None, ..k } } else { k }))
    }

    async fn keys(&self, ctx: &Ctx) -> Result<Vec<ApiKey>> {
        self.open()?.devices.keys(ctx).await
    }

    async fn revoke_key(&self, id: &str, at: Timestamp) -> Result<()> {
        self.open()?.devices.revoke_key(id, at).await
    }
}

#[async_trait]
impl Maintenance for Flawed {
    async fn counts(&self, ctx: &Ctx) -> Result<Counts> {
        let c = self.open()?.maintenance.counts(ctx).await?;
        Ok(if self.has(Flaw::MiscountsCustody) { Counts { received: c.received - c.discarded, ..c } } else { c })
    }

    async fn by_kind(&self, ctx: &Ctx) -> Result<Vec<KindCount>> {
        self.open()?.maintenance.by_kind(ctx).await
    }

    async fn stats(&self) -> Result<Stats> {
        self.open()?.maintenance.stats().await
    }

    async fn tidy(&self) -> Result<()> {
        self.open()?.maintenance.tidy().await
    }

    async fn ready(&self) -> Result<()> {
        self.open()?.maintenance.ready().await
    }

    async fn close(&self) -> Result<()> {
        // The data outlives the handle, as a file would.
        if !self.has(Flaw::AnswersWhenClosed) {
            self.closed.send_replace(true);
        }
        Ok(())
    }
}
