//! Readings and batches for the tests of the SQLite backend.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc)]

use std::sync::Arc;

use am_core::{Clock, Ctx, DeviceId, ManualClock, ReadingId, Scope, Timestamp};
use am_schema::{Catalogue, Inputs, Kind, ProcessorIdentity, Reading, v1};
use am_store::model::{Ingest, Provenance};

pub const START: i64 = 1_772_352_000;

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(Timestamp::from_second(START)))
}

pub fn ctx(user: &str) -> Ctx {
    Ctx::new(Scope::new("acme", user).unwrap(), clock())
}

pub fn kind(topic: &str) -> Kind {
    Catalogue::builtin().get(topic).unwrap()
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second)
}

/// A version 7 id whose random part is `n`.
pub fn id(t: Timestamp, n: u64) -> ReadingId {
    let mut random = [0x5a; 16];
    random[8..].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    ReadingId::v7_from(t, random)
}

pub fn heart(device: &str, second: i64, bpm: i32) -> Reading {
    let t = at(second);
    Reading::builder(kind("device.health.heartrate.raw"), DeviceId::new(device).unwrap(), t)
        .id(id(t, 1))
        .payload(&v1::HeartRate { bpm, confidence: 0.5, ..Default::default() })
        .build()
        .unwrap()
}

pub fn note(second: i64, text: &str) -> Reading {
    let t = at(second);
    Reading::builder(kind("external.memo.raw"), DeviceId::new("laptop").unwrap(), t)
        .id(id(t, 2))
        .payload(&v1::Note { text: text.into(), ..Default::default() })
        .build()
        .unwrap()
}

/// A derived reading with a number, made from readings by a version of a processor.
pub fn magnitude(from: &[Reading], version: &str, peak: f64) -> Reading {
    let first = from.first().unwrap();
    Reading::builder(kind("motion.events.significant"), first.device().clone(), first.recorded_at())
        .payload(&v1::SignificantMotion { event: 1, peak, ..Default::default() })
        .derived_from(&ProcessorIdentity::new("motion.test", version, ""), Inputs::of(from), 0)
        .build()
        .unwrap()
}

pub fn batch(readings: Vec<Reading>) -> Ingest {
    let provenance = Provenance { client: "test".into(), received_at: at(0), ..Default::default() };
    Ingest { provenance, readings, ..Default::default() }
}
