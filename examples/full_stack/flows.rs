//! The flows that run behind the feed.

use std::time::Duration;

use am_core::{CancelToken, Code, Error, Result};
use am_store::Store;
use am_store::runner::{Flow, FlowRunner, RunnerOptions, StatusHandle};
use indicatif::ProgressBar;
use tokio::task::JoinHandle;

use crate::report;
use crate::wires::Wires;

/// A flow at work.
pub(crate) struct Running {
    status: StatusHandle,
    stop: CancelToken,
    task: JoinHandle<Result<()>>,
}

/// Starts the flow of `flows/motion.yaml`: acceleration to windows to activities.
pub(crate) fn start(store: &Store, wires: &Wires) -> Result<Running> {
    let registry = am_enrich::registry()?;
    let catalogue = store.catalogue();
    let files = [("flows/motion.yaml", include_str!("../../flows/motion.yaml"))];
    let flow =
        Flow::load(&files, "1", &registry, catalogue)?.pop().ok_or_else(|| Error::new(Code::BAD_FLOW, "flows/motion.yaml has no flow"))?;
    let on = wires.for_flow(store, flow.name())?;
    let mut runner = FlowRunner::new(&on, flow, RunnerOptions::default())?;
    let (status, stop) = (runner.status(), CancelToken::new());
    let until = stop.clone();
    let task = tokio::spawn(async move { runner.run(&until).await });
    Ok(Running { status, stop, task })
}

impl Running {
    /// Waits until the flow has looked at everything that is there, or `stop` is raised.
    pub(crate) async fn caught_up(&self, store: &Store, wires: &Wires, stop: &CancelToken, bar: &ProgressBar) -> Result<()> {
        if wires.has_bus() {
            return wires.emptied(store, &self.name(), stop, bar).await;
        }
        let head = store.stats().await?.head;
        bar.set_length(head);
        loop {
            let s = self.status.get();
            bar.set_position(s.cursor.min(head));
            if s.cursor >= head || stop.is_cancelled() {
                return Ok(());
            }
            if self.task.is_finished() {
                let why = s.last_error.map_or_else(|| "it ended".into(), |e| e.1);
                return Err(Error::new(Code::PROCESSOR_FAILED, format!("the motion flow stopped: {why}")).op("full_stack"));
            }
            store.clock().sleep(Duration::from_millis(50)).await;
        }
    }

    /// The flow's name.
    pub(crate) fn name(&self) -> String {
        self.status.get().flow
    }

    /// Where it stands.
    pub(crate) fn report(&self) -> report::Flow {
        let s = self.status.get();
        let worst_ms = s.worst_latency.map(|d| d.as_secs_f64() * 1e3);
        report::Flow {
            flow: s.flow,
            cursor: s.cursor,
            head: s.head,
            derived: s.derived,
            duplicates: s.duplicates,
            parked: s.parked,
            worst_ms,
        }
    }

    /// Finishes the step that has begun.
    pub(crate) async fn finish(self) -> Result<()> {
        self.stop.cancel();
        self.task.await.map_err(|e| Error::new(Code::INTERNAL, e.to_string()).op("full_stack"))?
    }
}
