//! Bad input over real sockets: each item's error names item, field and rule, and the rest goes on (P09).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test program may fail loudly")]

mod support;

use am_core::{Code, Timestamp};
use am_schema::v1::{self, ItemError, Outcome, reading::Data};
use am_store::traits::DeadLetterQuery;
use bytes::Bytes;
use futures_util::stream;
use prost::Message;
use support::*;

fn heart(r: &mut v1::Reading) -> &mut v1::HeartRate {
    match &mut r.data {
        Some(Data::HeartRate(h)) => h,
        _ => panic!("not a heart rate"),
    }
}

/// One bad reading: what it is called, how it is made from a good one, which field the error names, and a word of its rule or value.
type Case = (&'static str, fn(&mut v1::Reading), &'static str, &'static str);

const CASES: &[Case] = &[
    ("unknown kind", |r| r.kind = "device.mood.raw".into(), "kind", "catalogue"),
    ("derived kind", |r| r.kind = "motion.classification.activity".into(), "", ""),
    ("no payload", |r| r.data = None, "data", "heart_rate"),
    ("payload of another kind", |r| r.data = Some(Data::Steps(v1::Steps::default())), "data", "heart_rate"),
    ("no device", |r| r.device_id.clear(), "device_id", "1 to 128"),
    ("huge device id", |r| r.device_id = "d".repeat(5_000), "device_id", "1 to 128"),
    ("NUL in the device id", |r| r.device_id = "a\0b".into(), "device_id", "control"),
    ("id that is no UUID", |r| r.reading_id = "17".into(), "reading_id", "UUID"),
    ("no time", |r| r.recorded_at = None, "recorded_at", "time"),
    ("absurd time", |r| r.recorded_at = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: -1 }), "recorded_at", "1678"),
    ("year 1890", |r| r.recorded_at = time(Timestamp::parse("1890-01-01T00:00:00Z").unwrap()), "recorded_at", "BACKFILL"),
    ("year 2100", |r| r.recorded_at = time(Timestamp::parse("2100-01-01T00:00:00Z").unwrap()), "recorded_at", "after the server's time"),
    ("ends before it begins", |r| r.ended_at = time(Timestamp::from_second(1)), "ended_at", "recorded_at"),
    ("absurd value", |r| heart(r).bpm = 4_000, "heart_rate.bpm", "300"),
    ("NaN", |r| heart(r).confidence = f32::NAN, "heart_rate.confidence", ""),
    ("infinity", |r| heart(r).confidence = f32::INFINITY, "heart_rate.confidence", ""),
    ("NUL in text", |r| heart(r).source = "a\0b".into(), "heart_rate.source", "NUL"),
    ("NUL in metadata", |r| drop(r.metadata.insert("room".into(), "a\0b".into())), "metadata[\"room\"]", "NUL"),
    ("huge metadata value", |r| drop(r.metadata.insert("room".into(), "x".repeat(100_000))), "metadata[\"room\"]", "at most"),
    ("too many metadata", |r| r.metadata.extend((0..70).map(|i| (i.to_string(), String::new()))), "metadata", "at most 64"),
    (
        "wrong unit",
        |r| {
            r.kind = "device.sensor.temperature.raw".into();
            r.data = Some(Data::Quantity(v1::Quantity { value: 20.0, unit: "kg".into(), ..Default::default() }));
        },
        "quantity.unit",
        "",
    ),
    ("quality out of range", |r| r.quality = Some(7.0), "quality", "0 to 1"),
    ("bad traceparent", |r| r.traceparent = "x".into(), "traceparent", "W3C"),
];

fn error(errors: &[ItemError], index: usize) -> Option<&ItemError> {
    errors.iter().find(|e| e.index as usize == index)
}

