//! The phone: position, motion, surroundings, notifications.

use am_core::{Result, Timestamp};
use am_schema::v1;

use super::{Device, after, due, motion};
use crate::day::{self, Doing};

/// Says whether the position may be recorded, as a phone does on change and daily.
pub(super) fn capture_state(d: &mut Device, at: Timestamp, allowed: bool) -> Result<()> {
    use v1::capture_state::State;
    let state = if allowed { State::On } else { State::Permission };
    let since = Some(prost_types::Timestamp { seconds: at.as_second(), nanos: 0 });
    d.record(
        "device.state.capture.raw",
        at,
        &v1::CaptureState { topic: "device.sensor.gps.raw".into(), state: state.into(), period_ns: 10_000_000_000, since },
    )
}

pub(super) fn step(d: &mut Device, at: Timestamp, second: u64, step: u64, position_allowed: bool) -> Result<()> {
    for s in due(second, step, 10) {
        let t = after(at, s);
        let h = day::hour(t);
        if position_allowed {
            let (latitude, longitude, altitude) = day::position(t, &mut d.rng);
            let speed = (day::speed(day::doing(h)) + d.rng.normal() * 0.1).max(0.0) as f32;
            let gps = v1::Gps {
                latitude,
                longitude,
                altitude: Some(altitude),
                accuracy: Some(8.0),
                speed: Some(speed),
                provider: "fused".into(),
                ..Default::default()
            };
            d.record("device.sensor.gps.raw", t, &gps)?;
        }
        let value = 1_013.2 + 2.0 * (h / 4.0).sin() + d.rng.normal() * 0.05;
        d.record("device.sensor.barometer.raw", t, &v1::Quantity { value, ..Default::default() })?;
        let charging = day::asleep(h);
        let level = if charging { 100.0 } else { (100.0 - (h - 7.0) * 4.5).clamp(8.0, 100.0) } as f32;
        let plug = if charging { v1::power::Plug::Usb } else { v1::power::Plug::None };
        d.record(
            "device.state.power.raw",
            t,
            &v1::Power { level: Some(level), charging, plug: plug.into(), temperature: Some(27.5), ..Default::default() },
        )?;
    }
    for s in due(second, step, 60) {
        minute(d, after(at, s))?;
    }
    for s in due(second, step, 50) {
        let t = after(at, s);
        let value = if day::asleep(day::hour(t)) { 0.5 } else { 220.0 + d.rng.unit() * 80.0 };
        d.record("device.sensor.light.raw", t, &v1::Quantity { value, ..Default::default() })?;
    }
    for s in due(second, step, 100) {
        let t = after(at, s);
        let home = !(8.0..17.5).contains(&day::hour(t).rem_euclid(24.0));
        let (ssid, bssid) = if home { ("Lighthouse", "02:00:5e:10:00:01") } else { ("Office", "02:00:5e:20:00:02") };
        let rssi = Some(-55 - (d.rng.unit() * 15.0) as i32);
        d.record(
            "device.network.wifi.raw",
            t,
            &v1::Wifi { ssid: ssid.into(), bssid: bssid.into(), rssi, frequency: 5_180, connected: true },
        )?;
        let seen = v1::bluetooth_scan::Device { address: "02:00:5e:30:00:03".into(), name: "watch".into(), rssi: Some(-48) };
        d.record("device.network.bluetooth.raw", t, &v1::BluetoothScan { devices: vec![seen] })?;
    }
    for s in due(second, step, 20) {
        let t = after(at, s);
        if !day::asleep(day::hour(t)) {
            notification(d, t)?;
        }
    }
    Ok(())
}

fn minute(d: &mut Device, t: Timestamp) -> Result<()> {
    let end = after(t, 60);
    let block = motion::acceleration(t, false, &mut d.rng)?;
    d.record_until("device.sensor.accelerometer.raw", t, Some(end), &block)?;
    let block = motion::companion(t, 50, "rad/s", [0.0; 3], 1.0, &mut d.rng)?;
    d.record_until("device.sensor.gyroscope.raw", t, Some(end), &block)?;
    let block = motion::companion(t, 10, "uT", [18.0, -4.0, -42.0], 6.0, &mut d.rng)?;
    d.record_until("device.sensor.magnetometer.raw", t, Some(end), &block)?;
    let per_minute = match day::doing(day::hour(t)) {
        Doing::Walking => 111,
        Doing::Running => 165,
        _ => 0,
    };
    d.record_until("device.health.steps.raw", t, Some(end), &v1::Steps { count: per_minute })
}

const NOTES: &[(&str, &str, &str)] = &[
    ("Messages", "Noor", "Are you coming to the lighthouse on Saturday?"),
    ("Messages", "Mika", "The ferry leaves at nine, bring a jacket"),
    ("Calendar", "Stand-up", "Starts in ten minutes"),
    ("News", "Weather", "Storm warning for the coast tonight"),
    ("Bank", "Card", "A payment was made at the bakery"),
    ("Train", "Delay", "Your line is delayed by five minutes"),
];

fn notification(d: &mut Device, t: Timestamp) -> Result<()> {
    let Some((app, title, text)) = d.rng.pick(NOTES).copied() else { return Ok(()) };
    let change = v1::notification::Change::Posted.into();
    d.record("os.events.notifications.raw", t, &v1::Notification { app: app.into(), title: title.into(), text: text.into(), change })
}
