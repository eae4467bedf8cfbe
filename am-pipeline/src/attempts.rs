//! How often something is tried, and how long to wait in between.

use std::time::Duration;

use am_core::{Ctx, Error, policy::Backoff};

/// How often a batch is tried before its items are looked at one by one, and the waits in between.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Attempts {
    /// Tries in all, the first one included; at least 1.
    pub max: u32,
    /// The waits between them.
    pub backoff: Backoff,
    /// The longest time for one try; none without.
    pub timeout: Option<Duration>,
}

impl Default for Attempts {
    fn default() -> Self {
        Attempts { max: 5, backoff: Backoff::default(), timeout: None }
    }
}

impl Attempts {
    /// So many tries, with the default waits.
    pub fn new(max: u32) -> Self {
        Attempts { max: max.max(1), ..Attempts::default() }
    }

    /// Other waits.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// The longest time for one try.
    #[must_use]
    pub fn timeout(mut self, d: Duration) -> Self {
        self.timeout = Some(d);
        self
    }

    /// Whether a failed try is followed by another of the same.
    pub(crate) fn again(&self, attempt: u32, error: &Error) -> bool {
        attempt < self.max && error.advice().is_worthwhile()
    }

    /// Waits after a failed try.
    pub(crate) async fn pause(&self, ctx: &Ctx, attempt: u32, error: &Error, jitter: &mut Jitter) {
        let wait = self.backoff.wait(attempt, jitter.unit(), error.advice().after());
        if !wait.is_zero() {
            ctx.clock().sleep(wait).await;
        }
    }
}

/// A small random sequence (Marsaglia, "Xorshift RNGs", 2003): spreads retries, decides nothing.
#[derive(Debug, Clone)]
pub struct Jitter(u64);

impl Jitter {
    /// A sequence of a seed.
    pub fn seeded(seed: u64) -> Jitter {
        // A few rounds, so that close seeds give distant sequences.
        let mut j = Jitter(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..4 {
            j.word();
        }
        j
    }

    /// A sequence for something with a name.
    pub fn named(name: &str) -> Jitter {
        let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
        Jitter::seeded(seed)
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// The next number in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1u64 << 53) as f64
    }
}
