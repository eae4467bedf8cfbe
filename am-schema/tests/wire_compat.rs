//! The wire format that devices in the field speak: frozen numbers, older forms, and fields of newer clients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failure names the case")]

mod examples;

use am_core::Timestamp;
use am_schema::block::{Channel, decode_untrusted};
use am_schema::spec::FieldType;
use am_schema::wire::{put_int, put_len, put_timestamp};
use am_schema::{Decoder, Reading, shapes, v1};
use examples::{catalogue, decoder, kind, now};
use proptest::prelude::*;
use prost::Message;

/// An envelope as old devices send it: device, time, metadata, payload; no topic.
fn old(number: u32, payload: &[u8], metadata: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    put_len(&mut out, 1, b"watch-7");
    put_timestamp(&mut out, 3, now());
    for (k, v) in metadata {
        let mut e = Vec::new();
        put_len(&mut e, 1, k.as_bytes());
        put_len(&mut e, 2, v.as_bytes());
        put_len(&mut out, 4, &e);
    }
    put_len(&mut out, number, payload);
    out
}

fn decode(wire: Vec<u8>) -> Reading {
    decoder().decode(wire.into(), now()).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn the_numbers_of_the_envelope_and_of_heart_rate_are_frozen() {
    let shape = |m: &'static am_schema::spec::MessageSpec, n: u32| {
        let f = m.field(n).unwrap_or_else(|| panic!("{} has no field {n}", m.name));
        let ty = match f.ty {
            FieldType::Message(m) => m().name.to_owned(),
            FieldType::Enum(e) => e.name.to_owned(),
            t => format!("{t:?}"),
        };
        (f.name, ty)
    };
    for (n, name, ty) in [
        (1, "device_id", "String"),
        (2, "reading_id", "String"),
        (3, "recorded_at", "Timestamp"),
        (4, "metadata", "StringMap"),
        (5, "kind", "String"),
        (10, "heart_rate", "HeartRate"),
        (11, "gps", "Gps"),
        (12, "accelerometer", "Accelerometer"),
        (13, "audio", "AudioChunk"),
        (14, "image", "Image"),
    ] {
        assert_eq!(shape(&shapes::READING, n), (name, ty.to_owned()));
    }
    for (n, name, ty) in [(1, "bpm", "Int32"), (2, "confidence", "Float"), (3, "zone", "HeartRate.Zone"), (4, "source", "String")] {
        assert_eq!(shape(&shapes::HEART_RATE, n), (name, ty.to_owned()));
    }
    let zones = [(0, "ZONE_UNSPECIFIED"), (1, "ZONE_RESTING"), (2, "ZONE_FAT_BURN"), (3, "ZONE_CARDIO"), (4, "ZONE_PEAK")];
    assert_eq!(shapes::HEART_RATE__ZONE.values, zones);
}

