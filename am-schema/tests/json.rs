//! Canonical JSON: nothing is lost in either direction, one text for one content, and everything wrong is said at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failure names the case")]

mod examples;

use am_core::Code;
use am_schema::spec::{Card, FieldSpec, FieldType, MessageSpec};
use am_schema::wire::{put_int, put_len, put_varint};
use am_schema::{json, shapes, v1};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use prost::Message;

/// Any message of a shape: every field absent, once or more often, in any order, numbers packed and not.
fn any_message(spec: &'static MessageSpec, depth: u32) -> BoxedStrategy<Vec<u8>> {
    let fields: Vec<_> = spec.fields.iter().map(|f| any_field(f, depth)).collect();
    let unknown = proptest::option::weighted(0.2, (200u32..2_000, any::<u64>())).prop_map(|u| {
        let mut out = Vec::new();
        if let Some((number, v)) = u {
            put_int(&mut out, number, v);
        }
        out
    });
    (fields.prop_shuffle(), unknown).prop_map(|(fields, unknown)| [fields.concat(), unknown].concat()).boxed()
}

fn any_field(f: &'static FieldSpec, depth: u32) -> BoxedStrategy<Vec<u8>> {
    let (number, ty) = (f.number, f.ty);
    if let FieldType::Message(m) = ty {
        if depth == 0 {
            return Just(Vec::new()).boxed();
        }
        let most = if f.card == Card::Repeated { 3 } else { 2 };
        let one = any_message(m(), depth - 1).prop_map(move |b| tagged(number, 2, &with_len(&b)));
        return proptest::collection::vec(one, 0..=most).prop_map(|v| v.concat()).boxed();
    }
    let value = any_value(ty);
    let plain = move |v: &Vec<u8>| tagged(number, u64::from(ty.wire_type()), v);
    match f.card {
        Card::Repeated if ty.is_packable() => (proptest::collection::vec(value, 0..5), any::<bool>())
            .prop_map(move |(v, packed)| match packed {
                true => tagged(number, 2, &with_len(&v.concat())),
                false => v.iter().map(plain).collect::<Vec<_>>().concat(),
            })
            .boxed(),
        _ => proptest::collection::vec(value, 0..=2).prop_map(move |v| v.iter().map(plain).collect::<Vec<_>>().concat()).boxed(),
    }
}

/// The bytes of any value of a type, without tag.
fn any_value(ty: FieldType) -> BoxedStrategy<Vec<u8>> {
    use FieldType as T;
    let varint = |v: u64| {
        let mut out = Vec::new();
        put_varint(&mut out, v);
        out
    };
    match ty {
        T::Double | T::Fixed64 | T::Sfixed64 => prop_oneof![any::<u64>(), any::<f64>().prop_map(f64::to_bits), Just(0), Just(1 << 63)]
            .prop_map(|v| v.to_le_bytes().to_vec())
            .boxed(),
        T::Float | T::Fixed32 | T::Sfixed32 => prop_oneof![any::<u32>(), any::<f32>().prop_map(f32::to_bits), Just(0), Just(1 << 31)]
            .prop_map(|v| v.to_le_bytes().to_vec())
            .boxed(),
        T::Int32 => any::<i32>().prop_map(move |v| varint(i64::from(v) as u64)).boxed(),
        T::Uint32 | T::Sint32 => any::<u32>().prop_map(move |v| varint(u64::from(v))).boxed(),
        T::Int64 | T::Uint64 | T::Sint64 => any::<u64>().prop_map(varint).boxed(),
        T::Bool => prop_oneof![Just(0u64), Just(1), Just(7)].prop_map(varint).boxed(),
        T::Enum(_) => prop_oneof![0i32..12, any::<i32>()].prop_map(move |v| varint(i64::from(v) as u64)).boxed(),
        T::String => prop_oneof![".{0,12}".prop_map(String::into_bytes), proptest::collection::vec(any::<u8>(), 0..6)]
            .prop_map(|b| with_len(&b))
            .boxed(),
        T::Bytes => proptest::collection::vec(any::<u8>(), 0..20).prop_map(|b| with_len(&b)).boxed(),
        T::Timestamp => (any::<i64>(), any::<i32>(), any::<bool>())
            .prop_map(|(s, n, good)| {
                let t = if good { prost_types(s % 4_000_000_000, n.rem_euclid(1_000_000_000)) } else { prost_types(s, n) };
                with_len(&t)
            })
            .boxed(),
        T::StringMap => (".{0,6}", ".{0,6}")
            .prop_map(|(k, v)| {
                let mut e = Vec::new();
                put_len(&mut e, 1, k.as_bytes());
                put_len(&mut e, 2, v.as_bytes());
                with_len(&e)
            })
            .boxed(),
        T::Message(_) => unreachable!("handled by its caller"),
    }
}

