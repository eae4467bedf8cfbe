//! Readers in order.

use std::sync::Arc;
use std::time::Duration;

use am_core::{Code, Error, Result};
use async_trait::async_trait;

use super::Shared;
use crate::bus::{Area, Sequenced, Tail, TailSpec, Tails};

struct Reader {
    shared: Arc<Shared>,
    spec: TailSpec,
    reader: u64,
    at: u64,
}

#[async_trait]
impl Tails for Shared {
    async fn open(&self, spec: TailSpec) -> Result<Box<dyn Tail>> {
        let reader = self.log.lock().tail(&spec)?;
        Ok(Box::new(Reader { shared: self.me.upgrade().ok_or_else(super::gone)?, at: spec.after, spec, reader }))
    }

    async fn head(&self, area: Area) -> Result<u64> {
        Ok(self.log.lock().head(area))
    }

    async fn lag(&self, area: Area, name: &str) -> Result<Option<u64>> {
        Ok(self.log.lock().tail_lag(area, name))
    }
}

#[async_trait]
impl Tail for Reader {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Sequenced>> {
        let (spec, reader, at) = (&self.spec, self.reader, &mut self.at);
        let found = self.shared.wait_for(wait, |log, _| {
            if !log.owns(&spec.name, reader) {
                return Some(Err(Error::new(Code::CLOSED, format!("another reader of {} took over", spec.name)).op("bus.tail")));
            }
            let (found, seen) = log.read(spec, *at, max);
            *at = seen;
            (!found.is_empty()).then_some(Ok(found))
        });
        found.await.unwrap_or_else(|| Ok(Vec::new()))
    }

    async fn done(&mut self, sequence: u64) -> Result<()> {
        self.shared.log.lock().done(&self.spec.name, self.reader, sequence);
        Ok(())
    }
}
