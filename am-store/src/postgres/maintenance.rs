//! Numbers and upkeep.

use std::collections::BTreeMap;

use am_core::{Ctx, Result};
use async_trait::async_trait;
use sqlx::{PgConnection, Row};

use super::Postgres;
use super::errors::Failure;
use super::feed::head;
use super::pool::scope_id;
use super::rollup::{self, Rollups};
use crate::traits::{Counts, KindCount, Maintenance, Stats};

async fn counts(conn: &mut PgConnection, scope: i32) -> std::result::Result<Counts, Failure> {
    let r = sqlx::query(
        "SELECT coalesce(sum(received), 0)::bigint, coalesce(sum(stored), 0)::bigint, coalesce(sum(duplicate), 0)::bigint,
           coalesce(sum(discarded), 0)::bigint, coalesce(sum(dead_lettered), 0)::bigint FROM tally WHERE scope = $1",
    )
    .bind(scope)
    .fetch_one(conn)
    .await?;
    let n = |i: usize| r.try_get::<i64, _>(i).map(|n| n as u64);
    Ok(Counts { received: n(0)?, stored: n(1)?, duplicate: n(2)?, discarded: n(3)?, dead_lettered: n(4)? })
}

/// What was counted with the rollups, and the readings since.
async fn by_kind(conn: &mut PgConnection, scope: i32) -> std::result::Result<Vec<KindCount>, Failure> {
    let rows = sqlx::query(
        "SELECT topic, sum(readings)::bigint FROM reading_count JOIN stream ON stream.id = reading_count.stream WHERE scope = $1 GROUP BY topic
         UNION ALL
         SELECT topic, count(*) FROM reading JOIN stream ON stream.id = reading.stream
         WHERE seq > (SELECT upto FROM projection WHERE name = 'rollup') AND scope = $1 GROUP BY topic",
    )
    .bind(scope)
    .fetch_all(conn)
    .await?;
    let mut out: BTreeMap<String, u64> = BTreeMap::new();
    for r in rows {
        *out.entry(r.try_get(0)?).or_default() += r.try_get::<i64, _>(1)? as u64;
    }
    // A stream may be known only as the input of a lineage.
    Ok(out.into_iter().filter(|(_, n)| *n > 0).map(|(topic, readings)| KindCount { topic, readings }).collect())
}

impl Postgres {
    async fn upkeep(&self) -> std::result::Result<(), Failure> {
        let db = &self.db;
        db.writable()?;
        Rollups::new(db.clone(), self.writing.clone()).finish().await?;
        let mut tx = db.change(None).await?;
        sqlx::query("DELETE FROM key_value WHERE expires_at IS NOT NULL AND expires_at <= $1")
            .bind(db.clock.now().as_nanos())
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }
}

#[async_trait]
impl Maintenance for Postgres {
    async fn counts(&self, ctx: &Ctx) -> Result<Counts> {
        let work = async {
            let mut tx = self.db.snapshot(ctx).await?;
            match scope_id(&mut tx, ctx.scope()).await? {
                Some(id) => counts(&mut tx, id).await,
                None => Ok(Counts::default()),
            }
        };
        self.db.run(Some(ctx), "postgres.counts", work).await
    }

    async fn by_kind(&self, ctx: &Ctx) -> Result<Vec<KindCount>> {
        let work = async {
            let mut tx = self.db.snapshot(ctx).await?;
            match scope_id(&mut tx, ctx.scope()).await? {
                Some(id) => by_kind(&mut tx, id).await,
                None => Ok(Vec::new()),
            }
        };
        self.db.run(Some(ctx), "postgres.counts", work).await
    }

    async fn stats(&self) -> Result<Stats> {
        let work = async {
            let head = head(&self.db).await?;
            let mut tx = self.db.pool.snapshot(None).await?;
            let rolled_up_to = rollup::watermark(&mut tx).await?;
            // The whole database: chunks of a hypertable lie in a schema of their own.
            let bytes: i64 = sqlx::query_scalar("SELECT pg_database_size(current_database())").fetch_one(&mut *tx).await?;
            Ok(Stats { head, rolled_up_to, bytes_on_disk: bytes as u64 })
        };
        self.db.run(None, "postgres.stats", work).await
    }

    async fn tidy(&self) -> Result<()> {
        // As long as it takes: each of its steps is one statement within the server's patience.
        if *self.db.shut.borrow() {
            return Err(super::errors::closed());
        }
        self.upkeep().await.map_err(|f| f.explain("postgres.tidy", &self.db.place))
    }

    async fn ready(&self) -> Result<()> {
        let db = &self.db;
        let work = async {
            head(db).await?;
            if db.read_only {
                return Ok(());
            }
            // A write that reaches the disk: a full or read-only one shows here, not at the next reading.
            let mut tx = db.change(None).await?;
            sqlx::query("INSERT INTO meta VALUES ('ready_at', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value")
                .bind(db.clock.now().to_string())
                .execute(&mut *tx)
                .await?;
            Ok(tx.commit().await?)
        };
        db.run(None, "postgres.ready", work).await
    }

    async fn close(&self) -> Result<()> {
        if *self.db.shut.borrow() {
            return Ok(());
        }
        self.queue.close();
        // What waits is still written, and answered.
        let writers: Vec<_> = self.writers.lock().drain(..).collect();
        for w in writers {
            if let Err(e) = w.await {
                tracing::warn!(place = self.db.place, "a writer ended by a fault: {e}");
            }
        }
        let followers: Vec<_> = self.followers.lock().drain(..).collect();
        for f in followers {
            f.abort();
            let _ = f.await;
        }
        self.db.shut.send_replace(true);
        self.writing.close().await;
        self.db.pool.close().await;
        Ok(())
    }
}
