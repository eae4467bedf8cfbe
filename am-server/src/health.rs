//! Whether the server can do its work, asked at the moment of the question (P11).

use std::sync::Arc;
use std::time::Duration;

use am_core::{CancelToken, Clock, Monotonic};
use am_store::traits::Maintenance;
use serde::Serialize;

use crate::grpc::metered::Budget;

/// How long the store may take to answer before the server is not ready.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the store may be silent before the process counts as stuck: a slow disk is no reason to restart it.
const SILENCE: Duration = Duration::from_secs(30);

/// How long an answer is good for, so that many askers cost one question.
const FRESH: Duration = Duration::from_millis(250);

/// The state at one moment.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct State {
    /// Whether the store's writer answers at all.
    pub(crate) alive: bool,
    pub(crate) stopping: bool,
    /// One sentence per part that is not ready.
    pub(crate) problems: Vec<String>,
}

impl State {
    pub(crate) fn ready(&self) -> bool {
        self.problems.is_empty()
    }
}

#[derive(Clone)]
enum Probe {
    Ready,
    Failing(String),
    Silent,
}

/// Asks the store, and looks at the server's own limits.
pub(crate) struct Health {
    store: Arc<dyn Maintenance>,
    clock: Arc<dyn Clock>,
    stopping: CancelToken,
    budget: Arc<Budget>,
    last: tokio::sync::Mutex<Last>,
}

struct Last {
    asked: Option<(Monotonic, Probe)>,
    /// When the store last answered anything.
    heard: Monotonic,
}

impl Health {
    pub(crate) fn new(store: Arc<dyn Maintenance>, clock: Arc<dyn Clock>, stopping: CancelToken, budget: Arc<Budget>) -> Self {
        let last = tokio::sync::Mutex::new(Last { asked: None, heard: clock.monotonic() });
        Health { store, clock, stopping, budget, last }
    }

    pub(crate) async fn now(&self) -> State {
        let mut problems = Vec::new();
        let (probe, silent) = self.probe().await;
        let stopping = self.stopping.is_cancelled();
        if stopping {
            problems.push("the server is stopping".to_owned());
        }
        match &probe {
            Probe::Ready => {}
            Probe::Failing(why) => problems.push(format!("the store is not ready: {why}")),
            Probe::Silent => problems.push(format!("the store did not answer within {} s", PATIENCE.as_secs())),
        }
        if self.budget.is_short() {
            problems.push(format!("overloaded: {} bytes are being taken in", self.budget.used()));
        }
        State { alive: silent < SILENCE, stopping, problems }
    }

    /// What the store says, and for how long it has said nothing.
    async fn probe(&self) -> (Probe, Duration) {
        let mut last = self.last.lock().await;
        let since = |at: Monotonic| self.clock.monotonic().saturating_sub(at);
        if let Some((at, probe)) = &last.asked
            && since(*at) < FRESH
        {
            return (probe.clone(), since(last.heard));
        }
        let probe = tokio::select! {
            done = self.store.ready() => match done {
                Ok(()) => Probe::Ready,
                Err(e) => Probe::Failing(e.to_string()),
            },
            () = self.clock.sleep(PATIENCE) => Probe::Silent,
        };
        let now = self.clock.monotonic();
        if !matches!(probe, Probe::Silent) {
            last.heard = now;
        }
        last.asked = Some((now, probe.clone()));
        (probe, since(last.heard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use am_core::{Ctx, ManualClock, Result, Timestamp};
    use am_store::traits::{Counts, KindCount, Stats};
    use async_trait::async_trait;

    /// A store whose writer hangs.
    struct Hanging;

    #[async_trait]
    impl Maintenance for Hanging {
        async fn counts(&self, _: &Ctx) -> Result<Counts> {
            Ok(Counts::default())
        }
        async fn by_kind(&self, _: &Ctx) -> Result<Vec<KindCount>> {
            Ok(Vec::new())
        }
        async fn stats(&self) -> Result<Stats> {
            Ok(Stats::default())
        }
        async fn tidy(&self) -> Result<()> {
            Ok(())
        }
        async fn ready(&self) -> Result<()> {
            std::future::pending().await
        }
        async fn close(&self) -> Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_silent_store_is_first_not_ready_and_only_later_a_stuck_process() {
        let clock = ManualClock::new(Timestamp::from_second(0));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let budget = Arc::new(Budget::new(10_000, 1_000, PATIENCE, PATIENCE, shared.clone()));
        let health = Arc::new(Health::new(Arc::new(Hanging), shared, CancelToken::new(), budget));
        let mut seen = Vec::new();
        for wait in [Duration::ZERO, SILENCE] {
            clock.advance(wait);
            let asked = tokio::spawn({
                let health = health.clone();
                async move { health.now().await }
            });
            while clock.sleepers() == 0 {
                tokio::task::yield_now().await;
            }
            clock.advance(PATIENCE);
            let state = asked.await.unwrap();
            assert!(state.problems[0].contains("did not answer within 2 s"), "{state:?}");
            seen.push((state.ready(), state.alive));
        }
        assert_eq!(seen, [(false, true), (false, false)]);
    }
}