fn prost_types(seconds: i64, nanos: i32) -> Vec<u8> {
    let mut out = Vec::new();
    put_int(&mut out, 1, seconds as u64);
    put_int(&mut out, 2, i64::from(nanos) as u64);
    out
}

fn tagged(number: u32, wire: u64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, u64::from(number) << 3 | wire);
    out.extend_from_slice(value);
    out
}

fn with_len(b: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, b.len() as u64);
    out.extend_from_slice(b);
    out
}

#[test]
fn every_message_there_is_survives_its_canonical_json() {
    for spec in shapes::MESSAGES {
        let cases = if spec.name == "Reading" { 12 } else { 24 };
        TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
            .run(&any_message(spec, 2), |bytes| {
                let text = json::canonical(spec, &bytes);
                serde_json::from_str::<serde_json::Value>(&text).expect("it is JSON");
                let again = json::read(spec, &text).unwrap_or_else(|e| panic!("{}: {e:?}\n{text}", spec.name));
                prop_assert_eq!(&json::canonical(spec, &again), &text, "{}", spec.name);
                Ok(())
            })
            .unwrap_or_else(|e| panic!("{}: {e}", spec.name));
    }
}

proptest! {
    #![proptest_config(Config { cases: 512, failure_persistence: None, ..Config::default() })]

    #[test]
    fn even_bytes_that_are_no_message_survive(bytes: Vec<u8>, kind in 0..shapes::MESSAGES.len()) {
        let spec = shapes::MESSAGES[kind];
        let text = json::canonical(spec, &bytes);
        let again = json::read(spec, &text).unwrap();
        prop_assert_eq!(json::canonical(spec, &again), text);
    }

    #[test]
    fn no_text_makes_the_reader_panic_and_what_it_takes_is_sound(text in "[\\{\\}\\[\\]\":,0-9a-z_@.eE+ \\\\-]{0,60}", kind in 0..shapes::MESSAGES.len()) {
        let spec = shapes::MESSAGES[kind];
        if let Ok(bytes) = json::read(spec, &text) {
            let canonical = json::canonical(spec, &bytes);
            prop_assert_eq!(json::read(spec, &canonical).unwrap(), bytes);
        }
    }

    #[test]
    fn another_implementation_of_protobuf_reads_the_same_from_the_bytes(
        bpm: i32, confidence in 0f32..1.0, zone in 0i32..9, source in ".{0,10}", text in ".{0,20}", number in -1e300..1e300f64, flag: bool,
    ) {
        let heart = v1::HeartRate { bpm, confidence, zone, source };
        let bytes = json::read(&shapes::HEART_RATE, &json::canonical(&shapes::HEART_RATE, &heart.encode_to_vec())).unwrap();
        prop_assert_eq!(v1::HeartRate::decode(&bytes[..]).unwrap(), heart.clone());
        prop_assert_eq!(bytes, heart.encode_to_vec(), "fields in order, defaults left out");
        use v1::questionnaire::{Answer, answer};
        let answer = |a| Answer { question_id: "q".into(), question: text.clone(), answer: Some(a) };
        let form = v1::Questionnaire {
            answers: vec![answer(answer::Answer::Number(number)), answer(answer::Answer::Text(text.clone())), answer(answer::Answer::Flag(flag))],
            ..Default::default()
        };
        let bytes = json::read(&shapes::QUESTIONNAIRE, &json::canonical(&shapes::QUESTIONNAIRE, &form.encode_to_vec())).unwrap();
        prop_assert_eq!(v1::Questionnaire::decode(&bytes[..]).unwrap(), form);
    }
}

