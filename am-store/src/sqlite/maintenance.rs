//! Numbers and upkeep.

use am_core::{Code, Ctx, Result};
use async_trait::async_trait;
use rusqlite::Connection;
use std::collections::BTreeMap;

use super::feed::head;
use super::queue::{How, Size};
use super::streams::scope_id;
use super::{Sqlite, rollup};
use crate::traits::{Counts, KindCount, Maintenance, Stats};

fn counts_of(r: &rusqlite::Row<'_>) -> rusqlite::Result<Counts> {
    let n = |i| r.get::<_, i64>(i).map(|n| n as u64);
    Ok(Counts { received: n(0)?, stored: n(1)?, duplicate: n(2)?, discarded: n(3)?, dead_lettered: n(4)? })
}

/// What was summed up, and the batches since.
fn counts(conn: &Connection, scope: i64) -> rusqlite::Result<Counts> {
    conn.prepare_cached(
        "SELECT coalesce(sum(received), 0), coalesce(sum(stored), 0), coalesce(sum(duplicate), 0), coalesce(sum(discarded), 0),
           coalesce(sum(dead_lettered), 0)
         FROM (SELECT received, stored, duplicate, discarded, dead_lettered FROM balance WHERE scope = ?1
               UNION ALL
               SELECT received, stored, duplicate, discarded, dead_lettered FROM ingest
               WHERE batch > (SELECT upto FROM projection WHERE name = 'balance') AND scope = ?1)",
    )?
    .query_row([scope], counts_of)
}

fn by_kind(conn: &Connection, scope: i64) -> rusqlite::Result<BTreeMap<String, u64>> {
    let mut out: BTreeMap<String, u64> = BTreeMap::new();
    let mut q = conn.prepare_cached(
        "SELECT topic, sum(readings) FROM stream WHERE scope = ?1 GROUP BY topic
         UNION ALL
         SELECT topic, count(*) FROM reading NOT INDEXED CROSS JOIN stream ON stream.id = reading.stream
         WHERE seq > (SELECT upto FROM projection WHERE name = 'rollup') AND scope = ?1 GROUP BY topic",
    )?;
    let mut rows = q.query([scope])?;
    while let Some(r) = rows.next()? {
        *out.entry(r.get(0)?).or_default() += r.get::<_, i64>(1)? as u64;
    }
    // A stream may be known only as the input of a lineage.
    out.retain(|_, n| *n > 0);
    Ok(out)
}

#[async_trait]
impl Maintenance for Sqlite {
    async fn counts(&self, ctx: &Ctx) -> Result<Counts> {
        let scope = ctx.scope().clone();
        self.read(ctx, "sqlite.counts", move |c| {
            let tx = c.unchecked_transaction()?;
            match scope_id(&tx, &scope)? {
                Some(id) => Ok(counts(&tx, id)?),
                None => Ok(Counts::default()),
            }
        })
        .await
    }

    async fn by_kind(&self, ctx: &Ctx) -> Result<Vec<KindCount>> {
        let scope = ctx.scope().clone();
        self.read(ctx, "sqlite.counts", move |c| {
            let tx = c.unchecked_transaction()?;
            let Some(id) = scope_id(&tx, &scope)? else { return Ok(Vec::new()) };
            Ok(by_kind(&tx, id)?.into_iter().map(|(topic, readings)| KindCount { topic, readings }).collect())
        })
        .await
    }

    async fn stats(&self) -> Result<Stats> {
        let path = self.path.clone();
        self.read_any("sqlite.stats", move |c| {
            let tx = c.unchecked_transaction()?;
            let rolled_up_to = rollup::watermark(&tx)?;
            let pages = |name: &str| tx.pragma_query_value(None, name, |r| r.get::<_, i64>(0));
            let file = (pages("page_count")? * pages("page_size")?) as u64;
            let mut log = path.into_os_string();
            log.push("-wal");
            let log = std::fs::metadata(&log).map_or(0, |m| m.len());
            Ok(Stats { head: head(&tx)?, rolled_up_to, bytes_on_disk: file + log })
        })
        .await
    }

    async fn tidy(&self) -> Result<()> {
        self.write_alone(How::Alone, Size::default(), |s| {
            while s.roll_up()? {}
            let now = s.clock.now().as_nanos();
            s.conn.execute("DELETE FROM key_value WHERE expires_at IS NOT NULL AND expires_at <= ?1", [now])?;
            s.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            Ok(())
        })
        .await
    }

    async fn ready(&self) -> Result<()> {
        self.read_any("sqlite.ready", |c| Ok(head(c)?)).await?;
        if self.writer.is_none() {
            return Ok(());
        }
        // A write that reaches the disk: a full or read-only one shows here, not at the next reading.
        self.write_alone(How::Grouped, Size::default(), |s| {
            let now = s.clock.now().as_nanos();
            s.conn.prepare_cached("INSERT OR REPLACE INTO meta VALUES ('ready_at', ?1)")?.execute([now])?;
            Ok(())
        })
        .await
    }

    async fn close(&self) -> Result<()> {
        if *self.closed.borrow() {
            return Ok(());
        }
        let last = match &self.writer {
            // Taken in before the store counts as closed, so that what came earlier is still done.
            Some(_) => {
                self.pool.close().await;
                Some(self.write_alone(How::Last, Size::default(), |s| {
                    while s.roll_up()? {}
                    s.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
                    Ok(())
                }))
            }
            None => None,
        };
        let done = match last {
            Some(l) => l.await,
            None => {
                self.pool.close().await;
                Ok(())
            }
        };
        self.closed.send_replace(true);
        match done {
            // Someone else closed it meanwhile.
            Err(e) if e.code() == Code::CLOSED => Ok(()),
            done => done,
        }
    }
}
