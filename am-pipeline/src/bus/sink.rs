//! Readings of a pipeline onto a bus.

use am_core::{Code, Ctx, Error, Result};
use am_schema::{Reading, v1};
use async_trait::async_trait;

use super::{Bus, Message, Parcel, pack};
use crate::{Sink, Written};

/// Publishes readings, one message per topic and device of a batch, or several when they would be too large.
pub struct BusSink {
    bus: Bus,
    client: String,
}

impl BusSink {
    /// Onto a bus, under the name of a client program.
    pub fn new(bus: &Bus, client: impl Into<String>) -> Self {
        BusSink { bus: bus.clone(), client: client.into() }
    }
}

#[async_trait]
impl Sink for BusSink {
    async fn write(&mut self, ctx: &Ctx, readings: &[Reading]) -> Result<Written> {
        let template = Parcel {
            client: self.client.clone(),
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
            received_at: ctx.now().as_nanos(),
            origin: v1::Origin::Live as i32,
            ..Default::default()
        };
        let packed = pack(ctx.scope(), readings, self.bus.publisher.body_limit(), ctx.trace(), &template);
        let (messages, places): (Vec<Message>, Vec<Vec<usize>>) = packed.into_iter().unzip();
        let results = self.bus.publisher.publish(ctx, messages).await;
        let mut failed = Vec::new();
        for (n, places) in places.into_iter().enumerate() {
            match results.get(n) {
                Some(Ok(_)) => {}
                Some(Err(e)) => failed.extend(places.into_iter().map(|i| (i, copy(e)))),
                None => failed.extend(places.into_iter().map(|i| (i, unanswered()))),
            }
        }
        failed.sort_by_key(|(i, _)| *i);
        Ok(if failed.is_empty() { Written::All } else { Written::Partial(failed) })
    }
}

/// One answer means all readings of its message.
fn copy(e: &Error) -> Error {
    Error::new(e.code(), e.message().to_owned()).op(e.operation()).retry(e.advice())
}

fn unanswered() -> Error {
    Error::new(Code::INTERNAL, "the bus answered fewer messages than it was given").op("bus.publish")
}
