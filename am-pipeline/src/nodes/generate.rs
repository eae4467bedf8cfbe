//! Readings made up by a seed.

use std::collections::VecDeque;
use std::time::Duration;

use am_core::{Ctx, Monotonic, Result};
use am_schema::{Reading, Rejected};
use async_trait::async_trait;

use crate::{Arrival, Jitter, Origin, Outcome, Polled, Settled, Source, Token};

/// Makes readings by number: the same seed gives the same readings, also when one comes again.
pub struct Generate<F> {
    make: F,
    seed: u64,
    next: u64,
    count: u64,
    per_second: Option<f64>,
    started: Option<Monotonic>,
    again: VecDeque<u64>,
}

/// `count` readings made by a closure of a number and a random sequence for that number.
pub fn generate<F>(seed: u64, count: u64, make: F) -> Generate<F>
where
    F: FnMut(u64, &mut Jitter) -> Result<Reading, Rejected> + Send,
{
    Generate { make, seed, next: 0, count, per_second: None, started: None, again: VecDeque::new() }
}

impl<F> Generate<F> {
    /// At most so many a second; as fast as they are taken without.
    #[must_use]
    pub fn per_second(mut self, rate: f64) -> Self {
        self.per_second = (rate > 0.0).then_some(rate);
        self
    }
}

#[async_trait]
impl<F: FnMut(u64, &mut Jitter) -> Result<Reading, Rejected> + Send> Source for Generate<F> {
    async fn poll(&mut self, ctx: &Ctx, room: usize) -> Result<Option<Polled>> {
        if self.again.is_empty() && self.next >= self.count {
            return Ok(None);
        }
        let mut due = self.count.saturating_sub(self.next);
        if let Some(rate) = self.per_second {
            let now = ctx.clock().monotonic();
            let start = *self.started.get_or_insert(now);
            let by_now = |t: Monotonic| ((t.saturating_sub(start)).as_secs_f64() * rate) as u64 + 1;
            if by_now(now) <= self.next && self.again.is_empty() {
                let at = start + Duration::from_secs_f64(self.next as f64 / rate);
                ctx.clock().sleep(at.saturating_sub(now).max(Duration::from_micros(1))).await;
            }
            due = due.min(by_now(ctx.clock().monotonic()).saturating_sub(self.next));
        }
        let fresh = usize::try_from(due).unwrap_or(usize::MAX).min(room.saturating_sub(self.again.len()));
        let numbers: Vec<u64> = self.again.drain(..self.again.len().min(room)).chain(self.next..self.next + fresh as u64).collect();
        self.next += fresh as u64;
        let items = numbers.into_iter().map(|n| {
            let mut random = Jitter::seeded(self.seed ^ n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            Arrival { token: Token(n), item: (self.make)(n, &mut random) }
        });
        Ok(Some(Polled { items: items.collect(), origin: Origin::Live }))
    }

    async fn settle(&mut self, _: &Ctx, outcomes: &[Settled]) -> Result<()> {
        for s in outcomes {
            if let Outcome::Retry(_) = s.outcome {
                self.again.push_back(s.token.0);
            }
        }
        Ok(())
    }
}
