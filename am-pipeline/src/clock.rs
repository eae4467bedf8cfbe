//! The clock of programs that run on tokio.

use std::time::Duration;

use am_core::{BoxFuture, Clock, Monotonic, SystemTicks, Timestamp};

/// The machine's clocks, and tokio's timer for waiting.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioClock(SystemTicks);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn monotonic(&self) -> Monotonic {
        self.0.monotonic()
    }

    #[allow(clippy::disallowed_methods, reason = "the one place that waits on the runtime's timer")]
    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        // A future that is made here and first polled within the runtime: the timer itself may only be made there.
        Box::pin(async move { tokio::time::sleep(d).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sleeping_follows_the_runtimes_timer() {
        let clock = TokioClock::default();
        clock.sleep(Duration::from_secs(3_600)).await;
        assert!(clock.monotonic() < Duration::from_secs(60), "an hour of paused time takes no time");
    }
}
