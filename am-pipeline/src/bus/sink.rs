//! Readings of a pipeline onto a bus.

use std::collections::BTreeMap;

use am_core::{Code, Ctx, Error, Result, Scope};
use am_schema::{Reading, v1};
use async_trait::async_trait;
use bytes::Bytes;

use super::{Area, Bus, Message, Parcel, Parcels};
use crate::{Sink, Written};

/// Bytes of a message besides its body, generously.
const HEAD: usize = 1 << 10;

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

/// Puts readings of a person into messages of at most `limit` bytes, in the order of the batch within each topic and device.
pub(crate) fn pack(scope: &Scope, readings: &[Reading], limit: usize, ctx: &Ctx, template: &Parcel) -> Vec<(Message, Vec<usize>)> {
    let mut by: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (i, r) in readings.iter().enumerate() {
        by.entry((r.kind().topic(), r.device().as_str())).or_default().push(i);
    }
    let room = limit.saturating_sub(HEAD).max(1);
    let mut out = Vec::new();
    for ((topic, _), places) in by {
        let (mut wires, mut held, mut bytes): (Vec<Bytes>, Vec<usize>, usize) = Default::default();
        let mut close = |wires: &mut Vec<Bytes>, held: &mut Vec<usize>| {
            let Some(first) = held.first().and_then(|i| readings.get(*i)) else { return };
            let parcel = Parcel { readings: std::mem::take(wires), ..template.clone() };
            let message = Message {
                area: Area::Readings,
                scope: scope.clone(),
                topic: topic.to_owned(),
                device: Some(first.device().clone()),
                id: parcel.content_id(),
                trace: ctx.trace(),
                body: parcel.to_body(),
            };
            out.push((message, std::mem::take(held)));
        };
        for i in places {
            let Some(r) = readings.get(i) else { continue };
            let wire = Bytes::from(r.to_wire());
            if !held.is_empty() && bytes + wire.len() + 8 > room {
                close(&mut wires, &mut held);
                bytes = 0;
            }
            bytes += wire.len() + 8;
            wires.push(wire);
            held.push(i);
        }
        close(&mut wires, &mut held);
    }
    out
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
        let packed = pack(ctx.scope(), readings, self.bus.publisher.body_limit(), ctx, &template);
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
