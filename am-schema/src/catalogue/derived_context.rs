//! What is made of positions and of the state of devices.

use super::{DataClass, KindDef};

fn location(topic: &str, field: u32, title: &str) -> KindDef {
    KindDef::derived(topic, field).title(title).class(DataClass::Location)
}

/// The kinds, in the order of the docs.
pub(super) fn kinds() -> Vec<KindDef> {
    vec![
        location("location.georegion.detected", 120, "Presence in a region")
            .keep_days(30)
            .require("georegion_id")
            .require("event_type")
            .position()
            .bound("accuracy", 0.0, 100_000.0, "m")
            .text(&["georegion_name"]),
        location("location.visit.detected", 121, "Visit").span().position().bound("radius", 0.0, 100_000.0, "m").ratios(&["confidence"]),
        location("location.address.geocoded", 122, "Address")
            .keep_days(90)
            .position()
            .require_one(&["address", "city", "country"])
            .bound("accuracy", 0.0, 100_000.0, "m")
            .bound("distance", 0.0, 1e6, "m")
            .text(&["address", "city", "country"]),
        location("location.business.identified", 123, "Business")
            .keep_days(365)
            .require("business_id")
            .require("name")
            .position()
            .bound("distance", 0.0, 1e6, "m")
            .ratios(&["confidence"])
            .text(&["name", "category"]),
        KindDef::derived("device.state.power.enriched", 160)
            .title("Battery with its course")
            .every(10.0)
            .keep_days(30)
            .bound("level", 0.0, 100.0, "%")
            .bound("rate", -36_000.0, 36_000.0, "%/h")
            .bound("health", 0.0, 200.0, "%")
            .scalar("level", "%"),
        KindDef::derived("device.state.power.patterns", 161)
            .title("Battery pattern")
            .class(DataClass::Behaviour)
            .span()
            .require("pattern")
            .bound("hour", 0.0, 23.0, "h")
            .ratios(&["confidence"]),
        location("device.network.wifi.enriched", 162, "Network with its category")
            .require("network_id")
            .bound("signal", 0.0, 4.0, "1")
            .text(&["ssid"]),
        location("device.network.location_correlated", 163, "Place of a network")
            .require("network_id")
            .position()
            .bound("radius", 0.0, 1e7, "m")
            .ratios(&["confidence"])
            .text(&["ssid"]),
        KindDef::derived("os.events.app_lifecycle.enriched", 164)
            .title("Use of an app")
            .class(DataClass::Behaviour)
            .keep_days(30)
            .require_one(&["app", "package"])
            .require("session_id")
            .require("change")
            .text(&["app", "category", "title"]),
        KindDef::derived("device.state.usage.anomaly", 165)
            .title("Unusual system use")
            .class(DataClass::Behaviour)
            .require("resource")
            .bound("value", 0.0, 1e18, "")
            .bound("expected", 0.0, 1e18, "")
            .text(&["app"])
            .scalar("score", "1"),
    ]
}
