//! A good reading of every kind, made from its row of the catalogue.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    reason = "used by several test programs, a failure names the row"
)]

use am_core::{DeviceId, ReadingId, Timestamp};
use am_schema::block::{self, Samples};
use am_schema::spec::{Card, FieldSpec, FieldType, MessageSpec};
use am_schema::wire::{put_int, put_len, put_timestamp, put_varint};
use am_schema::{Catalogue, Decoder, Inputs, Kind, KindDef, Payload, ProcessorIdentity, Reading, ReadingRef, Rejected, shapes, v1};

pub fn now() -> Timestamp {
    Timestamp::parse("2026-03-01T12:00:00Z").unwrap()
}

pub fn device() -> DeviceId {
    DeviceId::new("watch-7").unwrap()
}

/// The built-in kinds, and one of an embedder.
pub fn catalogue() -> Catalogue {
    let schema = r#"{"type": "object", "required": ["cups"], "properties": {"cups": {"type": "integer", "minimum": 1}}}"#;
    Catalogue::builtin().with(KindDef::custom("custom.acme.coffee.raw", Some(schema.into())).title("Coffee")).unwrap()
}

pub fn kind(topic: &str) -> Kind {
    catalogue().get(topic).unwrap_or_else(|| panic!("no kind {topic}"))
}

pub fn decoder() -> Decoder {
    Decoder::new(catalogue())
}

/// A payload that says something in every field.
pub fn payload(kind: Kind) -> Vec<u8> {
    match kind.field_name() {
        "custom" => field(1, br#"{"cups": 2}"#),
        "sample_block" => sample_block(kind),
        _ => message(kind, kind.message(), &mut Vec::new()),
    }
}

fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_len(&mut out, number, bytes);
    out
}

/// Four samples of every channel.
pub fn sample_block(kind: Kind) -> Vec<u8> {
    let signal = kind.signal().expect("a block has a signal");
    let names: &[&str] = if signal.channels.is_empty() { &["Fp1", "Fp2"] } else { signal.channels };
    let samples = [0.5f32, -1.25, 3.0, 0.0];
    let data = block::encode(None, &vec![Samples::F32(&samples); names.len()]).unwrap();
    let mut out = Vec::new();
    put_int(&mut out, 1, 20_000_000);
    put_int(&mut out, 2, samples.len() as u64);
    for n in names {
        let mut channel = field(1, n.as_bytes());
        put_len(&mut channel, 2, signal.unit.as_bytes());
        put_len(&mut out, 3, &channel);
    }
    put_int(&mut out, 4, u64::from(block::ENCODING));
    put_len(&mut out, 5, &data);
    out
}

fn message(kind: Kind, spec: &'static MessageSpec, way: &mut Vec<u32>) -> Vec<u8> {
    let (mut out, mut groups) = (Vec::new(), Vec::new());
    let has_blob = spec.fields.iter().any(|f| f.name == "blob");
    for f in spec.fields {
        if let Card::OneOf(g) = f.card {
            if groups.contains(&g) {
                continue;
            }
            groups.push(g);
        }
        if f.name == "data" && has_blob {
            continue;
        }
        way.push(f.number);
        value(kind, spec, f, way, &mut out);
        way.pop();
    }
    out
}

fn value(kind: Kind, spec: &'static MessageSpec, f: &'static FieldSpec, way: &mut Vec<u32>, out: &mut Vec<u8>) {
    use FieldType as T;
    let bound = kind.bounds().iter().find(|b| b.numbers == *way);
    let number = bound.map_or(1.0, |b| 1f64.clamp(b.min, b.max));
    match f.ty {
        T::String => put_len(out, f.number, text(f.name).as_bytes()),
        T::Bytes if std::ptr::eq(spec, &shapes::BLOB_REF) => put_len(out, f.number, &[7; 32]),
        T::Bytes => put_len(out, f.number, b"abc"),
        T::Message(m) if std::ptr::eq(m(), &shapes::SAMPLE_BLOCK) => put_len(out, f.number, &sample_block(kind)),
        T::Message(m) => {
            let nested = message(kind, m(), way);
            put_len(out, f.number, &nested);
        }
        T::Timestamp => put_timestamp(out, f.number, now().shifted(i64::from(f.number) * 1_000_000_000)),
        T::StringMap => put_len(out, f.number, &[field(1, b"Make"), field(2, b"Acme")].concat()),
        T::Double => {
            put_varint(out, u64::from(f.number) << 3 | 1);
            out.extend_from_slice(&number.to_le_bytes());
        }
        T::Float => {
            put_varint(out, u64::from(f.number) << 3 | 5);
            out.extend_from_slice(&(number as f32).to_le_bytes());
        }
        T::Enum(e) => put_int(out, f.number, e.values[1].0 as u64),
        T::Sint32 | T::Sint64 => put_int(out, f.number, (((number as i64) << 1) ^ ((number as i64) >> 63)) as u64),
        T::Fixed32 | T::Sfixed32 | T::Fixed64 | T::Sfixed64 => unreachable!("no message has one"),
        T::Int32 | T::Int64 | T::Uint32 | T::Uint64 | T::Bool => put_int(out, f.number, number as i64 as u64),
    }
}

