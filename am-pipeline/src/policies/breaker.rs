//! Holds calls back while most of them fail.

use std::collections::VecDeque;
use std::time::Duration;

use am_core::{Code, Ctx, Error, ErrorKind, Monotonic, Result, Retry};
use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Call, Policy};

/// The parts of the time looked at; the oldest part goes as a new one begins.
const PARTS: u32 = 10;

/// A circuit breaker (Nygard, "Release It!"): closed while calls succeed; open, so that no call is made, once at least half of ten or more
/// calls in ten seconds failed; after half a minute a few calls probe whether it can close.
#[derive(Debug)]
pub struct Breaker {
    window: Duration,
    least: u32,
    ratio: f64,
    rest: Duration,
    probes: u32,
    inner: Mutex<Inner>,
}

/// What a breaker does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Lets them through.
    Closed,
    /// Holds them back.
    Open,
    /// Lets a few through to see.
    HalfOpen,
}

#[derive(Debug, Default)]
struct Inner {
    /// Start, calls and failures of each part of the window.
    parts: VecDeque<(Monotonic, u32, u32)>,
    opened: Option<Monotonic>,
    /// Probes under way and those that succeeded, while half open.
    probing: u32,
    passed: u32,
    half_open: bool,
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker {
            window: Duration::from_secs(10),
            least: 10,
            ratio: 0.5,
            rest: Duration::from_secs(30),
            probes: 3,
            inner: Mutex::default(),
        }
    }
}

impl Breaker {
    /// Opens at this share of failures, of at least so many calls within the window.
    #[must_use]
    pub fn opens_at(mut self, ratio: f64, least: u32, window: Duration) -> Breaker {
        (self.ratio, self.least, self.window) = (ratio, least.max(1), window);
        self
    }

    /// Stays open so long, and closes after so many successful probes.
    #[must_use]
    pub fn rests(mut self, rest: Duration, probes: u32) -> Breaker {
        (self.rest, self.probes) = (rest, probes.max(1));
        self
    }

    /// What it does with calls at a time.
    pub fn state(&self, now: Monotonic) -> BreakerState {
        let inner = self.inner.lock();
        match inner.opened {
            None => BreakerState::Closed,
            Some(_) if inner.half_open => BreakerState::HalfOpen,
            Some(at) if now.saturating_sub(at) >= self.rest => BreakerState::HalfOpen,
            Some(_) => BreakerState::Open,
        }
    }

    fn admit(&self, now: Monotonic) -> Result<bool> {
        let mut inner = self.inner.lock();
        let Some(at) = inner.opened else { return Ok(false) };
        let left = self.rest.saturating_sub(now.saturating_sub(at));
        if !inner.half_open && left.is_zero() {
            inner.half_open = true;
            (inner.probing, inner.passed) = (0, 0);
        }
        if inner.half_open && inner.probing + inner.passed < self.probes {
            inner.probing += 1;
            return Ok(true);
        }
        let after_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(100);
        let message = format!("held back for {left:?} more: at least {:.0} % of the calls failed", self.ratio * 100.0);
        Err(Error::new(Code::CIRCUIT_OPEN, message).op("policy.breaker").retry(Retry::Safe { after_ms }))
    }

    fn note(&self, now: Monotonic, probe: bool, failed: bool) {
        let mut inner = self.inner.lock();
        if probe {
            inner.probing = inner.probing.saturating_sub(1);
            if failed {
                inner.opened = Some(now);
                inner.half_open = false;
            } else {
                inner.passed += 1;
                if inner.passed >= self.probes {
                    *inner = Inner::default();
                }
            }
            return;
        }
        while inner.parts.front().is_some_and(|(start, ..)| now.saturating_sub(*start) >= self.window) {
            inner.parts.pop_front();
        }
        match inner.parts.back_mut() {
            Some((start, calls, failures)) if now.saturating_sub(*start) < self.window / PARTS => {
                *calls += 1;
                *failures += u32::from(failed);
            }
            _ => inner.parts.push_back((now, 1, u32::from(failed))),
        }
        let (calls, failures) = inner.parts.iter().fold((0, 0), |(c, f), (_, a, b)| (c + a, f + b));
        if inner.opened.is_none() && calls >= self.least && f64::from(failures) >= f64::from(calls) * self.ratio {
            inner.opened = Some(now);
            inner.half_open = false;
            inner.parts.clear();
        }
    }
}

/// Whether an error says that the other side is in trouble, rather than the call.
fn is_trouble(e: &Error) -> bool {
    let kinds = [ErrorKind::Unavailable, ErrorKind::DeadlineExceeded, ErrorKind::Internal, ErrorKind::ResourceExhausted];
    kinds.contains(&e.kind())
}

/// Counts a call that was dropped before its end as failed, so that a probe cannot be lost.
struct Noted<'a> {
    breaker: &'a Breaker,
    ctx: &'a Ctx,
    probe: bool,
    failed: bool,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.breaker.note(self.ctx.clock().monotonic(), self.probe, self.failed);
    }
}

#[async_trait]
impl Policy for Breaker {
    async fn run(&self, ctx: &Ctx, call: &mut dyn Call) -> Result<()> {
        let probe = self.admit(ctx.clock().monotonic())?;
        let mut noted = Noted { breaker: self, ctx, probe, failed: true };
        let result = call.attempt(ctx).await;
        noted.failed = result.as_ref().is_err_and(is_trouble);
        result
    }
}
