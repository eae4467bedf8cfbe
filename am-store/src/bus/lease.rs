//! One of several at work: a lease in the entries of the bus.

use std::sync::Arc;
use std::time::Duration;

use am_core::{Clock, Code, Error, Result, Retry, Timestamp};
use am_pipeline::bus::Entries;
use serde::{Deserialize, Serialize};

/// Who works, until when.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    owner: String,
    until: i64,
}

/// A lease that this process wants or has. It decides who works, not what counts: whoever loses it unnoticed does no harm, because what
/// is stored twice adds nothing.
pub(super) struct Turn {
    entries: Arc<dyn Entries>,
    clock: Arc<dyn Clock>,
    key: String,
    me: String,
    length: Duration,
    revision: Option<u64>,
    renew_at: Duration,
}

impl Turn {
    pub(super) fn new(entries: Arc<dyn Entries>, clock: Arc<dyn Clock>, name: &str, me: String, length: Duration) -> Self {
        let key = format!("turn.{}", super::saved::digest(name));
        Turn { entries, clock, key, me, length, revision: None, renew_at: Duration::ZERO }
    }

    /// Takes the lease, or keeps it; asks the bus only when a third of its time is over.
    ///
    /// # Errors
    /// `STORE_LOCKED` while another has it.
    pub(super) async fn hold(&mut self) -> Result<()> {
        if self.revision.is_some() && self.clock.monotonic() < self.renew_at {
            return Ok(());
        }
        let revision = match self.revision {
            Some(r) => r,
            None => self.free().await?,
        };
        let until = self.clock.now().shifted(i64::try_from(self.length.as_nanos()).unwrap_or(i64::MAX)).as_nanos();
        let text = serde_json::to_vec(&Holder { owner: self.me.clone(), until }).unwrap_or_default();
        match self.entries.put(&self.key, text.into(), Some(revision)).await {
            Ok(r) => {
                self.revision = Some(r);
                self.renew_at = self.clock.monotonic().saturating_add(self.length / 3);
                Ok(())
            }
            Err(e) => {
                self.revision = None;
                Err(if e.code() == Code::CAS_MISMATCH { self.taken("another", Duration::from_millis(500)) } else { e })
            }
        }
    }

    /// Lets another one go on at once.
    pub(super) async fn leave(&mut self) {
        if let Some(r) = self.revision.take() {
            // When this fails, it runs out.
            let _ = self.entries.delete(&self.key, Some(r)).await;
        }
    }

    /// The revision to take it over at.
    async fn free(&self) -> Result<u64> {
        let Some(found) = self.entries.get(&self.key).await? else { return Ok(0) };
        let holder: Option<Holder> = serde_json::from_slice(&found.value).ok();
        let left = holder.as_ref().map_or(Duration::ZERO, |h| Timestamp::from_nanos(h.until).since(self.clock.now()));
        match holder.filter(|h| h.owner != self.me && !left.is_zero()) {
            Some(h) => Err(self.taken(&h.owner, left)),
            None => Ok(found.revision),
        }
    }

    fn taken(&self, who: &str, left: Duration) -> Error {
        let after_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).clamp(50, 1_000);
        Error::new(Code::STORE_LOCKED, format!("{who} works for another {} ms", left.as_millis()))
            .op("bus.turn")
            .retry(Retry::Safe { after_ms })
    }
}
