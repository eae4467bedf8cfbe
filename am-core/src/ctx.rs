//! What every call carries.

use std::sync::Arc;
use std::time::Duration;

use crate::{BoxFuture, CancelToken, Clock, Code, DeviceId, Error, Monotonic, Result, Scope, Timestamp, TraceParent};

/// Whose data, until when, on which clock, in which trace; and what history may be asked. Cheap to clone.
#[derive(Clone)]
pub struct Ctx {
    scope: Scope,
    deadline: Option<Monotonic>,
    cancel: CancelToken,
    clock: Arc<dyn Clock>,
    trace: TraceParent,
    lookup: Arc<dyn Lookup>,
}

impl Ctx {
    /// A context without deadline, trace and history.
    pub fn new(scope: Scope, clock: Arc<dyn Clock>) -> Self {
        Ctx { scope, deadline: None, cancel: CancelToken::new(), clock, trace: TraceParent::default(), lookup: Arc::new(NoLookup) }
    }

    /// The same for another person.
    #[must_use]
    pub fn with_scope(&self, scope: Scope) -> Self {
        Ctx { scope, ..self.clone() }
    }

    /// The same, but to be done within `d` from now; never later than before.
    #[must_use]
    pub fn with_timeout(&self, d: Duration) -> Self {
        let at = self.clock.monotonic().saturating_add(d);
        Ctx { deadline: Some(self.deadline.map_or(at, |old| old.min(at))), ..self.clone() }
    }

    /// The same under another token.
    #[must_use]
    pub fn with_cancel(&self, cancel: CancelToken) -> Self {
        Ctx { cancel, ..self.clone() }
    }

    /// The same in a trace.
    #[must_use]
    pub fn with_trace(&self, trace: TraceParent) -> Self {
        Ctx { trace, ..self.clone() }
    }

    /// The same with history that can be asked.
    #[must_use]
    pub fn with_lookup(&self, lookup: Arc<dyn Lookup>) -> Self {
        Ctx { lookup, ..self.clone() }
    }

    /// Whose data.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Wall-clock time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The token that ends this work.
    pub fn cancel(&self) -> &CancelToken {
        &self.cancel
    }

    /// The trace.
    pub fn trace(&self) -> TraceParent {
        self.trace
    }

    /// History, as the store keeps it.
    pub fn lookup(&self) -> &Arc<dyn Lookup> {
        &self.lookup
    }

    /// What is left of the time, or `None` without a deadline.
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|d| d.saturating_sub(self.clock.monotonic()))
    }

    /// Fails when the work should not go on.
    ///
    /// # Errors
    /// `CANCELLED` or `TIMED_OUT`.
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::new(Code::CANCELLED, "cancelled by the caller"));
        }
        match self.time_left() {
            Some(Duration::ZERO) => Err(Error::new(Code::TIMED_OUT, "the deadline has passed")),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Ctx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ctx").field("scope", &self.scope).field("trace", &self.trace).field("cancel", &self.cancel).finish_non_exhaustive()
    }
}

/// One stored reading as a port hands it over: an encoded `am.v1.Reading`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The bytes; `am_schema::Reading::from_record` reads them.
    pub wire: Vec<u8>,
}

/// Which stored readings are asked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LookupRange {
    /// Of which device; any when `None`.
    pub device: Option<DeviceId>,
    /// Of which topic.
    pub topic: String,
    /// From this time on.
    pub from: Timestamp,
    /// Up to, not including, this time.
    pub to: Timestamp,
    /// At most so many, earliest first.
    pub limit: usize,
}

impl LookupRange {
    /// The readings of a topic in `[from, to)`, at most 10,000.
    pub fn new(topic: impl Into<String>, from: Timestamp, to: Timestamp) -> Self {
        LookupRange { device: None, topic: topic.into(), from, to, limit: 10_000 }
    }

    /// Of one device only.
    #[must_use]
    pub fn device(mut self, device: DeviceId) -> Self {
        self.device = Some(device);
        self
    }

    /// At most so many.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

/// History that a processor may ask. The store implements it and records what was asked in the lineage.
pub trait Lookup: Send + Sync {
    /// The latest reading of a topic at or before a time.
    fn latest<'a>(
        &'a self,
        scope: &'a Scope,
        device: Option<&'a DeviceId>,
        topic: &'a str,
        at: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Record>>>;
    /// Readings of a topic in a span.
    fn range<'a>(&'a self, scope: &'a Scope, range: LookupRange) -> BoxFuture<'a, Result<Vec<Record>>>;
    /// A value of the user's key-value space.
    fn value<'a>(&'a self, scope: &'a Scope, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>>;
}

/// No history at all.
#[derive(Debug, Clone, Copy)]
pub struct NoLookup;

impl Lookup for NoLookup {
    fn latest<'a>(&'a self, _: &'a Scope, _: Option<&'a DeviceId>, _: &'a str, _: Timestamp) -> BoxFuture<'a, Result<Option<Record>>> {
        Box::pin(async { Ok(None) })
    }

    fn range<'a>(&'a self, _: &'a Scope, _: LookupRange) -> BoxFuture<'a, Result<Vec<Record>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn value<'a>(&'a self, _: &'a Scope, _: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        Box::pin(async { Ok(None) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;

    #[test]
    fn a_deadline_only_shrinks_and_cancelling_ends_the_work() {
        let clock = ManualClock::new(Timestamp::from_second(0));
        let ctx =
            Ctx::new(Scope::local(), Arc::new(clock.clone())).with_timeout(Duration::from_secs(5)).with_timeout(Duration::from_secs(60));
        assert_eq!(ctx.time_left(), Some(Duration::from_secs(5)));
        clock.advance(Duration::from_secs(5));
        assert_eq!(ctx.check().unwrap_err().code(), Code::TIMED_OUT);
        ctx.cancel().cancel();
        assert_eq!(ctx.check().unwrap_err().code(), Code::CANCELLED);
    }
}
