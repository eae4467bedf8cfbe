//! Bytes of others into readings.

use std::time::Duration;

use am_core::{Code, DeviceId, ReadingId, Timestamp};
use bytes::{Bytes, BytesMut};

use crate::complete::{Key, carries, finish, span_in_order};
use crate::envelope::Envelope;
use crate::validate::{self, EnvelopeView, push};
use crate::{Catalogue, DataClass, Finding, Kind, Reading, Rejected, json, shapes};

/// How large an item may be. What is larger is refused as a whole, before it is read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one encoded reading: 4 MiB, the largest message that servers of this protocol take.
    pub reading_bytes: usize,
    /// Bytes of one reading as JSON: 8 MiB; base64 and names make it longer than the encoded one.
    pub json_bytes: usize,
    /// Entries of the metadata: 64.
    pub metadata_entries: usize,
    /// Bytes of one metadata key: 128.
    pub metadata_key_bytes: usize,
    /// Bytes of one metadata value: 8 KiB.
    pub metadata_value_bytes: usize,
    /// The earliest time that live readings may carry: 1970; imports may go further back.
    pub live_not_before: Timestamp,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            reading_bytes: 4 << 20,
            json_bytes: 8 << 20,
            metadata_entries: 64,
            metadata_key_bytes: 128,
            metadata_value_bytes: 8 << 10,
            live_not_before: Timestamp::from_second(0),
        }
    }
}

/// Decodes and validates readings; remembers device and kind from one to the next, so one decoder should serve a whole batch.
pub struct Decoder {
    catalogue: Catalogue,
    limits: Limits,
    backfill: bool,
    trusted: bool,
    device: Option<DeviceId>,
    kind: Option<Kind>,
    arena: BytesMut,
}

impl Decoder {
    /// A decoder for live readings.
    pub fn new(catalogue: Catalogue) -> Self {
        Decoder { catalogue, limits: Limits::default(), backfill: false, trusted: false, device: None, kind: None, arena: BytesMut::new() }
    }

    /// Sets other limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Also takes times before 1970, as imports carry them.
    #[must_use]
    pub fn backfill(mut self, yes: bool) -> Self {
        self.backfill = yes;
        self
    }

    /// For readings that were valid before: derived ones are taken as well, times are not compared with a clock, and payloads are
    /// not checked again, so that a stricter rule does not make what is stored unreadable.
    #[must_use]
    pub fn trusted(mut self) -> Self {
        self.trusted = true;
        self.backfill = true;
        self
    }

    /// The catalogue in use.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// One encoded `am.v1.Reading` into a valid reading. `now` bounds how far in the future it may lie.
    ///
    /// # Errors
    /// All broken rules at once, with the bytes.
    pub fn decode(&mut self, wire: Bytes, now: Timestamp) -> Result<Reading, Rejected> {
        if wire.len() > self.limits.reading_bytes {
            return Err(too_large(self.limits.reading_bytes, wire));
        }
        let mut findings = Vec::new();
        let (env, body) = match Envelope::read(&wire, &self.limits, &mut self.arena, &mut findings) {
            Ok(x) => x,
            Err(m) => {
                let f = Finding::new("reading", m, "a protobuf am.v1.Reading");
                return Err(Rejected::new(Code::UNDECODABLE, vec![f], wire));
            }
        };
        let mut code = Code::INVALID_ITEM;
        let key = self.key(&env, now, &mut findings, &mut code);
        if let Some(key) = key {
            match finish(key, &env, body, !self.trusted, &mut findings, &mut code) {
                Some(reading) => return Ok(reading),
                None => self.kind = None,
            }
        }
        let text = |b: &[u8]| crate::finding::shorten(String::from_utf8_lossy(b).escape_debug());
        let (device, kind) = (env.device.map(text), env.kind.map(text));
        Err(Rejected { device, kind: kind.or_else(|| self.guess(&env)), ..Rejected::new(code, findings, wire.clone()) })
    }

