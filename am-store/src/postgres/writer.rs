//! Tasks that take in what waits: each in one transaction, and only then answered.

use std::sync::Arc;

use am_core::Timestamp;
use sqlx::postgres::PgPool;

use super::Db;
use super::errors::Failure;
use super::ingest::{self, Batch};
use super::insert::Means;
use super::pool;
use super::queue::{Entry, Queue};
use super::rows::Way;
use crate::model::IngestOutcome;

/// How often a transaction is tried that others stood in the way of.
const TRIES: u32 = 8;
/// After a key that was there already, so many transactions expect more of them.
const WARY: u32 = 16;

/// One of the tasks that write.
pub(super) struct Writer {
    pub db: Arc<Db>,
    pub queue: Arc<Queue>,
    /// Connections of the writers alone, so that questions cannot keep them from writing.
    pub pool: PgPool,
    pub group_max_readings: usize,
    pub copy_from_readings: usize,
    /// `COPY` straight into the readings is possible: no row-level security holds here.
    pub straight: bool,
    /// Transactions to come that expect keys which are there already.
    pub wary: u32,
}

impl Writer {
    pub(super) async fn run(mut self) {
        while let Some(work) = self.queue.next(self.group_max_readings).await {
            self.group(work).await;
        }
    }

    async fn group(&mut self, work: Vec<Entry>) {
        let batches: Vec<&Batch> = work.iter().map(|e| &e.batch).collect();
        match self.transaction(&batches).await {
            Ok(outcomes) => {
                for (e, outcome) in work.into_iter().zip(outcomes) {
                    // A caller that went away does not change what is stored.
                    let _ = e.reply.send(Ok(outcome));
                }
            }
            Err(f) if work.len() > 1 && f.is_of_the_work() => {
                // One of them fails for its own reasons: alone, it fails alone.
                for e in work {
                    let done = self.transaction(&[&e.batch]).await;
                    let answer = done.map_err(|f| f.explain("postgres.put", &self.db.place));
                    let _ = e.reply.send(answer.and_then(|o| o.into_iter().next().ok_or_else(super::errors::closed)));
                }
            }
            Err(f) => {
                for e in work {
                    let _ = e.reply.send(Err(f.again("postgres.put", &self.db.place)));
                }
            }
        }
    }

    fn way(&self, readings: usize) -> Way {
        match () {
            () if readings < self.copy_from_readings => Way::Arrays,
            () if self.straight && self.wary == 0 => Way::Copy,
            () => Way::Staged,
        }
    }

    async fn transaction(&mut self, batches: &[&Batch]) -> Result<Vec<IngestOutcome>, Failure> {
        let readings = batches.iter().map(|b| b.ingest.readings.len()).sum();
        let mut way = self.way(readings);
        let mut tries = 0;
        loop {
            tries += 1;
            let now = self.db.clock.now();
            match self.attempt(batches, way, now).await {
                Ok(outcomes) => {
                    self.wary = self.wary.saturating_sub(1);
                    self.db.bell.ring();
                    return Ok(outcomes);
                }
                Err(f) if way == Way::Copy && f.is_taken() => {
                    self.wary = WARY;
                    way = Way::Staged;
                }
                Err(f) if (f.is_of_the_moment() || f.is_lost()) && tries < TRIES => {}
                Err(f) => return Err(f),
            }
        }
    }

    async fn attempt(&self, batches: &[&Batch], way: Way, now: Timestamp) -> Result<Vec<IngestOutcome>, Failure> {
        let db = &self.db;
        let known = ingest::know(&self.pool, &db.names, &db.catalogue, batches).await?;
        let means = Means { names: &db.names, catalogue: &db.catalogue, way };
        let mut tx = pool::begin(&self.pool).await?;
        let (outcomes, done) = ingest::put(&mut tx, &means, now, batches, &known).await?;
        pool::commit(tx, "postgres.put", &db.place).await?;
        for (name, span, input_span) in &done.widened {
            db.names.widen(name, *span, *input_span);
        }
        Ok(outcomes)
    }
}
