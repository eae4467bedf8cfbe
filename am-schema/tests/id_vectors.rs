//! Ids that follow from content: vectors that never change, and everything that must not change them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure names the case")]

mod examples;

use am_core::{DeviceId, Timestamp};
use am_schema::{Inputs, ProcessorIdentity, Reading, ReadingRef, id, json, v1};
use examples::{catalogue, decoder, kind, now};
use proptest::prelude::*;

/// Topic, device, time, payload as JSON, the canonical text that is hashed, and the id.
const VECTORS: &[(&str, &str, &str, &str, &str, &str)] = &[
    (
        "device.health.heartrate.raw",
        "watch-7",
        "2026-03-01T08:00:00Z",
        r#"{"bpm": 61, "confidence": 0.9, "zone": "ZONE_RESTING", "source": "watch"}"#,
        r#"{"bpm":61,"confidence":0.9,"source":"watch","zone":"ZONE_RESTING"}"#,
        "e0da4c24-c663-886f-97b7-fe975bc0f3d8",
    ),
    (
        "device.health.heartrate.raw",
        "watch-7",
        "2026-03-01T08:00:00.000000001Z",
        r#"{"bpm": 61, "confidence": 0.9, "zone": "ZONE_RESTING", "source": "watch"}"#,
        r#"{"bpm":61,"confidence":0.9,"source":"watch","zone":"ZONE_RESTING"}"#,
        "38ff6990-99b0-87e9-ab52-b0133c03f883",
    ),
    (
        "device.health.heartrate.raw",
        "Uhr-öäü",
        "1969-12-31T23:59:59.999999999Z",
        r#"{"bpm": 61}"#,
        r#"{"bpm":61}"#,
        "ca5331f4-b723-8f8a-a093-9d7f2f1aa086",
    ),
    (
        "device.sensor.gps.raw",
        "phone",
        "2026-03-01T08:00:00Z",
        r#"{"latitude": 48.137154, "longitude": 11.576124, "altitude": 0, "accuracy": 3.9}"#,
        r#"{"accuracy":3.9,"altitude":0,"latitude":48.137154,"longitude":11.576124}"#,
        "6ba5ff69-3170-8cfe-a980-0bb62acc5b82",
    ),
    ("device.sensor.light.raw", "phone", "2026-03-01T08:00:00Z", "{}", "{}", "ce915d00-86da-8fc6-9528-b3783be04a7c"),
    (
        "device.health.vitals.raw",
        "scale",
        "2026-03-01T08:00:00Z",
        r#"{"value": 150.2, "unit": "lb", "code": "weight"}"#,
        r#"{"code":"weight","unit":"lb","value":150.2}"#,
        "cbd1e007-197f-82c8-b183-538d05170d4f",
    ),
    (
        "device.state.usage.raw",
        "laptop",
        "2026-03-01T08:00:00Z",
        r#"{"memory_used": "18446744073709551615", "apps": [{"app": "a\"b\\c\n", "cpu": 1e-7}, {}]}"#,
        r#"{"apps":[{"app":"a\"b\\c\n","cpu":1e-7},{}],"memory_used":"18446744073709551615"}"#,
        "84331e17-91fb-8e32-9b29-b6f5ece28f68",
    ),
    (
        "device.health.sleep.raw",
        "watch-7",
        "2026-03-01T00:00:00Z",
        r#"{"segments": [{"from": "2026-03-01T00:00:00Z", "to": "2026-03-01T01:30:00.5Z", "stage": "STAGE_DEEP"}]}"#,
        r#"{"segments":[{"from":"2026-03-01T00:00:00Z","stage":"STAGE_DEEP","to":"2026-03-01T01:30:00.500Z"}]}"#,
        "f369e175-c970-86d9-af15-90e868ddeda8",
    ),
    (
        "device.image.camera.raw",
        "phone",
        "2026-03-01T08:00:00Z",
        r#"{"width": 4, "height": 3, "data": "/9j/4AA=", "exif": {"Model": "X", "Make": "Acme"}}"#,
        r#"{"data":"/9j/4AA=","exif":{"Make":"Acme","Model":"X"},"height":3,"width":4}"#,
        "25a1022c-172d-81c3-975f-3d2674d8bc9a",
    ),
    (
        "external.memo.raw",
        "memos",
        "2026-03-01T08:00:00Z",
        r#"{"note_id": "1", "text": "é\u00e9😀", "tags": ["b", "a"]}"#,
        r#"{"note_id":"1","tags":["b","a"],"text":"éé😀"}"#,
        "f14ac865-996d-8670-8113-45658c60e8b2",
    ),
];

