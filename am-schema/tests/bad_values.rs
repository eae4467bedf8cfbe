//! Bad values: what a payload says is refused by field, value and rule, or taken as it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failure names the case")]

mod examples;

use am_schema::wire::{put_int, put_len};
use am_schema::{Decoder, KindDef, Reading, v1};
use examples::{HEART, catalogue, decode, findings, heart, kind, now, refused, wire};
use prost::Message;

fn prost_time(s: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: 1_772_000_000 + s, nanos: 0 }
}

#[test]
fn absent_numbers_count_as_zero_and_required_fields_must_be_there() {
    refused(HEART, &v1::HeartRate::default(), &[("heart_rate.bpm", "a value")]);
    refused(
        "device.state.capture.raw",
        &v1::CaptureState::default(),
        &[("capture_state.topic", "some text"), ("capture_state.state", "a value other than UNSPECIFIED")],
    );
    refused(
        "device.audio.raw",
        &v1::AudioChunk { channels: 1, sample_rate: 8_000, ..Default::default() },
        &[("audio.blob", "at least one of blob, data")],
    );
    refused(
        "device.network.bluetooth.raw",
        &v1::BluetoothScan {
            devices: vec![Default::default(), v1::bluetooth_scan::Device { address: "x".into(), rssi: Some(99), ..Default::default() }],
        },
        &[("bluetooth_scan.devices[0].address", "some text"), ("bluetooth_scan.devices[1].rssi", "-120 to 20 dBm")],
    );
}

#[test]
fn absurd_and_unreal_numbers_are_refused_wherever_they_stand() {
    let gps = |latitude: f64, speed: f32| v1::Gps { latitude, longitude: 7.0, speed: Some(speed), ..Default::default() };
    refused("device.sensor.gps.raw", &gps(91.0, -1.0), &[("gps.latitude", "-90 to 90 deg"), ("gps.speed", "0 to 1000 m/s")]);
    for unreal in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        refused("device.sensor.gps.raw", &gps(unreal, 0.0), &[("gps.latitude", "a finite number")]);
    }
    let rr = v1::RrIntervals { ms: vec![800.0, 199.0, f32::NAN, 810.0, 3_001.0] };
    refused(
        "device.health.rr_interval.raw",
        &rr,
        &[("rr_intervals.ms[1]", "200 to 3000 ms"), ("rr_intervals.ms[2]", "a finite number"), ("rr_intervals.ms[4]", "200 to 3000 ms")],
    );
    let usage = v1::SystemUsage { apps: vec![v1::system_usage::AppUsage { cpu: 101.0, ..Default::default() }], ..Default::default() };
    refused("device.state.usage.raw", &usage, &[("system_usage.apps[0].cpu", "0 to 100 %")]);
}

#[test]
fn values_of_another_type_or_width_are_refused_by_name() {
    let mut text_for_number = Vec::new();
    put_len(&mut text_for_number, 1, b"61");
    findings(decode(wire(HEART, 10, &text_for_number)), &[("heart_rate.bpm", "a 32-bit integer")]);
    let mut too_wide = Vec::new();
    put_int(&mut too_wide, 1, 1 << 40 | 61);
    findings(decode(wire(HEART, 10, &too_wide)), &[("heart_rate.bpm", "a 32-bit integer")]);
    let mut number_for_text = heart().encode_to_vec();
    put_int(&mut number_for_text, 4, 1);
    findings(decode(wire(HEART, 10, &number_for_text)), &[("heart_rate.source", "text")]);
    let mut id = wire(HEART, 10, &heart().encode_to_vec());
    put_int(&mut id, 2, 7);
    findings(decode(id), &[("reading_id", "the type of the field")]);
    let mut newer = heart().encode_to_vec();
    put_int(&mut newer, 3, 99);
    put_len(&mut newer, 77, b"more");
    assert!(decode(wire(HEART, 10, &newer)).is_ok(), "zones and fields of newer clients survive");
}

#[test]
fn quantities_need_a_unit_that_converts_and_a_value_in_range_after_it() {
    let vital = |value: f64, unit: &str, code: &str| v1::Quantity { value, unit: unit.into(), code: code.into() };
    let taken = |topic: &str, q: v1::Quantity| decode(wire(topic, 21, &q.encode_to_vec()));
    assert!(taken("device.health.vitals.raw", vital(98.6, "°F", "body_temperature")).is_ok());
    refused("device.health.vitals.raw", &vital(98.6, "", "body_temperature"), &[("quantity.value", "25 to 45 Cel")]);
    refused("device.health.vitals.raw", &vital(98.6, "kg", "body_temperature"), &[("quantity.unit", "Cel or a unit that converts")]);
    refused("device.health.vitals.raw", &vital(1.0, "%", "mood"), &[("quantity.code", "a vital sign")]);
    refused("device.health.vitals.raw", &vital(1.0, "%", ""), &[("quantity.code", "some text")]);
    let pressure = taken("device.sensor.barometer.raw", vital(29.92, "inHg", "")).unwrap();
    assert!((pressure.scalar().unwrap() - 1_013.207_481_19).abs() < 1e-6);
    assert_eq!(pressure.payload::<v1::Quantity>().unwrap().unit, "inHg", "what was sent stays");
    refused("device.sensor.barometer.raw", &vital(29.92, "hPa", ""), &[("quantity.value", "300 to 1100 hPa")]);
}