    /// One reading as JSON, in the protobuf mapping with names in either spelling; see [`json`].
    ///
    /// # Errors
    /// All broken rules at once, with the text.
    pub fn decode_json(&mut self, text: &str, now: Timestamp) -> Result<Reading, Rejected> {
        let original = || Bytes::copy_from_slice(text.as_bytes());
        if text.len() > self.limits.json_bytes {
            return Err(too_large(self.limits.json_bytes, original()));
        }
        let read = json::transcode(&shapes::READING, text);
        let reading = self.decode(read.bytes.into(), now);
        if read.findings.is_empty() {
            return reading.map_err(|r| Rejected { wire: original(), ..r });
        }
        let mut r = Rejected::new(if read.broken { Code::UNDECODABLE } else { Code::INVALID_ITEM }, read.findings, original());
        if let Err(inner) = reading {
            // What the text said wrongly is missing from the bytes; that is not a finding of its own.
            if !read.broken {
                let new = |f: &Finding| !r.findings.iter().any(|g| g.field == f.field || g.field.starts_with(&format!("{}.", f.field)));
                let more: Vec<Finding> = inner.findings.into_iter().filter(new).collect();
                r.findings.extend(more);
                r.findings.truncate(validate::MAX_FINDINGS);
            }
            (r.device, r.kind) = (inner.device, inner.kind);
        }
        let class = r.kind.as_deref().and_then(|k| self.catalogue.find(k)).map(Kind::class);
        if class.is_none_or(|c| c == DataClass::Content) {
            redact(&mut r.findings);
        }
        Err(r)
    }