#[test]
fn readings_without_a_topic_mean_the_kind_of_their_field() {
    let gps = v1::Gps { latitude: 48.0, longitude: 11.0, ..Default::default() }.encode_to_vec();
    let audio = v1::AudioChunk { sample_rate: 16_000, channels: 1, data: vec![0; 4].into(), ..Default::default() }.encode_to_vec();
    let image = v1::Image { width: 4, height: 3, data: vec![0xff, 0xd8].into(), ..Default::default() }.encode_to_vec();
    for (number, payload, metadata, topic) in [
        (10, &[8, 61][..], &[][..], "device.health.heartrate.raw"),
        (11, &gps, &[], "device.sensor.gps.raw"),
        (13, &audio, &[], "device.audio.raw"),
        (14, &image, &[], "device.image.camera.raw"),
        (14, &image, &[("type", "screenshot")], "device.image.screenshot.raw"),
        (14, &image, &[("app", "x"), ("kind", "Screenshot")], "device.image.screenshot.raw"),
        (14, &image, &[("source", "SCREENSHOT")], "device.image.screenshot.raw"),
        (14, &image, &[("title", "screenshot")], "device.image.camera.raw"),
    ] {
        let r = decode(old(number, payload, metadata));
        assert_eq!((r.kind().topic(), r.payload_bytes()), (topic, payload));
    }
    let mut metadata_last = old(14, &image, &[]);
    put_len(&mut metadata_last, 4, b"\x0a\x04type\x12\x0ascreenshot");
    assert_eq!(decode(metadata_last).kind().topic(), "device.image.screenshot.raw");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_single_acceleration_becomes_a_block_of_one_sample_and_can_be_had_back(x in -160f32..160.0, y in -160f32..160.0, z in -160f32..160.0) {
        let sample = v1::Accelerometer { x, y, z };
        let mut sent = sample.encode_to_vec();
        put_int(&mut sent, 9, 7);
        let r = decode(old(12, &sent, &[("room", "7")]));
        prop_assert_eq!(r.kind().topic(), "device.sensor.accelerometer.raw");
        let block: v1::SampleBlock = r.payload().unwrap();
        let channels = decode_untrusted(&block.data).unwrap().channels;
        let bits = |v: f32| v.to_bits();
        let got: Vec<u32> = channels.iter().map(|c| match c { Channel::F32(s) => bits(s[0]), _ => panic!("floats") }).collect();
        prop_assert_eq!(got, [bits(x), bits(y), bits(z)]);
        prop_assert_eq!((block.count, r.metadata_value("room")), (1, Some("7")));
        prop_assert_eq!(r.original_sample(), Some(sample));
        prop_assert!(r.body().windows(sent.len()).any(|w| w == &sent[..]), "the sample as sent, unknown fields and all");

        // It comes through every form with the same id and content.
        let again = decode(r.to_wire());
        prop_assert_eq!(&again, &r);
        let stored = Reading::from_parts(r.kind(), r.device().clone(), r.recorded_at(), r.id(), r.body().clone()).unwrap();
        prop_assert_eq!(stored.payload_bytes(), r.payload_bytes());
        let text = decoder().decode_json(&r.to_json(), now()).unwrap();
        prop_assert_eq!((text.id(), text.original_sample()), (r.id(), Some(sample)));
        let json = format!(r#"{{"device_id":"watch-7","recorded_at":"2026-03-01T12:00:00Z","accelerometer":{{"z":{z},"y":{y},"x":{x}}}}}"#);
        let from_json = decoder().decode_json(&json, now()).unwrap();
        prop_assert_eq!(from_json.payload_bytes(), r.payload_bytes());
    }
}

#[test]
fn a_bad_single_sample_is_refused_by_the_field_that_was_sent_and_no_block_beside_it_is_believed() {
    let nan = v1::Accelerometer { x: f32::NAN, y: 0.0, z: 0.0 }.encode_to_vec();
    let r = decoder().decode(old(12, &nan, &[]).into(), now()).unwrap_err();
    assert_eq!((r.findings[0].field.as_str(), r.findings[0].rule.as_str()), ("accelerometer.x", "a finite number"));
    let fast = v1::Accelerometer { x: 161.0, y: 0.0, z: 0.0 }.encode_to_vec();
    let r = decoder().decode(old(12, &fast, &[]).into(), now()).unwrap_err();
    assert_eq!(r.findings[0].rule, "-160 to 160 m/s2");
    let mut both = old(12, &v1::Accelerometer { x: 1.0, y: 2.0, z: 3.0 }.encode_to_vec(), &[]);
    put_len(&mut both, 5, b"device.sensor.accelerometer.raw");
    put_len(&mut both, 20, &examples::sample_block(kind("device.sensor.accelerometer.raw")));
    let r = decoder().decode(both.into(), now()).unwrap_err();
    assert_eq!(r.findings[0].rule, "exactly one payload");
}

#[test]
fn fields_that_this_version_does_not_know_survive_every_form() {
    let mut heart = vec![8, 61];
    put_len(&mut heart, 200, b"inner");
    let mut wire = old(10, &heart, &[]);
    put_int(&mut wire, 900, 12_345);
    let r = decode(wire);
    for form in [
        decode(r.to_wire()),
        Reading::from_parts(r.kind(), r.device().clone(), r.recorded_at(), r.id(), r.body().clone()).unwrap(),
        decoder().decode_json(&r.to_json(), now()).unwrap(),
        r.clone().detached(),
    ] {
        assert_eq!(form.payload_bytes(), heart);
        assert_eq!(form.body(), r.body());
        assert_eq!(form, r);
    }
    assert!(r.to_json().contains(r#""@unknown":"oDi5YA==""#), "{}", r.to_json());
}

#[test]
fn fields_in_another_order_are_the_same_content() {
    let mut a = old(10, &[8, 61], &[("a", "1"), ("b", "2")]);
    let mut b = old(10, &[8, 61], &[("b", "2"), ("a", "1")]);
    put_int(&mut a, 15, 3);
    put_int(&mut b, 15, 3);
    let (a, b, c) = (decode(a), decode(b), decode(old(10, &[8, 61], &[("a", "1")])));
    assert!(a.body() != b.body() && a.same_content(&b) && a.id() == b.id());
    assert!(!a.same_content(&c));
}

#[test]
fn a_stored_reading_is_read_even_where_a_rule_became_stricter() {
    let mut strict = old(10, &[8, 5], &[]);
    put_len(&mut strict, 2, b"0190163d-8694-739b-aea5-966c26f8ad90");
    assert!(decoder().decode(strict.clone().into(), now()).is_err());
    let r = Decoder::new(catalogue()).trusted().decode(strict.into(), Timestamp::MIN).unwrap();
    assert_eq!(r.payload::<v1::HeartRate>().unwrap().bpm, 5);
}

#[test]
fn a_reading_in_either_form_is_told_apart() {
    let r = decode(old(10, &[8, 61], &[]));
    for bytes in [r.to_wire(), r.to_json().into_bytes()] {
        assert_eq!(decoder().decode_either(bytes.into(), now()).unwrap(), r);
    }
    assert!(decoder().decode_either(b"{\xff}".to_vec().into(), now()).is_err());
}
