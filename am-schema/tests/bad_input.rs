//! Bad input: each item is refused with the field, the value and the rule, or taken as it is; nothing panics, nothing is lost silently.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failure names the case")]

mod examples;

use am_core::{Code, Timestamp};
use am_schema::wire::{put_int, put_len, put_timestamp, put_varint};
use am_schema::{Decoder, KindDef, Payload, Reading, Rejected, v1};
use bytes::Bytes;
use examples::{catalogue, decoder, kind, now, wire};
use prost::Message;

const HEART: &str = "device.health.heartrate.raw";

fn heart() -> v1::HeartRate {
    v1::HeartRate { bpm: 61, confidence: 0.9, zone: 1, source: "watch".into() }
}

fn decode(wire: Vec<u8>) -> Result<Reading, Rejected> {
    decoder().decode(wire.into(), now())
}

/// A reading of this kind with this payload is refused, and the findings are these fields and rules (the start of each).
#[track_caller]
fn refused<P: Payload>(topic: &str, payload: &P, expected: &[(&str, &str)]) {
    let mut bytes = wire(topic, P::FIELD, &payload.encode_to_vec());
    put_timestamp(&mut bytes, 6, now().shifted(60_000_000_000));
    findings(decode(bytes), expected);
}

#[track_caller]
fn findings(result: Result<Reading, Rejected>, expected: &[(&str, &str)]) {
    let r = result.expect_err("it must be refused");
    let got: Vec<(&str, &str)> = r.findings.iter().map(|f| (f.field.as_str(), f.rule.as_str())).collect();
    assert_eq!(got.len(), expected.len(), "{got:?}");
    for (g, e) in got.iter().zip(expected) {
        assert!(g.0 == e.0 && g.1.starts_with(e.1), "{g:?} is not {e:?}");
    }
}

#[test]
fn custody_p09_a_good_reading_of_every_kind_is_taken() {
    for kind in examples::kinds() {
        let r = examples::reading(kind);
        assert_eq!(r.kind(), kind);
        let again = Decoder::new(catalogue()).trusted().decode(r.to_wire().into(), now()).unwrap();
        assert_eq!(again, r);
        if !kind.stage().is_derived() {
            let bytes = Bytes::from(r.to_wire());
            assert_eq!(decoder().decode(bytes, now()).unwrap_or_else(|e| panic!("{kind}: {e}")), r);
        }
    }
}

#[test]
fn custody_p09_a_reading_cut_off_at_any_byte_is_refused_or_read_without_panic() {
    for kind in examples::kinds() {
        let whole = examples::reading(kind).to_wire();
        for n in 0..whole.len() {
            for text in [false, true] {
                let bytes = Bytes::copy_from_slice(&whole[..n]);
                let result = if text { decoder().decode_either(bytes, now()) } else { Decoder::new(catalogue()).decode(bytes, now()) };
                if let Err(r) = result {
                    assert!(!r.findings.is_empty() && r.wire == whole[..n], "{kind} at {n}");
                }
            }
        }
        let text = examples::reading(kind).to_json();
        for (n, _) in text.char_indices() {
            let r = decoder().decode_json(&text[..n], now()).expect_err("half a text is no reading");
            assert_eq!((r.code, r.wire.len()), (Code::UNDECODABLE, n));
        }
    }
}

#[test]
fn custody_p09_a_reading_with_any_byte_flipped_is_refused_or_read_without_panic() {
    for kind in examples::kinds() {
        let whole = examples::reading(kind).to_wire();
        let mut trusting = Decoder::new(catalogue()).trusted();
        for n in 0..whole.len() {
            for flip in [0x01, 0x80] {
                let mut bytes = whole.clone();
                bytes[n] ^= flip;
                let bytes = Bytes::from(bytes);
                if let Err(r) = decoder().decode(bytes.clone(), now()) {
                    assert!(!r.findings.is_empty() && r.wire == bytes, "{kind} at {n}");
                }
                if let Ok(r) = trusting.decode(bytes, now()) {
                    let _ = (r.to_json(), r.texts(), r.scalar(), r.normalised(), r.metadata().count());
                }
            }
        }
    }
}

