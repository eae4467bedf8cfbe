//! Items that could not be taken in or processed.

use am_core::{Code, Error, ReadingId, Scope, Timestamp};
use am_schema::{Finding, Reading, Rejected};
use bytes::Bytes;

/// An item that was set aside with the reason, to be inspected, repaired and replayed (P02).
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Follows from scope, stage and bytes, so that the same item parked twice is one letter.
    pub id: String,
    /// Whose it is.
    pub scope: Scope,
    /// When it was parked.
    pub at: Timestamp,
    /// `ingest`, or the processor's name.
    pub stage: String,
    /// The code of the table.
    pub code: Code,
    /// The rules it breaks; empty when a processor failed.
    pub findings: Vec<Finding>,
    /// What went wrong, in one line.
    pub message: String,
    /// The device it names, if that could be read.
    pub device: Option<String>,
    /// The kind it names, if that could be read.
    pub kind: Option<String>,
    /// The time it carries, if it is a reading.
    pub recorded_at: Option<Timestamp>,
    /// Its id, if it is a reading.
    pub reading_id: Option<ReadingId>,
    /// The item as it came: an encoded `am.v1.Reading` where it could be one.
    pub wire: Bytes,
    /// How often it was tried.
    pub attempts: u32,
}

impl DeadLetter {
    /// Of an item that broke a rule at the edge.
    pub fn rejected(scope: Scope, at: Timestamp, r: Rejected) -> Self {
        let message = r.to_string();
        DeadLetter {
            id: letter_id(&scope, "ingest", &r.wire),
            scope,
            at,
            stage: "ingest".into(),
            code: r.code,
            findings: r.findings,
            message,
            device: r.device,
            kind: r.kind,
            recorded_at: None,
            reading_id: None,
            wire: r.wire,
            attempts: 1,
        }
    }

    /// Of a reading that a stage failed on.
    pub fn failed(scope: Scope, at: Timestamp, stage: &str, reading: &Reading, e: &Error, attempts: u32) -> Self {
        let wire = Bytes::from(reading.to_wire());
        DeadLetter {
            id: letter_id(&scope, stage, &wire),
            scope,
            at,
            stage: stage.into(),
            code: e.code(),
            findings: Vec::new(),
            message: e.to_string(),
            device: Some(reading.device().to_string()),
            kind: Some(reading.kind().topic().into()),
            recorded_at: Some(reading.recorded_at()),
            reading_id: Some(reading.id()),
            wire,
            attempts,
        }
    }
}

/// UUIDv8 of BLAKE3 over scope, stage and the item's bytes, each preceded by its length.
fn letter_id(scope: &Scope, stage: &str, wire: &[u8]) -> String {
    let mut h = blake3::Hasher::new_derive_key("am 2026 dead letter id v1");
    for b in [scope.to_string().as_bytes(), stage.as_bytes(), wire] {
        h.update(&(b.len() as u64).to_le_bytes());
        h.update(b);
    }
    ReadingId::v8_from(h.finalize().as_bytes()).to_string()
}
