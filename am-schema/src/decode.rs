//! Bytes of others into readings.

use std::sync::Arc;
use std::time::Duration;

use am_core::{Code, DeviceId, ReadingId, Timestamp, TraceParent};
use bytes::{Bytes, BytesMut};

use crate::wire::{Fields, Malformed, Value, read_timestamp};
use crate::{Catalogue, Finding, Kind, Reading, Rejected, id, validate};

/// How large an item may be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one encoded reading.
    pub reading_bytes: usize,
    /// Entries of the metadata.
    pub metadata_entries: usize,
    /// Bytes of one metadata key.
    pub metadata_key_bytes: usize,
    /// Bytes of one metadata value.
    pub metadata_value_bytes: usize,
    /// The earliest time that live readings may carry; imports may go further back.
    pub live_not_before: Timestamp,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            reading_bytes: 4 << 20,
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

/// The envelope's fields while they are being read.
#[derive(Default)]
struct Envelope<'a> {
    device: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    recorded_at: Option<(i64, i32)>,
    ended_at: Option<(i64, i32)>,
    kind: Option<&'a [u8]>,
    payload: Option<(u32, &'a [u8])>,
    lineage: Option<&'a [u8]>,
    metadata: usize,
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

    /// For readings that were valid before: derived ones are taken as well, times are not compared with a clock.
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
        let mut findings = Vec::new();
        let mut code = Code::INVALID_ITEM;
        if wire.len() > self.limits.reading_bytes {
            let f = Finding::new("", format!("{} bytes", wire.len()), format!("at most {} bytes", self.limits.reading_bytes));
            return Err(Rejected::new(Code::TOO_LARGE, vec![f], wire));
        }
        let mut env = Envelope::default();
        let body = match self.walk(&wire, &mut env, &mut findings) {
            Ok(b) => b,
            Err(m) => return Err(Rejected::new(Code::UNDECODABLE, vec![Finding::new("", m, "a protobuf am.v1.Reading")], wire.clone())),
        };
        let device = self.device_of(env.device, &mut findings);
        let kind = self.kind_of(&env, &mut findings, &mut code);
        let recorded_at = self.time_of("recorded_at", env.recorded_at, kind, now, &mut findings);
        let ended_at = env.ended_at.and_then(|t| self.time_of("ended_at", Some(t), kind, now, &mut findings));
        if let (Some(a), Some(b)) = (recorded_at, ended_at)
            && b < a
        {
            findings.push(Finding::new("ended_at", b, format!("not before recorded_at, {a}")));
        }
        let given = match env.id {
            None | Some([]) => None,
            Some(b) => match ReadingId::parse_ascii(b) {
                Some(id) => Some(id),
                None => {
                    findings.push(Finding::new("reading_id", String::from_utf8_lossy(b), "a UUID"));
                    None
                }
            },
        };
        let payload = env.payload.map(|(_, b)| b).unwrap_or_default();
        let mut lineage = None;
        if let Some(kind) = kind {
            validate::payload(kind, payload, &mut findings);
            match (env.lineage, kind.stage().is_derived()) {
                (Some(b), true) => lineage = validate::lineage(b, &mut findings).map(Arc::new),
                (None, true) => {
                    code = if findings.is_empty() { Code::MISSING_LINEAGE } else { code };
                    findings.push(Finding::new("lineage", "", "the inputs of a derived reading"));
                }
                (Some(_), false) => findings.push(Finding::new("lineage", "present", "no lineage on a raw reading")),
                (None, false) => {}
            }
        }
        if let (true, Some(kind), Some(device), Some(recorded_at)) = (findings.is_empty(), kind, &device, recorded_at) {
            let id = given.unwrap_or_else(|| id::content_id(kind, device, recorded_at, payload));
            let device = device.clone();
            let range = range_within(&body, kind.field());
            return Ok(Reading { kind, device, id, recorded_at, ended_at, body, payload: range, lineage });
        }
        let mut r = Rejected::new(code, findings, wire.clone());
        r.device = device.map(|d| d.to_string());
        r.kind = kind.map(|k| k.topic().to_owned()).or_else(|| env.kind.map(|k| String::from_utf8_lossy(k).into_owned()));
        Err(r)
    }

    /// Validates a reading that was built here, by the same rules.
    pub(crate) fn check_built(
        kind: Kind,
        device: DeviceId,
        recorded_at: Timestamp,
        id: Option<ReadingId>,
        body: Bytes,
    ) -> Result<Reading, Rejected> {
        let mut d = Decoder::new(Catalogue::builtin()).trusted();
        let (mut findings, mut env) = (Vec::new(), Envelope::default());
        if let Err(m) = d.walk(&body, &mut env, &mut findings) {
            findings.push(Finding::new("", m, "well-formed fields"));
        }
        let payload = match env.payload {
            Some((f, b)) if f == kind.field() => b,
            Some((f, _)) => {
                findings.push(Finding::new("data", format!("field {f}"), format!("{} ({})", kind.field_name(), kind.topic())));
                &[]
            }
            None => {
                findings.push(Finding::new("data", "", format!("a payload {}", kind.field_name())));
                &[]
            }
        };
        if findings.is_empty() {
            validate::payload(kind, payload, &mut findings);
        }
        let ended_at = env.ended_at.and_then(|(s, n)| Timestamp::from_parts(s, n));
        if let Some(e) = ended_at.filter(|e| *e < recorded_at) {
            findings.push(Finding::new("ended_at", e, format!("not before recorded_at, {recorded_at}")));
        }
        let lineage = env.lineage.and_then(|b| validate::lineage(b, &mut findings)).map(Arc::new);
        let mut code = Code::INVALID_ITEM;
        if kind.stage().is_derived() != lineage.is_some() {
            code = if findings.is_empty() { Code::MISSING_LINEAGE } else { code };
            findings.push(Finding::new("lineage", if lineage.is_some() { "present" } else { "" }, "a lineage on derived readings only"));
        }
        if !findings.is_empty() {
            let mut r = Rejected::new(code, findings, Bytes::new());
            (r.device, r.kind) = (Some(device.to_string()), Some(kind.topic().to_owned()));
            return Err(r);
        }
        let id = id.unwrap_or_else(|| id::content_id(kind, &device, recorded_at, payload));
        let range = range_within(&body, kind.field());
        Ok(Reading { kind, device, id, recorded_at, ended_at, body, payload: range, lineage })
    }

    /// Reads the envelope; returns it without the key's fields, sharing the input's memory where it is in one piece.
    fn walk<'a>(&mut self, wire: &'a Bytes, env: &mut Envelope<'a>, findings: &mut Vec<Finding>) -> Result<Bytes, Malformed> {
        let mut fields = Fields::new(wire);
        // The body so far is `wire[from..to]`, or already copied into the arena.
        let (mut from, mut to, mut copied) = (0, 0, false);
        while let Some(f) = fields.next()? {
            match (f.number, f.value) {
                (1, Value::Len(b)) => env.device = Some(b),
                (2, Value::Len(b)) => env.id = Some(b),
                (3, Value::Len(b)) => env.recorded_at = Some(read_timestamp(b)?),
                (5, Value::Len(b)) => env.kind = Some(b),
                _ => {
                    if self.extra(f.number, f.value, env, findings)? {
                        return Err(Malformed { at: f.start, why: "field of another wire type" });
                    }
                    if f.start == to && !copied && from != to {
                        to = f.end;
                    } else if from == to && !copied {
                        (from, to) = (f.start, f.end);
                    } else {
                        if !copied {
                            self.arena.extend_from_slice(wire.get(from..to).unwrap_or_default());
                            copied = true;
                        }
                        self.arena.extend_from_slice(wire.get(f.start..f.end).unwrap_or_default());
                    }
                }
            }
        }
        Ok(if copied { self.arena.split().freeze() } else { wire.slice(from..to) })
    }

    /// A field that stays in the body. True when its wire type is wrong.
    fn extra<'a>(&self, number: u32, value: Value<'a>, env: &mut Envelope<'a>, findings: &mut Vec<Finding>) -> Result<bool, Malformed> {
        match (number, value) {
            (4, Value::Len(b)) => {
                env.metadata += 1;
                if env.metadata == self.limits.metadata_entries + 1 {
                    findings.push(Finding::new("metadata", "more entries", format!("at most {} entries", self.limits.metadata_entries)));
                }
                if env.metadata <= self.limits.metadata_entries {
                    validate::metadata_entry(b, self.limits.metadata_key_bytes, self.limits.metadata_value_bytes, findings)?;
                }
            }
            (6, Value::Len(b)) => env.ended_at = Some(read_timestamp(b)?),
            (7, Value::Varint(v)) if v > 3 => findings.push(Finding::new("time_basis", v, "UTC, OFFSET_KNOWN or FLOATING")),
            (8, Value::Varint(v)) => {
                let minutes = ((v >> 1) as i64) ^ -((v & 1) as i64);
                if minutes.abs() > 18 * 60 {
                    findings.push(Finding::new("zone_offset_minutes", minutes, "-1080 to 1080"));
                }
            }
            (7 | 9 | 15, Value::Varint(_)) => {}
            (16, Value::Len(b)) => {
                if !b.is_empty() && std::str::from_utf8(b).ok().and_then(TraceParent::parse).is_none() {
                    findings.push(Finding::new("traceparent", String::from_utf8_lossy(b), "a W3C traceparent, version 00"));
                }
            }
            (17, Value::Len(b)) => env.lineage = Some(b),
            (18, Value::Fixed32(v)) => {
                let q = f32::from_bits(v);
                if !(0.0..=1.0).contains(&q) {
                    findings.push(Finding::new("quality", q, "0 to 1"));
                }
            }
            (n, Value::Len(b)) if self.catalogue.is_payload(n) => {
                if env.payload.is_some() {
                    findings.push(Finding::new("data", "more than one payload", "exactly one payload"));
                }
                env.payload = Some((n, b));
            }
            (n, _) if matches!(n, 1..=9 | 15..=18) || self.catalogue.is_payload(n) => return Ok(true),
            _ => {}
        }
        Ok(false)
    }

    fn device_of(&mut self, bytes: Option<&[u8]>, findings: &mut Vec<Finding>) -> Option<DeviceId> {
        let bytes = bytes.unwrap_or_default();
        if let Some(d) = self.device.as_ref().filter(|d| d.as_str().as_bytes() == bytes) {
            return Some(d.clone());
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(t) => t,
            Err(_) => {
                findings.push(Finding::new("device_id", "bytes", "UTF-8 text"));
                return None;
            }
        };
        match DeviceId::new(text) {
            Ok(d) => {
                self.device = Some(d.clone());
                Some(d)
            }
            Err(_) => {
                findings.push(Finding::new("device_id", text.escape_debug(), "1 to 128 bytes without white space and control characters"));
                None
            }
        }
    }

    fn kind_of(&mut self, env: &Envelope<'_>, findings: &mut Vec<Finding>, code: &mut Code) -> Option<Kind> {
        let field = env.payload.map(|p| p.0);
        let kind = match env.kind {
            None | Some([]) => match field.and_then(|f| self.catalogue.legacy(f, || screenshot(env))) {
                Some(k) => k,
                None => {
                    *code = Code::UNKNOWN_KIND;
                    let rule = if field.is_some() { "the topic of the payload" } else { "a topic and a payload" };
                    findings.push(Finding::new("kind", "", rule));
                    return None;
                }
            },
            Some(b) => match self.kind.filter(|k| k.topic().as_bytes() == b) {
                Some(k) => k,
                None => match std::str::from_utf8(b).ok().and_then(|t| self.catalogue.get(t)) {
                    Some(k) => k,
                    None => {
                        *code = Code::UNKNOWN_KIND;
                        findings.push(Finding::new("kind", String::from_utf8_lossy(b).escape_debug(), "a topic of the catalogue"));
                        return None;
                    }
                },
            },
        };
        self.kind = Some(kind);
        match field {
            Some(f) if f == kind.field() => {}
            // A legacy single sample is made a block at the edge; see `normalise`.
            Some(f) => {
                findings.push(Finding::new(
                    "data",
                    self.catalogue.payload_name(f),
                    format!("{}, the payload of {}", kind.field_name(), kind.topic()),
                ));
                return None;
            }
            None => {
                findings.push(Finding::new("data", "", format!("a payload {}", kind.field_name())));
                return None;
            }
        }
        if kind.stage().is_derived() && !self.trusted {
            findings.push(Finding::new("kind", kind.topic(), "a kind that devices and accounts send; derived ones are made here"));
            return None;
        }
        Some(kind)
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
            findings.push(Finding::new(field, "", "a time"));
            return None;
        };
        let Some(t) = Timestamp::from_parts(s, n) else {
            findings.push(Finding::new(field, format!("{s} s, {n} ns"), "a time between 1678 and 2262, nanos 0 to 999999999"));
            return None;
        };
        if self.trusted {
            return Some(t);
        }
        let tolerance = kind.map_or(Duration::from_secs(86_400), |k| k.future_tolerance());
        if t > now.saturating_add(tolerance) {
            findings.push(Finding::new(field, t, format!("at most {} h after the server's time", tolerance.as_secs() / 3_600)));
            return None;
        }
        if t < self.limits.live_not_before && !self.backfill {
            findings.push(Finding::new(
                field,
                t,
                format!("not before {}; older readings come in as an import (origin BACKFILL)", self.limits.live_not_before),
            ));
            return None;
        }
        Some(t)
    }
}

/// Whether the metadata call a field-14 picture a screenshot.
fn screenshot(env: &Envelope<'_>) -> bool {
    let _ = env;
    false
}

/// Where the payload's bytes are within a body.
fn range_within(body: &[u8], field: u32) -> (u32, u32) {
    let mut fields = Fields::new(body);
    let mut found = (0, 0);
    while let Ok(Some(f)) = fields.next() {
        if let (true, Value::Len(b)) = (f.number == field, f.value) {
            found = ((f.end - b.len()) as u32, f.end as u32);
        }
    }
    found
}
