//! Where readings go.

use am_core::{Ctx, Error, Result};
use am_schema::Reading;
use async_trait::async_trait;

/// What a write did.
#[derive(Debug)]
pub enum Written {
    /// Every reading is safe.
    All,
    /// Every reading is safe but these, by index.
    Partial(Vec<(usize, Error)>),
}

/// Takes readings for good. Writing the same reading again must change nothing: a write that timed out is tried again.
#[async_trait]
pub trait Sink: Send {
    /// Returns when the readings are as safe as this sink makes them.
    ///
    /// # Errors
    /// Means all of the readings. Whether to try again, park or give up is decided by the runtime from the error's advice.
    async fn write(&mut self, ctx: &Ctx, readings: &[Reading]) -> Result<Written>;
}

#[async_trait]
impl Sink for Box<dyn Sink> {
    async fn write(&mut self, ctx: &Ctx, readings: &[Reading]) -> Result<Written> {
        (**self).write(ctx, readings).await
    }
}
