//! Time as a capability: code asks a [`Clock`], tests turn its hands.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use crate::Timestamp;

/// A boxed future of a port. The one place that decides whether ports are `Send`.
#[cfg(not(target_arch = "wasm32"))]
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// A boxed future of a port. The one place that decides whether ports are `Send`.
#[cfg(target_arch = "wasm32")]
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A reading of a clock that never goes back, since an arbitrary start.
pub type Monotonic = Duration;

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Wall-clock time; may jump.
    fn now(&self) -> Timestamp;
    /// Time that never goes back.
    fn monotonic(&self) -> Monotonic;
    /// Ready once `d` has passed on the monotonic clock.
    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's two clocks, for those who build a [`Clock`] on a runtime of theirs.
#[derive(Debug, Clone, Copy)]
pub struct SystemTicks {
    start: std::time::Instant,
}

impl Default for SystemTicks {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn default() -> Self {
        SystemTicks { start: std::time::Instant::now() }
    }
}

impl SystemTicks {
    /// Wall-clock time.
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn now(&self) -> Timestamp {
        let ns = match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(d) => i64::try_from(d.as_nanos()).unwrap_or(i64::MAX),
            Err(e) => -i64::try_from(e.duration().as_nanos()).unwrap_or(i64::MAX),
        };
        Timestamp::from_nanos(ns)
    }

    /// Time since this value was made.
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn monotonic(&self) -> Monotonic {
        self.start.elapsed()
    }
}

/// A clock that stands still until a test moves it.
#[derive(Clone)]
pub struct ManualClock(Arc<Mutex<Hands>>);

struct Hands {
    wall: Timestamp,
    ticks: Duration,
    next: u64,
    sleepers: Vec<(u64, Duration, Waker)>,
}

impl ManualClock {
    /// A clock that shows `wall`.
    pub fn new(wall: Timestamp) -> Self {
        ManualClock(Arc::new(Mutex::new(Hands { wall, ticks: Duration::ZERO, next: 0, sleepers: Vec::new() })))
    }

    /// Moves both clocks forward and wakes whoever slept long enough.
    pub fn advance(&self, d: Duration) {
        let woken = {
            let mut h = self.0.lock();
            h.wall = h.wall.saturating_add(d);
            h.ticks += d;
            let now = h.ticks;
            let (due, rest) = std::mem::take(&mut h.sleepers).into_iter().partition::<Vec<_>, _>(|s| s.1 <= now);
            h.sleepers = rest;
            due
        };
        for (_, _, w) in woken {
            w.wake();
        }
    }

    /// Sets the wall clock alone, as a jump would.
    pub fn jump_to(&self, wall: Timestamp) {
        self.0.lock().wall = wall;
    }

    /// How many are asleep on it.
    pub fn sleepers(&self) -> usize {
        self.0.lock().sleepers.len()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.lock().wall
    }

    fn monotonic(&self) -> Monotonic {
        self.0.lock().ticks
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        let mut h = self.0.lock();
        h.next += 1;
        Box::pin(Nap { clock: self.0.clone(), id: h.next, until: h.ticks + d })
    }
}

struct Nap {
    clock: Arc<Mutex<Hands>>,
    id: u64,
    until: Duration,
}

impl Future for Nap {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut h = self.clock.lock();
        h.sleepers.retain(|s| s.0 != self.id);
        if h.ticks >= self.until {
            return Poll::Ready(());
        }
        h.sleepers.push((self.id, self.until, cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Nap {
    fn drop(&mut self) {
        self.clock.lock().sleepers.retain(|s| s.0 != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nap_ends_when_the_hands_pass_it_and_leaves_nothing_behind() {
        let c = ManualClock::new(Timestamp::from_second(0));
        let mut nap = c.sleep(Duration::from_secs(5));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(nap.as_mut().poll(&mut cx).is_pending());
        c.advance(Duration::from_secs(4));
        assert!(nap.as_mut().poll(&mut cx).is_pending());
        assert_eq!(c.sleepers(), 1);
        c.advance(Duration::from_secs(1));
        assert!(nap.as_mut().poll(&mut cx).is_ready());
        assert_eq!((c.sleepers(), c.now().as_second()), (0, 5));
    }
}
