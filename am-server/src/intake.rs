//! From bytes to an answer: decode and validate, commit, and only then say so (P01).

use std::sync::Arc;
use std::time::Duration;

use am_core::{Clock, Code, Ctx, Error, Timestamp, TraceParent};
use am_pipeline::DeadLetter;
use am_schema::v1::Outcome;
use am_schema::{Catalogue, Decoder, Finding, Reading, Rejected};
use am_store::model::{DiscardReason, Ingest, IngestOutcome, Origin, Provenance, PutOutcome};
use am_store::traits::Readings;
use bytes::Bytes;
use tracing::Instrument;

use crate::answer::Answer;
use crate::auth::Grant;
use crate::grpc::codec::{Batch, RawBatch};
use crate::grpc::status::retry_after_ms;
use crate::metrics::Metrics;

/// Takes batches in.
pub(crate) struct Intake {
    pub(crate) readings: Arc<dyn Readings>,
    pub(crate) catalogue: Catalogue,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) batch_items: usize,
    pub(crate) accept: Duration,
}

/// Decoded items of one batch.
#[derive(Default)]
struct Sorted {
    readings: Vec<Reading>,
    rejected: Vec<DeadLetter>,
    /// Which item each reading was; empty when nothing was rejected.
    places: Vec<u32>,
}

impl Intake {
    /// A whole frame of `BatchUpload` or `StreamBatches`.
    pub(crate) async fn take_frame(&self, grant: &Grant, frame: RawBatch) -> (String, Answer) {
        let now = self.clock.now();
        self.metrics.received_bytes(frame.0.len());
        match frame.scan(self.batch_items) {
            Ok(mut batch) => {
                let items = std::mem::take(&mut batch.items);
                let id = batch.batch_id.clone();
                (id, self.take(grant, items, provenance(grant, batch, now), now).await)
            }
            Err(bad) => {
                let (field, value, rule) = bad.parts();
                let r = Rejected::new(bad.code(), vec![Finding::new(field, value, rule)], frame.0);
                let mut answer = Answer::rejected(1);
                answer.finding(0, &r);
                let letters = Sorted { rejected: vec![DeadLetter::rejected(grant.scope.clone(), now, r)], ..Sorted::default() };
                (String::new(), self.settle(grant, letters, provenance(grant, Batch::default(), now), answer, now).await)
            }
        }
    }

    /// Readings that came one by one.
    pub(crate) async fn take_group(&self, grant: &Grant, items: Vec<Bytes>) -> Answer {
        let now = self.clock.now();
        self.metrics.received_bytes(items.iter().map(Bytes::len).sum());
        self.take(grant, items, provenance(grant, Batch::default(), now), now).await
    }

    async fn take(&self, grant: &Grant, items: Vec<Bytes>, provenance: Provenance, now: Timestamp) -> Answer {
        if items.is_empty() {
            return Answer::rejected(0);
        }
        let mut answer = Answer::rejected(items.len());
        let sorted = self.sort(grant, items, provenance.origin, now, &mut answer);
        self.settle(grant, sorted, provenance, answer, now).await
    }

    /// Decodes and validates; what breaks a rule becomes a dead letter, and the rest goes on (P09).
    fn sort(&self, grant: &Grant, items: Vec<Bytes>, origin: Origin, now: Timestamp, answer: &mut Answer) -> Sorted {
        let mut decoder = Decoder::new(self.catalogue.clone()).backfill(origin != Origin::Live);
        let mut s = Sorted { readings: Vec::with_capacity(items.len()), ..Sorted::default() };
        for (index, wire) in (0u32..).zip(items) {
            // The decoder hands the bytes back only when it refuses them.
            let foreign = grant.device.is_some().then(|| wire.clone());
            let refused = match (decoder.decode(wire, now), &grant.device, foreign) {
                (Ok(r), Some(own), Some(wire)) if r.device() != own => foreign_device(&r, own.as_str(), wire),
                (Ok(r), _, _) => {
                    if !s.rejected.is_empty() {
                        s.places.push(index);
                    }
                    s.readings.push(r);
                    continue;
                }
                (Err(r), _, _) => r,
            };
            if s.rejected.is_empty() {
                s.places.extend(0..index);
            }
            answer.finding(index, &refused);
            s.rejected.push(DeadLetter::rejected(grant.scope.clone(), now, refused));
        }
        s
    }