#[test]
fn every_vector_gives_its_id() {
    for (topic, device, at, payload, canonical, expected) in VECTORS {
        let kind = catalogue().get(topic).unwrap();
        let bytes = json::read(kind.message(), payload).unwrap();
        assert_eq!(json::canonical(kind.message(), &bytes), *canonical);
        let id = id::content_id(kind, &DeviceId::new(device).unwrap(), Timestamp::parse(at).unwrap(), &bytes);
        assert_eq!(id.to_string(), *expected, "{topic} {device} {at} {payload}");
        assert_eq!(id.version(), 8);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn key_order_number_spelling_and_encoding_do_not_change_the_id(bpm in 20i32..300, confidence in 0u32..=1000, order in Just([0, 1, 2]).prop_shuffle()) {
        let confidence = f64::from(confidence) / 1000.0;
        let spelled = [
            [format!("\"bpm\":{bpm}"), format!("\"confidence\":{confidence}"), "\"zone\":3".to_owned()],
            [format!("\"bpm\":\"{bpm}\""), format!("\"confidence\":{}e-3", confidence * 1e3), "\"zone\":\"CARDIO\"".to_owned()],
            [format!("\"bpm\":{bpm}.0"), format!("\"confidence\":\"{confidence}\""), "\"zone\":\"ZONE_CARDIO\"".to_owned()],
        ];
        let heart = v1::HeartRate { bpm, confidence: confidence as f32, zone: 3, ..Default::default() };
        let expected = Reading::builder(kind("device.health.heartrate.raw"), examples::device(), now()).payload(&heart).build().unwrap();
        for s in spelled {
            let payload = order.map(|i| s[i].clone()).join(", ");
            let text = format!("{{\"heart_rate\": {{{payload}}}, \"recorded_at\": \"2026-03-01T12:00:00.0Z\", \"deviceId\": \"watch-7\"}}");
            let r = decoder().decode_json(&text, now()).unwrap();
            prop_assert_eq!(r.id(), expected.id(), "{}", text);
            prop_assert!(r.same_content(&expected));
        }
    }
}

#[test]
fn metadata_and_aliases_do_not_change_the_id_and_content_time_device_and_kind_do() {
    let heart = kind("device.health.heartrate.raw");
    let id = |bpm, device: &str, ns, meta: &str| {
        let payload = v1::HeartRate { bpm, ..Default::default() };
        let b = Reading::builder(heart, DeviceId::new(device).unwrap(), now().shifted(ns)).payload(&payload);
        if meta.is_empty() { b } else { b.metadata("m", meta) }.build().unwrap().id()
    };
    assert_eq!(id(61, "a", 0, ""), id(61, "a", 0, "x"));
    assert!(![id(62, "a", 0, ""), id(61, "b", 0, ""), id(61, "a", 1, "")].contains(&id(61, "a", 0, "")));
    let mail = |topic: &str| {
        let bytes = examples::wire(topic, 36, &examples::payload(kind("external.email.events.raw")));
        decoder().decode(bytes.into(), now()).unwrap()
    };
    assert_eq!(mail("external.email.raw").id(), mail("external.email.events.raw").id());
    assert_eq!(mail("external.email.raw").kind().topic(), "external.email.events.raw");
}

#[test]
fn unknown_fields_of_the_payload_are_content() {
    let heart = kind("device.health.heartrate.raw");
    let mut newer = vec![8, 61];
    let id = |p: &[u8]| id::content_id(heart, &examples::device(), now(), p);
    let before = id(&newer);
    am_schema::wire::put_int(&mut newer, 99, 1);
    assert_ne!(id(&newer), before);
}

#[test]
fn derived_ids_and_slots_follow_from_processor_inputs_and_ordinal() {
    let activity = kind("motion.classification.activity");
    let input = |n: u8| ReadingRef {
        device: examples::device(),
        kind: kind("device.sensor.accelerometer.raw"),
        recorded_at: now().shifted(i64::from(n)),
        id: am_core::ReadingId::from_bytes([n; 16]),
    };
    let derive = |version: &str, config: &str, inputs: &[u8], ordinal| {
        Reading::builder(activity, examples::device(), now())
            .ended_at(now().shifted(10))
            .payload(&v1::Activity { activity: 2, confidence: 0.9, ..Default::default() })
            .derived_from(
                &ProcessorIdentity::new("motion.activity", version, config),
                Inputs::of_refs(inputs.iter().map(|n| input(*n))),
                ordinal,
            )
            .build()
            .unwrap()
    };
    let slot = |r: &Reading| r.lineage().unwrap().slot.clone();
    let base = derive("1", "{}", &[1, 2], 0);
    assert_eq!(base.id().to_string(), "cdeb8de8-04f8-8ca6-ba82-5fdd5be5554e");
    assert_eq!((derive("1", "{}", &[1, 2], 0).id(), base.id().version()), (base.id(), 8));
    let newer = derive("2", "{}", &[1, 2], 0);
    assert!(newer.id() != base.id() && slot(&newer) == slot(&base), "another version fills the same slot");
    let other = derive("1", "{\"a\":1}", &[1, 2], 0);
    assert!(other.id() != base.id() && slot(&other) == slot(&base));
    let second = derive("1", "{}", &[1, 2], 1);
    assert!(second.id() != base.id() && slot(&second) != slot(&base));
    let later = derive("1", "{}", &[1, 3], 0);
    assert!(later.id() != base.id() && slot(&later) != slot(&base), "another span is another slot");
}
