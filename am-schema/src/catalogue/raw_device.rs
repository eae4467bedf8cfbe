//! What devices send: sensors, bodies, sound and pictures, states.

use super::{DataClass, KindDef};

const AXES: &[&str] = &["x", "y", "z"];
/// Pixels a side; 0 where the device does not say.
const MAX_SIDE: f64 = 8_192.0;

/// The kinds, in the order of the docs.
pub(super) fn kinds() -> Vec<KindDef> {
    let mut all = media();
    all.extend(signals());
    all.extend(health());
    all.extend(states());
    all
}

fn media() -> Vec<KindDef> {
    vec![
        KindDef::raw("device.audio.raw", 13)
            .title("Sound")
            .class(DataClass::Content)
            .every(0.1)
            .bound("sample_rate", 8_000.0, 192_000.0, "Hz")
            .bound("channels", 1.0, 8.0, "{channel}")
            .bound("duration_ns", 0.0, 3.6e12, "ns")
            .require("sample_rate")
            .require_one(&["blob", "data"]),
        KindDef::raw("device.video.screen.raw", 42)
            .title("Screen frame")
            .class(DataClass::Content)
            .every(1.0)
            .bound("width", 0.0, MAX_SIDE, "{pixel}")
            .bound("height", 0.0, MAX_SIDE, "{pixel}")
            .require_one(&["blob", "data"]),
        KindDef::raw("device.video.camera.raw", 43)
            .title("Video")
            .class(DataClass::Content)
            .every(5.0)
            .bound("duration_ns", 0.0, 6e11, "ns")
            .require("blob"),
        KindDef::raw("device.image.camera.raw", 14)
            .title("Photo")
            .class(DataClass::Content)
            .every(33.0)
            .bound("width", 0.0, 65_535.0, "{pixel}")
            .bound("height", 0.0, 65_535.0, "{pixel}")
            .require_one(&["blob", "data"]),
        KindDef::raw("device.image.screenshot.raw", 14)
            .title("Screenshot")
            .class(DataClass::Content)
            .every(10.0)
            .bound("width", 0.0, MAX_SIDE, "{pixel}")
            .bound("height", 0.0, MAX_SIDE, "{pixel}")
            .require_one(&["blob", "data"])
            .text(&["window_title", "app"]),
    ]
}

fn signals() -> Vec<KindDef> {
    let block =
        |topic: &str, title: &str, every: f64| KindDef::raw(topic, 20).title(title).every(every).require("count").require("channels");
    let quantity = |topic: &str, title: &str, every: f64| KindDef::raw(topic, 21).title(title).every(every);
    vec![
        block("device.sensor.accelerometer.raw", "Acceleration", 60.0).class(DataClass::Behaviour).keep_days(7).signal(AXES, "m/s2", 160.0),
        block("device.sensor.gyroscope.raw", "Rotation", 60.0).class(DataClass::Behaviour).keep_days(7).signal(AXES, "rad/s", 40.0),
        block("device.sensor.magnetometer.raw", "Magnetic field", 60.0)
            .class(DataClass::Behaviour)
            .keep_days(7)
            .signal(AXES, "uT", 5_000.0),
        block("device.sensor.eeg.raw", "EEG", 10.0).class(DataClass::Health).signal(&[], "uV", 5_000.0),
        block("device.sensor.ecg.raw", "ECG", 10.0).class(DataClass::Health).signal(&[], "mV", 50.0),
        block("device.sensor.ppg.raw", "Pulse wave", 10.0).class(DataClass::Health).signal(&[], "[arb'U]", 1e9),
        KindDef::raw("device.sensor.gps.raw", 11)
            .title("Position")
            .class(DataClass::Location)
            .every(10.0)
            .position()
            .bound("altitude", -1_000.0, 100_000.0, "m")
            .bound("accuracy", 0.0, 100_000.0, "m")
            .bound("vertical_accuracy", 0.0, 100_000.0, "m")
            .bound("speed", 0.0, 1_000.0, "m/s")
            .bound("bearing", 0.0, 360.0, "deg"),
        quantity("device.sensor.barometer.raw", "Air pressure", 10.0).quantity(300.0, 1_100.0, "hPa"),
        quantity("device.sensor.temperature.raw", "Temperature", 50.0).quantity(-60.0, 120.0, "Cel"),
        quantity("device.sensor.light.raw", "Light", 50.0).quantity(0.0, 200_000.0, "lx"),
        quantity("device.sensor.humidity.raw", "Humidity", 50.0).quantity(0.0, 100.0, "%"),
        KindDef::raw("device.sensor.air_quality.raw", 44)
            .title("Air quality")
            .every(50.0)
            .bound("aqi", 0.0, 1_000.0, "{AQI}")
            .bound("pm2_5", 0.0, 5_000.0, "ug/m3")
            .bound("pm10", 0.0, 10_000.0, "ug/m3")
            .bound("co2", 0.0, 50_000.0, "[ppm]")
            .require_one(&["aqi", "pm2_5", "pm10", "co2"])
            .scalar("aqi", "{AQI}"),
    ]
}

