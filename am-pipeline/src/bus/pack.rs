//! Readings into messages.

use std::collections::BTreeMap;

use am_core::{Scope, TraceParent};
use am_schema::Reading;
use bytes::Bytes;

use super::{Area, Message, Parcel, Parcels};

/// Bytes of a message besides its readings, generously.
const HEAD: usize = 1 << 10;

/// The most readings of one message.
pub const MAX_ITEMS: usize = 4_000;

/// Puts readings of a person into messages whose bodies have at most `limit` bytes, in the order of the batch within each topic and
/// device; each with the places of its readings in the batch. A single reading beyond the limit is a message of its own, which the bus
/// refuses.
pub fn pack(scope: &Scope, readings: &[Reading], limit: usize, trace: TraceParent, template: &Parcel) -> Vec<(Message, Vec<usize>)> {
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
                trace,
                body: parcel.to_body(),
            };
            out.push((message, std::mem::take(held)));
        };
        for i in places {
            let Some(r) = readings.get(i) else { continue };
            let wire = Bytes::from(r.to_wire());
            if !held.is_empty() && (bytes + wire.len() + 8 > room || held.len() == MAX_ITEMS) {
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