#[tokio::test]
async fn custody_p09_each_bad_item_is_named_with_field_and_rule_and_its_neighbours_are_stored() {
    let store = memory();
    let server = serve(&store, open()).await;
    let mut client = connect(&server).await;
    let mut readings = Vec::new();
    for (i, (_, spoil, _, _)) in CASES.iter().enumerate() {
        let mut bad = beat(2 * i as u64);
        spoil(&mut bad);
        readings.extend([bad, beat(2 * i as u64 + 1)]);
    }
    let a = client.batch_upload(batch("b", readings)).await.unwrap().into_inner();
    for (i, (name, _, field, word)) in CASES.iter().enumerate() {
        assert_eq!(a.outcomes[2 * i], Outcome::Rejected as i32, "{name}");
        assert_eq!(a.outcomes[2 * i + 1], Outcome::Stored as i32, "the item after {name}: {:?}", error(&a.errors, 2 * i + 1));
        let e = error(&a.errors, 2 * i).unwrap_or_else(|| panic!("{name} has no error"));
        assert!(field.is_empty() || e.field == *field, "{name} names {e:?}");
        assert!(e.rule.contains(word) || e.value.contains(word), "{name} says {e:?}");
        assert!(!e.rule.is_empty() && e.message.len() < 500 && Code::from_number(e.code as u16).is_some(), "{name}: {e:?}");
    }
    let n = CASES.len() as u64;
    let c = counts(&store).await;
    assert_eq!((c.received, c.stored, c.dead_lettered, c.balanced()), (2 * n, n, n, true));
    let letters = store.dead_letters.list(&ctx(), &DeadLetterQuery::default()).await.unwrap();
    assert_eq!(letters.len(), CASES.len());
    assert!(letters.iter().all(|l| !l.letter.wire.is_empty() && !l.letter.findings.is_empty()));
}

#[tokio::test]
async fn custody_p09_personal_texts_are_not_repeated_in_errors() {
    let store = memory();
    let server = serve(&store, open()).await;
    let mut client = connect(&server).await;
    let mut r = beat(0);
    r.kind = "device.clipboard.raw".into();
    if am_schema::Catalogue::builtin().get(&r.kind).is_none() {
        let kinds = am_schema::Catalogue::builtin();
        let kind = kinds.kinds().find(|k| k.field_name() == "clipboard" && !k.stage().is_derived()).expect("a kind of the clipboard");
        r.kind = kind.topic().to_owned();
    }
    r.data = Some(Data::Clipboard(v1::Clipboard { text: "hunter2\0hunter2".into(), ..Default::default() }));
    let a = client.batch_upload(batch("b", vec![r])).await.unwrap().into_inner();
    assert_eq!(outcomes(&a.outcomes), [Outcome::Rejected]);
    assert!(!a.errors.is_empty() && !format!("{a:?}").contains("hunter2"), "{a:?}");
}

/// A `BatchRequest` whose second reading is cut off in the middle of its frame.
fn torn() -> Bytes {
    let whole = batch("torn", beats(0..2)).encode_to_vec();
    Bytes::from(whole[..60].to_vec())
}

#[tokio::test]
async fn custody_p09_a_malformed_batch_frame_counts_as_one_item_and_the_stream_goes_on() {
    let store = memory();
    let server = serve(&store, open()).await;
    let channel = channel(server.grpc_addr()).await;
    let deep = Bytes::from([vec![0x0b; 100_000]].concat());
    let good = |n: u64| Bytes::from(batch("good", beats(n..n + 1)).encode_to_vec());
    let frames = vec![good(0), torn(), good(1), Bytes::from_static(b"\xff\xff\xff not protobuf"), deep, good(2)];
    let path = "/am.v1.DataIngestionService/StreamBatches";
    let mut answers = wire::stream::<v1::BatchResponse>(&channel, path, stream::iter(frames), None).await.unwrap();
    let mut seen = Vec::new();
    while let Some(a) = within("an answer", answers.message()).await.unwrap() {
        assert_eq!(a.outcomes.len(), 1);
        if a.outcomes[0] == Outcome::Rejected as i32 {
            assert_eq!((a.errors[0].index, a.errors[0].code), (0, u32::from(Code::UNDECODABLE.number())));
            assert!(a.errors[0].rule.contains("am.v1.BatchRequest"), "{a:?}");
        }
        seen.push(outcomes(&a.outcomes)[0]);
    }
    use Outcome::{Rejected as R, Stored as S};
    assert_eq!(seen, [S, R, S, R, R, S]);
    let c = counts(&store).await;
    assert_eq!((c.received, c.stored, c.dead_lettered, c.balanced()), (6, 3, 3, true));
}

