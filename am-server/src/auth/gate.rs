//! Who is calling.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use am_core::{Clock, Code, DeviceId, Error, Result, Scope};
use am_store::traits::{ApiKey, Devices};
use http::HeaderMap;
use parking_lot::Mutex;

use super::key::{Presented, ended};
use crate::config::Auth;

/// Keys that are remembered at once.
const CACHED: usize = 4_096;

/// What a caller may do.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) scope: Scope,
    /// The one device it may write for; any when `None`.
    pub(crate) device: Option<DeviceId>,
    /// The key's public id; empty on an open server.
    pub(crate) key_id: String,
    checked_ms: AtomicU64,
}

/// Checks keys against the store, and remembers them for a moment.
pub(crate) struct Gate {
    auth: Auth,
    devices: Arc<dyn Devices>,
    clock: Arc<dyn Clock>,
    ttl: Duration,
    /// For so long after its last check a key holds while the store does not answer.
    stale: Duration,
    cache: Mutex<HashMap<String, (Option<ApiKey>, Duration)>>,
}

fn refused(why: &'static str) -> Error {
    Error::new(Code::UNAUTHENTICATED, why).op("server.auth")
}

impl Gate {
    pub(crate) fn new(auth: Auth, devices: Arc<dyn Devices>, clock: Arc<dyn Clock>, ttl: Duration, stale: Duration) -> Self {
        Gate { auth, devices, clock, ttl, stale, cache: Mutex::default() }
    }

    /// The caller of a request. Errors never repeat what was sent.
    pub(crate) async fn admit(&self, headers: &HeaderMap) -> Result<Arc<Grant>> {
        if let Auth::Open(scope) = &self.auth {
            return Ok(Arc::new(self.grant(scope.clone(), None, String::new())));
        }
        let Some(header) = headers.get(http::header::AUTHORIZATION) else {
            return Err(refused("the call has no authorization header"));
        };
        let Some(presented) = header.to_str().ok().and_then(Presented::parse) else {
            return Err(refused("the authorization header is not 'Bearer am_<id>_<secret>'"));
        };
        let row = self.look_up(presented.id).await?;
        let row = row.filter(|row| presented.opens(row)).ok_or_else(|| refused("the key is not known"))?;
        if let Some(why) = ended(&row, self.clock.now()) {
            return Err(refused(why));
        }
        Ok(Arc::new(self.grant(row.scope, row.device, row.id)))
    }

    /// Whether a grant of earlier still holds; asks the store at most once per time to live.
    pub(crate) async fn still(&self, grant: &Grant) -> Result<()> {
        let now = self.now_ms();
        if grant.key_id.is_empty() || now.saturating_sub(grant.checked_ms.load(Ordering::Relaxed)) < self.ttl.as_millis() as u64 {
            return Ok(());
        }
        let row = self.look_up(&grant.key_id).await?.ok_or_else(|| refused("the key is not known"))?;
        if let Some(why) = ended(&row, self.clock.now()) {
            return Err(refused(why));
        }
        grant.checked_ms.store(now, Ordering::Relaxed);
        Ok(())
    }

    fn grant(&self, scope: Scope, device: Option<DeviceId>, key_id: String) -> Grant {
        Grant { scope, device, key_id, checked_ms: AtomicU64::new(self.now_ms()) }
    }

    fn now_ms(&self) -> u64 {
        self.clock.monotonic().as_millis() as u64
    }

    async fn look_up(&self, id: &str) -> Result<Option<ApiKey>> {
        let now = self.clock.monotonic();
        if let Some((row, until)) = self.cache.lock().get(id)
            && *until > now
        {
            return Ok(row.clone());
        }
        let row = match self.devices.key(id).await {
            Ok(row) => row,
            // Readings are taken in although the keys' store is away: what was known a moment ago holds for a while longer.
            Err(e) if e.advice().is_worthwhile() => {
                let known = self.cache.lock().get(id).filter(|(row, until)| row.is_some() && *until + self.stale > now).cloned();
                return known.map(|(row, _)| row).ok_or(e);
            }
            Err(e) => return Err(e),
        };
        let mut cache = self.cache.lock();
        if cache.len() >= CACHED {
            cache.retain(|_, (_, until)| *until > now);
        }
        // Full of fresh ones: somebody tries keys. The store then answers for each.
        if cache.len() < CACHED {
            cache.insert(id.to_owned(), (row.clone(), now + self.ttl));
        }
        Ok(row)
    }
}
