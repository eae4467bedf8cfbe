//! The change feed: rows by number.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use am_core::{ReadingId, Result, Scope, Timestamp};
use async_trait::async_trait;
use rusqlite::Connection;

use super::Sqlite;
use super::codec::Row;
use super::errors::{Failure, damaged};
use super::queue::closed;
use super::streams::Named;
use crate::limits;
use crate::model::{FeedEntry, FeedEvent, FeedPage, FeedQuery, ReadingKey, Seq, StreamId};
use crate::traits::Feed;

/// The most entries that one read looks at, so that a rare kind does not make a long transaction.
const MAX_LOOKED_AT: usize = 65_536;
/// A page ends early beyond so many bytes of bodies.
const PAGE_BYTES: usize = 32 << 20;
/// How often a follower looks whether another process has written.
const FOLLOW: Duration = Duration::from_millis(100);

/// The newest place of a connection's snapshot.
pub(super) fn head(conn: &Connection) -> rusqlite::Result<Seq> {
    conn.prepare_cached("SELECT max(coalesce((SELECT max(seq) FROM reading), 0), coalesce((SELECT max(seq) FROM event), 0))")?
        .query_row([], |r| r.get::<_, i64>(0))
        .map(|n| n as Seq)
}

#[async_trait]
impl Feed for Sqlite {
    async fn read(&self, scope: Option<&Scope>, query: &FeedQuery) -> Result<FeedPage> {
        limits::feed(query)?;
        let (scope, query, catalogue, names) = (scope.cloned(), query.clone(), self.catalogue.clone(), self.names.clone());
        self.read_any("sqlite.feed", move |c| {
            let tx = c.unchecked_transaction()?;
            let mut known: HashMap<i64, Option<Arc<Named>>> = HashMap::new();
            let mut stream = |id: i64| -> std::result::Result<Option<Arc<Named>>, Failure> {
                if let Some(n) = known.get(&id) {
                    return Ok(n.clone());
                }
                let named = names.get(&tx, &catalogue, id)?;
                let asked = scope.as_ref().is_none_or(|s| *s == named.scope)
                    && (query.kinds.is_empty() || named.kind.is_some_and(|k| query.kinds.contains(&k)));
                let named = asked.then_some(named);
                known.insert(id, named.clone());
                Ok(named)
            };
            let mut page = FeedPage { entries: Vec::new(), next: query.after, head: head(&tx)? };
            let mut rows =
                tx.prepare_cached("SELECT seq, at, id, batch, flags, body, stream FROM reading WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
            let mut events = tx.prepare_cached("SELECT seq, kind, stream, at, id, slot FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
            let (after, most) = (query.after.min(i64::MAX as u64) as i64, MAX_LOOKED_AT as i64);
            let (mut rows, mut events) = (rows.query((after, most))?, events.query((after, most))?);
            let (mut row, mut event) = (rows.next()?, events.next()?);
            let (mut looked_at, mut bytes) = (0, 0);
            // Both are in order of seq; the lower one is next.
            while page.entries.len() < query.limit && looked_at < MAX_LOOKED_AT && bytes < PAGE_BYTES {
                let seq_of = |r: Option<&rusqlite::Row<'_>>| r.map(|r| r.get::<_, i64>(0)).transpose();
                let (r, e) = (seq_of(row)?, seq_of(event)?);
                let next = match (r, e) {
                    (None, None) => break,
                    (Some(r), Some(e)) => r.min(e),
                    (Some(n), None) | (None, Some(n)) => n,
                };
                looked_at += 1;
                page.next = next as Seq;
                if r == Some(next) {
                    if let Some(found) = row {
                        let id: i64 = found.get(6)?;
                        if let Some(named) = stream(id)?
                            && let Some(kind) = named.kind
                        {
                            let put = Row::read(found)?;
                            bytes += put.body.len();
                            let stored = put.stored(id, kind, &named.device)?;
                            let event = FeedEvent::Put(Box::new(stored));
                            page.entries.push(FeedEntry { seq: next as Seq, scope: named.scope.clone(), event });
                        }
                    }
                    row = rows.next()?;
                } else {
                    if let Some(found) = event
                        && let Some(named) = stream(found.get(2)?)?
                    {
                        page.entries.push(FeedEntry { seq: next as Seq, scope: named.scope.clone(), event: superseded(found)? });
                    }
                    event = events.next()?;
                }
            }
            Ok(page)
        })
        .await
    }

    async fn head(&self) -> Result<Seq> {
        match &self.writer {
            Some(hand) if !*self.closed.borrow() => Ok(*hand.head.borrow()),
            _ => self.read_any("sqlite.feed", |c| Ok(head(c)?)).await,
        }
    }

    async fn wait(&self, after: Seq) -> Result<()> {
        let mut shut = self.closed.subscribe();
        let Some(hand) = &self.writer else {
            // Another process writes: its commits show in the file alone.
            while self.head().await? <= after {
                tokio::select! {
                    _ = shut.wait_for(|c| *c) => return Err(closed()),
                    () = self.clock.sleep(FOLLOW) => {}
                }
            }
            return Ok(());
        };
        let mut head = hand.head.clone();
        tokio::select! {
            _ = shut.wait_for(|c| *c) => Err(closed()),
            moved = head.wait_for(|h| *h > after) => moved.map(|_| ()).map_err(|_| closed()),
        }
    }
}

fn superseded(r: &rusqlite::Row<'_>) -> std::result::Result<FeedEvent, Failure> {
    match r.get::<_, i64>(1)? {
        1 => Ok(FeedEvent::Superseded {
            old: ReadingKey {
                stream: StreamId(r.get(2)?),
                recorded_at: Timestamp::from_nanos(r.get(3)?),
                id: ReadingId::from_bytes(r.get(4)?),
            },
            slot: r.get(5)?,
        }),
        n => Err(damaged(format_args!("a feed event of kind {n}")).into()),
    }
}
