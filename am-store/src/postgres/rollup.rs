//! Rollups: they follow the feed with a watermark of their own. One process at a time works on them, whichever comes first; when it
//! ends, the next one does.

use std::sync::Arc;
use std::time::Duration;

use am_core::Timestamp;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{Postgres, Row, Transaction};

use super::Db;
use super::errors::Failure;
use super::{pool, rollup_plan, rollup_step};
use crate::model::{Aggregate, BucketWidth, Seq};

/// The columns of a rollup that [`read`] expects.
pub(super) const COLUMNS: &str = "stream, bucket, count, sum, min, max, m2, first_at, first, last_at, last";

/// Bucket and numbers of a row: stream, bucket, aggregate.
pub(super) fn read(r: &PgRow, width: BucketWidth) -> Result<(i32, i64, Aggregate), Failure> {
    let bucket: i64 = r.try_get_unchecked(1)?;
    let start = bucket.saturating_mul(width.nanos());
    let time = |i: usize| r.try_get_unchecked::<i64, _>(i).map(|n| Timestamp::from_nanos(start.saturating_add(n)));
    let aggregate = Aggregate {
        count: r.try_get_unchecked::<i64, _>(2)? as u64,
        sum: r.try_get_unchecked(3)?,
        min: r.try_get_unchecked(4)?,
        max: r.try_get_unchecked(5)?,
        m2: r.try_get_unchecked(6)?,
        first: (time(7)?, r.try_get_unchecked(8)?),
        last: (time(9)?, r.try_get_unchecked(10)?),
    };
    Ok((r.try_get_unchecked(0)?, bucket, aggregate))
}

/// Rollups hold everything up to this place of the feed.
pub(super) async fn watermark(conn: &mut sqlx::PgConnection) -> Result<Seq, Failure> {
    let upto: i64 = sqlx::query_scalar("SELECT upto FROM projection WHERE name = 'rollup'").fetch_one(conn).await?;
    Ok(upto as Seq)
}

/// What follows the feed with rollups.
pub(super) struct Rollups {
    db: Arc<Db>,
    pool: PgPool,
}

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// There is more.
    More,
    /// Rollups are at the head.
    Done,
    /// Another process works on them.
    Elsewhere,
}

impl Rollups {
    pub(super) fn new(db: Arc<Db>, pool: PgPool) -> Self {
        Rollups { db, pool }
    }

    /// Follows until the store is closed.
    pub(super) async fn follow(self) {
        let mut bell = self.db.bell.listen();
        // What was left by a process that ended.
        bell.mark_changed();
        let mut aligned = false;
        let mut quiet = Duration::ZERO;
        loop {
            self.db.watch.sleep(self.db.follow).await;
            // Without a word, the feed is looked at now and then: words of other processes may be lost.
            let rung = bell.has_changed().unwrap_or(false);
            quiet += self.db.follow;
            if !rung && quiet < Duration::from_secs(5) {
                continue;
            }
            bell.mark_unchanged();
            quiet = Duration::ZERO;
            if let Err(e) = self.catch_up(&mut aligned).await {
                tracing::warn!(place = self.db.place, "rollups wait: {}", e.explain("postgres.rollup", &self.db.place));
            }
        }
    }

    async fn catch_up(&self, aligned: &mut bool) -> Result<(), Failure> {
        if !*aligned {
            if !self.align().await? {
                return Ok(());
            }
            *aligned = true;
        }
        while self.step(false).await? == Step::More {}
        Ok(())
    }

    /// Brings rollups to the head, waiting for whoever works on them.
    pub(super) async fn finish(&self) -> Result<(), Failure> {
        let mut tx = self.begin(true).await?;
        if let Some(tx) = &mut tx {
            rollup_plan::align(tx, &self.db.catalogue).await?;
        }
        if let Some(tx) = tx {
            tx.commit().await?;
        }
        while self.step(true).await? == Step::More {}
        Ok(())
    }

    /// Makes rollups again that a newer catalogue counts differently; false when another process works on them.
    async fn align(&self) -> Result<bool, Failure> {
        let Some(mut tx) = self.begin(false).await? else { return Ok(false) };
        rollup_plan::align(&mut tx, &self.db.catalogue).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// A transaction of the one that works on rollups.
    async fn begin(&self, wait: bool) -> Result<Option<Transaction<'static, Postgres>>, Failure> {
        let mut tx = pool::begin(&self.pool).await?;
        if wait {
            sqlx::query("SELECT pg_advisory_xact_lock(('rollup'::regclass::oid::bigint % 2147483647)::int, 0)").execute(&mut *tx).await?;
            return Ok(Some(tx));
        }
        let mine: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(('rollup'::regclass::oid::bigint % 2147483647)::int, 0)")
            .fetch_one(&mut *tx)
            .await?;
        Ok(mine.then_some(tx))
    }

    async fn step(&self, wait: bool) -> Result<Step, Failure> {
        let Some(mut tx) = self.begin(wait).await? else { return Ok(Step::Elsewhere) };
        let from = watermark(&mut tx).await?;
        let head: i64 = sqlx::query_scalar("SELECT head()").fetch_one(&mut *tx).await?;
        if head as Seq <= from {
            return Ok(Step::Done);
        }
        let upto = rollup_step::step(&mut tx, &self.db, from as i64, head).await?;
        tx.commit().await?;
        Ok(if upto < head { Step::More } else { Step::Done })
    }
}
