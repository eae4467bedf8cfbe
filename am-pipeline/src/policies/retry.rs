//! Tries again.

use std::time::Duration;

use am_core::{Code, Ctx, Error, Result, policy::Backoff};
use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Call, Policy};
use crate::Jitter;

/// Tries a failed call again as its error advises, with growing, jittered waits, within a total time.
#[derive(Debug)]
pub struct Retry {
    max: u32,
    backoff: Backoff,
    budget: Duration,
    per_try: Option<Duration>,
    jitter: Mutex<Jitter>,
}

impl Default for Retry {
    fn default() -> Self {
        Retry::new(5, Backoff::default())
    }
}

impl Retry {
    /// At most so many tries, with these waits, within a minute.
    pub fn new(max: u32, backoff: Backoff) -> Retry {
        let seed = f64::to_bits(backoff.factor) ^ backoff.max_ms;
        Retry { max: max.max(1), backoff, budget: Duration::from_secs(60), per_try: None, jitter: Mutex::new(Jitter::seeded(seed)) }
    }

    /// The total time: no try begins after it, and none goes on beyond it.
    #[must_use]
    pub fn budget(mut self, d: Duration) -> Retry {
        self.budget = d;
        self
    }

    /// The longest time of one try.
    #[must_use]
    pub fn per_try(mut self, d: Duration) -> Retry {
        self.per_try = Some(d);
        self
    }
}

#[async_trait]
impl Policy for Retry {
    async fn run(&self, ctx: &Ctx, call: &mut dyn Call) -> Result<()> {
        let clock = ctx.clock();
        let end = clock.monotonic().saturating_add(ctx.time_left().map_or(self.budget, |left| left.min(self.budget)));
        for attempt in 1.. {
            let left = end.saturating_sub(clock.monotonic());
            let limit = self.per_try.map_or(left, |d| d.min(left));
            let within = ctx.with_timeout(limit);
            let result = tokio::select! {
                biased;
                done = call.attempt(&within) => done,
                () = clock.sleep(limit) => Err(Error::new(Code::TIMED_OUT, format!("a try took longer than {limit:?}"))),
            };
            let e = match result {
                Ok(()) => return Ok(()),
                Err(e) => e,
            };
            let unit = self.jitter.lock().unit();
            let wait = self.backoff.wait(attempt, unit, e.advice().after());
            if !e.advice().is_worthwhile() {
                return Err(e);
            }
            if attempt >= self.max || clock.monotonic().saturating_add(wait) >= end {
                let message = format!("{} after {attempt} tries", e.message());
                return Err(Error::new(Code::GAVE_UP, message).op("policy.retry").source(e));
            }
            clock.sleep(wait).await;
        }
        Ok(())
    }
}
