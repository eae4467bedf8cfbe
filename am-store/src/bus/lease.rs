//! One of several at work: a lease in the entries of the bus, with how far the work has come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use am_core::{Clock, Code, Error, Result, Retry, Timestamp};
use am_pipeline::bus::Entries;
use serde::{Deserialize, Serialize};

/// How often progress is written down.
const SAVE: Duration = Duration::from_millis(500);

/// How far the work has come, by what is worked on.
pub(super) type Places = BTreeMap<String, u64>;

/// Who works, until when, and what is done.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Holder {
    owner: String,
    until: i64,
    #[serde(default)]
    places: Places,
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
    save_at: Duration,
    saved: Places,
}

impl Turn {
    pub(super) fn new(entries: Arc<dyn Entries>, clock: Arc<dyn Clock>, name: &str, me: String, length: Duration) -> Self {
        let key = format!("turn.{}", super::saved::digest(name));
        let (renew_at, save_at) = (Duration::ZERO, Duration::ZERO);
        Turn { entries, clock, key, me, length, revision: None, renew_at, save_at, saved: Places::new() }
    }

    /// What is written down as done.
    pub(super) fn places(&self) -> &Places {
        &self.saved
    }

    /// Takes the lease, or keeps it, with what is done by now; true when that was written down. Asks the bus only when a third of the
    /// lease's time is over, or when there is progress and the last time was a while ago.
    ///
    /// # Errors
    /// `STORE_LOCKED` while another has it.
    pub(super) async fn hold(&mut self, places: Option<&Places>) -> Result<bool> {
        let now = self.clock.monotonic();
        let moved = places.is_some_and(|p| *p != self.saved);
        let revision = match self.revision {
            Some(_) if now < self.renew_at && !(moved && now >= self.save_at) => return Ok(false),
            Some(r) => r,
            None => self.free().await?,
        };
        let places = places.unwrap_or(&self.saved).clone();
        let until = self.clock.now().shifted(i64::try_from(self.length.as_nanos()).unwrap_or(i64::MAX)).as_nanos();
        self.write(Holder { owner: self.me.clone(), until, places }, revision).await?;
        (self.renew_at, self.save_at) = (now.saturating_add(self.length / 3), now.saturating_add(SAVE));
        Ok(true)
    }

    /// Writes down what is done and lets another one go on at once.
    pub(super) async fn finish(&mut self, places: Option<Places>) {
        if let Some(r) = self.revision {
            let free = Holder { owner: String::new(), until: 0, places: places.unwrap_or_else(|| self.saved.clone()) };
            // When this fails, it runs out.
            let _ = self.write(free, r).await;
            self.revision = None;
        }
    }

    async fn write(&mut self, holder: Holder, revision: u64) -> Result<()> {
        let text = serde_json::to_vec(&holder).map_err(|e| Error::new(Code::INTERNAL, e.to_string()).op("bus.turn"))?;
        match self.entries.put(&self.key, text.into(), Some(revision)).await {
            Ok(r) => {
                (self.revision, self.saved) = (Some(r), holder.places);
                Ok(())
            }
            Err(e) => {
                self.revision = None;
                Err(if e.code() == Code::CAS_MISMATCH { self.taken("another", Duration::from_millis(500)) } else { e })
            }
        }
    }

    /// The revision to take it over at.
    async fn free(&mut self) -> Result<u64> {
        let Some(found) = self.entries.get(&self.key).await? else { return Ok(0) };
        let holder: Holder = serde_json::from_slice(&found.value).unwrap_or_default();
        let left = Timestamp::from_nanos(holder.until).since(self.clock.now());
        if holder.owner != self.me && !holder.owner.is_empty() && !left.is_zero() {
            return Err(self.taken(&holder.owner, left));
        }
        self.saved = holder.places;
        Ok(found.revision)
    }

    fn taken(&self, who: &str, left: Duration) -> Error {
        let after_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).clamp(50, 1_000);
        let text = format!("{who} works for another {} ms", left.as_millis());
        Error::new(Code::STORE_LOCKED, text).op("bus.turn").retry(Retry::Safe { after_ms })
    }
}