#[test]
fn sample_blocks_are_decoded_and_every_sample_is_checked() {
    let topic = "device.sensor.accelerometer.raw";
    let good = v1::SampleBlock::decode(&examples::sample_block(kind(topic))[..]).unwrap();
    let with = |change: &dyn Fn(&mut v1::SampleBlock)| {
        let mut b = good.clone();
        change(&mut b);
        b
    };
    let encoded = |x: &[f32]| {
        let s = am_schema::block::Samples::F32(x);
        am_schema::block::encode(None, &[s, s, s]).unwrap()
    };
    refused(topic, &with(&|b| b.count = 5), &[("sample_block.data", "a block of so many")]);
    refused(topic, &with(&|b| b.encoding = 9), &[("sample_block.encoding", "1")]);
    refused(topic, &with(&|b| b.period_ns = 0), &[("sample_block.period_ns", "the time between samples")]);
    refused(topic, &with(&|b| b.period_ns = 200_000_000_000), &[("sample_block.period_ns", "at most 5 min")]);
    refused(topic, &with(&|b| b.channels[1].name = "q".into()), &[("sample_block.channels", "the channels x, y, z")]);
    refused(
        topic,
        &with(&|b| b.channels[1].name = "x".into()),
        &[("sample_block.channels[1].name", "a name of its own"), ("sample_block.channels", "the channels x, y, z")],
    );
    refused(topic, &with(&|b| b.channels[2].unit = "g".into()), &[("sample_block.channels[2].unit", "m/s2")]);
    refused(topic, &with(&|b| b.channels[0].scale = 0.5), &[("sample_block.channels[0].scale", "0, because the samples are floats")]);
    refused(
        topic,
        &with(&|b| b.data = encoded(&[0.0, 1.0, 161.0, 0.0]).into()),
        &[
            ("sample_block.data.x[2]", "-160 to 160 m/s2"),
            ("sample_block.data.y[2]", "-160 to 160 m/s2"),
            ("sample_block.data.z[2]", "-160 to 160 m/s2"),
        ],
    );
    refused(
        topic,
        &with(&|b| b.data = encoded(&[0.0, f32::NAN, 0.0, 0.0]).into()),
        &[
            ("sample_block.data.x[1]", "a finite number"),
            ("sample_block.data.y[1]", "a finite number"),
            ("sample_block.data.z[1]", "a finite number"),
        ],
    );
    let bad = with(&|b| {
        b.encoding = 9;
        b.channels.iter_mut().for_each(|c| c.unit.clear());
    });
    let eeg = v1::CleanedEeg { block: Some(bad), clean_ratio: 1.0, ..Default::default() };
    let refused = examples::reading_of(kind("eeg.signal.cleaned"), eeg.encode_to_vec());
    findings(refused, &[("cleaned_eeg.block.encoding", "1")]);
}

#[test]
fn rules_between_fields_hold() {
    let night = |spans: &[(i64, i64)]| v1::SleepStages {
        segments: spans
            .iter()
            .map(|(a, b)| v1::sleep_stages::Segment {
                from: Some(prost_time(*a)),
                to: Some(prost_time(*b)),
                stage: v1::sleep_stages::Stage::Deep as i32,
            })
            .collect(),
    };
    refused(
        "device.health.sleep.raw",
        &night(&[(0, 60), (50, 90), (90, 80)]),
        &[("sleep_stages.segments[1].from", "not before the end of the segment before"), ("sleep_stages.segments[2].to", "after from")],
    );
    refused("device.health.steps.raw", &v1::Steps { count: 401 }, &[("steps.count", "at most 400/min, that is 400 in 60 s")]);
    refused(
        "device.network.wifi.raw",
        &v1::Wifi { ssid: "x".into(), bssid: "0a:1b".into(), ..Default::default() },
        &[("wifi.bssid", "six bytes")],
    );
    refused("task.url.ingest", &v1::UrlTask { url: "example.org".into(), ..Default::default() }, &[("url_task.url", "an absolute URL")]);
    refused(
        "device.state.capture.raw",
        &v1::CaptureState { topic: "Heart".into(), state: 1, ..Default::default() },
        &[("capture_state.topic", "a topic")],
    );
    let blob = |n: usize| v1::BlobRef { digest: vec![7; n], size: 5, mime: "image/jpeg".into() };
    let image = |blob, data: &'static [u8]| v1::Image { width: 1, height: 1, blob, data: data.to_vec().into(), ..Default::default() };
    refused("device.image.camera.raw", &image(Some(blob(31)), b""), &[("image.blob.digest", "32 bytes")]);
    refused("device.image.camera.raw", &image(Some(blob(32)), b"jpeg"), &[("image.data", "no bytes beside a blob")]);
    let vector = v1::TextVector { start: 0, end: 5, values: vec![0.6, 0.8] };
    let mail = v1::EmailEmbedded { message_id: "m".into(), model: "e5".into(), dimensions: 3, vectors: vec![vector] };
    findings(
        examples::reading_of(kind("external.email.embedded"), mail.encode_to_vec()),
        &[("email_embedded.vectors[0].values", "3 values, as dimensions says")],
    );
}

