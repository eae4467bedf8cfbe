//! Members of groups.

use std::sync::Arc;
use std::time::Duration;

use am_core::Result;
use async_trait::async_trait;

use super::Shared;
use crate::bus::{Consumer, Delivery, GroupSpec, Groups, Tag};

struct Member {
    shared: Arc<Shared>,
    name: String,
}

#[async_trait]
impl Groups for Shared {
    async fn join(&self, spec: GroupSpec) -> Result<Box<dyn Consumer>> {
        let name = spec.name.clone();
        self.log.lock().join(spec)?;
        Ok(Box::new(Member { shared: self.me.upgrade().ok_or_else(super::gone)?, name }))
    }
}

#[async_trait]
impl Consumer for Member {
    async fn fetch(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let name = &self.name;
        let taken = self.shared.wait_for(wait, |log, now| Some(log.take(name, max, now)).filter(|t| !t.is_empty())).await;
        let most = self.shared.log.lock().deliveries(&self.name);
        let delivery = |(tag, o, m): (u64, super::log::Out, _)| Delivery {
            tag: Tag(tag),
            sequence: o.sequence,
            attempt: o.attempt,
            last: most > 0 && o.attempt >= most,
            message: Ok(m),
        };
        Ok(taken.unwrap_or_default().into_iter().map(delivery).collect())
    }

    async fn ack(&mut self, tags: &[Tag]) -> Result<()> {
        let tags: Vec<u64> = tags.iter().map(|t| t.0).collect();
        self.shared.log.lock().settle(&self.name, &tags, None);
        Ok(())
    }

    async fn again(&mut self, tags: &[Tag], after: Duration) -> Result<()> {
        let tags: Vec<u64> = tags.iter().map(|t| t.0).collect();
        let due = self.shared.clock.monotonic().saturating_add(after);
        self.shared.log.lock().settle(&self.name, &tags, Some(due));
        Ok(())
    }

    async fn lag(&mut self) -> Result<u64> {
        Ok(self.shared.log.lock().lag(&self.name))
    }
}
