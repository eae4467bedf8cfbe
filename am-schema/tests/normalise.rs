//! What a reading means: units, numbers and texts, without touching what was sent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failure names the case")]

mod examples;

use std::borrow::Cow;

use am_schema::normalise::{VERSION, measure};
use am_schema::wire::put_int;
use am_schema::{Reading, v1};
use examples::{kind, now};
use prost::Message;

fn quantity(topic: &str, value: f64, unit: &str, code: &str) -> Reading {
    let mut payload = v1::Quantity { value, unit: unit.into(), code: code.into() }.encode_to_vec();
    put_int(&mut payload, 99, 5);
    Reading::builder(kind(topic), examples::device(), now()).metadata("a", "b").payload_bytes(payload).build().unwrap()
}

#[test]
fn quantities_come_out_in_the_unit_of_their_kind_or_code_and_what_was_sent_stays() {
    let vitals = "device.health.vitals.raw";
    for (topic, value, unit, code, expected, canonical) in [
        (vitals, 98.6, "°F", "body_temperature", 37.0, "Cel"),
        (vitals, 150.0, "lb", "weight", 68.038_855_5, "kg"),
        (vitals, 90.0, "mg/dL", "glucose", 4.995_670_41, "mmol/L"),
        (vitals, 3.1, "mi", "distance", 4_988.966_4, "m"),
        ("device.sensor.temperature.raw", 300.0, "K", "", 26.85, "Cel"),
    ] {
        let r = quantity(topic, value, unit, code);
        let n = r.normalised();
        let q: v1::Quantity = n.payload().unwrap();
        assert!((q.value - expected).abs() < 1e-6 && q.unit == canonical && q.code == code, "{value} {unit}: {q:?}");
        assert_eq!(measure(r.kind(), code).unwrap().unit, canonical);
        assert_eq!((n.reference(), n.metadata_value("a")), (r.reference(), Some("b")));
        assert!(n.payload_json().contains("@unknown"), "fields of newer clients stay");
        assert_eq!(r.payload::<v1::Quantity>().unwrap().value, value);
        assert_eq!(n.normalised().payload_bytes(), n.payload_bytes(), "once is enough");
    }
    assert_eq!(VERSION, 1);
}

#[test]
fn readings_in_canonical_units_are_borrowed() {
    for r in [
        quantity("device.sensor.light.raw", 5.0, "", ""),
        quantity("device.sensor.light.raw", 5.0, "lx", ""),
        examples::reading(kind("device.health.heartrate.raw")),
    ] {
        assert!(matches!(r.normalised(), Cow::Borrowed(_)));
    }
}

#[test]
fn the_number_that_rollups_count_is_in_the_kinds_unit_and_absent_numbers_are_told_from_zero() {
    let scalar = |topic: &str, payload: Vec<u8>| {
        let b = Reading::builder(kind(topic), examples::device(), now()).ended_at(now().shifted(60_000_000_000));
        b.payload_bytes(payload).build().unwrap().scalar()
    };
    assert_eq!(scalar("device.health.heartrate.raw", vec![8, 61]), Some(61.0));
    assert_eq!(scalar("device.health.steps.raw", vec![]), Some(0.0));
    assert_eq!(quantity("device.sensor.temperature.raw", 32.0, "°F", "").scalar(), Some(0.0));
    let air = |aqi, co2| v1::AirQuality { aqi, co2, ..Default::default() }.encode_to_vec();
    assert_eq!(scalar("device.sensor.air_quality.raw", air(None, Some(400.0))), None);
    assert_eq!(scalar("device.sensor.air_quality.raw", air(Some(12.0), None)), Some(12.0));
    assert_eq!(scalar("device.health.rr_interval.raw", v1::RrIntervals { ms: vec![800.0] }.encode_to_vec()), None);
    for kind in examples::kinds() {
        let r = examples::reading(kind);
        assert_eq!(r.scalar().is_some(), kind.scalar().is_some(), "{kind}");
    }
}

#[test]
fn texts_come_in_the_order_of_the_catalogue_from_lists_too() {
    let mail = v1::Email {
        message_id: "m@x".into(),
        subject: "Lunch".into(),
        text: "At noon?".into(),
        from: "ada@example.org".into(),
        ..Default::default()
    };
    let r = Reading::builder(kind("external.email.events.raw"), examples::device(), now()).payload(&mail).build().unwrap();
    assert!(r.texts().contains(&"Lunch") && r.texts().contains(&"At noon?"), "{:?}", r.texts());
    let words = v1::Transcript { text: "good morning".into(), ..Default::default() };
    let t = examples::reading_of(kind("media.text.transcribed.words"), words.encode_to_vec()).unwrap();
    assert_eq!(t.texts(), ["good morning"]);
    assert_eq!(examples::reading(kind("device.health.heartrate.raw")).texts(), [""; 0]);
    for kind in examples::kinds() {
        assert_eq!(examples::reading(kind).texts().is_empty(), kind.text_fields().is_empty(), "{kind}");
    }
}