#[test]
fn one_of_several_forms_may_be_there_only_once() {
    let mut answer = Vec::new();
    put_len(&mut answer, 1, b"q1");
    put_len(&mut answer, 4, b"yes");
    put_int(&mut answer, 5, 1);
    let mut form = Vec::new();
    put_len(&mut form, 1, b"f");
    put_len(&mut form, 3, &answer);
    findings(decode(wire("external.questionnaire.raw", 40, &form)), &[("questionnaire.answers[0].text", "only one of answer")]);
}

#[test]
fn what_a_person_wrote_is_never_shown() {
    let note = v1::Notification { app: "mail".into(), title: "secret\0title".into(), change: 99, ..Default::default() };
    let r = decode(wire("os.events.notifications.raw", 32, &note.encode_to_vec())).unwrap_err();
    assert!(!r.to_string().contains("secret"), "{r}");
    let url = v1::UrlTask { url: "secret".into(), ..Default::default() };
    let r = decode(wire("task.url.ingest", 41, &url.encode_to_vec())).unwrap_err();
    let content = kind("task.url.ingest").class() == am_schema::DataClass::Content;
    assert_eq!(r.findings[0].value, if content { "(redacted)" } else { "secret" });
    for (kind, payload) in [
        ("os.events.notifications.raw", r#""notification":{"title":["secret"]}"#),
        ("digital.clipboard.raw", r#""clipboard":"secret""#),
        ("", r#""note":{"tags":"secret"}"#),
    ] {
        let text = format!(r#"{{"device_id":"d","kind":"{kind}","recorded_at":"2026-03-01T12:00:00Z","sequence":-5,{payload}}}"#);
        let r = examples::decoder().decode_json(&text, now()).unwrap_err();
        assert!(!r.to_string().contains("secret") && r.to_string().contains("sequence is -5"), "{r}");
    }
    let health = r#"{"device_id":"d","recorded_at":"2026-03-01T12:00:00Z","heart_rate":{"bpm":"fast"}}"#;
    let r = examples::decoder().decode_json(health, now()).unwrap_err();
    assert_eq!(r.to_string(), "AM-1001: heart_rate.bpm is fast, expected an integer from -2147483648 to 2147483647");
}

#[test]
fn an_embedders_kind_is_checked_against_its_schema() {
    let topic = "custom.acme.coffee.raw";
    let json = |t: &str| v1::Custom { body: Some(v1::custom::Body::Json(t.into())) };
    assert!(decode(wire(topic, 45, &json(r#"{"cups": 2}"#).encode_to_vec())).is_ok());
    refused(topic, &json(r#"{"cups": 0}"#), &[("custom.json.cups", "at least 1")]);
    refused(topic, &json("{}"), &[("custom.json.cups", "")]);
    refused(topic, &json("{"), &[("custom.json", "JSON")]);
    refused(topic, &json(r#"{"cups": 1, "cups": 2}"#), &[("custom.json", "JSON")]);
    refused(topic, &v1::Custom { body: Some(v1::custom::Body::Data(vec![1])) }, &[("custom.data", "JSON text")]);
    refused(topic, &v1::Custom::default(), &[("custom.json", "at least one of json, data")]);
    let bytes = catalogue().with(KindDef::custom("custom.acme.bytes.raw", None)).unwrap();
    let data = v1::Custom { body: Some(v1::custom::Body::Data(vec![1])) };
    let r = Decoder::new(bytes.clone()).decode(wire("custom.acme.bytes.raw", 45, &data.encode_to_vec()).into(), now()).unwrap();
    let built = Reading::builder(bytes.get("custom.acme.bytes.raw").unwrap(), r.device().clone(), now()).payload(&data).build().unwrap();
    assert_eq!(built.id(), r.id());
}
