//! Readings that another implementation of protobuf encoded, with the numbers of the source documents, decode here field by field.
//!
//! `tests/interop/readings.jsonl` holds what Python's protobuf wrote, so that this holds on every machine. With `AM_INTEROP_PYTHON`
//! naming a Python that has the packages protobuf and grpcio-tools, it is asked again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a failure names the case")]

mod examples;

use std::path::Path;
use std::process::Command;

use am_schema::wire::{Fields, Value};
use am_schema::{Reading, json, v1};
use serde_json::Value as Json;

/// Decodes each line's bytes and compares every field; returns how many there were.
fn check(lines: &str) -> usize {
    for line in lines.lines() {
        let case: Json = serde_json::from_str(line).unwrap();
        let text = |k: &str| case[k].as_str().unwrap().to_owned();
        let wire: Vec<u8> =
            text("wire").as_bytes().chunks(2).map(|h| u8::from_str_radix(std::str::from_utf8(h).unwrap(), 16).unwrap()).collect();
        let r = examples::decoder().decode(wire.clone().into(), examples::now()).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!(r.device().as_str(), text("device"));
        match text("id").as_str() {
            "" => assert_eq!(r.id().version(), 8, "an id from the content"),
            id => assert_eq!(r.id().to_string(), id.to_lowercase()),
        }
        assert_eq!(
            (r.recorded_at().as_second(), r.recorded_at().subsec_nanos()),
            (case["seconds"].as_i64().unwrap(), case["nanos"].as_i64().unwrap() as i32)
        );
        assert_eq!(r.kind().topic(), "device.health.heartrate.raw");
        let metadata = case["metadata"].as_object().unwrap();
        assert_eq!(r.metadata().count(), metadata.len());
        for (k, v) in metadata {
            assert_eq!(r.metadata_value(k), v.as_str());
        }
        let heart: v1::HeartRate = r.payload().unwrap();
        assert_eq!(i64::from(heart.bpm), case["bpm"].as_i64().unwrap());
        assert_eq!(heart.confidence, case["confidence"].as_f64().unwrap() as f32);
        assert_eq!(i64::from(heart.zone), case["zone"].as_i64().unwrap());
        assert_eq!(heart.source, text("source"));
        let their_json = json::read_value(r.kind().message(), &case["heart_rate"]).unwrap();
        assert_eq!(their_json, r.payload_bytes(), "their JSON means the same");
        assert_eq!(json::canonical(r.kind().message(), &their_json), r.payload_json());
        assert_eq!(future(&r), text("future").parse::<u64>().unwrap(), "a field of a newer client survives");
        assert_eq!(examples::decoder().decode(r.to_wire().into(), examples::now()).unwrap(), r);
    }
    lines.lines().count()
}

fn future(r: &Reading) -> u64 {
    let mut fields = Fields::new(r.body());
    let mut found = 0;
    while let Some(f) = fields.next().unwrap() {
        if let (500, Value::Fixed64(v)) = (f.number, f.value) {
            found = v;
        }
    }
    found
}

#[test]
fn readings_that_pythons_protobuf_encoded_decode_here() {
    assert_eq!(check(include_str!("interop/readings.jsonl")), 5);
}

#[test]
fn readings_that_another_implementation_encodes_now_decode_here() {
    let Some(python) = std::env::var_os("AM_INTEROP_PYTHON").filter(|p| !p.is_empty()) else {
        println!("skipped: no other protobuf implementation");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/encode.py");
    let out = Command::new(&python).arg(script).output().expect("AM_INTEROP_PYTHON names a Python");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let lines = String::from_utf8(out.stdout).unwrap();
    assert_eq!(check(&lines), 5);
    assert_eq!(lines.lines().count(), include_str!("interop/readings.jsonl").lines().count());
}
