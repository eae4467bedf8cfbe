//! The catalogue is whole: every kind of the project's list exists, every payload has a kind, every row fits its message.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure names the row")]

use std::collections::{BTreeMap, BTreeSet};

use am_core::{Code, DeviceId, Timestamp};
use am_schema::catalogue::{Cadence, PATTERNS, Retention, vitals};
use am_schema::shapes::{MESSAGES, PAYLOADS};
use am_schema::{Catalogue, DataClass, Decoder, Inputs, Kind, KindDef, ProcessorIdentity, Reading, Stage, schema_json, v1};

/// What devices and accounts send: topic and payload field.
const RAW: &[(&str, &str)] = &[
    ("device.audio.raw", "audio"),
    ("device.video.screen.raw", "video_frame"),
    ("device.video.camera.raw", "video_chunk"),
    ("device.image.camera.raw", "image"),
    ("device.image.screenshot.raw", "image"),
    ("device.sensor.accelerometer.raw", "sample_block"),
    ("device.sensor.gyroscope.raw", "sample_block"),
    ("device.sensor.magnetometer.raw", "sample_block"),
    ("device.sensor.eeg.raw", "sample_block"),
    ("device.sensor.ecg.raw", "sample_block"),
    ("device.sensor.ppg.raw", "sample_block"),
    ("device.sensor.gps.raw", "gps"),
    ("device.sensor.barometer.raw", "quantity"),
    ("device.sensor.temperature.raw", "quantity"),
    ("device.sensor.light.raw", "quantity"),
    ("device.sensor.humidity.raw", "quantity"),
    ("device.sensor.air_quality.raw", "air_quality"),
    ("device.health.heartrate.raw", "heart_rate"),
    ("device.health.rr_interval.raw", "rr_intervals"),
    ("device.health.steps.raw", "steps"),
    ("device.health.sleep.raw", "sleep_stages"),
    ("device.health.vitals.raw", "quantity"),
    ("device.state.power.raw", "power"),
    ("device.state.usage.raw", "system_usage"),
    ("device.network.wifi.raw", "wifi"),
    ("device.network.bluetooth.raw", "bluetooth_scan"),
    ("device.state.capture.raw", "capture_state"),
    ("os.events.app_lifecycle.raw", "app_event"),
    ("os.events.screen.raw", "screen_event"),
    ("os.events.notifications.raw", "notification"),
    ("digital.clipboard.raw", "clipboard"),
    ("digital.web_analytics.raw", "web_visit"),
    ("digital.input.raw", "input_activity"),
    ("external.email.events.raw", "email"),
    ("external.calendar.events.raw", "calendar_event"),
    ("external.twitter.liked.raw", "social_post"),
    ("external.social.raw", "social_post"),
    ("external.hackernews.liked", "social_post"),
    ("external.memo.raw", "note"),
    ("external.questionnaire.raw", "questionnaire"),
    ("task.url.ingest", "url_task"),
];

/// What is made here.
const DERIVED: &[&str] = &[
    "media.audio.vad_filtered",
    "media.text.transcribed.words",
    "media.audio.environment_classified",
    "media.image.camera.preprocessed",
    "media.image.screenshot.preprocessed",
    "media.image.analysis.moondream_results",
    "media.image.objects_detected",
    "media.image.objects_hashed",
    "media.image.faces_detected",
    "media.image.pose_detected",
    "media.image.gaze_detected",
    "media.text.ocr_extracted",
    "media.text.ocr_cleaned",
    "media.video.analysis.yolo_results",
    "spatial.slam.mapping",
    "analysis.3d_reconstruction.dustr_results",
    "analysis.inferred_context.qwen_results",
    "location.georegion.detected",
    "location.visit.detected",
    "location.address.geocoded",
    "location.business.identified",
    "device.sensor.accelerometer.windowed",
    "motion.events.significant",
    "motion.classification.activity",
    "health.hrv.computed",
    "health.sleep.staged",
    "eeg.signal.cleaned",
    "eeg.features.extracted",
    "external.email.parsed",
    "external.email.embedded",
    "external.calendar.enriched",
    "external.calendar.embedded",
    "external.hackernews.content_fetched",
    "external.hackernews.embedded",
    "device.state.power.enriched",
    "device.state.power.patterns",
    "device.network.wifi.enriched",
    "device.network.location_correlated",
    "os.events.app_lifecycle.enriched",
    "device.state.usage.anomaly",
    "task.url.processed.twitter_archived",
    "task.url.processed.pdf_extracted",
    "text.embedding.computed",
    "analysis.correlation.found",
    "analysis.pattern.found",
    "alert.rule.fired",
    "agent.memory.written",
    "agent.nudge.proposed",
    "agent.nudge.sent",
    "agent.nudge.reaction",
];

