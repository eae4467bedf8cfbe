//! Batches to parcels and back.

use am_core::{Scope, Timestamp};
use am_pipeline::bus::{Area, Message, Parcel, Parcels};
use am_pipeline::{DeadLetter, Origin};
use am_schema::{Decoder, Reading, Rejected};
use bytes::Bytes;

use crate::model::{DiscardReason, Ingest, Provenance};

/// The reasons in the order in which a parcel counts them.
const REASONS: [DiscardReason; 3] = [DiscardReason::Filter, DiscardReason::Consent, DiscardReason::Erased];

/// A parcel that says who brought it, with nothing in it.
pub(super) fn template(p: &Provenance) -> Parcel {
    Parcel {
        client: p.client.clone(),
        client_version: p.client_version.clone(),
        batch_id: p.batch_id.clone(),
        key_id: p.key_id.clone(),
        received_at: p.received_at.as_nanos(),
        sent_at: p.sent_at.map(Timestamp::as_nanos),
        boot_id: p.boot_id.clone(),
        monotonic_ns: p.monotonic_ns,
        origin: p.origin.to_wire() as i32,
        traceparent: p.traceparent.clone(),
        ..Default::default()
    }
}

/// Who brought a parcel.
pub(super) fn provenance(p: &Parcel) -> Provenance {
    Provenance {
        client: p.client.clone(),
        client_version: p.client_version.clone(),
        batch_id: p.batch_id.clone(),
        key_id: p.key_id.clone(),
        traceparent: p.traceparent.clone(),
        received_at: Timestamp::from_nanos(p.received_at),
        sent_at: p.sent_at.map(Timestamp::from_nanos),
        boot_id: p.boot_id.clone(),
        monotonic_ns: p.monotonic_ns,
        origin: Origin::from_wire(p.origin),
    }
}

/// Dead letters and what was left out, for [`Area::Errors`]; several messages when one would be too large.
pub(super) fn errors(
    scope: &Scope,
    stage: &str,
    letters: &[DeadLetter],
    discarded: &[(DiscardReason, u32)],
    limit: usize,
    template: &Parcel,
) -> Vec<Message> {
    let mut counts = REASONS.map(|r| discarded.iter().filter(|(d, _)| *d == r).fold(0u32, |n, (_, more)| n.saturating_add(*more)));
    let mut out = Vec::new();
    let mut close = |held: &mut Vec<Bytes>, counts: &mut [u32; 3]| {
        let left_out = if counts.iter().any(|n| *n > 0) { std::mem::take(counts).to_vec() } else { Vec::new() };
        if held.is_empty() && left_out.is_empty() {
            return;
        }
        let counted = !left_out.is_empty();
        let parcel = Parcel { letters: std::mem::take(held), discarded: left_out, ..template.clone() };
        // Counts have no identity: they count once per batch, which the time of its arrival tells apart.
        let id = if counted { format!("{}-{}", parcel.content_id(), parcel.received_at) } else { parcel.content_id() };
        out.push(Message {
            area: Area::Errors,
            scope: scope.clone(),
            topic: format!("processing.errors.{stage}"),
            device: None,
            id,
            trace: am_core::TraceParent::parse(&template.traceparent).unwrap_or_default(),
            body: parcel.to_body(),
        });
    };
    let (mut held, mut bytes) = (Vec::new(), 0);
    for letter in letters {
        let text = Bytes::from(letter.to_json().to_string());
        if !held.is_empty() && bytes + text.len() + 1_024 > limit {
            close(&mut held, &mut counts);
            bytes = 0;
        }
        bytes += text.len() + 8;
        held.push(text);
    }
    close(&mut held, &mut counts);
    out
}

/// What a message holds, as a batch to take in; what cannot be read becomes a dead letter.
pub(super) fn ingest(decoder: &mut Decoder, scope: &Scope, parcel: Parcel, now: Timestamp) -> Ingest {
    let provenance = provenance(&parcel);
    let flow = Some(parcel.flow).filter(|f| !f.is_empty());
    let mut batch = Ingest { provenance, flow, ..Default::default() };
    let at = batch.provenance.received_at;
    for wire in parcel.readings {
        match decoder.decode(wire, at) {
            Ok(r) => batch.readings.push(r),
            Err(r) => batch.rejected.push(DeadLetter::rejected(scope.clone(), now, r)),
        }
    }
    for text in parcel.letters {
        let read = serde_json::from_slice(&text).ok().and_then(|v| DeadLetter::from_json(&v).ok());
        batch.rejected.push(match read.filter(|l| l.scope == *scope) {
            Some(letter) => letter,
            None => foreign(scope, now, "a dead letter that cannot be read", text),
        });
    }
    batch.discarded = REASONS.into_iter().zip(parcel.discarded).filter(|(_, n)| *n > 0).collect();
    batch
}

/// Something on the bus that is not what AM puts there.
pub(super) fn foreign(scope: &Scope, now: Timestamp, why: impl std::fmt::Display, body: Bytes) -> DeadLetter {
    let finding = am_schema::Finding::new("message", why, "a parcel of AM");
    DeadLetter::rejected(scope.clone(), now, Rejected::new(am_core::Code::UNDECODABLE, vec![finding], body))
}

/// A message of one derived reading; its id is the reading's, so that deriving it again adds nothing.
pub(super) fn derived(scope: &Scope, reading: &Reading, origin: Origin, flow: &str, now: Timestamp) -> Message {
    let parcel = Parcel {
        readings: vec![Bytes::from(reading.to_wire())],
        received_at: now.as_nanos(),
        origin: origin.to_wire() as i32,
        flow: flow.to_owned(),
        ..Default::default()
    };
    Message {
        area: Area::Readings,
        scope: scope.clone(),
        topic: reading.kind().topic().to_owned(),
        device: Some(reading.device().clone()),
        id: reading.id().to_string(),
        trace: am_core::TraceParent::default(),
        body: parcel.to_body(),
    }
}