#[test]
fn a_reading_of_every_kind_survives_its_json() {
    for kind in examples::kinds() {
        let r = examples::reading(kind);
        let text = r.to_json();
        let mut decoder = am_schema::Decoder::new(examples::catalogue()).trusted();
        let again = decoder.decode_json(&text, examples::now()).unwrap_or_else(|e| panic!("{kind}: {e}\n{text}"));
        assert_eq!(again.to_json(), text);
        assert!(again.same_content(&r) && again.reference() == r.reference(), "{kind}");
        assert_eq!((again.ended_at(), again.lineage()), (r.ended_at(), r.lineage()));
        let payload = json::read(kind.message(), &r.payload_json()).unwrap();
        assert_eq!(json::canonical(kind.message(), &payload), r.payload_json());
    }
}

#[test]
fn the_text_of_a_reading_is_the_protobuf_mapping_with_sorted_proto_names() {
    let r = examples::reading(examples::kind("device.health.heartrate.raw"));
    assert_eq!(
        r.to_json(),
        concat!(
            r#"{"device_id":"watch-7","ended_at":"2026-03-01T20:00:00Z","heart_rate":{"bpm":20,"confidence":1,"source":"some text","#,
            r#""zone":"ZONE_RESTING"},"kind":"device.health.heartrate.raw","metadata":{"app":"1.2","room":"ward \"7\""},"quality":0.5,"#,
            r#""reading_id":""#
        )
        .to_owned()
            + &r.id().to_string()
            + r#"","recorded_at":"2026-03-01T12:00:00Z","sequence":"42"}"#
    );
}

