//! Counts calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use am_core::{Ctx, Result};
use async_trait::async_trait;

use super::{Call, Policy};

/// Counts calls, failures and time. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    calls: AtomicU64,
    failures: AtomicU64,
    under_way: AtomicU64,
    busy_ns: AtomicU64,
    longest_ns: AtomicU64,
}

/// What a meter shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MeterReading {
    /// Calls that ended.
    pub calls: u64,
    /// Of these, how many failed.
    pub failures: u64,
    /// Calls that have not ended.
    pub under_way: u64,
    /// Time of all calls together.
    pub busy: Duration,
    /// Time of the longest call.
    pub longest: Duration,
}

impl Meter {
    /// A meter at zero.
    pub fn new() -> Meter {
        Meter::default()
    }

    /// What it shows now.
    pub fn read(&self) -> MeterReading {
        let load = |a: &AtomicU64| a.load(Ordering::Relaxed);
        MeterReading {
            calls: load(&self.0.calls),
            failures: load(&self.0.failures),
            under_way: load(&self.0.under_way),
            busy: Duration::from_nanos(load(&self.0.busy_ns)),
            longest: Duration::from_nanos(load(&self.0.longest_ns)),
        }
    }
}

/// A call that is dropped before its end no longer counts as under way.
struct UnderWay<'a>(&'a Counts);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Policy for Meter {
    async fn run(&self, ctx: &Ctx, call: &mut dyn Call) -> Result<()> {
        let start = ctx.clock().monotonic();
        self.0.under_way.fetch_add(1, Ordering::Relaxed);
        let _under_way = UnderWay(&self.0);
        let result = call.attempt(ctx).await;
        let ns = u64::try_from(ctx.clock().monotonic().saturating_sub(start).as_nanos()).unwrap_or(u64::MAX);
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        self.0.failures.fetch_add(u64::from(result.is_err()), Ordering::Relaxed);
        self.0.busy_ns.fetch_add(ns, Ordering::Relaxed);
        self.0.longest_ns.fetch_max(ns, Ordering::Relaxed);
        result
    }
}
