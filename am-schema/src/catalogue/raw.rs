//! What devices and accounts send.

use super::{DataClass, KindDef};

/// Topics accepted on input for another.
pub(super) const ALIASES: &[(&str, &str)] =
    &[("external.email.raw", "external.email.events.raw"), ("external.calendar.raw", "external.calendar.events.raw")];

/// The raw kinds, in the order of the docs.
pub(super) fn kinds() -> Vec<KindDef> {
    vec![
        KindDef::raw("device.health.heartrate.raw", 10)
            .title("Heart rate")
            .class(DataClass::Health)
            .every(1.0)
            .bound("bpm", 20.0, 300.0, "/min")
            .bound("confidence", 0.0, 1.0, "")
            .scalar("bpm", "/min"),
        KindDef::raw("device.sensor.gps.raw", 11)
            .title("Position")
            .class(DataClass::Location)
            .every(10.0)
            .bound("latitude", -90.0, 90.0, "deg")
            .bound("longitude", -180.0, 180.0, "deg")
            .bound("altitude", -1_000.0, 100_000.0, "m")
            .bound("accuracy", 0.0, 100_000.0, "m")
            .bound("speed", 0.0, 1_000.0, "m/s")
            .bound("bearing", 0.0, 360.0, "deg"),
        KindDef::raw("device.sensor.accelerometer.raw", 20).title("Acceleration").every(60.0).keep_days(7).signal(
            &["x", "y", "z"],
            "m/s2",
            160.0,
        ),
    ]
}