#[tokio::test]
async fn custody_p09_malformed_single_readings_do_not_end_their_stream() {
    let store = memory();
    let server = serve(&store, open()).await;
    let channel = channel(server.grpc_addr()).await;
    let good = |n: u64| Bytes::from(beat(n).encode_to_vec());
    let mut nested = Vec::new();
    for _ in 0..2_000 {
        let mut outer = Vec::new();
        am_schema::wire::put_len(&mut outer, 17, &nested);
        nested = outer;
    }
    let frames = vec![good(0), Bytes::from_static(&[0x0a, 0xff]), Bytes::new(), Bytes::from(nested), good(1)];
    let path = "/am.v1.DataIngestionService/StreamData";
    let mut answers = wire::stream::<v1::DataResponse>(&channel, path, stream::iter(frames), None).await.unwrap();
    let a = within("the group", answers.message()).await.unwrap().unwrap();
    use Outcome::{Rejected as R, Stored as S};
    assert_eq!(outcomes(&a.outcomes), [S, R, R, R, S]);
    assert_eq!(error(&a.errors, 1).unwrap().code, u32::from(Code::UNDECODABLE.number()));
    assert!(error(&a.errors, 2).is_some() && error(&a.errors, 3).is_some());
    assert!(counts(&store).await.balanced());
}

#[tokio::test]
async fn custody_p09_a_conflict_is_told_and_the_first_reading_kept() {
    let store = memory();
    let server = serve(&store, open()).await;
    let mut client = connect(&server).await;
    let mut other = beat(0);
    heart(&mut other).bpm = 199;
    let a = client.batch_upload(batch("b", vec![beat(0), other])).await.unwrap().into_inner();
    assert_eq!(outcomes(&a.outcomes), [Outcome::Stored, Outcome::Rejected]);
    assert_eq!((a.errors[0].index, a.errors[0].code), (1, u32::from(Code::CLOCK_CONFLICT.number())));
    assert!(a.errors[0].message.contains("dead letter"));
    assert!(counts(&store).await.balanced());
}

#[tokio::test]
async fn custody_p02_the_balance_holds_over_everything_that_was_sent() {
    let store = memory();
    let server = serve(&store, open()).await;
    let mut client = connect(&server).await;
    let (mut sent, mut answered) = (0u64, [0u64; 6]);
    for round in 0..20u64 {
        let mut readings = beats(round * 30..round * 30 + 50);
        for r in readings.iter_mut().step_by(7) {
            heart(r).bpm = -1;
        }
        sent += readings.len() as u64;
        let a = client.batch_upload(batch("b", readings)).await.unwrap().into_inner();
        a.outcomes.iter().for_each(|o| answered[*o as usize] += 1);
    }
    let c = counts(&store).await;
    assert_eq!(c.received, sent);
    assert_eq!(c.stored, answered[Outcome::Stored as usize]);
    assert!(c.balanced() && c.dead_lettered > 0 && c.duplicate > 0, "{c:?}");
    assert_eq!(answered.iter().sum::<u64>(), sent);
}

#[tokio::test]
async fn old_readings_come_in_as_backfill() {
    let store = memory();
    let server = serve(&store, open()).await;
    let mut client = connect(&server).await;
    let mut old = beat(0);
    old.recorded_at = time(Timestamp::parse("1890-01-01T00:00:00Z").unwrap());
    let request = v1::BatchRequest { origin: v1::Origin::Backfill as i32, ..batch("b", vec![old]) };
    let a = client.batch_upload(request).await.unwrap().into_inner();
    assert_eq!(outcomes(&a.outcomes), [Outcome::Stored]);
}
