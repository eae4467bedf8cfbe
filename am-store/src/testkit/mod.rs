//! The conformance kit of stores: what every backend must do, as cases that anyone can run against theirs.
//!
//! Give [`run_all`] a way to make your backend; it opens a fresh one per case and tells which promises hold. The kit is itself
//! tested: [`broken::FLAWS`] are backends with one fault each, and every one is caught.
//!
//! ```
//! use std::sync::Arc;
//! use am_store::memory::{self, MemoryOptions};
//! use am_store::testkit::{Setting, Volatile, run_all};
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let make = |s: Setting| Ok(Volatile::new(memory::open(MemoryOptions::default(), s.clock, s.catalogue)));
//! let report = run_all(make, Arc::new(am_pipeline::TokioClock::default())).await;
//! assert!(report.passed(), "{report}");
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod broken;
mod cases;
pub mod corpus;
mod generate;
pub mod key_value;
mod kit;
mod poll;
mod report;

pub use generate::{Seeded, filled};
pub use kit::{Fault, Kit, Outcome, Setting, Subject, Volatile};
pub use report::{Ending, Report, Verdict};

use std::sync::Arc;
use std::time::Duration;

use am_core::{BoxFuture, Clock, ManualClock, Result};
use am_schema::Catalogue;

/// How long a case may take by the watch.
const PATIENCE: Duration = Duration::from_secs(60);

/// One thing that a backend must do.
#[derive(Clone, Copy)]
pub struct Case {
    /// Names the case, such as `put.again`.
    pub id: &'static str,
    /// The promise it is part of, such as `P04`.
    pub promise: &'static str,
    /// What must hold.
    pub what: &'static str,
    /// Needs a store that can be closed and opened again.
    pub durable: bool,
    /// Needs a store that keeps vectors.
    pub vectors: bool,
    /// Tries it on a fresh store.
    pub run: fn(Kit) -> BoxFuture<'static, Outcome>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Case({} {})", self.promise, self.id)
    }
}

/// Every case, in the order of the report.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    cases::GROUPS.iter().flat_map(|g| g.iter())
}

/// Runs every case on a fresh store each. `watch` measures how long a case takes; the stores themselves run on a clock that only
/// the cases move.
pub async fn run_all<S: Subject + 'static>(make: impl Fn(Setting) -> Result<S>, watch: Arc<dyn Clock>) -> Report {
    run_some(make, watch, |_| true).await
}

/// Runs the cases that `wanted` says.
pub async fn run_some<S: Subject + 'static>(
    make: impl Fn(Setting) -> Result<S>,
    watch: Arc<dyn Clock>,
    wanted: impl Fn(&Case) -> bool,
) -> Report {
    let mut report = Report::default();
    for case in cases().filter(|c| wanted(c)) {
        let result = run_one(case, &make, &watch, &mut report).await;
        report.verdicts.push(Verdict { case: *case, result });
    }
    report
}

async fn run_one<S: Subject + 'static>(
    case: &'static Case,
    make: &impl Fn(Setting) -> Result<S>,
    watch: &Arc<dyn Clock>,
    report: &mut Report,
) -> Ending {
    let clock = ManualClock::new(Kit::now());
    let setting = Setting { clock: Arc::new(clock.clone()), catalogue: Catalogue::builtin() };
    let subject = match make(setting) {
        Ok(s) => s,
        Err(e) => return Ending::Failed(format!("the store could not be made: {e:?}")),
    };
    report.durable = subject.durable();
    if case.durable && !subject.durable() {
        return Ending::NotApplicable("the store ends with the process");
    }
    let kit = match Kit::open(Box::new(subject), clock).await {
        Ok(k) => k,
        Err(e) => return Ending::Failed(format!("the store could not be opened: {e:?}")),
    };
    report.backend = kit.backend().name;
    if case.vectors && kit.backend().vectors.is_none() {
        return Ending::NotApplicable("the store keeps no vectors");
    }
    let run = case.run;
    match poll::watched(move || run(kit), watch.sleep(PATIENCE)).await {
        poll::End::Done(Ok(())) => Ending::Passed,
        poll::End::Done(Err(fault)) => Ending::Failed(fault.to_string()),
        poll::End::Panicked(text) => Ending::Failed(format!("it panicked: {text}")),
        poll::End::TimedOut => Ending::Failed(format!("it was not done after {} s", PATIENCE.as_secs())),
    }
}
