//! Retry, circuit breaker, limits and metrics, put around any call.
//!
//! A [`Policy`] knows nothing of what it guards, and one forwarder per trait puts any number of them around it: N policies and M traits
//! are N + M pieces of code. The first policy is the outermost.
//!
//! ```
//! use std::time::Duration;
//! use am_pipeline::nodes::Null;
//! use am_pipeline::policies::{Breaker, Concurrency, Policies, Retry};
//! let guarded = Policies::new()
//!     .with(Retry::default().budget(Duration::from_secs(20)).per_try(Duration::from_secs(5)))
//!     .with(Breaker::default())
//!     .with(Concurrency::new(4, 64))
//!     .sink(Null);
//! # let _ = guarded;
//! ```

mod breaker;
mod concurrency;
mod meter;
mod rate;
mod retry;

use std::sync::Arc;

use am_core::{BoxFuture, Code, Ctx, Error, Result};
use am_schema::Reading;
use async_trait::async_trait;

pub use breaker::{Breaker, BreakerState};
pub use concurrency::Concurrency;
pub use meter::{Meter, MeterReading};
pub use rate::Rate;
pub use retry::Retry;

use crate::{Sink, Written};

/// A call that a policy lets through, holds back, or makes again.
pub trait Call: Send {
    /// Makes the call. Policies call it again only when that is harmless.
    fn attempt<'a>(&'a mut self, ctx: &'a Ctx) -> BoxFuture<'a, Result<()>>;
}

/// Decides whether, when and how often a call is made.
#[async_trait]
pub trait Policy: Send + Sync {
    /// Runs the call under this policy.
    ///
    /// # Errors
    /// The call's own, or that the policy did not let it through.
    async fn run(&self, ctx: &Ctx, call: &mut dyn Call) -> Result<()>;
}

/// Policies around one another. Cheap to clone; clones share breakers, limits and counters.
#[derive(Clone, Default)]
pub struct Policies(Vec<Arc<dyn Policy>>);

impl Policies {
    /// None at all.
    pub fn new() -> Policies {
        Policies::default()
    }

    /// Adds one within those that are there.
    #[must_use]
    pub fn with(self, policy: impl Policy + 'static) -> Policies {
        self.with_shared(Arc::new(policy))
    }

    /// Adds one that others use too: a breaker for everything that goes to the same service.
    #[must_use]
    pub fn with_shared(mut self, policy: Arc<dyn Policy>) -> Policies {
        self.0.push(policy);
        self
    }

    /// Makes a call of any kind under the policies; `make` may be called several times.
    ///
    /// # Errors
    /// The last error of the call, or that a policy did not let it through.
    pub async fn call<T: Send>(&self, ctx: &Ctx, make: impl FnMut(&Ctx) -> BoxFuture<'_, Result<T>> + Send) -> Result<T> {
        let mut call = Made { make, value: None };
        Layers { policies: &self.0, call: &mut call }.attempt(ctx).await?;
        call.value.ok_or_else(|| Error::new(Code::INTERNAL, "a policy answered for a call that was not made"))
    }

    /// Puts them around a sink.
    pub fn sink<S: Sink>(&self, sink: S) -> Guarded<S> {
        Guarded { inner: sink, policies: self.clone() }
    }
}

/// The policies that are left to pass, then the call.
struct Layers<'a> {
    policies: &'a [Arc<dyn Policy>],
    call: &'a mut dyn Call,
}

impl Call for Layers<'_> {
    fn attempt<'a>(&'a mut self, ctx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        match self.policies {
            [] => self.call.attempt(ctx),
            [first, rest @ ..] => Box::pin(async move { first.run(ctx, &mut Layers { policies: rest, call: self.call }).await }),
        }
    }
}

struct Made<F, T> {
    make: F,
    value: Option<T>,
}

impl<T: Send, F: FnMut(&Ctx) -> BoxFuture<'_, Result<T>> + Send> Call for Made<F, T> {
    fn attempt<'a>(&'a mut self, ctx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.value = Some((self.make)(ctx).await?);
            Ok(())
        })
    }
}

/// A sink under policies; made by [`Policies::sink`].
pub struct Guarded<S> {
    inner: S,
    policies: Policies,
}

struct Write<'s, S> {
    sink: &'s mut S,
    readings: &'s [Reading],
    written: Option<Written>,
}

impl<S: Sink> Call for Write<'_, S> {
    fn attempt<'a>(&'a mut self, ctx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.written = Some(self.sink.write(ctx, self.readings).await?);
            Ok(())
        })
    }
}

#[async_trait]
impl<S: Sink> Sink for Guarded<S> {
    async fn write(&mut self, ctx: &Ctx, readings: &[Reading]) -> Result<Written> {
        let mut call = Write { sink: &mut self.inner, readings, written: None };
        Layers { policies: &self.policies.0, call: &mut call }.attempt(ctx).await?;
        call.written.ok_or_else(|| Error::new(Code::INTERNAL, "a policy answered for a write that was not made"))
    }
}

#[cfg(test)]
mod tests;
