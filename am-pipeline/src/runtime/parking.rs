//! The dead-letter edge of a pipeline.

use std::sync::Arc;

use am_core::{Ctx, Error, Result};
use am_schema::Rejected;

use crate::outcome::Outcome;
use crate::{Attempts, DeadLetter, DeadLetters, Item, Jitter};

/// Puts items among the dead letters: durable first, settled after.
#[derive(Clone)]
pub(super) struct Parking {
    letters: Arc<dyn DeadLetters>,
    stage: Arc<str>,
    attempts: Attempts,
    jitter: Jitter,
}

impl Parking {
    pub(super) fn new(letters: Arc<dyn DeadLetters>, stage: &str) -> Parking {
        // A letter has nowhere else to go: it is tried as long as the pipeline runs, and the stalled node costs back-pressure.
        let attempts = Attempts { max: u32::MAX, ..Attempts::default() };
        Parking { letters, stage: Arc::from(stage), attempts, jitter: Jitter::named(stage) }
    }

    /// Returns once the items are durable and settled.
    ///
    /// # Errors
    /// When the letters can never be written; the items say Retry then.
    pub(super) async fn park(&mut self, ctx: &Ctx, items: Vec<(Item, Error)>) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let now = ctx.now();
        let letter =
            |(item, e): &(Item, Error)| DeadLetter::failed(ctx.scope().clone(), now, &self.stage, item.reading(), e, item.attempts());
        let letters = items.iter().map(letter).collect();
        self.keep(ctx, letters).await?;
        if let Some((_, e)) = items.first() {
            tracing::warn!(stage = %self.stage, items = items.len(), first = %e.code(), "items were parked");
        }
        for (item, e) in items {
            item.settle(Outcome::Parked(Arc::new(e)));
        }
        Ok(())
    }

    /// The same for what never became a reading.
    pub(super) async fn park_rejected(&mut self, ctx: &Ctx, rejected: Vec<Rejected>) -> Result<()> {
        let now = ctx.now();
        self.keep(ctx, rejected.into_iter().map(|r| DeadLetter::rejected(ctx.scope().clone(), now, r)).collect()).await
    }

    async fn keep(&mut self, ctx: &Ctx, letters: Vec<DeadLetter>) -> Result<()> {
        let mut attempt = 1;
        loop {
            match self.letters.park(ctx, letters.clone()).await {
                Ok(()) => return Ok(()),
                Err(e) if self.attempts.again(attempt, &e) => {
                    tracing::error!(stage = %self.stage, error = %e, "dead letters cannot be written; trying again");
                    self.attempts.pause(ctx, attempt, &e, &mut self.jitter).await;
                    attempt += 1;
                }
                Err(e) => return Err(e),
            }
        }
    }
}
