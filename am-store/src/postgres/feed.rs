//! The change feed: readings and events by number, up to where everything is decided.

use am_core::{Result, Scope};
use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::codec::{COLUMNS, Row};
use super::errors::{Failure, closed, damaged, lost};
use super::streams::named;
use super::types::{At, Id, Micros};
use super::{Db, Postgres};
use crate::limits;
use crate::model::{FeedEntry, FeedEvent, FeedPage, FeedQuery, ReadingKey, Seq, StreamId};
use crate::traits::Feed;

/// The most numbers that one read looks at, so that a rare kind does not make a long transaction.
const MAX_LOOKED_AT: i64 = 65_536;
/// Transactions whose readings are asked for together.
const TRANSACTIONS: i64 = 512;
/// A page ends early beyond so many bytes of bodies.
const PAGE_BYTES: usize = 32 << 20;
/// A run ends behind the row that brings its bodies to so many bytes.
const RUN_BYTES: usize = 8 << 20;
/// Rows are fetched in runs of at most so many.
const MAX_RUN: i64 = 1_024;

/// The newest place that can be read, and every place up to it with it: nothing comes between any more.
pub(super) async fn head(db: &Db) -> std::result::Result<Seq, Failure> {
    // Outside of any transaction: it needs to see what was committed a moment ago.
    let mut left = db.pool.plain().options().get_max_connections();
    loop {
        match sqlx::query_scalar::<_, i64>("SELECT head()").fetch_one(db.pool.plain()).await {
            Err(e) if left > 0 && lost(&e) => left -= 1,
            done => return Ok(done? as Seq),
        }
    }
}

/// Which streams a reader asks for: `None` for all of them.
async fn wanted(conn: &mut PgConnection, scope: Option<&Scope>, q: &FeedQuery) -> std::result::Result<Option<Vec<i32>>, Failure> {
    if scope.is_none() && q.kinds.is_empty() {
        return Ok(None);
    }
    let topics: Option<Vec<&str>> = (!q.kinds.is_empty()).then(|| q.kinds.iter().map(|k| k.topic()).collect());
    let ids = sqlx::query_scalar(
        "SELECT stream.id FROM stream JOIN scope ON scope.id = stream.scope
         WHERE ($1::text IS NULL OR tenant_id = $1 AND user_id = $2) AND ($3::text[] IS NULL OR topic = ANY ($3))",
    )
    .bind(scope.map(|s| s.tenant().as_str().to_owned()))
    .bind(scope.map(|s| s.user().as_str().to_owned()))
    .bind(topics)
    .fetch_all(conn)
    .await?;
    Ok(Some(ids))
}

/// The transactions behind a place: the last place they reach, and the times of their readings.
pub(super) struct Stretch {
    pub upto: i64,
    pub min: Micros,
    pub max: Micros,
}

pub(super) async fn stretch(conn: &mut PgConnection, after: i64, head: i64) -> std::result::Result<Option<Stretch>, Failure> {
    // Transactions never share a stretch of numbers, so at most one that begins before the place reaches beyond it.
    let rows = sqlx::query(
        "SELECT hi, min_at, max_at FROM feed
         WHERE lo >= coalesce((SELECT max(lo) FROM feed WHERE lo <= $1), 0) AND lo <= $2 AND hi > $1 ORDER BY lo LIMIT $3",
    )
    .bind(after)
    .bind(head)
    .bind(TRANSACTIONS)
    .fetch_all(conn)
    .await?;
    let mut out: Option<Stretch> = None;
    for r in rows {
        let (hi, min, max): (i64, Micros, Micros) = (r.try_get(0)?, r.try_get_unchecked(1)?, r.try_get_unchecked(2)?);
        out = Some(match out {
            None => Stretch { upto: hi, min, max },
            Some(s) if s.upto.saturating_sub(after) >= MAX_LOOKED_AT => return Ok(Some(s)),
            Some(s) => Stretch { upto: hi, min: s.min.min(min), max: s.max.max(max) },
        });
    }
    Ok(out)
}

/// The times of all readings behind a place, as far as the transaction sees them; `None` when there are none.
pub(super) async fn beyond(conn: &mut PgConnection, after: i64) -> std::result::Result<Option<(Micros, Micros)>, Failure> {
    let r = sqlx::query(
        "SELECT min(min_at), max(max_at) FROM feed WHERE lo >= coalesce((SELECT max(lo) FROM feed WHERE lo <= $1), 0) AND hi > $1",
    )
    .bind(after)
    .fetch_one(conn)
    .await?;
    let (min, max): (Option<Micros>, Option<Micros>) = (r.try_get_unchecked(0)?, r.try_get_unchecked(1)?);
    Ok(min.zip(max))
}

/// One thing on the feed as the tables have it.
enum Found {
    Put(Row),
    Event(i32, FeedEvent),
}

