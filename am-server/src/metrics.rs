//! Numbers about the server, in the Prometheus text format 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use am_schema::{Kind, Reading};
use parking_lot::Mutex;

use crate::answer::Answer;

/// Upper bounds of the latency histogram, in microseconds.
const BOUNDS_US: [u64; 14] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000];

/// The names of the outcomes, by number.
const OUTCOMES: [&str; 6] = ["unspecified", "stored", "duplicate", "discarded", "rejected", "retry"];

/// Why a call or frame was refused before it became a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refusal {
    Unauthenticated,
    Overloaded,
    Frame,
    Stalled,
}

const REFUSALS: [&str; 4] = ["unauthenticated", "overloaded", "frame", "stalled"];

/// Counters; every label has a bounded set of values.
#[derive(Default)]
pub(crate) struct Metrics {
    kinds: Mutex<BTreeMap<&'static str, u64>>,
    unreadable: AtomicU64,
    outcomes: [AtomicU64; OUTCOMES.len()],
    refusals: [AtomicU64; REFUSALS.len()],
    batches: AtomicU64,
    bytes: AtomicU64,
    latency: [AtomicU64; BOUNDS_US.len() + 1],
    latency_us: AtomicU64,
    streams: AtomicU64,
}

/// Counts an open stream until it is dropped.
pub(crate) struct OpenStream(std::sync::Arc<Metrics>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
    }
}

/// What is measured at the time of asking.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) in_flight_bytes: usize,
    pub(crate) connections: usize,
    pub(crate) ready: bool,
    pub(crate) head: Option<u64>,
    pub(crate) rolled_up_to: Option<u64>,
    pub(crate) bytes_on_disk: Option<u64>,
}

impl Metrics {
    pub(crate) fn open_stream(self: &std::sync::Arc<Self>) -> OpenStream {
        self.streams.fetch_add(1, Relaxed);
        OpenStream(self.clone())
    }

    pub(crate) fn streams(&self) -> u64 {
        self.streams.load(Relaxed)
    }

    pub(crate) fn received_bytes(&self, n: usize) {
        self.bytes.fetch_add(n as u64, Relaxed);
    }

    pub(crate) fn refused(&self, why: Refusal) {
        if let Some(c) = self.refusals.get(why as usize) {
            c.fetch_add(1, Relaxed);
        }
    }

    /// Counts items by kind; those without a readable kind together.
    pub(crate) fn received_items(&self, readings: &[Reading], rejected: usize) {
        self.unreadable.fetch_add(rejected as u64, Relaxed);
        let mut runs: Vec<(Kind, u64)> = Vec::new();
        for r in readings {
            match runs.last_mut() {
                Some((kind, n)) if *kind == r.kind() => *n += 1,
                _ => runs.push((r.kind(), 1)),
            }
        }
        let mut kinds = self.kinds.lock();
        for (kind, n) in runs {
            *kinds.entry(kind.topic()).or_default() += n;
        }
    }