#[test]
fn custody_p09_all_findings_of_an_item_come_at_once() {
    let mut bytes = Vec::new();
    put_len(&mut bytes, 1, b"my watch");
    put_len(&mut bytes, 2, b"not-a-uuid");
    put_len(&mut bytes, 16, b"00-0-0-0");
    put_int(&mut bytes, 8, 4_000);
    let bad = v1::HeartRate { bpm: 500, confidence: f32::NAN, source: "a\0b".into(), ..heart() };
    put_len(&mut bytes, 10, &bad.encode_to_vec());
    findings(
        decode(bytes),
        &[
            ("traceparent", "a W3C traceparent"),
            ("zone_offset_minutes", "-1080 to 1080"),
            ("time_basis", "OFFSET_KNOWN"),
            ("device_id", "1 to 128 bytes"),
            ("recorded_at", "a time"),
            ("reading_id", "a UUID"),
            ("heart_rate.bpm", "20 to 300 /min"),
            ("heart_rate.confidence", "a finite number"),
            ("heart_rate.source", "text without NUL"),
        ],
    );
}

#[test]
fn custody_p09_a_refused_item_names_its_device_and_kind_and_keeps_its_bytes() {
    let bytes = wire(HEART, 10, &v1::HeartRate { bpm: 5, ..heart() }.encode_to_vec());
    let r = decode(bytes.clone()).unwrap_err();
    assert_eq!((r.device.as_deref(), r.kind.as_deref(), &r.wire[..]), (Some("watch-7"), Some(HEART), &bytes[..]));
    assert_eq!(r.to_string(), "AM-1001: heart_rate.bpm is 5, expected 20 to 300 /min");
    let mut old = Vec::new();
    put_len(&mut old, 10, &heart().encode_to_vec());
    assert_eq!(decode(old).unwrap_err().kind.as_deref(), Some(HEART), "even without a topic");
}

#[test]
fn bytes_that_are_no_protobuf_are_undecodable() {
    for bad in [&b"\xff\xff\xff"[..], b"\x0a\x7f", b"\x0b", b"hello", b"\x00\x00", b"\x1a\x02\x08"] {
        assert_eq!(decode(bad.to_vec()).unwrap_err().code, Code::UNDECODABLE, "{bad:?}");
    }
    findings(decode(vec![]), &[("device_id", "1 to 128"), ("kind", "a topic and a payload"), ("recorded_at", "a time")]);
}

#[test]
fn an_unknown_kind_is_refused_as_such_with_its_name_escaped_and_cut() {
    for (name, shown) in [
        ("device.health.mood.raw", "device.health.mood.raw".to_owned()),
        ("a\nb", "a\\nb".to_owned()),
        (&*"k".repeat(100_000), "k".repeat(80) + "…"),
        ("prediction.never_heard_of.scored", "prediction.never_heard_of.scored".to_owned()),
    ] {
        let r = decode(wire(name, 10, &heart().encode_to_vec())).unwrap_err();
        assert_eq!((r.code, r.findings[0].field.as_str(), &r.findings[0].value), (Code::UNKNOWN_KIND, "kind", &shown));
    }
    let r = decode(wire("", 30, &[])).unwrap_err();
    assert_eq!((r.code, r.findings[0].rule.as_str()), (Code::UNKNOWN_KIND, "the topic of the payload"));
}

#[test]
fn a_kind_with_another_payload_none_or_two_is_refused() {
    findings(decode(wire(HEART, 11, &v1::Gps::default().encode_to_vec())), &[("data", "heart_rate, the payload of")]);
    let mut none = Vec::new();
    put_len(&mut none, 1, b"d");
    put_timestamp(&mut none, 3, now());
    put_len(&mut none, 5, HEART.as_bytes());
    findings(decode(none), &[("data", "a payload heart_rate")]);
    let mut two = wire(HEART, 10, &heart().encode_to_vec());
    put_len(&mut two, 10, &heart().encode_to_vec());
    findings(decode(two), &[("data", "exactly one payload")]);
    let mut two = wire(HEART, 11, &[]);
    put_len(&mut two, 10, &heart().encode_to_vec());
    assert!(decode(two).unwrap_err().findings.iter().any(|f| f.rule == "exactly one payload"));
}

#[test]
fn devices_cannot_send_what_is_derived_here() {
    let r = examples::reading(kind("motion.classification.activity"));
    findings(decode(r.to_wire()), &[("kind", "a kind that devices and accounts send")]);
    let mut with_lineage = wire(HEART, 10, &heart().encode_to_vec());
    put_len(&mut with_lineage, 17, &r.lineage().unwrap().encode_to_vec());
    findings(decode(with_lineage), &[("lineage", "no lineage on a raw reading")]);
    let built = Reading::builder(r.kind(), examples::device(), now()).ended_at(now()).payload_bytes(r.payload_bytes()).build();
    assert_eq!(built.unwrap_err().code, Code::MISSING_LINEAGE);
}