async fn run_of(
    conn: &mut PgConnection,
    after: i64,
    s: &Stretch,
    streams: Option<&[i32]>,
    most: i64,
) -> std::result::Result<(Vec<(i64, Found)>, i64), Failure> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM (
           SELECT *, sum(octet_length(body)) OVER (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
           FROM (SELECT {COLUMNS} FROM reading WHERE seq > $1 AND seq <= $2 AND at BETWEEN $3 AND $4
             AND ($5::int[] IS NULL OR stream = ANY ($5)) ORDER BY seq LIMIT $6) AS run) AS r
         WHERE before IS NULL OR before < {RUN_BYTES} ORDER BY seq"
    )))
    .bind(after)
    .bind(s.upto)
    .bind(s.min)
    .bind(s.max)
    .bind(streams)
    .bind(most)
    .fetch_all(&mut *conn)
    .await?;
    let events = sqlx::query(
        "SELECT seq, kind, stream, at, ns, id, slot FROM event WHERE seq > $1 AND seq <= $2 AND ($3::int[] IS NULL OR stream = ANY ($3))
         ORDER BY seq LIMIT $4",
    )
    .bind(after)
    .bind(s.upto)
    .bind(streams)
    .bind(most)
    .fetch_all(conn)
    .await?;
    let mut found: Vec<(i64, Found)> = Vec::with_capacity(rows.len() + events.len());
    let mut bytes = 0;
    for r in &rows {
        let row = Row::read(r)?;
        // The format byte counts too.
        bytes += row.body.len() + 1;
        found.push((row.seq as i64, Found::Put(row)));
    }
    for r in &events {
        found.push((r.try_get(0)?, Found::Event(r.try_get(2)?, superseded(r)?)));
    }
    // Behind the last of what was cut short, nothing is known yet.
    let last = |list: &[PgRow], cut: bool| match list.last().filter(|_| cut) {
        Some(r) => r.try_get_unchecked::<i64, _>(0),
        None => Ok(s.upto),
    };
    let cut = (rows.len() as i64 == most || bytes >= RUN_BYTES, events.len() as i64 == most);
    let mut upto = last(&rows, cut.0)?.min(last(&events, cut.1)?);
    found.sort_by_key(|(seq, _)| *seq);
    found.retain(|(seq, _)| *seq <= upto);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if found.len() > most {
        found.truncate(most);
        upto = found.last().map_or(upto, |(seq, _)| *seq);
    }
    Ok((found, upto))
}

async fn page(db: &Db, scope: Option<&Scope>, q: &FeedQuery) -> std::result::Result<FeedPage, Failure> {
    let head = head(db).await?;
    let mut page = FeedPage { entries: Vec::new(), next: q.after, head };
    if q.after >= head {
        return Ok(page);
    }
    // A new view: what the head counts is committed, so it is in it.
    let mut tx = db.pool.snapshot(scope).await?;
    let streams = wanted(&mut tx, scope, q).await?;
    let begin = q.after.min(i64::MAX as u64) as i64;
    let (mut after, mut bytes) = (begin, 0);
    while page.entries.len() < q.limit && after - begin < MAX_LOOKED_AT && bytes < PAGE_BYTES {
        let Some(s) = stretch(&mut tx, after, head as i64).await? else { break };
        let room = i64::try_from(q.limit - page.entries.len()).unwrap_or(MAX_RUN);
        let (found, upto) = run_of(&mut tx, after, &s, streams.as_deref(), room.min(MAX_RUN)).await?;
        let streams_of = found.iter().map(|(_, f)| match f {
            Found::Put(row) => row.stream,
            Found::Event(stream, _) => *stream,
        });
        let names = named(&mut tx, &db.names, &db.catalogue, streams_of).await?;
        after = upto;
        for (seq, f) in found {
            if bytes >= PAGE_BYTES {
                // The rest of this run comes with the next read.
                after = page.next as i64;
                break;
            }
            page.next = seq as Seq;
            let of = |stream| names.get(&stream).ok_or_else(|| damaged(format_args!("stream {stream}")));
            let (scope, event) = match f {
                Found::Event(stream, event) => (of(stream)?.scope.clone(), event),
                Found::Put(row) => {
                    let named = of(row.stream)?;
                    let Some(kind) = named.kind else { continue };
                    bytes += row.body.len();
                    (named.scope.clone(), FeedEvent::Put(Box::new(row.stored(kind, &named.device)?)))
                }
            };
            page.entries.push(FeedEntry { seq: seq as Seq, scope, event });
        }
        page.next = after as Seq;
    }
    Ok(page)
}

fn superseded(r: &PgRow) -> std::result::Result<FeedEvent, Failure> {
    match r.try_get::<i16, _>(1)? {
        1 => {
            let slot: &[u8] = r.try_get(6)?;
            let at = At { micros: r.try_get_unchecked::<Micros, _>(3)?, nanos: r.try_get(4)? };
            Ok(FeedEvent::Superseded {
                old: ReadingKey {
                    stream: StreamId(r.try_get::<i32, _>(2)? as u32),
                    recorded_at: at.time(),
                    id: r.try_get_unchecked::<Id, _>(5)?.reading(),
                },
                slot: slot.try_into().map_err(|_| damaged("a slot"))?,
            })
        }
        n => Err(damaged(format_args!("a feed event of kind {n}")).into()),
    }
}

#[async_trait]
impl Feed for Postgres {
    async fn read(&self, scope: Option<&Scope>, query: &FeedQuery) -> Result<FeedPage> {
        limits::feed(query)?;
        self.db.run(None, "postgres.feed", page(&self.db, scope, query)).await
    }

    async fn head(&self) -> Result<Seq> {
        self.db.run(None, "postgres.feed", head(&self.db)).await
    }

    async fn wait(&self, after: Seq) -> Result<()> {
        let db = &self.db;
        let mut shut = db.shut.subscribe();
        let mut bell = db.bell.listen();
        loop {
            // Seen before the look, so that a ring in between is not missed.
            bell.mark_unchanged();
            if self.head().await? > after {
                return Ok(());
            }
            tokio::select! {
                _ = shut.wait_for(|s| *s) => return Err(closed()),
                _ = bell.changed() => {}
                // Another process's word may be lost, and a transaction that only held the feed back says nothing when it ends.
                () = db.watch.sleep(db.follow) => {}
            }
        }
    }
}
