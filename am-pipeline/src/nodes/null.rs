//! A sink that keeps nothing.

use am_core::{Ctx, Result};
use am_schema::Reading;
use async_trait::async_trait;

use crate::{Sink, Written};

/// Takes everything and keeps nothing: for measuring, and for flows that are run for their processors' effects.
#[derive(Debug, Clone, Copy, Default)]
pub struct Null;

#[async_trait]
impl Sink for Null {
    async fn write(&mut self, _: &Ctx, _: &[Reading]) -> Result<Written> {
        Ok(Written::All)
    }
}
