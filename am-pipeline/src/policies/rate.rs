//! So many in a time.

use std::time::Duration;

use am_core::{Code, Ctx, Error, Monotonic, Result, Retry};
use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Call, Policy};

/// Lets calls through at a rate, after a burst (token bucket); a call that would wait too long is refused.
#[derive(Debug)]
pub struct Rate {
    /// Time between two calls.
    interval: Duration,
    burst: u32,
    longest: Duration,
    /// When the bucket is full again, which is all there is to know (generic cell rate algorithm, ITU-T I.371).
    full_at: Mutex<Option<Monotonic>>,
}

impl Rate {
    /// So many calls a second, so many at once.
    pub fn per_second(rate: f64, burst: u32) -> Rate {
        let interval = Duration::from_secs_f64(1.0 / rate.clamp(1e-6, 1e9));
        Rate { interval, burst: burst.max(1), longest: Duration::from_secs(10), full_at: Mutex::new(None) }
    }

    /// The longest wait; a call that would wait longer is refused.
    #[must_use]
    pub fn waits_at_most(mut self, d: Duration) -> Rate {
        self.longest = d;
        self
    }

    /// How long the next call has to wait; takes its token unless that is too long.
    fn take(&self, now: Monotonic) -> Result<Duration> {
        let mut full_at = self.full_at.lock();
        let full = full_at.unwrap_or(now).max(now);
        let wait = (full + self.interval).saturating_sub(now + self.interval * self.burst);
        if wait > self.longest {
            let after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            let e = Error::new(Code::OVERLOADED, format!("the rate allows the next call in {wait:?}"));
            return Err(e.op("policy.rate").retry(Retry::Safe { after_ms }));
        }
        *full_at = Some(full + self.interval);
        Ok(wait)
    }
}

#[async_trait]
impl Policy for Rate {
    async fn run(&self, ctx: &Ctx, call: &mut dyn Call) -> Result<()> {
        let wait = self.take(ctx.clock().monotonic())?;
        if !wait.is_zero() {
            ctx.clock().sleep(wait).await;
        }
        call.attempt(ctx).await
    }
}