    /// A reading in either form, as dead letters keep them: JSON when it begins with a brace, which no encoded reading does.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn decode_either(&mut self, bytes: Bytes, now: Timestamp) -> Result<Reading, Rejected> {
        match bytes.first() {
            Some(b'{') => match std::str::from_utf8(&bytes) {
                Ok(text) => self.decode_json(text, now),
                Err(e) => {
                    let f = Finding::new("reading", format!("not UTF-8 at byte {}", e.valid_up_to()), "JSON");
                    Err(Rejected::new(Code::UNDECODABLE, vec![f], bytes))
                }
            },
            _ => self.decode(bytes, now),
        }
    }

    /// Validates a reading that was built here, by the same rules; `body` holds everything but the key.
    pub(crate) fn check_built(
        kind: Kind,
        device: DeviceId,
        recorded_at: Timestamp,
        id: Option<ReadingId>,
        body: Bytes,
    ) -> Result<Reading, Rejected> {
        let (limits, mut findings, mut code) = (Limits::default(), Vec::new(), Code::INVALID_ITEM);
        let names = (Some(device.to_string()), Some(kind.topic().to_owned()));
        let refuse = |code, findings| {
            let (device, kind) = names.clone();
            Rejected { device, kind, ..Rejected::new(code, findings, Bytes::new()) }
        };
        if body.len() > limits.reading_bytes {
            return Err(refuse(Code::TOO_LARGE, too_large(limits.reading_bytes, body).findings));
        }
        let (env, body) = match Envelope::read(&body, &limits, &mut BytesMut::new(), &mut findings) {
            Ok(x) => x,
            Err(m) => return Err(refuse(code, vec![Finding::new("reading", m, "well-formed fields")])),
        };
        let carried = carries(kind, &env, &mut findings);
        let ended_at = match env.ended_at.map(|(s, n)| Timestamp::from_parts(s, n)) {
            Some(None) => {
                push(&mut findings, "ended_at", "a time out of range", "a time between 1678 and 2262");
                None
            }
            Some(t) => t,
            None => None,
        };
        span_in_order(recorded_at, ended_at, &mut findings);
        let key = Key { kind, device, recorded_at, ended_at, id };
        match carried.then(|| finish(key, &env, body, true, &mut findings, &mut code)).flatten() {
            Some(reading) => Ok(reading),
            None => Err(refuse(code, findings)),
        }
    }

    /// Whose reading it is and when; `None` with findings when one of them is not good.
    fn key(&mut self, env: &Envelope<'_>, now: Timestamp, findings: &mut Vec<Finding>, code: &mut Code) -> Option<Key> {
        let device = self.device_of(env.device.unwrap_or_default(), findings);
        let kind = self.kind_of(env, findings, code);
        let recorded_at = self.time_of("recorded_at", env.recorded_at, kind, now, findings);
        let ended_at = env.ended_at.and_then(|t| self.time_of("ended_at", Some(t), kind, now, findings));
        let id = match env.id {
            None | Some([]) => None,
            Some(b) => {
                let id = ReadingId::parse_ascii(b);
                if id.is_none() {
                    push(findings, "reading_id", String::from_utf8_lossy(b).escape_debug(), "a UUID");
                }
                id
            }
        };
        if let Some(from) = recorded_at {
            span_in_order(from, ended_at, findings);
        }
        // A payload is checked even where the rest is not good, so that all findings come at once.
        match (device, kind, recorded_at) {
            (Some(device), Some(kind), Some(recorded_at)) => Some(Key { kind, device, recorded_at, ended_at, id }),
            (_, Some(kind), recorded_at) if !self.trusted => {
                if let Some(sent) = env.payload.filter(|p| p.field == kind.field()) {
                    validate::payload(kind, sent.bytes, EnvelopeView { recorded_at, ended_at }, findings);
                }
                None
            }
            _ => None,
        }
    }

    #[inline]
    fn device_of(&mut self, bytes: &[u8], findings: &mut Vec<Finding>) -> Option<DeviceId> {
        if let Some(d) = self.device.as_ref().filter(|d| d.as_str().as_bytes() == bytes) {
            return Some(d.clone());
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            push(findings, "device_id", "bytes", "UTF-8 text");
            return None;
        };
        match DeviceId::new(text) {
            Ok(d) => {
                self.device = Some(d.clone());
                Some(d)
            }
            Err(_) => {
                push(findings, "device_id", text.escape_debug(), "1 to 128 bytes without white space and control characters");
                None
            }
        }
    }

    #[inline]
    fn kind_of(&mut self, env: &Envelope<'_>, findings: &mut Vec<Finding>, code: &mut Code) -> Option<Kind> {
        let kind = match env.kind {
            None | Some([]) => match env.payload.and_then(|p| self.catalogue.legacy(p.field, || env.screenshot)) {
                Some(k) => k,
                None => {
                    *code = Code::UNKNOWN_KIND;
                    let rule = if env.payload.is_some() { "the topic of the payload" } else { "a topic and a payload" };
                    push(findings, "kind", "", rule);
                    return None;
                }
            },
            Some(b) => match self.kind.filter(|k| k.topic().as_bytes() == b) {
                Some(k) => k,
                // Strangers' names do not take up room for new topics.
                None => match std::str::from_utf8(b).ok().and_then(|t| match self.trusted {
                    true => self.catalogue.get(t),
                    false => self.catalogue.find(t),
                }) {
                    Some(k) => k,
                    None => {
                        *code = Code::UNKNOWN_KIND;
                        push(findings, "kind", String::from_utf8_lossy(b).escape_debug(), "a topic of the catalogue");
                        return None;
                    }
                },
            },
        };
        if kind.stage().is_derived() && !self.trusted {
            push(findings, "kind", kind.topic(), "a kind that devices and accounts send; derived ones are made here");
            return None;
        }
        self.kind = Some(kind);
        carries(kind, env, findings).then_some(kind)
    }

    fn time_of(
        &self,
        field: &str,
        parts: Option<(i64, i32)>,
        kind: Option<Kind>,
        now: Timestamp,
        findings: &mut Vec<Finding>,
    ) -> Option<Timestamp> {
        let Some((s, n)) = parts else {
            push(findings, field, "", "a time");
            return None;
        };
        let Some(t) = Timestamp::from_parts(s, n) else {
            push(findings, field, format!("{s} s, {n} ns"), "a time between 1678 and 2262, nanos 0 to 999999999");
            return None;
        };
        if self.trusted {
            return Some(t);
        }
        let tolerance = kind.map_or(Duration::from_secs(86_400), |k| k.future_tolerance());
        if t > now.saturating_add(tolerance) {
            push(findings, field, t, format!("at most {} h after the server's time", tolerance.as_secs() / 3_600));
            return None;
        }
        if t < self.limits.live_not_before && !self.backfill {
            let rule = format!("not before {}; older readings come in as an import (origin BACKFILL)", self.limits.live_not_before);
            push(findings, field, t, rule);
            return None;
        }
        Some(t)
    }

    /// The kind of a refused reading that names none.
    fn guess(&self, env: &Envelope<'_>) -> Option<String> {
        env.payload.and_then(|p| self.catalogue.legacy(p.field, || env.screenshot)).map(|k| k.topic().to_owned())
    }
}

#[cold]
fn too_large(limit: usize, wire: Bytes) -> Rejected {
    let f = Finding::new("reading", format!("{} bytes", wire.len()), format!("at most {limit} bytes"));
    Rejected::new(Code::TOO_LARGE, vec![f], wire)
}

/// Hides the values of payloads; those of the envelope stay.
fn redact(findings: &mut [Finding]) {
    for f in findings {
        let first = f.field.split(['.', '[']).next().unwrap_or_default();
        if shapes::PAYLOADS.iter().any(|p| p.1 == first) {
            f.value = validate::REDACTED.to_owned();
        }
    }
}