#[test]
fn spelling_of_names_numbers_and_order_make_no_difference() {
    let read = |t: &str| json::read(&shapes::SYSTEM_USAGE, t).unwrap();
    let expected = read(r#"{"cpu":12.5,"memory_used":"8589934592","apps":[{"app":"a","cpu":1,"memory":"5"}]}"#);
    for same in [
        r#"{"apps":[{"memory":5,"cpu":1.0,"app":"a"}],"memoryUsed":8589934592,"cpu":"12.5"}"#,
        r#"{"memory_used":8.589934592e9,"cpu":1.25e1,"disk_used":null,"apps":[{"app":"\u0061","cpu":1,"memory":5.0}]}"#,
        " { \"cpu\" : 12.50 , \"memory_used\" : \"8589934592.0\" , \"apps\" : [ { \"app\" : \"a\" , \"cpu\" : 10e-1 , \"memory\" : \"5\" } ] } ",
    ] {
        assert_eq!(read(same), expected, "{same}");
    }
    let zone = |t: &str| json::read(&shapes::HEART_RATE, &format!(r#"{{"zone":{t}}}"#)).unwrap();
    assert!([r#""ZONE_CARDIO""#, r#""CARDIO""#, "3", "3.0"].iter().all(|t| zone(t) == [24, 3]));
    assert_eq!(zone("77"), [24, 77], "a zone of a newer client");
}

#[test]
fn absence_and_default_stay_apart_where_they_differ() {
    let canonical = |t: &str| json::canonical(&shapes::GPS, &json::read(&shapes::GPS, t).unwrap());
    assert_eq!(canonical(r#"{"latitude":0,"longitude":0.0,"provider":""}"#), "{}");
    assert_eq!(canonical(r#"{"altitude":0,"speed":null}"#), r#"{"altitude":0}"#);
    assert_eq!(canonical(r#"{"latitude":-0.0}"#), r#"{"latitude":-0}"#);
    let answer = json::read(&shapes::QUESTIONNAIRE, r#"{"answers":[{"flag":false}]}"#).unwrap();
    assert_eq!(json::canonical(&shapes::QUESTIONNAIRE, &answer), r#"{"answers":[{"flag":false}]}"#);
}

#[test]
fn not_a_number_and_infinity_have_names_on_output_and_are_read_by_them() {
    let text = r#"{"altitude":"NaN","latitude":"-Infinity","longitude":"Infinity","speed":"NaN"}"#;
    assert_eq!(json::canonical(&shapes::GPS, &json::read(&shapes::GPS, text).unwrap()), text);
}

#[test]
fn custody_p09_every_problem_of_a_text_is_named_with_its_path_at_once() {
    let text = r#"{
        "device_id": 7, "recorded_at": "yesterday", "metadata": {"a": 1, "b": "x", "b": "y"}, "nonsense": [1, {"x": 2}],
        "quality": "inf", "sequence": -1, "time_basis": "SOMETIMES",
        "system_usage": {"cpu": true, "memory_used": 1.5, "apps": [{"app": "a"}, null, {"memory": "many"}, 5], "cpu": 1},
        "systemUsage": {}
    }"#;
    let findings = json::read(&shapes::READING, text).unwrap_err();
    let named: Vec<(&str, &str)> = findings.iter().map(|f| (f.field.as_str(), f.value.as_str())).collect();
    assert_eq!(
        named,
        [
            ("device_id", "7"),
            ("recorded_at", "yesterday"),
            (r#"metadata["a"]"#, "1"),
            (r#"metadata["b"]"#, "a second time"),
            ("nonsense", "an unknown name"),
            ("quality", "inf"),
            ("sequence", "-1"),
            ("time_basis", "SOMETIMES"),
            ("system_usage.cpu", "true"),
            ("system_usage.memory_used", "1.5"),
            ("system_usage.apps[1]", "null"),
            ("system_usage.apps[2].memory", "many"),
            ("system_usage.apps[3]", "5"),
            ("system_usage.cpu", "a second time"),
            ("system_usage", "a second time"),
        ]
    );
}

#[test]
fn custody_p09_a_text_that_is_not_json_is_refused_with_line_and_column_and_kept() {
    let mut d = examples::decoder();
    for (bad, why) in [
        ("", "ends too early at line 1, column 1"),
        ("{\n  \"device_id\": \"a\"\n  \"kind\": \"b\"}", "comma or the closing bracket is expected at line 3, column 3"),
        ("{} {}", "nothing more is expected at line 1, column 4"),
        ("{\"device_id\": \"a\"", "ends too early at line 1"),
    ] {
        let r = d.decode_json(bad, examples::now()).unwrap_err();
        assert_eq!((r.code, &r.wire[..]), (Code::UNDECODABLE, bad.as_bytes()));
        assert!(r.findings[0].value.contains(why), "{bad}: {r}");
    }
    let list = d.decode_json("[]", examples::now()).unwrap_err();
    assert_eq!((list.findings[0].value.as_str(), list.findings[0].rule.as_str()), ("[]", "an object, am.v1.Reading"));
}

#[test]
fn nesting_beyond_32_levels_is_refused_even_in_what_is_skipped() {
    for text in [
        format!(r#"{{"nonsense":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000)),
        format!(r#"{{"nonsense":{}1{}}}"#, r#"{"a":"#.repeat(50), "}".repeat(50)),
        "[".repeat(1_000_000),
    ] {
        let r = examples::decoder().decode_json(&text, examples::now()).unwrap_err();
        assert!(r.code == Code::UNDECODABLE && r.findings.iter().any(|f| f.value.contains("32 levels")), "{}", r.findings[0]);
    }
}
