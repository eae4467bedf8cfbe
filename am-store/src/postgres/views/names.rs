//! What kinds are called in SQL: the name of their view, and `reading_type` where readings of all kinds stand together.

use am_schema::Kind;

/// Names that people expect, from the documents that AM was made from, and short ones for what is asked most.
const SHORT: &[(&str, &str)] = &[
    ("device.health.heartrate.raw", "heart_rate"),
    ("device.health.rr_interval.raw", "rr_intervals"),
    ("device.health.steps.raw", "steps"),
    ("device.health.sleep.raw", "sleep"),
    ("device.health.vitals.raw", "vitals"),
    ("device.image.camera.raw", "photos"),
    ("device.image.screenshot.raw", "screenshots"),
    ("device.network.bluetooth.raw", "bluetooth_scans"),
    ("device.network.wifi.raw", "wifi"),
    ("device.sensor.accelerometer.raw", "accelerometer_raw"),
    ("device.sensor.air_quality.raw", "air_quality"),
    ("device.sensor.barometer.raw", "barometer"),
    ("device.sensor.ecg.raw", "ecg_raw"),
    ("device.sensor.eeg.raw", "eeg_raw"),
    ("device.sensor.gps.raw", "gps"),
    ("device.sensor.gyroscope.raw", "gyroscope_raw"),
    ("device.sensor.humidity.raw", "humidity"),
    ("device.sensor.light.raw", "light"),
    ("device.sensor.magnetometer.raw", "magnetometer_raw"),
    ("device.sensor.ppg.raw", "ppg_raw"),
    ("device.sensor.temperature.raw", "temperature"),
    ("device.state.power.raw", "power_states"),
    ("device.state.usage.raw", "system_usage"),
    ("digital.clipboard.raw", "clipboard"),
    ("digital.input.raw", "input_activity"),
    ("digital.web_analytics.raw", "web_visits"),
    ("external.calendar.events.raw", "calendar_events"),
    ("external.email.events.raw", "emails"),
    ("external.memo.raw", "notes"),
    ("external.questionnaire.raw", "questionnaires"),
    ("alert.rule.fired", "alerts"),
    ("agent.memory.written", "memories"),
    ("health.hrv.computed", "hrv"),
    ("health.sleep.staged", "sleep_stages"),
    ("location.address.geocoded", "geocoded_locations"),
    ("location.business.identified", "identified_businesses"),
    ("location.georegion.detected", "georegion_presence"),
    ("location.visit.detected", "visits"),
    ("media.image.objects_detected", "detected_objects"),
    ("media.text.ocr_extracted", "screen_texts"),
    ("media.text.transcribed.words", "transcripts"),
    ("motion.classification.activity", "activities"),
    ("os.events.app_lifecycle.raw", "app_lifecycle_events"),
    ("os.events.notifications.raw", "notifications"),
    ("os.events.screen.raw", "screen_events"),
];

/// The name of a kind's view: the short one, or its topic with `_` for dots. At most 63 bytes, as PostgreSQL has it.
pub(super) fn of(kind: Kind) -> String {
    let topic = kind.topic();
    match SHORT.iter().find(|(t, _)| *t == topic) {
        Some((_, short)) => (*short).to_owned(),
        None => topic.replace('.', "_").chars().take(63).collect(),
    }
}

/// A name as SQL writes it, whatever it is.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use am_schema::Catalogue;
    use std::collections::HashSet;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_no_short_name_is_of_no_kind() {
        let catalogue = Catalogue::builtin();
        let names: Vec<String> = catalogue.kinds().map(of).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        assert!(names.iter().all(|n| n.len() <= 63 && n.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')));
        for (topic, _) in SHORT {
            assert!(catalogue.get(topic).is_some(), "{topic}");
        }
    }
}
