//! The last step: payload and lineage are checked, and a reading is put together.

use std::sync::Arc;

use am_core::{Code, DeviceId, ReadingId, Timestamp};
use bytes::Bytes;

use crate::envelope::{BLOCK, Envelope, SINGLE_SAMPLE, Sent};
use crate::validate::{self, EnvelopeView, push};
use crate::{Finding, Kind, Reading, id, legacy, shapes, v1, wire};

/// What stands in the envelope when it is good.
pub(crate) struct Key {
    pub kind: Kind,
    pub device: DeviceId,
    pub recorded_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub id: Option<ReadingId>,
}

/// Whether the envelope carries the kind's payload, or the older form of it.
pub(crate) fn carries(kind: Kind, env: &Envelope<'_>, findings: &mut Vec<Finding>) -> bool {
    match env.payload.map(|p| p.field) {
        Some(f) if f == kind.field() => true,
        Some(SINGLE_SAMPLE) if kind.topic() == "device.sensor.accelerometer.raw" => true,
        Some(f) => {
            let name = shapes::PAYLOADS.iter().find(|p| p.0 == f).map_or("an unknown payload", |p| p.1);
            push(findings, "data", name, format!("{}, the payload of {}", kind.field_name(), kind.topic()));
            false
        }
        None => {
            push(findings, "data", "", format!("a payload {}", kind.field_name()));
            false
        }
    }
}

pub(crate) fn span_in_order(from: Timestamp, to: Option<Timestamp>, findings: &mut Vec<Finding>) {
    if let Some(to) = to.filter(|t| *t < from) {
        push(findings, "ended_at", to, format!("not before recorded_at, {from}"));
    }
}

/// Checks payload and lineage, and puts the reading together when nothing at all was found.
#[inline]
pub(crate) fn finish(
    key: Key,
    env: &Envelope<'_>,
    body: Bytes,
    check: bool,
    findings: &mut Vec<Finding>,
    code: &mut Code,
) -> Option<Reading> {
    let Key { kind, device, recorded_at, ended_at, id } = key;
    let sent = env.payload?;
    let (body, payload) = current_form(sent, env, body, findings)?;
    if check {
        let bytes = body.get(payload.0 as usize..payload.1 as usize).unwrap_or_default();
        validate::payload(kind, bytes, EnvelopeView { recorded_at: Some(recorded_at), ended_at }, findings);
    }
    let lineage = lineage_of(kind, env, findings, code);
    if !findings.is_empty() {
        return None;
    }
    let id = id.unwrap_or_else(|| match env.original {
        Some(sample) => id::content_id_of(kind, &device, recorded_at, &shapes::ACCELEROMETER, sample),
        None if sent.field == SINGLE_SAMPLE => id::content_id_of(kind, &device, recorded_at, &shapes::ACCELEROMETER, sent.bytes),
        None => id::content_id(kind, &device, recorded_at, sent.bytes),
    });
    Some(Reading { kind, device, id, recorded_at, ended_at, body, payload, lineage })
}

/// The body with the payload in its current form: a single sample gets its block beside it.
#[inline]
fn current_form(sent: Sent<'_>, env: &Envelope<'_>, body: Bytes, findings: &mut Vec<Finding>) -> Option<(Bytes, (u32, u32))> {
    if sent.field == SINGLE_SAMPLE {
        let block = legacy::block_of(sent.bytes, findings)?;
        let mut longer = Vec::with_capacity(body.len() + block.len() + 8);
        longer.extend_from_slice(&body);
        wire::put_len(&mut longer, BLOCK, &block);
        let end = longer.len();
        return Some((longer.into(), ((end - block.len()) as u32, end as u32)));
    }
    if let Some(sample) = env.original
        && legacy::block_of(sample, findings)? != sent.bytes
    {
        push(findings, "data", "a single sample and another block", "exactly one payload");
        return None;
    }
    Some((body, sent.range))
}

#[inline]
fn lineage_of(kind: Kind, env: &Envelope<'_>, findings: &mut Vec<Finding>, code: &mut Code) -> Option<Arc<v1::Lineage>> {
    match (env.lineage, kind.stage().is_derived()) {
        (Some(b), true) => validate::lineage(b, findings).map(Arc::new),
        (None, true) => {
            if findings.is_empty() {
                *code = Code::MISSING_LINEAGE;
            }
            push(findings, "lineage", "", "the inputs of a derived reading");
            None
        }
        (Some(_), false) => {
            push(findings, "lineage", "present", "no lineage on a raw reading");
            None
        }
        (None, false) => None,
    }
}
