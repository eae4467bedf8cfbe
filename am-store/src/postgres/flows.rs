//! Flows: durable cursors, state, and the one commit.

use std::collections::HashMap;

use am_core::{Code, Error, Result, Scope};
use async_trait::async_trait;
use sqlx::{PgConnection, Row};

use super::errors::Failure;
use super::feed::head;
use super::insert::{self, Fate, Item, Means};
use super::rows::Way;
use super::types::{escaped, plain};
use super::{Db, Postgres, dead_letters, ingest, pool};
use crate::conflict::conflict;
use crate::limits::bad;
use crate::model::{FlowCommit, FlowCommitted, PutOutcome, Seq};
use crate::text::Words;
use crate::traits::{FlowInfo, FlowState, Flows};

/// How often a commit is tried that others stood in the way of.
const TRIES: u32 = 8;

/// Where a flow stands, or `None` when it never began.
async fn read(conn: &mut PgConnection, flow: &str) -> std::result::Result<Option<FlowState>, Failure> {
    let flow = escaped(flow);
    let found = sqlx::query("SELECT cursor, epoch, version FROM flow WHERE name = $1").bind(&*flow).fetch_optional(&mut *conn).await?;
    let Some(r) = found else { return Ok(None) };
    let rows = sqlx::query("SELECT key, value FROM flow_state WHERE flow = $1 ORDER BY key").bind(&*flow).fetch_all(conn).await?;
    let mut state = Vec::with_capacity(rows.len());
    for s in rows {
        state.push((plain(s.try_get(0)?), s.try_get(1)?));
    }
    // By the texts themselves, which escapes could have moved.
    state.sort();
    Ok(Some(FlowState {
        cursor: r.try_get::<i64, _>(0)? as Seq,
        epoch: r.try_get::<i64, _>(1)? as u64,
        version: plain(r.try_get(2)?),
        state,
    }))
}

async fn within_feed(db: &Db, cursor: Seq) -> std::result::Result<(), Failure> {
    let head = head(db).await?;
    match cursor <= head {
        true => Ok(()),
        false => Err(bad(format!("the cursor {cursor} is beyond the head of the feed, {head}")).into()),
    }
}

/// Locks the flow's row, which is made when it is new, and gives its epoch.
async fn lock(conn: &mut PgConnection, flow: &str) -> std::result::Result<u64, Failure> {
    let name = escaped(flow);
    sqlx::query("INSERT INTO flow (name, cursor, epoch, version) VALUES ($1, 0, 0, '') ON CONFLICT DO NOTHING")
        .bind(&*name)
        .execute(&mut *conn)
        .await?;
    let epoch: i64 = sqlx::query_scalar("SELECT epoch FROM flow WHERE name = $1 FOR UPDATE").bind(&*name).fetch_one(conn).await?;
    Ok(epoch as u64)
}

async fn commit(db: &Db, c: &FlowCommit, words: &Words) -> std::result::Result<FlowCommitted, Failure> {
    if let Some(r) = c.derived.iter().map(|d| &d.reading).find(|r| r.lineage().is_none()) {
        // The epoch is told first, as everywhere: who is stale learns that before anything else.
        current(&mut *db.change(None).await?, c).await?;
        return Err(Error::new(Code::MISSING_LINEAGE, format!("{} {} has no lineage", r.kind(), r.id())).op("store.commit").into());
    }
    let mut scopes: HashMap<&Scope, i32> = HashMap::new();
    for s in c.derived.iter().map(|d| &d.scope).chain(c.dead_letters.iter().map(|l| &l.scope)) {
        if !scopes.contains_key(s) {
            db.writable()?;
            scopes.insert(s, db.names.scope(db.pool.plain(), s).await?);
        }
    }
    let scope_of = |s: &Scope| scopes.get(s).copied().ok_or(Failure::Raced);
    let readings = c.derived.iter().filter_map(|d| Some((*scopes.get(&d.scope)?, &d.reading)));
    let wanted = ingest::unknown(&db.names, &db.catalogue, readings);
    db.names.streams(db.pool.plain(), &wanted).await?;
    within_feed_or_stale(db, c).await?;
    let mut tx = db.change(None).await?;
    let epoch = current(&mut tx, c).await?;
    let mut items = Vec::with_capacity(c.derived.len());
    for (n, d) in c.derived.iter().enumerate() {
        let (scope, r) = (scope_of(&d.scope)?, &d.reading);
        let stream = db.names.stream(&(scope, r.kind(), r.device().clone())).ok_or(Failure::Raced)?;
        items.push(Item { scope, stream, reading: r, words: words.at(n), origin: d.origin, batch: None });
    }
    let means = Means { names: &db.names, catalogue: &db.catalogue, way: Way::Arrays };
    let done = insert::insert(&mut tx, &means, &items, 0).await?;
    let mut out = FlowCommitted { epoch: epoch + 1, derived: Vec::with_capacity(items.len()), superseded: Vec::new() };
    let mut letters = Vec::new();
    for (d, fate) in c.derived.iter().zip(&done.fates) {
        out.derived.push(match fate {
            Fate::Stored(seq, old) => {
                out.superseded.extend(*old);
                PutOutcome::Stored(*seq)
            }
            Fate::Duplicate => PutOutcome::Duplicate,
            Fate::Conflict => {
                let letter = conflict(db.clock.now(), &d.scope, &c.flow, &d.reading);
                let id = letter.id.clone();
                letters.push(letter);
                PutOutcome::Conflict(id)
            }
        });
    }
    let mut parked = Vec::new();
    for l in letters.iter().chain(&c.dead_letters) {
        parked.push((scope_of(&l.scope)?, l));
    }
    dead_letters::insert(&mut tx, parked.into_iter()).await?;
    write_state(&mut tx, c).await?;
    sqlx::query("UPDATE flow SET cursor = $2, epoch = $3 WHERE name = $1")
        .bind(&*escaped(&c.flow))
        .bind(c.cursor as i64)
        .bind(out.epoch as i64)
        .execute(&mut *tx)
        .await?;
    if done.extent.is_some() || !done.corpus.is_empty() {
        ingest::close_derived(&mut tx, &done).await?;
    }
    pool::commit(tx, "postgres.commit", &db.place).await?;
    for (name, span, input_span) in &done.widened {
        db.names.widen(name, *span, *input_span);
    }
    Ok(out)
}

