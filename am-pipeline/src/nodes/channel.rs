//! Carries readings from one part of a program into a pipeline, with custody: the sender hears how each ended.

use std::collections::HashMap;
use std::sync::Arc;

use am_core::{Code, Ctx, Error, Result};
use am_schema::Reading;
use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::{Arrival, Origin, Outcome, Polled, Settled, Sink, Source, Token, Written};

/// A batch on its way, and where its outcomes go.
struct Parcel {
    readings: Vec<Reading>,
    reply: oneshot::Sender<Vec<Outcome>>,
}

/// The sending end: for programs, and as a sink at the end of another pipeline.
#[derive(Clone)]
pub struct ChannelSink(mpsc::Sender<Parcel>);

/// The receiving end, the source of a pipeline. It is at its end when all senders are gone.
pub struct ChannelSource {
    queue: mpsc::Receiver<Parcel>,
    /// Batches not all settled, by number.
    open: HashMap<u64, Open>,
    next: u64,
    /// The batch that did not fit into the last poll's room, and how far it was handed over.
    partly: Option<(u64, Vec<Reading>)>,
}

struct Open {
    outcomes: Vec<Option<Outcome>>,
    left: usize,
    reply: oneshot::Sender<Vec<Outcome>>,
}

/// The most readings of one batch: the low bits of a token.
const MAX_PARCEL: u64 = 1 << 20;

/// Two ends; at most `capacity` batches wait in between.
pub fn channel(capacity: usize) -> (ChannelSink, ChannelSource) {
    let (sender, queue) = mpsc::channel(capacity.max(1));
    (ChannelSink(sender), ChannelSource { queue, open: HashMap::new(), next: 0, partly: None })
}

impl ChannelSink {
    /// Sends a batch and waits until every reading of it has ended.
    ///
    /// # Errors
    /// `TOO_LARGE` for more than 2^20 readings, `CLOSED` when the pipeline is gone; the readings were not processed, or not to their end.
    ///
    /// # Cancel safety
    /// Dropped while it waits, the readings may have been taken; sending them again is harmless where the sinks are idempotent.
    pub async fn send(&self, readings: Vec<Reading>) -> Result<Vec<Outcome>> {
        let closed = || Error::new(Code::CLOSED, "the pipeline behind the channel has ended").op("channel.send");
        if readings.is_empty() {
            return Ok(Vec::new());
        }
        if readings.len() as u64 >= MAX_PARCEL {
            return Err(Error::new(Code::TOO_LARGE, format!("{} readings in one batch", readings.len())).op("channel.send"));
        }
        let (reply, outcomes) = oneshot::channel();
        self.0.send(Parcel { readings, reply }).await.map_err(|_| closed())?;
        outcomes.await.map_err(|_| closed())
    }
}

#[async_trait]
impl Sink for ChannelSink {
    async fn write(&mut self, _: &Ctx, readings: &[Reading]) -> Result<Written> {
        let outcomes = self.send(readings.to_vec()).await?;
        let failed = outcomes.into_iter().enumerate().filter_map(|(i, o)| match o {
            Outcome::Retry(e) => {
                let text = e.map_or_else(|| "broken off".to_owned(), |e: Arc<Error>| e.message().to_owned());
                Some((i, Error::new(Code::CANCELLED, format!("the next pipeline: {text}"))))
            }
            // What the next pipeline discarded or parked is in its custody.
            _ => None,
        });
        let failed: Vec<_> = failed.collect();
        Ok(if failed.is_empty() { Written::All } else { Written::Partial(failed) })
    }
}

#[async_trait]
impl Source for ChannelSource {
    async fn poll(&mut self, _: &Ctx, room: usize) -> Result<Option<Polled>> {
        if self.partly.is_none() {
            // Receiving is cancel safe: the batch is in the value returned or still in the queue.
            let Some(Parcel { mut readings, reply }) = self.queue.recv().await else { return Ok(None) };
            let n = readings.len();
            readings.reverse();
            self.open.insert(self.next, Open { outcomes: vec![None; n], left: n, reply });
            self.partly = Some((self.next, readings));
            self.next += 1;
        }
        let mut items = Vec::new();
        if let Some((parcel, rest)) = &mut self.partly {
            let size = self.open.get(parcel).map_or(0, |o| o.outcomes.len());
            while items.len() < room
                && let Some(reading) = rest.pop()
            {
                let index = (size - rest.len() - 1) as u64;
                items.push(Arrival { token: Token(*parcel * MAX_PARCEL + index), item: Ok(reading) });
            }
            if rest.is_empty() {
                self.partly = None;
            }
        }
        Ok(Some(Polled { items, origin: Origin::Live }))
    }

    async fn settle(&mut self, _: &Ctx, outcomes: &[Settled]) -> Result<()> {
        for s in outcomes {
            let (parcel, index) = (s.token.0 / MAX_PARCEL, (s.token.0 % MAX_PARCEL) as usize);
            let Some(open) = self.open.get_mut(&parcel) else { continue };
            if let Some(place) = open.outcomes.get_mut(index).filter(|o| o.is_none()) {
                *place = Some(s.outcome.clone());
                open.left -= 1;
            }
            if open.left == 0
                && let Some(open) = self.open.remove(&parcel)
            {
                // A sender that no longer waits has nothing to hear.
                let _ = open.reply.send(open.outcomes.into_iter().map(|o| o.unwrap_or(Outcome::Retry(None))).collect());
            }
        }
        Ok(())
    }
}