    pub(crate) fn answered(&self, a: &Answer, took: Duration) {
        let mut by = [0u64; OUTCOMES.len()];
        for o in &a.outcomes {
            if let Some(n) = by.get_mut(*o as usize) {
                *n += 1;
            }
        }
        for (c, n) in self.outcomes.iter().zip(by) {
            if n > 0 {
                c.fetch_add(n, Relaxed);
            }
        }
        self.batches.fetch_add(1, Relaxed);
        let us = took.as_micros() as u64;
        self.latency_us.fetch_add(us, Relaxed);
        if let Some(c) = self.latency.get(BOUNDS_US.partition_point(|b| *b < us)) {
            c.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn render(&self, g: &Gauges) -> String {
        let mut t = Text(String::with_capacity(8 << 10));
        t.head("am_messages_received_total", "counter", "Readings received, by kind; rejected ones together.");
        for (kind, n) in self.kinds.lock().iter() {
            t.sample("am_messages_received_total", &format!("type=\"{kind}\""), *n);
        }
        t.sample("am_messages_received_total", "type=\"rejected\"", self.unreadable.load(Relaxed));
        t.head("am_outcomes_total", "counter", "What became of the readings received.");
        for (o, name) in OUTCOMES.iter().enumerate().skip(1) {
            t.sample("am_outcomes_total", &format!("outcome=\"{name}\""), self.outcomes.get(o).map_or(0, |c| c.load(Relaxed)));
        }
        t.head("am_refused_total", "counter", "Calls and frames refused before they became a batch.");
        for (c, name) in self.refusals.iter().zip(REFUSALS) {
            t.sample("am_refused_total", &format!("reason=\"{name}\""), c.load(Relaxed));
        }
        t.one("am_batches_total", "counter", "Batches and groups answered.", self.batches.load(Relaxed));
        t.one("am_received_bytes_total", "counter", "Bytes of readings received, unpacked.", self.bytes.load(Relaxed));
        self.histogram(&mut t);
        t.one("am_open_streams", "gauge", "Streams that are open.", self.streams());
        t.one("am_open_connections", "gauge", "Connections of the gRPC port that are open.", g.connections as u64);
        t.one("am_in_flight_bytes", "gauge", "Memory reserved for messages that are being taken in.", g.in_flight_bytes as u64);
        t.one("am_ready", "gauge", "1 when the server takes readings.", u64::from(g.ready));
        if let Some(head) = g.head {
            t.one("am_store_head", "gauge", "The newest place of the feed.", head);
            let lag = head.saturating_sub(g.rolled_up_to.unwrap_or(head));
            t.one("am_rollup_lag_entries", "gauge", "Feed entries that rollups do not hold yet.", lag);
        }
        if let Some(bytes) = g.bytes_on_disk {
            t.one("am_store_bytes", "gauge", "Bytes of the store on disk.", bytes);
        }
        if let Some((resident, anonymous)) = process_memory() {
            t.one("process_resident_memory_bytes", "gauge", "Resident memory of the process.", resident);
            t.one("process_resident_anonymous_bytes", "gauge", "The part of it that no file backs.", anonymous);
        }
        t.0
    }

    fn histogram(&self, t: &mut Text) {
        let name = "am_accept_duration_seconds";
        t.head(name, "histogram", "From a decoded batch to its answer, the commit included.");
        let mut count = 0;
        for (c, bound) in self.latency.iter().zip(BOUNDS_US.iter().map(Some).chain([None])) {
            count += c.load(Relaxed);
            let le = bound.map_or("+Inf".to_owned(), |us| (*us as f64 / 1e6).to_string());
            t.sample("am_accept_duration_seconds_bucket", &format!("le=\"{le}\""), count);
        }
        let _ = writeln!(t.0, "{name}_sum {}", self.latency_us.load(Relaxed) as f64 / 1e6);
        let _ = writeln!(t.0, "{name}_count {count}");
    }
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }
}

/// Resident and anonymous bytes of this process, where `/proc` tells.
pub(crate) fn process_memory() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = |key: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some((kib("VmRSS:")? * 1_024, kib("RssAnon:")? * 1_024))
}

#[cfg(test)]
mod tests {
    use super::*;
    use am_schema::v1::Outcome;
    use std::sync::Arc;

    #[test]
    fn what_is_counted_is_rendered_and_buckets_are_cumulative() {
        let m = Arc::new(Metrics::default());
        let stream = m.open_stream();
        let mut a = Answer::rejected(3);
        a.set(0, Outcome::Stored);
        a.set(1, Outcome::Stored);
        m.answered(&a, Duration::from_micros(500));
        m.answered(&a, Duration::from_secs(60));
        m.refused(Refusal::Stalled);
        let t = m.render(&Gauges { head: Some(9), rolled_up_to: Some(4), ready: true, ..Default::default() });
        for line in [
            "am_outcomes_total{outcome=\"stored\"} 4",
            "am_outcomes_total{outcome=\"rejected\"} 2",
            "am_refused_total{reason=\"stalled\"} 1",
            "am_accept_duration_seconds_bucket{le=\"0.0005\"} 1",
            "am_accept_duration_seconds_bucket{le=\"10\"} 1",
            "am_accept_duration_seconds_bucket{le=\"+Inf\"} 2",
            "am_accept_duration_seconds_sum 60.0005",
            "am_open_streams 1",
            "am_rollup_lag_entries 5",
            "am_ready 1",
        ] {
            assert!(t.lines().any(|l| l == line), "{line} is missing in\n{t}");
        }
        drop(stream);
        assert_eq!(m.streams(), 0);
    }
}
