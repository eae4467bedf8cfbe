//! Flows: durable cursors, state, and the one commit.

use am_core::{Code, Error, Result};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::Sqlite;
use super::dead_letters;
use super::errors::Failure;
use super::insert::{Inserted, Inserter};
use super::queue::{How, Size};
use super::writer::Session;
use crate::conflict::conflict;
use crate::limits::bad;
use crate::model::{FlowCommit, FlowCommitted, PutOutcome, Seq};
use crate::text::Words;
use crate::traits::{FlowInfo, FlowState, Flows};

/// Where a flow stands, or `None` when it never began.
fn read(conn: &Connection, flow: &str) -> rusqlite::Result<Option<FlowState>> {
    let row = conn
        .prepare_cached("SELECT cursor, epoch, version FROM flow WHERE name = ?1")?
        .query_row([flow], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?, r.get(2)?)))
        .optional()?;
    let Some((cursor, epoch, version)) = row else { return Ok(None) };
    let mut q = conn.prepare_cached("SELECT key, value FROM flow_state WHERE flow = ?1 ORDER BY key")?;
    let state = q.query_map([flow], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    Ok(Some(FlowState { cursor: cursor as Seq, epoch: epoch as u64, version, state }))
}

fn within_feed(head: Seq, cursor: Seq) -> Result<()> {
    match cursor <= head {
        true => Ok(()),
        false => Err(bad(format!("the cursor {cursor} is beyond the head of the feed, {head}"))),
    }
}

fn commit(s: &mut Session, c: &FlowCommit, words: &Words) -> Result<FlowCommitted, Failure> {
    // All refusals come before the first write.
    let epoch = s
        .conn
        .prepare_cached("SELECT epoch FROM flow WHERE name = ?1")?
        .query_row([&c.flow], |r| r.get::<_, i64>(0))
        .optional()?
        .unwrap_or(0) as u64;
    if epoch != c.epoch {
        let text = format!("{} is at epoch {epoch}, the commit was made for {}", c.flow, c.epoch);
        return Err(Error::new(Code::STALE_COMMIT, text).op("store.commit").into());
    }
    within_feed(s.head, c.cursor)?;
    if let Some(r) = c.derived.iter().map(|d| &d.reading).find(|r| r.lineage().is_none()) {
        return Err(Error::new(Code::MISSING_LINEAGE, format!("{} {} has no lineage", r.kind(), r.id())).op("store.commit").into());
    }
    let mut out = FlowCommitted { epoch: epoch + 1, derived: Vec::with_capacity(c.derived.len()), superseded: Vec::new() };
    let mut letters = Vec::new();
    let now = s.clock.now();
    let mut scopes = Vec::with_capacity(c.derived.len());
    for d in &c.derived {
        scopes.push(s.ids.scope(&s.conn, &d.scope)?);
    }
    let mut inserter = Inserter::new(s)?;
    for (n, (d, id)) in c.derived.iter().zip(scopes).enumerate() {
        out.derived.push(match inserter.insert(id, &d.reading, words.at(n), d.origin, 0)? {
            Inserted::Stored(seq, old) => {
                out.superseded.extend(old);
                PutOutcome::Stored(seq)
            }
            Inserted::Duplicate => PutOutcome::Duplicate,
            Inserted::Conflict => {
                let letter = conflict(now, &d.scope, &c.flow, &d.reading);
                let id = letter.id.clone();
                letters.push(letter);
                PutOutcome::Conflict(id)
            }
        });
    }
    inserter.finish()?;
    for letter in letters.iter().chain(&c.dead_letters) {
        let scope = s.ids.scope(&s.conn, &letter.scope)?;
        dead_letters::insert(&s.conn, scope, letter)?;
    }
    for change in &c.state {
        match &change.value {
            Some(v) => s
                .conn
                .prepare_cached(
                    "INSERT INTO flow_state (flow, key, value) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = excluded.value",
                )?
                .execute((&c.flow, &change.key, v))?,
            None => s.conn.prepare_cached("DELETE FROM flow_state WHERE flow = ?1 AND key = ?2")?.execute((&c.flow, &change.key))?,
        };
    }
    s.conn
        .prepare_cached(
            "INSERT INTO flow (name, cursor, epoch, version) VALUES (?1, ?2, ?3, '')
             ON CONFLICT DO UPDATE SET cursor = excluded.cursor, epoch = excluded.epoch",
        )?
        .execute((&c.flow, c.cursor as i64, out.epoch as i64))?;
    Ok(out)
}

fn size(c: &FlowCommit) -> Size {
    let derived: usize = c.derived.iter().map(|d| d.reading.body().len() + 256).sum();
    let state: usize = c.state.iter().map(|s| s.key.len() + s.value.as_ref().map_or(0, Vec::len)).sum();
    let letters: usize = c.dead_letters.iter().map(|l| l.wire.len() + 256).sum();
    Size { readings: c.derived.len(), bytes: derived + state + letters }
}

#[async_trait]
impl Flows for Sqlite {
    async fn load(&self, flow: &str) -> Result<FlowState> {
        let name = flow.to_owned();
        let found = self.read_any("sqlite.flows", move |c| Ok(read(&*c.unchecked_transaction()?, &name)?)).await?;
        if let Some(state) = found {
            return Ok(state);
        }
        let name = flow.to_owned();
        self.write_alone(How::Grouped, Size::default(), move |s| {
            s.conn.execute("INSERT INTO flow (name, cursor, epoch, version) VALUES (?1, 0, 0, '') ON CONFLICT DO NOTHING", [&name])?;
            Ok(read(&s.conn, &name)?.unwrap_or_default())
        })
        .await
    }

    async fn commit(&self, c: FlowCommit) -> Result<FlowCommitted> {
        let words = Words::of(c.derived.iter().map(|d| &d.reading));
        self.write_alone(How::Grouped, size(&c), move |s| commit(s, &c, &words)).await
    }

    async fn reset(&self, flow: &str, version: &str, cursor: Seq) -> Result<FlowState> {
        let (flow, version) = (flow.to_owned(), version.to_owned());
        self.write_alone(How::Grouped, Size::default(), move |s| {
            within_feed(s.head, cursor)?;
            s.conn.execute("DELETE FROM flow_state WHERE flow = ?1", [&flow])?;
            s.conn.execute(
                "INSERT INTO flow (name, cursor, epoch, version) VALUES (?1, ?2, 1, ?3)
                 ON CONFLICT DO UPDATE SET cursor = excluded.cursor, epoch = epoch + 1, version = excluded.version",
                (&flow, cursor as i64, &version),
            )?;
            Ok(read(&s.conn, &flow)?.unwrap_or_default())
        })
        .await
    }

    async fn list(&self) -> Result<Vec<FlowInfo>> {
        self.read_any("sqlite.flows", |c| {
            let mut q = c.prepare_cached("SELECT name, cursor, version FROM flow ORDER BY name")?;
            let rows = q.query_map([], |r| Ok(FlowInfo { flow: r.get(0)?, cursor: r.get::<_, i64>(1)? as Seq, version: r.get(2)? }))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }
}
