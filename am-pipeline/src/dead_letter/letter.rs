//! One dead letter.

use am_core::{Code, DeviceId, Error, ReadingId, Scope, Timestamp};
use am_schema::{Catalogue, Decoder, Finding, Reading, Rejected};
use bytes::Bytes;
use serde_json::{Value, json};

/// An item that could not be taken in or processed: why, and the item as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Follows from stage, scope and content, so that parking it again adds nothing: a UUID as text.
    pub id: String,
    /// Whose.
    pub scope: Scope,
    /// When it was parked.
    pub at: Timestamp,
    /// Where: `ingest`, or the name of a processor or sink.
    pub stage: String,
    /// Why, as a code of the error table.
    pub code: Code,
    /// Which rules it broke; empty when it failed otherwise.
    pub findings: Vec<Finding>,
    /// Why, for people.
    pub message: String,
    /// The device, when that is known.
    pub device: Option<String>,
    /// The kind's topic, when that is known.
    pub kind: Option<String>,
    /// When it was recorded, when that is known.
    pub recorded_at: Option<Timestamp>,
    /// Its id, when that is known.
    pub reading_id: Option<ReadingId>,
    /// The item as it came: an encoded `am.v1.Reading` when it was one.
    pub wire: Bytes,
    /// How often it was tried.
    pub attempts: u32,
}

impl DeadLetter {
    /// An item that never became a reading.
    pub fn rejected(scope: Scope, at: Timestamp, rejected: Rejected) -> DeadLetter {
        let message = rejected.to_string();
        let mut letter = DeadLetter {
            id: String::new(),
            scope,
            at,
            stage: "ingest".to_owned(),
            code: rejected.code,
            findings: rejected.findings,
            message,
            device: rejected.device,
            kind: rejected.kind,
            recorded_at: None,
            reading_id: None,
            wire: rejected.wire,
            attempts: 1,
        };
        letter.id = letter.derive_id();
        letter
    }

    /// A reading that a stage could not process.
    pub fn failed(scope: Scope, at: Timestamp, stage: &str, reading: &Reading, error: &Error, attempts: u32) -> DeadLetter {
        let mut letter = DeadLetter {
            id: String::new(),
            scope,
            at,
            stage: stage.to_owned(),
            code: error.code(),
            findings: Vec::new(),
            message: error.to_string(),
            device: Some(reading.device().as_str().to_owned()),
            kind: Some(reading.kind().topic().to_owned()),
            recorded_at: Some(reading.recorded_at()),
            reading_id: Some(reading.id()),
            wire: Bytes::from(reading.to_wire()),
            attempts,
        };
        letter.id = letter.derive_id();
        letter
    }

    /// UUIDv8 of BLAKE3(scope, stage, the item), each part preceded by its length: what is parked again at the same stage is the same letter.
    fn derive_id(&self) -> String {
        let mut h = blake3::Hasher::new_derive_key("am 2026 dead letter id v1");
        // An item that was being built has no bytes: its message stands for it.
        let content: &[u8] = if self.wire.is_empty() { self.message.as_bytes() } else { &self.wire };
        for part in [self.scope.to_string().as_bytes(), self.stage.as_bytes(), content] {
            h.update(&(part.len() as u64).to_le_bytes());
            h.update(part);
        }
        ReadingId::v8_from(h.finalize().as_bytes()).to_string()
    }

    /// The reading in it, to be replayed.
    ///
    /// # Errors
    /// What is wrong with it, when it never was one.
    pub fn reading(&self, catalogue: &Catalogue) -> Result<Reading, Rejected> {
        let decoder = Decoder::new(catalogue.clone());
        // What failed at a stage was valid before; what was rejected on its way in is judged again, by the rules of then.
        let mut decoder = if self.stage == "ingest" { decoder.backfill(true) } else { decoder.trusted() };
        decoder.decode_either(self.wire.clone(), self.at)
    }

    /// One line of JSON that [`DeadLetter::from_json`] reads.
    pub fn to_json(&self) -> Value {
        let hex: String = self.wire.iter().map(|b| format!("{b:02x}")).collect();
        json!({
            "id": self.id, "tenant": self.scope.tenant(), "user": self.scope.user(), "at": self.at, "stage": self.stage,
            "code": self.code.number(), "findings": self.findings, "message": self.message, "device": self.device, "kind": self.kind,
            "recorded_at": self.recorded_at, "reading_id": self.reading_id.map(|i| i.to_string()), "wire": hex,
            "attempts": self.attempts,
        })
    }

    /// Reads a letter from JSON.
    ///
    /// # Errors
    /// `UNDECODABLE` names the field that is missing or wrong.
    pub fn from_json(v: &Value) -> am_core::Result<DeadLetter> {
        let bad = |what: &str| Error::new(Code::UNDECODABLE, format!("dead letter without a valid {what}"));
        let text = |name: &str| v.get(name).and_then(Value::as_str);
        let time = |name: &str| text(name).map(Timestamp::parse).transpose();
        let findings = v.get("findings").and_then(Value::as_array).ok_or_else(|| bad("findings"))?;
        let finding = |f: &Value| {
            let t = |n: &str| f.get(n).and_then(Value::as_str).unwrap_or_default().to_owned();
            Finding::new(t("field"), t("value"), t("rule"))
        };
        let number = v.get("code").and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok()).ok_or_else(|| bad("code"))?;
        Ok(DeadLetter {
            id: text("id").ok_or_else(|| bad("id"))?.to_owned(),
            scope: Scope::new(text("tenant").ok_or_else(|| bad("tenant"))?, text("user").ok_or_else(|| bad("user"))?)?,
            at: time("at")?.ok_or_else(|| bad("at"))?,
            stage: text("stage").ok_or_else(|| bad("stage"))?.to_owned(),
            code: Code::from_number(number).unwrap_or(Code::INTERNAL),
            findings: findings.iter().map(finding).collect(),
            message: text("message").unwrap_or_default().to_owned(),
            device: text("device").map(str::to_owned),
            kind: text("kind").map(str::to_owned),
            recorded_at: time("recorded_at")?,
            reading_id: text("reading_id").map(ReadingId::parse).transpose()?,
            wire: unhex(text("wire").ok_or_else(|| bad("wire"))?).ok_or_else(|| bad("wire"))?,
            attempts: v.get("attempts").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
        })
    }

    /// The device as a checked id, when it is one.
    pub fn device_id(&self) -> Option<DeviceId> {
        self.device.as_deref().and_then(|d| DeviceId::new(d).ok())
    }
}

fn unhex(s: &str) -> Option<Bytes> {
    let digit = |b: &u8| char::from(*b).to_digit(16);
    let (pairs, rest) = s.as_bytes().as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[h, l]| Some((digit(h)? * 16 + digit(l)?) as u8)).collect();
    rest.is_empty().then_some(())?;
    bytes.map(Bytes::from)
}