/// The head is asked outside of the transaction; a commit that is stale is told so, wherever its cursor points.
async fn within_feed_or_stale(db: &Db, c: &FlowCommit) -> std::result::Result<(), Failure> {
    match within_feed(db, c.cursor).await {
        Err(beyond) => {
            current(&mut *db.change(None).await?, c).await?;
            Err(beyond)
        }
        done => done,
    }
}

async fn current(conn: &mut PgConnection, c: &FlowCommit) -> std::result::Result<u64, Failure> {
    let epoch = lock(conn, &c.flow).await?;
    if epoch != c.epoch {
        let text = format!("{} is at epoch {epoch}, the commit was made for {}", c.flow, c.epoch);
        return Err(Error::new(Code::STALE_COMMIT, text).op("store.commit").into());
    }
    Ok(epoch)
}

async fn write_state(conn: &mut PgConnection, c: &FlowCommit) -> std::result::Result<(), Failure> {
    if c.state.is_empty() {
        return Ok(());
    }
    // The last change of a key counts.
    let last: HashMap<&str, Option<&[u8]>> = c.state.iter().map(|s| (s.key.as_str(), s.value.as_deref())).collect();
    let mut last: Vec<(String, Option<&[u8]>)> = last.into_iter().map(|(k, v)| (escaped(k).into_owned(), v)).collect();
    last.sort();
    let flow = escaped(&c.flow);
    let gone: Vec<&str> = last.iter().filter(|(_, v)| v.is_none()).map(|(k, _)| k.as_str()).collect();
    if !gone.is_empty() {
        sqlx::query("DELETE FROM flow_state WHERE flow = $1 AND key = ANY ($2)").bind(&*flow).bind(gone).execute(&mut *conn).await?;
    }
    let (keys, values): (Vec<&str>, Vec<&[u8]>) = last.iter().filter_map(|(k, v)| Some((k.as_str(), (*v)?))).unzip();
    sqlx::query(
        "INSERT INTO flow_state (flow, key, value) SELECT $1, * FROM unnest($2::text[], $3::bytea[])
         ON CONFLICT (flow, key) DO UPDATE SET value = excluded.value",
    )
    .bind(&*flow)
    .bind(keys)
    .bind(values)
    .execute(conn)
    .await?;
    Ok(())
}

#[async_trait]
impl Flows for Postgres {
    async fn load(&self, flow: &str) -> Result<FlowState> {
        let db = &self.db;
        let work = async {
            if let Some(state) = read(&mut *db.pool.snapshot(None).await?, flow).await? {
                return Ok(state);
            }
            let mut tx = db.change(None).await?;
            lock(&mut tx, flow).await?;
            let state = read(&mut tx, flow).await?;
            tx.commit().await?;
            Ok(state.unwrap_or_default())
        };
        db.run(None, "postgres.flows", work).await
    }

    async fn commit(&self, c: FlowCommit) -> Result<FlowCommitted> {
        let words = Words::of(c.derived.iter().map(|d| &d.reading));
        let db = &self.db;
        let work = async {
            let mut tries = 0;
            loop {
                tries += 1;
                match commit(db, &c, &words).await {
                    Err(f) if (f.is_of_the_moment() || f.is_lost()) && tries < TRIES => {}
                    done => return done,
                }
            }
        };
        let done = db.run(None, "postgres.commit", work).await?;
        db.bell.ring();
        Ok(done)
    }

    async fn reset(&self, flow: &str, version: &str, cursor: Seq) -> Result<FlowState> {
        let db = &self.db;
        let work = async {
            within_feed(db, cursor).await?;
            let mut tx = db.change(None).await?;
            lock(&mut tx, flow).await?;
            let name = escaped(flow);
            sqlx::query("DELETE FROM flow_state WHERE flow = $1").bind(&*name).execute(&mut *tx).await?;
            sqlx::query("UPDATE flow SET cursor = $2, epoch = epoch + 1, version = $3 WHERE name = $1")
                .bind(&*name)
                .bind(cursor as i64)
                .bind(&*escaped(version))
                .execute(&mut *tx)
                .await?;
            let state = read(&mut tx, flow).await?;
            tx.commit().await?;
            Ok(state.unwrap_or_default())
        };
        db.run(None, "postgres.flows", work).await
    }

    async fn list(&self) -> Result<Vec<FlowInfo>> {
        let db = &self.db;
        let work = async {
            let mut tx = db.pool.snapshot(None).await?;
            let rows = sqlx::query("SELECT name, cursor, version FROM flow ORDER BY name").fetch_all(&mut *tx).await?;
            let mut out = Vec::with_capacity(rows.len());
            for r in rows {
                let cursor = r.try_get::<i64, _>(1)? as Seq;
                out.push(FlowInfo { flow: plain(r.try_get(0)?), cursor, version: plain(r.try_get(2)?) });
            }
            out.sort_by(|a, b| a.flow.cmp(&b.flow));
            Ok(out)
        };
        db.run(None, "postgres.flows", work).await
    }
}
