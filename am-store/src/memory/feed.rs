//! The change feed.

use am_core::{Result, Scope};
use async_trait::async_trait;

use super::state::Change;
use super::{Memory, closed};
use crate::limits;
use crate::model::{FeedEntry, FeedEvent, FeedPage, FeedQuery, Seq};
use crate::traits::Feed;

/// The most entries that one read looks at, so that a rare kind does not hold up writers.
const MAX_LOOKED_AT: usize = 65_536;

#[async_trait]
impl Feed for Memory {
    async fn read(&self, scope: Option<&Scope>, query: &FeedQuery) -> Result<FeedPage> {
        limits::feed(query)?;
        let state = self.open_all()?;
        let mut page = FeedPage { entries: Vec::new(), next: query.after, head: state.head() };
        let from = usize::try_from(query.after).unwrap_or(usize::MAX);
        for (row, n) in state.feed.get(from..).unwrap_or_default().iter().zip(query.after + 1..).take(MAX_LOOKED_AT) {
            if page.entries.len() == query.limit {
                break;
            }
            page.next = n;
            if scope.is_some_and(|s| *s != row.scope) || !(query.kinds.is_empty() || query.kinds.contains(&row.kind)) {
                continue;
            }
            let event = match &row.event {
                Change::Put(s) => FeedEvent::Put(Box::new(s.as_ref().clone())),
                Change::Superseded { old, slot } => FeedEvent::Superseded { old: *old, slot: *slot },
            };
            page.entries.push(FeedEntry { seq: n, scope: row.scope.clone(), event });
        }
        Ok(page)
    }

    async fn head(&self) -> Result<Seq> {
        Ok(self.open_all()?.head())
    }

    async fn wait(&self, after: Seq) -> Result<()> {
        let mut head = self.head.subscribe();
        match head.wait_for(|h| h.closed || h.seq > after).await {
            Ok(h) if !h.closed => Ok(()),
            _ => Err(closed()),
        }
    }
}
