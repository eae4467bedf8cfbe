//! Whether the server can do its work, asked at the moment of the question (P11).

use std::sync::Arc;
use std::time::Duration;

use am_core::{CancelToken, Clock, Monotonic};
use am_store::traits::Maintenance;
use serde::Serialize;

use crate::grpc::metered::Budget;

/// How long the store may take to answer before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(2);

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
    Stuck,
}

/// Asks the store, and looks at the server's own limits.
pub(crate) struct Health {
    store: Arc<dyn Maintenance>,
    clock: Arc<dyn Clock>,
    stopping: CancelToken,
    budget: Arc<Budget>,
    last: tokio::sync::Mutex<Option<(Monotonic, Probe)>>,
}

impl Health {
    pub(crate) fn new(store: Arc<dyn Maintenance>, clock: Arc<dyn Clock>, stopping: CancelToken, budget: Arc<Budget>) -> Self {
        Health { store, clock, stopping, budget, last: tokio::sync::Mutex::new(None) }
    }

    pub(crate) async fn now(&self) -> State {
        let mut problems = Vec::new();
        let probe = self.probe().await;
        let stopping = self.stopping.is_cancelled();
        if stopping {
            problems.push("the server is stopping".to_owned());
        }
        match &probe {
            Probe::Ready => {}
            Probe::Failing(why) => problems.push(format!("the store is not ready: {why}")),
            Probe::Stuck => problems.push(format!("the store did not answer within {} s", PATIENCE.as_secs())),
        }
        if self.budget.is_short() {
            problems.push(format!("overloaded: {} bytes are being taken in", self.budget.used()));
        }
        State { alive: !matches!(probe, Probe::Stuck), stopping, problems }
    }

    async fn probe(&self) -> Probe {
        let mut last = self.last.lock().await;
        if let Some((at, probe)) = last.as_ref()
            && self.clock.monotonic().saturating_sub(*at) < FRESH
        {
            return probe.clone();
        }
        let probe = tokio::select! {
            done = self.store.ready() => match done {
                Ok(()) => Probe::Ready,
                Err(e) => Probe::Failing(e.to_string()),
            },
            () = self.clock.sleep(PATIENCE) => Probe::Stuck,
        };
        *last = Some((self.clock.monotonic(), probe.clone()));
        probe
    }
}