/// Dead-letter topics of the flows.
const ERRORS: &[&str] = &[
    "vad",
    "stt",
    "audio_classifier",
    "georegion",
    "geocoding",
    "business_match",
    "app_lifecycle",
    "accelerometer",
    "activity_classification",
    "image_preprocessing",
    "ocr",
    "email_fetch",
    "embedding",
    "calendar_fetch",
    "hn_scrape",
    "vision_preprocessing",
    "object_detection",
    "face_detection",
];

fn kind(topic: &str) -> Kind {
    Catalogue::builtin().get(topic).unwrap_or_else(|| panic!("{topic} is not in the catalogue"))
}

#[test]
fn every_topic_of_the_lists_exists_with_its_stage_and_payload() {
    for (topic, field) in RAW {
        let k = kind(topic);
        assert_eq!((k.topic(), k.stage(), k.field_name()), (*topic, Stage::Raw, *field));
    }
    for topic in DERIVED {
        assert_eq!((kind(topic).topic(), kind(topic).stage()), (*topic, Stage::Derived));
    }
    for name in ERRORS {
        let k = kind(&format!("processing.errors.{name}"));
        assert_eq!((k.stage(), k.message().name), (Stage::Derived, "ProcessingError"));
    }
    for model in ["hot_flash", "sleep"] {
        assert_eq!(kind(&format!("prediction.{model}.scored")).message().name, "Prediction");
    }
    let listed = RAW.len() + DERIVED.len() + ERRORS.len() + 2;
    assert_eq!(Catalogue::builtin().kinds().count(), listed, "the table has a kind that the lists do not");
}

#[test]
fn every_payload_belongs_to_a_kind_and_derived_ones_to_one_alone() {
    let mut users: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for k in Catalogue::builtin().kinds() {
        let pattern = PATTERNS.iter().find(|p| k.topic().starts_with(p.prefix)).map(|p| p.prefix);
        users.entry(k.field_name()).or_default().insert(pattern.unwrap_or(k.topic()));
    }
    for (_, field, message) in PAYLOADS {
        // A single legacy sample becomes a block; custom kinds are registered by embedders.
        if !["accelerometer", "custom"].contains(field) {
            assert!(users.contains_key(field), "no kind carries {field} ({})", message.name);
        }
    }
    for (field, kinds) in users {
        let shared = ["image", "sample_block", "quantity", "social_post"].contains(&field);
        assert!(shared || kinds.len() == 1, "{field} is shared by {kinds:?}");
    }
}

#[test]
fn every_message_and_field_says_what_it_is() {
    for m in MESSAGES {
        assert!(!m.doc.is_empty(), "{} has no comment", m.name);
        for f in m.fields {
            assert!(!f.doc.is_empty(), "{}.{} has no comment", m.name, f.name);
        }
    }
}

#[test]
fn every_row_is_filled_in() {
    let mut titles = BTreeSet::new();
    for k in Catalogue::builtin().kinds() {
        let topic = k.topic();
        assert!(!k.title().is_empty() && titles.insert(k.title()), "{topic}: a title of its own");
        assert!(
            !k.required().is_empty() || !k.one_of().is_empty() || !k.bounds().is_empty() || !k.text_fields().is_empty(),
            "{topic} has no rule"
        );
        for b in k.bounds() {
            assert!(b.min <= b.max && b.numbers.len() == b.path.split('.').count(), "{topic}: {}", b.path);
        }
        let twice: BTreeSet<&str> = k.bounds().iter().map(|b| b.path.as_str()).collect();
        assert_eq!(twice.len(), k.bounds().len(), "{topic} has two ranges for one field");
        if let Some(s) = k.scalar() {
            assert_eq!(s.numbers.len(), s.path.split('.').count(), "{topic}");
        }
        if let Cadence::Every(d) = k.cadence() {
            assert!(!d.is_zero(), "{topic}");
        }
        assert!(matches!(k.message().name, "SampleBlock" | "CleanedEeg") == k.signal().is_some(), "{topic}: signal");
    }
}

