//! Bad input: each item is refused with the field, the value and the rule, or taken as it is; nothing panics, nothing is lost silently.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failure names the case")]

mod examples;

use am_core::{Code, Timestamp};
use am_schema::wire::{put_int, put_len, put_timestamp, put_varint};
use am_schema::{Decoder, Reading, v1};
use bytes::Bytes;
use examples::{HEART, catalogue, decode, decoder, findings, heart, kind, now, wire};
use prost::Message;

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
    let ms = vec![0; 4 * 200_000];
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
