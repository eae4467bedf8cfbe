//! The JSON Schema that we publish describes the JSON that we write.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure names the kind")]

mod examples;

use am_schema::{Catalogue, Finding, Kind, KindDef, json, schema_json};
use serde_json::Value;

/// What the published schema of a kind says of a payload, checked by the validator for embedders' kinds.
fn findings(kind: Kind, payload: &Value) -> Vec<Finding> {
    let mut schema = schema_json::payload(kind);
    without_patterns(&mut schema);
    // A topic of its own per kind: the schema belongs to the definition.
    let topic = format!("custom.check.{}.raw", kind.topic().replace('.', "_"));
    let checking = Catalogue::builtin().with(KindDef::custom(&topic, Some(schema.to_string()))).unwrap();
    checking.get(&topic).and_then(Kind::json_schema).unwrap().check(payload)
}

/// Our validator has no regular expressions.
fn without_patterns(v: &mut Value) {
    match v {
        Value::Object(o) => {
            if o.get("pattern").is_some_and(Value::is_string) {
                o.remove("pattern");
            }
            o.values_mut().for_each(without_patterns);
        }
        Value::Array(a) => a.iter_mut().for_each(without_patterns),
        _ => {}
    }
}

#[test]
fn the_canonical_json_of_every_kind_fits_its_schema() {
    for kind in examples::kinds() {
        let text = json::canonical(kind.message(), examples::reading(kind).payload_bytes());
        let payload: Value = serde_json::from_str(&text).unwrap();
        let found = findings(kind, &payload);
        assert!(found.is_empty(), "{kind}: {}\n{text}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
    }
}

#[test]
fn what_validation_refuses_the_schema_refuses() {
    for (topic, payload, field) in [
        ("device.health.heartrate.raw", r#"{"bpm": 301}"#, "bpm"),
        ("device.health.heartrate.raw", r#"{}"#, "bpm"),
        ("device.sensor.barometer.raw", r#"{"value": 29.9}"#, "value"),
        ("device.health.vitals.raw", r#"{"code": "spo2", "value": 101, "unit": "%"}"#, "value"),
        ("device.health.vitals.raw", r#"{"code": "mood", "value": 1}"#, "code"),
        ("device.health.rr_interval.raw", r#"{"ms": [800, 20]}"#, "ms[1]"),
        ("media.text.transcribed.words", r#"{"text": "a", "words": [{"confidence": 2}]}"#, "words[0].confidence"),
        (
            "device.health.sleep.raw",
            r#"{"segments": [{"from": "2026-03-01T00:00:00Z", "to": "2026-03-01T01:00:00Z"}]}"#,
            "segments[0].stage",
        ),
    ] {
        let kind = Catalogue::builtin().get(topic).unwrap();
        let value: Value = serde_json::from_str(payload).unwrap();
        let found = findings(kind, &value);
        assert!(found.iter().any(|f| f.field == field), "{topic} {payload}: {found:?}");
        let wire = json::read(kind.message(), payload).unwrap();
        assert!(examples::reading_of(kind, wire).is_err(), "{topic} {payload}");
    }
    let inches = serde_json::json!({ "value": 29.9, "unit": "inHg" });
    assert!(findings(Catalogue::builtin().get("device.sensor.barometer.raw").unwrap(), &inches).is_empty());
}