#[test]
fn default_retention_is_what_the_design_says() {
    for (days, topics) in [
        (7, &["device.sensor.accelerometer.raw", "device.sensor.gyroscope.raw", "device.sensor.magnetometer.raw"][..]),
        (30, &["location.georegion.detected", "os.events.app_lifecycle.raw", "device.state.power.raw"]),
        (90, &["location.address.geocoded", "media.text.transcribed.words", "media.image.objects_detected"]),
        (365, &["location.business.identified"]),
        (730, &["device.health.heartrate.raw", "device.sensor.gps.raw", "external.email.events.raw", "health.hrv.computed"]),
    ] {
        for t in topics {
            assert_eq!(kind(t).retention(), Retention::Days(days), "{t}");
        }
    }
}

#[test]
fn what_people_write_and_say_is_redacted_and_bodies_are_health() {
    for t in ["digital.clipboard.raw", "media.text.transcribed.words", "external.email.events.raw", "agent.memory.written"] {
        assert_eq!(kind(t).class(), DataClass::Content, "{t}");
    }
    for (t, class) in RAW.iter().map(|r| r.0).chain(DERIVED.iter().copied()).map(|t| (t, kind(t).class())) {
        if t.contains(".health.") || t.starts_with("health.") || t.contains("eeg") {
            assert_eq!(class, DataClass::Health, "{t}");
        }
        if t.starts_with("location.") || t.contains(".gps.") {
            assert_eq!(class, DataClass::Location, "{t}");
        }
    }
}

#[test]
fn a_calendar_reaches_a_century_ahead_and_a_sensor_a_day() {
    let days = |t: &str| kind(t).future_tolerance().as_secs() / 86_400;
    assert_eq!((days("external.calendar.events.raw"), days("device.sensor.gps.raw")), (36_525, 1));
}

#[test]
fn aliases_are_accepted_and_lead_to_one_kind() {
    for (from, to) in [
        ("external.email.raw", "external.email.events.raw"),
        ("external.calendar.raw", "external.calendar.events.raw"),
        ("media.image.preprocessed", "media.image.camera.preprocessed"),
    ] {
        assert_eq!(kind(from), kind(to));
        assert!(Catalogue::builtin().aliases().any(|a| a == (from, to)));
    }
}

#[test]
fn quantities_have_a_unit_that_their_range_uses() {
    for k in Catalogue::builtin().kinds().filter(|k| k.message().name == "Quantity" && k.topic() != "device.health.vitals.raw") {
        assert_eq!(k.bounds().iter().map(|b| b.unit).collect::<Vec<_>>(), [k.unit()], "{k}");
        assert_eq!(vitals::ucum(k.unit()), Some(k.unit()), "{k}: other units convert into it");
    }
    for code in [
        "spo2",
        "blood_pressure_sys",
        "blood_pressure_dia",
        "body_temperature",
        "skin_temperature",
        "respiration",
        "weight",
        "glucose",
        "energy",
        "distance",
    ] {
        assert!(vitals::vital(code).is_some(), "{code}");
    }
}

#[test]
fn the_fields_that_legacy_devices_send_mean_their_kinds() {
    let c = Catalogue::builtin();
    let means = |n, screenshot| c.legacy(n, || screenshot).map(Kind::topic);
    assert_eq!(means(10, false), Some("device.health.heartrate.raw"));
    assert_eq!(means(11, false), Some("device.sensor.gps.raw"));
    assert_eq!(means(12, false), Some("device.sensor.accelerometer.raw"));
    assert_eq!(means(13, false), Some("device.audio.raw"));
    assert_eq!((means(14, false), means(14, true)), (Some("device.image.camera.raw"), Some("device.image.screenshot.raw")));
    assert_eq!(means(20, false), None);
}