    /// Commits, then answers.
    async fn settle(&self, grant: &Grant, sorted: Sorted, provenance: Provenance, mut answer: Answer, now: Timestamp) -> Answer {
        let started = self.clock.monotonic();
        self.metrics.received_items(&sorted.readings, sorted.rejected.len());
        let trace = TraceParent::parse(&provenance.traceparent).unwrap_or_default();
        let ctx = Ctx::new(grant.scope.clone(), self.clock.clone()).with_trace(trace).with_timeout(self.accept);
        let (readings, rejected) = (sorted.readings.len(), sorted.rejected.len());
        let ingest = Ingest { provenance, readings: sorted.readings, rejected: sorted.rejected, ..Ingest::default() };
        let span = tracing::debug_span!("store.put", readings, rejected, key = grant.key_id, trace = %ctx.trace());
        let done = tokio::select! {
            done = self.readings.put(&ctx, ingest).instrument(span) => done,
            () = self.clock.sleep(self.accept) => Err(Error::new(Code::TIMED_OUT, "the store did not commit in time").op("server.accept")),
        };
        let done = done.and_then(|d| if d.readings.len() == readings { Ok(d) } else { Err(disagree(readings, &d)) });
        match done {
            Ok(d) => {
                for (i, outcome) in d.readings.into_iter().enumerate() {
                    let place = if sorted.places.is_empty() { i } else { sorted.places.get(i).map_or(i, |p| *p as usize) };
                    record(&mut answer, place, outcome);
                }
            }
            Err(e) => {
                tracing::warn!(error = ?e, items = readings + rejected, "a batch was not taken in");
                answer = Answer::retry(readings + rejected, &e, retry_after_ms(&e).unwrap_or(30_000));
            }
        }
        self.metrics.answered(&answer, self.clock.monotonic().saturating_sub(started));
        tracing::trace!(items = readings + rejected, rejected, key = grant.key_id, at = %now, "batch answered");
        answer
    }
}

fn disagree(readings: usize, d: &IngestOutcome) -> Error {
    Error::new(Code::INTERNAL, format!("the store answered {} of {readings} readings", d.readings.len())).op("server.accept")
}

fn record(answer: &mut Answer, place: usize, outcome: PutOutcome) {
    match outcome {
        PutOutcome::Stored(_) => answer.set(place, Outcome::Stored),
        PutOutcome::Duplicate => answer.set(place, Outcome::Duplicate),
        PutOutcome::Conflict(letter) => {
            let rule = "one content for each device, kind, time and id";
            answer.error(
                place,
                Code::CLOCK_CONFLICT,
                "reading_id",
                "",
                rule,
                format!("the first one is kept; this one is dead letter {letter}"),
            );
        }
        PutOutcome::Discarded(reason) => {
            answer.set(place, Outcome::Discarded);
            let (rule, message) = match reason {
                DiscardReason::Filter => ("filter", "left out by a privacy or capture filter"),
                DiscardReason::Consent => ("consent", "left out because the person did not consent"),
                DiscardReason::Erased => ("erased", "was erased before, and stays so"),
            };
            answer.note(place, rule, message);
        }
    }
}

fn foreign_device(r: &Reading, own: &str, wire: Bytes) -> Rejected {
    let f = Finding::new("device_id", r.device(), format!("{own}, the device of the key"));
    let mut rejected = Rejected::new(Code::FORBIDDEN, vec![f], wire);
    (rejected.device, rejected.kind) = (Some(r.device().to_string()), Some(r.kind().topic().to_owned()));
    rejected
}

fn provenance(grant: &Grant, b: Batch, now: Timestamp) -> Provenance {
    Provenance {
        client: b.client,
        client_version: b.client_version,
        batch_id: b.batch_id,
        key_id: grant.key_id.clone(),
        traceparent: TraceParent::parse(&b.traceparent).map(|t| t.to_string()).unwrap_or_default(),
        received_at: now,
        sent_at: b.sent_at.and_then(|(s, n)| Timestamp::from_parts(s, n)),
        boot_id: b.boot_id,
        monotonic_ns: b.monotonic_ns,
        origin: Origin::from_wire(b.origin),
    }
}
