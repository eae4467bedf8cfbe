//! The rest of a value that is larger than one entry.
//!
//! It is written before the entry that names it and removed after nobody names it any more, so whoever reads finds both or reads
//! again. What a writer that was killed in between leaves behind is removed by a later write of the same key.

use std::time::Duration;

use am_core::{Ctx, ReadingId, Result, Timestamp};
use bytes::{BufMut, Bytes, BytesMut};

use super::envelope::Envelope;
use super::{KeyValueOnEntries, names};

/// What no entry names after so long belongs to nobody.
const ABANDONED: Duration = Duration::from_secs(3_600);
/// What ended is removed so long after, for callers whose clocks differ.
const SLACK: Duration = Duration::from_secs(60);
/// Bytes of the time before the rest itself.
const TIME: usize = 8;

impl KeyValueOnEntries {
    /// Keeps a rest under a name of its own; two writers never share one.
    pub(super) async fn put_rest(&self, ctx: &Ctx, key: &str, rest: &[u8]) -> Result<String> {
        self.sweep_rests(ctx, key).await?;
        let name = format!("{}.{}", names::rests(ctx.scope(), key), ReadingId::v7(ctx.now())?);
        let mut bytes = BytesMut::with_capacity(TIME + rest.len());
        bytes.put_i64(ctx.now().as_nanos());
        bytes.put_slice(rest);
        self.entries.put(&name, bytes.freeze(), Some(0)).await?;
        Ok(name)
    }

    pub(super) async fn get_rest(&self, name: &str) -> Result<Option<Bytes>> {
        Ok(self.entries.get(name).await?.map(|e| e.value.slice(TIME.min(e.value.len())..)))
    }

    /// Best effort: what stays is swept later.
    pub(super) async fn drop_rest(&self, name: &str) {
        if let Err(e) = self.entries.delete(name, None).await {
            tracing::debug!(error = %e, "the rest of an old value stays until it is swept");
        }
    }

    /// Removes a value that ended a while ago, unless it was written again: buses do not do so by themselves. Best effort.
    pub(super) async fn bury(&self, name: &str, e: &Envelope, revision: u64, now: Timestamp) {
        if e.end.is_none_or(|end| end.saturating_add(SLACK) >= now) {
            return;
        }
        if self.entries.delete(name, Some(revision)).await.is_ok() && !e.rest.is_empty() {
            self.drop_rest(&e.rest).await;
        }
    }

    /// Removes rests that no entry names any more.
    async fn sweep_rests(&self, ctx: &Ctx, key: &str) -> Result<()> {
        let all = self.entries.keys(&names::rests(ctx.scope(), key)).await?;
        if all.is_empty() {
            return Ok(());
        }
        let named = self.entry(&names::value(ctx.scope(), key)).await?.map(|(e, _)| e.rest);
        for name in all.into_iter().filter(|n| Some(n) != named.as_ref()) {
            let Some(entry) = self.entries.get(&name).await? else { continue };
            let written = entry.value.get(..TIME).and_then(|b| b.try_into().ok()).map_or(0, i64::from_be_bytes);
            // A writer that is still under way has not named its rest yet.
            if Timestamp::from_nanos(written).saturating_add(ABANDONED) < ctx.now() {
                self.drop_rest(&name).await;
            }
        }
        Ok(())
    }
}
