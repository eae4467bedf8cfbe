//! Kinds whose topic has a free segment.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::{DataClass, Kind, KindDef, intern};

/// A group of kinds that differ in one segment of the topic.
#[derive(Debug)]
#[non_exhaustive]
pub struct TopicPattern {
    /// What stands before the free segment, with the dot.
    pub prefix: &'static str,
    /// What stands after it.
    pub suffix: &'static str,
    /// What the segment names.
    pub names: &'static str,
    /// Those that exist from the start.
    pub known: &'static [&'static str],
    define: fn(&str, &str) -> KindDef,
}

/// All patterns there are.
pub static PATTERNS: &[TopicPattern] = &[
    TopicPattern { prefix: "prediction.", suffix: ".scored", names: "model", known: &["hot_flash", "sleep"], define: prediction },
    TopicPattern {
        prefix: "processing.errors.",
        suffix: "",
        names: "processor",
        known: &[
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
        ],
        define: processing_error,
    },
];

/// The most topics that come into being on demand.
const MAX_ON_DEMAND: usize = 1_024;

static ON_DEMAND: Mutex<Option<HashMap<&'static str, Kind>>> = Mutex::new(None);

impl TopicPattern {
    /// The free segment of a topic, if it is of this pattern.
    fn segment<'a>(&self, topic: &'a str) -> Option<&'a str> {
        topic.strip_prefix(self.prefix)?.strip_suffix(self.suffix).filter(|s| !s.is_empty() && !s.contains('.'))
    }
}

impl std::fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}<{}>{}", self.prefix, self.names, self.suffix)
    }
}

/// The kinds of patterns that exist from the start.
pub(super) fn named() -> Vec<KindDef> {
    PATTERNS.iter().flat_map(|p| p.known.iter().map(|n| (p.define)(&format!("{}{n}{}", p.prefix, p.suffix), n))).collect()
}

/// The kind of a topic that was used before.
pub(super) fn find(topic: &str) -> Option<Kind> {
    PATTERNS.iter().find_map(|p| p.segment(topic))?;
    ON_DEMAND.lock().as_ref()?.get(topic).copied()
}

/// The kind of a topic that a pattern allows; made when it is new and there is room.
pub(super) fn get(topic: &str) -> Option<Kind> {
    let (pattern, segment) = PATTERNS.iter().find_map(|p| Some((p, p.segment(topic)?)))?;
    let mut lock = ON_DEMAND.lock();
    let map = lock.get_or_insert_default();
    if let Some(kind) = map.get(topic) {
        return Some(*kind);
    }
    if map.len() >= MAX_ON_DEMAND {
        return None;
    }
    let kind = intern((pattern.define)(topic, segment)).ok()?;
    map.insert(kind.topic(), kind);
    Some(kind)
}

fn prediction(topic: &str, model: &str) -> KindDef {
    KindDef::derived(topic, 172)
        .title(&format!("Prediction: {}", model.replace('_', " ")))
        .class(DataClass::Health)
        .require("target")
        .ratios(&["score", "threshold"])
        .text(&["target", "label"])
        .scalar("score", "1")
}

fn processing_error(topic: &str, processor: &str) -> KindDef {
    KindDef::derived(topic, 178)
        .title(&format!("Failed: {}", processor.replace('_', " ")))
        .class(DataClass::Content)
        .keep_days(90)
        .require("processor")
        .require("message")
        .bound("code", 1.0, 9_999.0, "")
}

#[cfg(test)]
mod tests {
    use crate::Catalogue;

    #[test]
    fn topics_of_a_pattern_exist_once_they_are_used() {
        let c = Catalogue::builtin();
        assert_eq!(c.find("prediction.migraine_risk.scored"), None);
        let kind = c.get("prediction.migraine_risk.scored").unwrap();
        assert_eq!((kind.title(), kind.message().name), ("Prediction: migraine risk", "Prediction"));
        assert_eq!(c.find("prediction.migraine_risk.scored"), Some(kind));
        assert_eq!(c.get("processing.errors.motion_window").unwrap().field(), 178);
    }

    #[test]
    fn only_one_plain_segment_is_free() {
        let c = Catalogue::builtin();
        for bad in [
            "prediction..scored",
            "prediction.a.b.scored",
            "prediction.A.scored",
            "processing.errors.",
            "processing.errors.a.b",
            "prediction.x",
        ] {
            assert_eq!(c.get(bad), None, "{bad}");
        }
    }
}
