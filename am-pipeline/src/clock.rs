//! The machine's clock on tokio.

use std::time::Duration;

use am_core::{BoxFuture, Clock, Monotonic, SystemTicks, Timestamp};

/// Real time. The one place that reads the machine's clock and tokio's timer.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioClock(SystemTicks);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn monotonic(&self) -> Monotonic {
        self.0.monotonic()
    }

    #[allow(clippy::disallowed_methods, reason = "the one place that sleeps on tokio's timer")]
    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(d))
    }
}
