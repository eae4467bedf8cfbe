//! Conformance cases for authors of sources, processors, sinks and buses.
//!
//! Each function runs a table of cases against something that a closure makes afresh for every case, and returns a [`Verdict`] per case.
//! A test asks that all of them hold:
//!
//! ```
//! # use am_pipeline::nodes::Dedupe;
//! # use am_pipeline::testkit;
//! # use std::time::Duration;
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let make = || Dedupe::new(Duration::from_secs(60), 1_000);
//! testkit::hold(&testkit::processor(make, testkit::beats(40)).await);
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```

mod bus;
mod cut;
mod processors;
mod sinks;
mod sources;

use std::sync::Arc;

use am_core::{Ctx, DeviceId, ReadingId, Scope, Timestamp};
use am_schema::{Catalogue, Reading, v1};

pub use bus::{bus, bus_only, foreign};
pub use cut::{Cut, cut};
pub use processors::processor;
pub use sinks::sink;
pub use sources::source;

use crate::TokioClock;

/// How one case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// The case's stable id, such as `source.cancel`.
    pub id: &'static str,
    /// The fact it proves.
    pub fact: &'static str,
    /// What went wrong, or nothing.
    pub failure: Option<String>,
}

impl Verdict {
    pub(crate) fn of(id: &'static str, fact: &'static str, result: Result<(), String>) -> Verdict {
        Verdict { id, fact, failure: result.err() }
    }
}

/// Panics with every case that does not hold: for use in tests.
#[allow(clippy::panic, reason = "the end of a test")]
#[track_caller]
pub fn hold(verdicts: &[Verdict]) {
    let failed: Vec<String> = verdicts.iter().filter_map(|v| Some(format!("{} – {}: {}", v.id, v.fact, v.failure.as_ref()?))).collect();
    if !failed.is_empty() {
        panic!("{} of {} cases do not hold:\n{}", failed.len(), verdicts.len(), failed.join("\n"));
    }
}

/// A context of the only person on this machine, on real time.
pub fn ctx() -> Ctx {
    Ctx::new(Scope::local(), Arc::new(TokioClock::default()))
}

/// Heart rates of three devices, one a second; the same every time.
pub fn beats(n: u64) -> Vec<Reading> {
    let Some(kind) = Catalogue::builtin().get("device.health.heartrate.raw") else { return Vec::new() };
    let beat = |i: u64| {
        let at = Timestamp::from_second(1_772_352_000 + i64::try_from(i).unwrap_or_default());
        let payload = v1::HeartRate { bpm: 60 + (i % 50) as i32, confidence: 0.9, ..Default::default() };
        let id = ReadingId::from_bytes(u128::from(i + 1).to_be_bytes());
        Reading::builder(kind, DeviceId::new(format!("watch-{}", i % 3)).ok()?, at).id(id).sequence(i + 1).payload(&payload).build().ok()
    };
    (0..n).filter_map(beat).collect()
}

/// An air pressure: a kind that hardly any processor takes.
fn stranger() -> Option<Reading> {
    let kind = Catalogue::builtin().get("device.sensor.barometer.raw")?;
    let at = Timestamp::from_second(1_772_352_000);
    let payload = v1::Quantity { value: 1_013.0, unit: "hPa".into(), ..Default::default() };
    Reading::builder(kind, DeviceId::new("phone").ok()?, at).payload(&payload).build().ok()
}