fn text(name: &str) -> &'static str {
    match name {
        "url" | "referrer" => "https://example.org/a?b=c",
        "bssid" => "0a:1b:2c:3d:4e:5f",
        "topic" | "kind" => "device.health.heartrate.raw",
        "code" => "spo2",
        "unit" => "",
        _ => "some text",
    }
}

/// The payload of vital signs needs a value in the range of its code.
fn vital() -> Vec<u8> {
    let mut out = vec![9];
    out.extend_from_slice(&97f64.to_le_bytes());
    put_len(&mut out, 3, b"spo2");
    out
}

/// A reading with that payload, its id, a span, metadata, and a field of a newer client.
pub fn reading_of(kind: Kind, payload: Vec<u8>) -> Result<Reading, am_schema::Rejected> {
    let input = ReadingRef {
        device: device(),
        kind: self::kind("device.health.heartrate.raw"),
        recorded_at: now(),
        id: ReadingId::from_bytes([7; 16]),
    };
    let b = Reading::builder(kind, device(), now())
        .ended_at(now().shifted(8 * 3_600 * 1_000_000_000))
        .metadata("room", "ward \"7\"")
        .metadata("app", "1.2")
        .sequence(42)
        .quality(0.5)
        .payload_bytes(payload);
    if kind.stage().is_derived() {
        b.derived_from(&ProcessorIdentity::new("test.maker", "1", "{}"), Inputs::of_refs([input]), 0).build()
    } else {
        b.build()
    }
}

pub fn reading(kind: Kind) -> Reading {
    let bytes = if kind.topic() == "device.health.vitals.raw" { vital() } else { payload(kind) };
    reading_of(kind, bytes).unwrap_or_else(|e| panic!("{kind}: {e}"))
}

/// All kinds there are.
pub fn kinds() -> Vec<Kind> {
    catalogue().kinds().collect()
}

/// An encoded `am.v1.Reading` of these fields of the envelope and this payload.
pub fn wire(topic: &str, number: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = field(1, b"watch-7");
    put_timestamp(&mut out, 3, now());
    put_len(&mut out, 5, topic.as_bytes());
    put_len(&mut out, number, payload);
    out
}

pub const HEART: &str = "device.health.heartrate.raw";

pub fn heart() -> v1::HeartRate {
    v1::HeartRate { bpm: 61, confidence: 0.9, zone: 1, source: "watch".into() }
}

pub fn decode(wire: Vec<u8>) -> Result<Reading, Rejected> {
    decoder().decode(wire.into(), now())
}

/// A reading of this kind with this payload is refused, and the findings are these fields and rules (the start of each).
#[track_caller]
pub fn refused<P: Payload>(topic: &str, payload: &P, expected: &[(&str, &str)]) {
    let mut bytes = wire(topic, P::FIELD, &payload.encode_to_vec());
    put_timestamp(&mut bytes, 6, now().shifted(60_000_000_000));
    findings(decode(bytes), expected);
}

#[track_caller]
pub fn findings(result: Result<Reading, Rejected>, expected: &[(&str, &str)]) {
    let r = result.expect_err("it must be refused");
    let got: Vec<(&str, &str)> = r.findings.iter().map(|f| (f.field.as_str(), f.rule.as_str())).collect();
    assert_eq!(got.len(), expected.len(), "{got:?}");
    for (g, e) in got.iter().zip(expected) {
        assert!(g.0 == e.0 && g.1.starts_with(e.1), "{g:?} is not {e:?}");
    }
}