#[test]
fn times_out_of_range_are_refused_and_old_ones_are_imports() {
    let at = |text: &str| {
        let mut b = Vec::new();
        put_len(&mut b, 1, b"d");
        put_timestamp(&mut b, 3, Timestamp::parse(text).unwrap());
        put_len(&mut b, 10, &heart().encode_to_vec());
        b
    };
    findings(
        decode(at("1890-01-01T00:00:00Z")),
        &[("recorded_at", "not before 1970-01-01T00:00:00Z; older readings come in as an import")],
    );
    let old = decoder().backfill(true).decode(at("1890-01-01T00:00:00Z").into(), now()).unwrap();
    assert_eq!(old.recorded_at().as_second(), -2_524_521_600);
    findings(decode(at("2100-01-01T00:00:00Z")), &[("recorded_at", "at most 24 h after the server's time")]);
    assert!(decode(at("2026-03-02T11:59:59Z")).is_ok(), "a clock may run a day ahead");
    for (seconds, nanos) in [(i64::MAX, 0), (i64::MIN, 0), (0, -1), (0, 1_000_000_000), (9_300_000_000, 0)] {
        let mut t = Vec::new();
        put_int(&mut t, 1, seconds as u64);
        put_int(&mut t, 2, i64::from(nanos) as u64);
        let mut b = Vec::new();
        put_len(&mut b, 1, b"d");
        put_len(&mut b, 3, &t);
        put_len(&mut b, 10, &heart().encode_to_vec());
        findings(decode(b), &[("recorded_at", "a time between 1678 and 2262")]);
    }
    let calendar = kind("external.calendar.events.raw");
    let mut far = Vec::new();
    put_len(&mut far, 1, b"d");
    put_timestamp(&mut far, 3, Timestamp::parse("2100-01-01T00:00:00Z").unwrap());
    put_len(&mut far, 5, calendar.topic().as_bytes());
    put_len(&mut far, calendar.field(), &examples::payload(calendar));
    let mut with_end = far.clone();
    put_timestamp(&mut with_end, 6, Timestamp::parse("2100-01-01T01:00:00Z").unwrap());
    assert!(decode(with_end).is_ok(), "calendars reach a century ahead");
}