#[test]
fn a_stranger_makes_no_topic_and_a_stored_one_comes_back() {
    let score = |topic: &str| {
        let inputs = [Reading::builder(kind("device.health.heartrate.raw"), DeviceId::new("watch").unwrap(), Timestamp::from_second(1))
            .payload(&v1::HeartRate { bpm: 61, ..Default::default() })
            .build()
            .unwrap()];
        let mut r = Reading::builder(kind(topic), DeviceId::new("watch").unwrap(), Timestamp::from_second(2))
            .payload(&v1::Prediction { target: "sleep".into(), score: 0.5, ..Default::default() })
            .derived_from(&ProcessorIdentity::new("model", "1", ""), Inputs::of(&inputs), 0)
            .build()
            .unwrap()
            .to_wire();
        // The same under a name of equal length that this process has never met.
        let at = r.windows(topic.len()).position(|w| w == topic.as_bytes()).unwrap();
        r[at..at + topic.len()].copy_from_slice(b"prediction.mew1.scored");
        r
    };
    let wire = score("prediction.old1.scored");
    let c = Catalogue::builtin();
    let refused = Decoder::new(c.clone()).decode(wire.clone().into(), Timestamp::from_second(3)).unwrap_err();
    assert_eq!((refused.code, c.find("prediction.mew1.scored")), (Code::UNKNOWN_KIND, None));
    let stored = Decoder::new(c).trusted().decode(wire.into(), Timestamp::from_second(3)).unwrap();
    assert_eq!(stored.kind().topic(), "prediction.mew1.scored");
}

/// All references of a schema.
fn references<'a>(v: &'a serde_json::Value, out: &mut Vec<&'a str>) {
    match v {
        serde_json::Value::Object(o) => {
            out.extend(o.get("$ref").and_then(|r| r.as_str()));
            o.values().for_each(|v| references(v, out));
        }
        serde_json::Value::Array(a) => a.iter().for_each(|v| references(v, out)),
        _ => {}
    }
}

#[test]
fn the_json_schema_covers_every_kind_and_refers_to_nothing_that_is_missing() {
    let custom = Catalogue::builtin().with(KindDef::custom("custom.acme.scale.raw", None).title("Scale")).unwrap();
    for catalogue in [Catalogue::builtin(), custom] {
        let whole = schema_json::reading(&catalogue);
        let mut schemas = vec![whole.clone()];
        for k in catalogue.kinds() {
            assert!(whole["$defs"].get(k.topic()).is_some(), "{k}");
            schemas.push(schema_json::payload(k));
        }
        for schema in &schemas {
            let mut all = Vec::new();
            references(schema, &mut all);
            for r in all {
                let name = r.strip_prefix("#/$defs/").unwrap();
                assert!(schema["$defs"].get(name).is_some(), "{}: {r}", schema["$id"]);
            }
        }
    }
}

#[test]
fn the_json_schema_says_ranges_and_what_must_be_there() {
    let at = |topic: &str, path: &str| schema_json::payload(kind(topic))["$defs"][topic].pointer(path).cloned().unwrap_or_default();
    assert_eq!(at("device.health.heartrate.raw", "/properties/bpm/maximum"), 300);
    assert_eq!(at("device.health.heartrate.raw", "/required"), serde_json::json!(["bpm"]));
    assert_eq!(at("device.health.heartrate.raw", "/properties/bpm/x-unit"), "/min");
    assert_eq!(at("media.text.transcribed.words", "/properties/words/items/properties/confidence/maximum"), 1);
    assert_eq!(at("media.text.transcribed.words", "/properties/text/minLength"), 1);
    assert_eq!(at("device.health.rr_interval.raw", "/properties/ms/items/minimum"), 200);
    assert_eq!(at("device.health.rr_interval.raw", "/properties/ms/minItems"), 1);
    assert_eq!(at("device.health.sleep.raw", "/properties/segments/minItems"), 1);
    assert_eq!(at("device.health.sleep.raw", "/properties/segments/items/required"), serde_json::json!(["from", "to", "stage"]));
    assert_eq!(at("device.sensor.barometer.raw", "/allOf/0/then/properties/value/minimum"), 300);
    let envelope = schema_json::reading(&Catalogue::builtin());
    let rules = envelope["$defs"]["Reading"]["allOf"].as_array().unwrap();
    let steps = rules.iter().find(|r| r["if"]["properties"]["kind"]["const"] == "device.health.steps.raw").unwrap();
    assert_eq!(steps["then"]["required"], serde_json::json!(["ended_at", "steps"]));
}

#[test]
fn the_committed_docs_and_schema_are_current() {
    let committed = |path: &str| std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap();
    let all = Catalogue::builtin();
    assert!(committed("docs/schema/am.v1.json") == schema_json::to_text(&schema_json::reading(&all)), "run `cargo xtask codegen`");
    assert!(committed("docs/catalogue.md").ends_with(&am_schema::catalogue::docs::markdown(&all)), "run `cargo xtask codegen`");
}
