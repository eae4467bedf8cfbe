//! Closures as processors.

use am_core::{Ctx, Error, Result};
use am_schema::Reading;
use async_trait::async_trait;

use crate::{Batch, Output, Processor, Reason};

/// Changes each reading; made by [`map`].
pub struct Map<F>(F);

/// Makes one reading of each. An item whose closure fails is tried again or parked, as the error advises; the others go on.
///
/// ```
/// # use am_core::{Code, Error};
/// use am_pipeline::nodes::map;
/// use am_schema::{Reading, v1};
/// let clamp = map(|r: &Reading| {
///     let beat: v1::HeartRate = r.payload()?;
///     Reading::builder(r.kind(), r.device().clone(), r.recorded_at())
///         .payload(&v1::HeartRate { bpm: beat.bpm.min(220), ..beat })
///         .build()
///         .map_err(Error::from)
/// });
/// # let _ = clamp;
/// ```
pub fn map<F: FnMut(&Reading) -> Result<Reading> + Send>(f: F) -> Map<F> {
    Map(f)
}

#[async_trait]
impl<F: FnMut(&Reading) -> Result<Reading> + Send> Processor for Map<F> {
    async fn process(&mut self, _: &Ctx, batch: Batch, out: &mut Output) -> Result<()> {
        for item in batch {
            match (self.0)(item.reading()) {
                Ok(reading) => out.emit(item.with_reading(reading)),
                Err(e) => refuse(out, item, e),
            }
        }
        Ok(())
    }

    async fn flush(&mut self, _: &Ctx, _: &mut Output) -> Result<()> {
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Keeps some readings; made by [`filter`].
pub struct Filter<F> {
    reason: Reason,
    keep: F,
}

/// Keeps the readings that a test wants and discards the others for a reason.
pub fn filter<F: FnMut(&Reading) -> bool + Send>(reason: impl Into<Reason>, keep: F) -> Filter<F> {
    Filter { reason: reason.into(), keep }
}

#[async_trait]
impl<F: FnMut(&Reading) -> bool + Send> Processor for Filter<F> {
    async fn process(&mut self, _: &Ctx, batch: Batch, out: &mut Output) -> Result<()> {
        out.filter(batch, &self.reason, &mut self.keep);
        Ok(())
    }

    async fn flush(&mut self, _: &Ctx, _: &mut Output) -> Result<()> {
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Hands an item back as its error advises.
pub(super) fn refuse(out: &mut Output, item: crate::Item, e: Error) {
    if e.advice().is_worthwhile() { out.retry(item, e) } else { out.park(item, e) }
}