#[test]
fn times_as_text_are_read_with_leap_seconds_and_refused_otherwise() {
    let json = |t: &str| format!(r#"{{"device_id":"d","recorded_at":{t},"heart_rate":{{"bpm":61}}}}"#);
    let leap = decoder().decode_json(&json(r#""2016-12-31T23:59:60Z""#), now()).unwrap();
    assert_eq!(leap.recorded_at(), Timestamp::parse("2016-12-31T23:59:59Z").unwrap());
    let zone = decoder().decode_json(&json(r#""2026-03-01T13:00:00.25+01:00""#), now()).unwrap();
    assert_eq!(zone.recorded_at(), now().shifted(250_000_000));
    for bad in
        [r#""2026-03-01""#, r#""2026-13-01T00:00:00Z""#, r#""2026-03-01T08:00:61Z""#, r#""9999-01-01T00:00:00Z""#, "1772366400", "{}"]
    {
        let r = decoder().decode_json(&json(bad), now()).unwrap_err();
        assert_eq!((r.findings.len(), r.findings[0].field.as_str()), (1, "recorded_at"), "{bad}: {r}");
        assert!(r.findings[0].rule.starts_with("an RFC 3339 time"), "{r}");
    }
}

#[test]
fn an_end_before_the_start_is_refused_and_spans_need_one() {
    let mut b = wire(HEART, 10, &heart().encode_to_vec());
    put_timestamp(&mut b, 6, now().shifted(-1));
    findings(decode(b), &[("ended_at", "not before recorded_at")]);
    findings(decode(wire("device.health.steps.raw", 23, &v1::Steps { count: 5 }.encode_to_vec())), &[("ended_at", "the end of the span")]);
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
fn texts_must_be_utf_8_without_nul_and_of_bounded_length() {
    let clip = |text: &[u8]| {
        let mut p = Vec::new();
        put_len(&mut p, 1, text);
        decode(wire("digital.clipboard.raw", 33, &p))
    };
    findings(clip(b"a\0b"), &[("clipboard.text", "text without NUL")]);
    findings(clip(b"\xff\xfe"), &[("clipboard.text", "UTF-8 text")]);
    findings(clip(&vec![b'x'; (1 << 20) + 1]), &[("clipboard.text", "at most 1048576 bytes")]);
    assert!(clip("ä".repeat(1 << 19).as_bytes()).is_ok());
    let entry = |key: &[u8], value: &[u8]| {
        let mut e = Vec::new();
        put_len(&mut e, 1, key);
        put_len(&mut e, 2, value);
        let mut b = wire(HEART, 10, &heart().encode_to_vec());
        put_len(&mut b, 4, &e);
        decode(b)
    };
    findings(entry(b"", b"x"), &[("metadata", "keys of 1 to 128 bytes")]);
    findings(entry(&[b'k'; 129], b"x"), &[("metadata", "keys of 1 to 128 bytes")]);
    findings(entry(b"k\0", b"x"), &[("metadata[\"k\\0\"]", "text without NUL")]);
    findings(entry(b"k", b"\0"), &[("metadata[\"k\"]", "text without NUL")]);
    findings(entry(b"k", b"\xc3"), &[("metadata[\"k\"]", "UTF-8")]);
    findings(entry(b"k", &vec![b'v'; 8_193]), &[("metadata[\"k\"]", "at most 8192 bytes")]);
    let mut many = wire(HEART, 10, &heart().encode_to_vec());
    for i in 0..65 {
        let mut e = Vec::new();
        put_len(&mut e, 1, format!("k{i}").as_bytes());
        put_len(&mut many, 4, &e);
    }
    findings(decode(many), &[("metadata", "at most 64 entries")]);
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let r = decode(vec![0; (4 << 20) + 1]).unwrap_err();
    assert_eq!((r.code, r.findings[0].rule.as_str()), (Code::TOO_LARGE, "at most 4194304 bytes"));
    let r = decoder().decode_json(&" ".repeat((8 << 20) + 1), now()).unwrap_err();
    assert_eq!(r.code, Code::TOO_LARGE);
    let built = Reading::builder(kind("digital.clipboard.raw"), examples::device(), now()).payload_bytes(vec![0; 5 << 20]).build();
    assert_eq!(built.unwrap_err().code, Code::TOO_LARGE);
}

#[test]
fn endless_lists_and_findings_are_cut_off() {
    let mut ms = Vec::new();
    ms.resize(4 * 200_000, 0);
    let mut p = Vec::new();
    put_len(&mut p, 1, &ms);
    let r = decode(wire("device.health.rr_interval.raw", 22, &p)).unwrap_err();
    assert_eq!(r.findings.len(), am_schema::validate::MAX_FINDINGS);
    let mut good = Vec::new();
    for _ in 0..200_000 {
        good.extend_from_slice(&800f32.to_le_bytes());
    }
    let mut p = Vec::new();
    put_len(&mut p, 1, &good);
    findings(decode(wire("device.health.rr_interval.raw", 22, &p)), &[("rr_intervals.ms[100000]", "at most 100000 values")]);
    let mut unpacked = Vec::new();
    for _ in 0..100_001 {
        put_varint(&mut unpacked, 1 << 3 | 5);
        unpacked.extend_from_slice(&800f32.to_le_bytes());
    }
    findings(decode(wire("device.health.rr_interval.raw", 22, &unpacked)), &[("rr_intervals.ms[100000]", "at most 100000 values")]);
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
    let blob = |n: usize| v1::BlobRef { digest: vec![7; n].into(), size: 5, mime: "image/jpeg".into() };
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

fn prost_time(s: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: 1_772_000_000 + s, nanos: 0 }
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
    refused(topic, &v1::Custom { body: Some(v1::custom::Body::Data(vec![1].into())) }, &[("custom.data", "JSON text")]);
    refused(topic, &v1::Custom::default(), &[("custom.json", "at least one of json, data")]);
    let bytes = catalogue().with(KindDef::custom("custom.acme.bytes.raw", None)).unwrap();
    let data = v1::Custom { body: Some(v1::custom::Body::Data(vec![1].into())) };
    let r = Decoder::new(bytes.clone()).decode(wire("custom.acme.bytes.raw", 45, &data.encode_to_vec()).into(), now()).unwrap();
    let built = Reading::builder(bytes.get("custom.acme.bytes.raw").unwrap(), r.device().clone(), now()).payload(&data).build().unwrap();
    assert_eq!(built.id(), r.id());
}
