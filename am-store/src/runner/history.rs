//! History that ends at a place of the feed.

use std::sync::Arc;

use am_core::{BoxFuture, Clock, Code, Ctx, DeviceId, Error, Lookup, LookupRange, Record, Result, Scope, Timestamp};
use am_schema::Catalogue;

use crate::limits::MAX_SCAN;
use crate::model::{Order, ScanQuery, Seq, Stored};
use crate::traits::Backend;

/// How many readings one page of a search backwards has.
const PAGE: usize = 64;

/// The store as it was after a place of the feed, so that an answer does not hang on what arrived meanwhile. Values of the key-value
/// space have no place; they are those of now.
pub(super) struct History {
    pub(super) backend: Backend,
    pub(super) catalogue: Catalogue,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) until: Seq,
}

impl History {
    fn query(&self, device: Option<&DeviceId>, topic: &str) -> Result<ScanQuery> {
        let unknown = || Error::new(Code::UNKNOWN_KIND, format!("{topic} is not in the catalogue")).op("store.lookup");
        let kind = self.catalogue.get(topic).ok_or_else(unknown)?;
        Ok(ScanQuery { kinds: vec![kind], devices: device.into_iter().cloned().collect(), ..Default::default() })
    }

    /// The readings of a query that were there at the time, at most `limit`.
    async fn scan(&self, scope: &Scope, mut query: ScanQuery, limit: usize) -> Result<Vec<Stored>> {
        let ctx = Ctx::new(scope.clone(), self.clock.clone());
        let mut found: Vec<Stored> = Vec::new();
        while found.len() < limit {
            let page = self.backend.readings.scan(&ctx, &query).await?;
            found.extend(page.items.into_iter().filter(|s| s.seq <= self.until).take(limit - found.len()));
            query.cursor = page.cursor;
            if query.cursor.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

fn record(s: Stored) -> Record {
    Record { wire: s.reading.to_wire() }
}

impl Lookup for History {
    fn latest<'a>(
        &'a self,
        scope: &'a Scope,
        device: Option<&'a DeviceId>,
        topic: &'a str,
        at: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Record>>> {
        Box::pin(async move {
            let query = self.query(device, topic)?;
            let query = ScanQuery { to: at.shifted(1), order: Order::TimeDescending, limit: PAGE, ..query };
            Ok(self.scan(scope, query, 1).await?.pop().map(record))
        })
    }

    fn range<'a>(&'a self, scope: &'a Scope, range: LookupRange) -> BoxFuture<'a, Result<Vec<Record>>> {
        Box::pin(async move {
            let query = self.query(range.device.as_ref(), &range.topic)?;
            let query = ScanQuery { from: range.from, to: range.to, limit: range.limit.clamp(1, 4_096), ..query };
            crate::limits::scan(&query)?;
            Ok(self.scan(scope, query, range.limit.min(MAX_SCAN)).await?.into_iter().map(record).collect())
        })
    }

    fn value<'a>(&'a self, scope: &'a Scope, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        Box::pin(async move {
            crate::limits::key(key)?;
            let ctx = Ctx::new(scope.clone(), self.clock.clone());
            Ok(self.backend.key_value.get(&ctx, key).await?.map(|v| v.value))
        })
    }
}