fn health() -> Vec<KindDef> {
    let health = |topic: &str, field: u32, title: &str| KindDef::raw(topic, field).title(title).class(DataClass::Health);
    vec![
        health("device.health.heartrate.raw", 10, "Heart rate")
            .every(1.0)
            .require("bpm")
            .bound("bpm", 20.0, 300.0, "/min")
            .ratios(&["confidence"])
            .scalar("bpm", "/min"),
        health("device.health.rr_interval.raw", 22, "RR intervals").every(1.0).require("ms").bound("ms", 200.0, 3_000.0, "ms"),
        health("device.health.steps.raw", 23, "Steps")
            .every(60.0)
            .span()
            .bound("count", 0.0, 1_000_000.0, "{step}")
            .max_per_minute("count", 400.0)
            .scalar("count", "{step}"),
        health("device.health.sleep.raw", 24, "Sleep")
            .every(86_400.0)
            .span()
            .require("segments")
            .require("segments.from")
            .require("segments.to")
            .require("segments.stage"),
        // Ranges and units are those of the code; see `vitals`.
        health("device.health.vitals.raw", 21, "Vital sign").require("code").bound("value", -1e9, 1e9, ""),
    ]
}

fn states() -> Vec<KindDef> {
    vec![
        KindDef::raw("device.state.power.raw", 25)
            .title("Battery")
            .every(10.0)
            .keep_days(30)
            .require("level")
            .bound("level", 0.0, 100.0, "%")
            .bound("temperature", -60.0, 150.0, "Cel")
            .bound("health", 0.0, 100.0, "%")
            .scalar("level", "%"),
        KindDef::raw("device.state.usage.raw", 26)
            .title("System use")
            .class(DataClass::Behaviour)
            .every(10.0)
            .bound("cpu", 0.0, 100.0, "%")
            .bound("apps.cpu", 0.0, 100.0, "%")
            .text(&["apps.app"])
            .scalar("cpu", "%"),
        KindDef::raw("device.network.wifi.raw", 27)
            .title("Wi-Fi")
            .class(DataClass::Location)
            .every(100.0)
            .require_one(&["ssid", "bssid"])
            .bound("rssi", -120.0, 0.0, "dBm")
            .bound("frequency", 0.0, 100_000.0, "MHz")
            .text(&["ssid"]),
        KindDef::raw("device.network.bluetooth.raw", 28)
            .title("Bluetooth devices")
            .class(DataClass::Location)
            .every(100.0)
            .require("devices.address")
            .bound("devices.rssi", -120.0, 20.0, "dBm")
            .text(&["devices.name"]),
        KindDef::raw("device.state.capture.raw", 29).title("Capture state").every(86_400.0).require("topic").require("state"),
        KindDef::raw("os.events.app_lifecycle.raw", 30)
            .title("App event")
            .class(DataClass::Behaviour)
            .every(0.5)
            .keep_days(30)
            .require_one(&["app", "package"])
            .require("change")
            .text(&["app", "title"]),
        KindDef::raw("os.events.screen.raw", 31).title("Screen event").class(DataClass::Behaviour).every(100.0).require("change"),
        KindDef::raw("os.events.notifications.raw", 32)
            .title("Notification")
            .class(DataClass::Content)
            .every(20.0)
            .require("app")
            .require("change")
            .text(&["app", "title", "text"]),
    ]
}
