//! Puts a node's input together to batches.

use std::sync::Arc;
use std::time::Duration;

use am_core::Ctx;
use tokio::sync::mpsc::Receiver;

use super::settings::Batching;
use super::status::Counters;
use crate::Item;

pub(super) struct Inlet {
    queue: Receiver<Vec<Item>>,
    /// What was received and did not fit into the last batch.
    rest: Vec<Item>,
    limits: Batching,
    counters: Arc<Counters>,
}

impl Inlet {
    pub(super) fn new(queue: Receiver<Vec<Item>>, limits: Batching, counters: Arc<Counters>) -> Self {
        Inlet { queue, rest: Vec::new(), limits, counters }
    }

    /// The next batch; `None` when all who could send are gone and everything was handed out.
    pub(super) async fn next(&mut self, ctx: &Ctx) -> Option<Vec<Item>> {
        let mut batch = std::mem::take(&mut self.rest);
        if batch.is_empty() {
            batch = self.queue.recv().await?;
        }
        let mut until: Option<Duration> = None;
        while !self.is_full(&batch) {
            let more = match self.queue.try_recv() {
                Ok(more) => more,
                Err(_) if self.limits.age.is_zero() || self.queue.is_closed() && self.queue.is_empty() => break,
                Err(_) => {
                    let now = ctx.clock().monotonic();
                    let left = until.get_or_insert(now + self.limits.age).saturating_sub(now);
                    if left.is_zero() {
                        break;
                    }
                    tokio::select! {
                        more = self.queue.recv() => match more {
                            Some(more) => more,
                            None => break,
                        },
                        () = ctx.clock().sleep(left) => break,
                    }
                }
            };
            if batch.len() + more.len() <= self.limits.items {
                batch.extend(more);
            } else {
                self.rest = more;
                break;
            }
        }
        self.cut(&mut batch);
        self.counters.leave(batch.len());
        self.counters.add(|c| &c.taken, batch.len());
        Some(batch)
    }

    fn is_full(&self, batch: &[Item]) -> bool {
        batch.len() >= self.limits.items || batch.iter().map(|i| i.body().len()).sum::<usize>() >= self.limits.bytes
    }

    /// Keeps what is beyond the limits for the next batch; one item at least stays.
    fn cut(&mut self, batch: &mut Vec<Item>) {
        let mut bytes = 0;
        let mut within = |item: &Item| {
            bytes += item.body().len();
            bytes <= self.limits.bytes
        };
        let fitting = batch.iter().take(self.limits.items).take_while(|i| within(i)).count().max(1);
        if fitting < batch.len() {
            let mut beyond = batch.split_off(fitting);
            beyond.append(&mut self.rest);
            self.rest = beyond;
        }
    }
}
