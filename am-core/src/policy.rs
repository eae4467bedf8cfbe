//! The contract of policies: how often, how long and how many. Pure values; `am-pipeline` wraps them around ports.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Waiting times that grow, with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Backoff {
    /// The ceiling of the first wait, in milliseconds.
    pub first_ms: u64,
    /// The ceiling of every wait, in milliseconds.
    pub max_ms: u64,
    /// How much the ceiling grows from try to try.
    pub factor: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { first_ms: 100, max_ms: 30_000, factor: 2.0 }
    }
}

impl Backoff {
    /// A schedule from `first_ms` doubling up to `max_ms`.
    pub fn new(first_ms: u64, max_ms: u64) -> Self {
        Backoff { first_ms, max_ms, factor: 2.0 }
    }

    /// The ceiling of the wait after failed try number `attempt` (the first is 1).
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let grown = self.first_ms as f64 * self.factor.max(1.0).powi(attempt.saturating_sub(1).min(1_000) as i32);
        let ms = if grown.is_finite() { grown.min(self.max_ms as f64) } else { self.max_ms as f64 };
        Duration::from_micros((ms * 1_000.0) as u64)
    }

    /// The wait itself: `unit` in [0, 1) picks a point below the ceiling, never below `at_least`.
    pub fn wait(&self, attempt: u32, unit: f64, at_least: Duration) -> Duration {
        self.ceiling(attempt).mul_f64(unit.clamp(0.0, 1.0)).max(at_least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_double_up_to_the_limit_and_waits_stay_below() {
        let b = Backoff::new(100, 1_000);
        let ms: Vec<u128> = (1..=6).map(|a| b.ceiling(a).as_millis()).collect();
        assert_eq!(ms, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(b.ceiling(u32::MAX).as_millis(), 1_000);
        assert!(b.wait(3, 0.5, Duration::ZERO) == Duration::from_millis(200));
        assert!(b.wait(1, 0.0, Duration::from_millis(7)) == Duration::from_millis(7));
    }
}
