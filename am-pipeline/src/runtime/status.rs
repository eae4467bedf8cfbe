//! What each node of a pipeline has done so far.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of the latency histogram: bucket i counts times below 2^i microseconds, the last one everything above.
const BUCKETS: usize = 32;

/// The counters of one node; written by its lanes, read by anyone.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) taken: AtomicU64,
    pub(crate) given: AtomicU64,
    pub(crate) discarded: AtomicU64,
    pub(crate) parked: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) depth: AtomicU64,
    busy_us: AtomicU64,
    batches: AtomicU64,
    histogram: [AtomicU64; BUCKETS],
}

impl Counters {
    pub(crate) fn add(&self, counter: impl Fn(&Counters) -> &AtomicU64, n: usize) {
        if n > 0 {
            counter(self).fetch_add(n as u64, Ordering::Relaxed);
        }
    }

    pub(crate) fn leave(&self, n: usize) {
        self.depth.fetch_sub(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn took(&self, d: Duration) {
        let us = u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        self.busy_us.fetch_add(us, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        let bucket = (u64::BITS - us.leading_zeros()) as usize;
        if let Some(b) = self.histogram.get(bucket.min(BUCKETS - 1)) {
            b.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn quantile(&self, q: f64) -> Duration {
        let counts: Vec<u64> = self.histogram.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let wanted = (total as f64 * q).ceil() as u64;
        let mut seen = 0;
        for (i, n) in counts.iter().enumerate() {
            seen += n;
            if total > 0 && seen >= wanted {
                return Duration::from_micros(1 << i);
            }
        }
        Duration::ZERO
    }
}

/// What a node has done so far.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// `source`, `processor` or `sink`.
    pub role: &'static str,
    /// Items taken in; of a source, received.
    pub taken: u64,
    /// Items passed on; of a sink, delivered.
    pub given: u64,
    /// Items let go on purpose.
    pub discarded: u64,
    /// Items put among the dead letters.
    pub parked: u64,
    /// Failed tries.
    pub errors: u64,
    /// Items waiting before it; of a source, in flight.
    pub depth: u64,
    /// Batches processed.
    pub batches: u64,
    /// Microseconds spent on them.
    pub busy_us: u64,
    /// Half of the batches took less, in microseconds; rounded up to a power of two.
    pub p50_us: u64,
    /// 99 of 100 batches took less, in microseconds; rounded up to a power of two.
    pub p99_us: u64,
}

/// One number for a metrics page.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Metric<'a> {
    /// Its name, such as `am_pipeline_items_taken_total`.
    pub name: &'static str,
    /// The pipeline.
    pub pipeline: &'a str,
    /// The node.
    pub node: &'a str,
    /// The number.
    pub value: f64,
}

/// Reads the counters of a pipeline, while it runs and after. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Status {
    pub(crate) pipeline: Arc<str>,
    pub(crate) nodes: Arc<[(String, &'static str, Arc<Counters>)]>,
}

impl Status {
    /// Every node as it stands, in the order of the topology. Cheap: a few loads per node.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        let node = |(name, role, c): &(String, &'static str, Arc<Counters>)| {
            let load = |a: &AtomicU64| a.load(Ordering::Relaxed);
            NodeStatus {
                name: name.clone(),
                role,
                taken: load(&c.taken),
                given: load(&c.given),
                discarded: load(&c.discarded),
                parked: load(&c.parked),
                errors: load(&c.errors),
                depth: load(&c.depth),
                batches: load(&c.batches),
                busy_us: load(&c.busy_us),
                p50_us: c.quantile(0.5).as_micros() as u64,
                p99_us: c.quantile(0.99).as_micros() as u64,
            }
        };
        self.nodes.iter().map(node).collect()
    }

    /// One node as it stands.
    pub fn node(&self, name: &str) -> Option<NodeStatus> {
        self.nodes().into_iter().find(|n| n.name == name)
    }

    /// The same as numbers for a metrics page.
    pub fn metrics(&self) -> impl Iterator<Item = Metric<'_>> {
        self.nodes.iter().zip(self.nodes()).flat_map(|((name, _, _), s)| {
            [
                ("am_pipeline_items_taken_total", s.taken),
                ("am_pipeline_items_given_total", s.given),
                ("am_pipeline_items_discarded_total", s.discarded),
                ("am_pipeline_items_parked_total", s.parked),
                ("am_pipeline_errors_total", s.errors),
                ("am_pipeline_depth", s.depth),
                ("am_pipeline_batches_total", s.batches),
                ("am_pipeline_busy_microseconds_total", s.busy_us),
                ("am_pipeline_batch_p50_microseconds", s.p50_us),
                ("am_pipeline_batch_p99_microseconds", s.p99_us),
            ]
            .map(|(metric, value)| Metric { name: metric, pipeline: &self.pipeline, node: name, value: value as f64 })
        })
    }
}
