//! The watch: heart, skin, wrist and sleep.

use am_core::{Result, Timestamp};
use am_schema::v1;

use super::{Device, after, due, motion};
use crate::day;

pub(super) fn step(d: &mut Device, at: Timestamp, second: u64, step: u64) -> Result<()> {
    for s in due(second, step, 1) {
        let t = after(at, s);
        let bpm = day::heart_rate(day::hour(t), &mut d.rng);
        let zone = match bpm {
            b if b < 60.0 => v1::heart_rate::Zone::Resting,
            b if b < 110.0 => v1::heart_rate::Zone::FatBurn,
            b if b < 150.0 => v1::heart_rate::Zone::Cardio,
            _ => v1::heart_rate::Zone::Peak,
        };
        let beat = v1::HeartRate { bpm: bpm.round() as i32, confidence: 0.95, zone: zone.into(), source: "watch".into() };
        d.record("device.health.heartrate.raw", t, &beat)?;
        let mean = 60_000.0 / bpm;
        let n = (bpm / 60.0).round().max(1.0) as usize;
        let ms = (0..n).map(|_| (mean + d.rng.normal() * 18.0).clamp(250.0, 2_000.0).round() as f32).collect();
        d.record("device.health.rr_interval.raw", t, &v1::RrIntervals { ms })?;
    }
    for s in due(second, step, 60) {
        let t = after(at, s);
        let block = motion::acceleration(t, true, &mut d.rng)?;
        d.record_until("device.sensor.accelerometer.raw", t, Some(after(t, 60)), &block)?;
        let block = motion::companion(t, 50, "rad/s", [0.0; 3], 2.0, &mut d.rng)?;
        d.record_until("device.sensor.gyroscope.raw", t, Some(after(t, 60)), &block)?;
    }
    for s in due(second, step, 50) {
        let t = after(at, s);
        let value = 33.0 + if day::asleep(day::hour(t)) { 1.2 } else { 0.0 } + d.rng.normal() * 0.1;
        d.record("device.health.vitals.raw", t, &v1::Quantity { value, unit: "Cel".into(), code: "skin_temperature".into() })?;
    }
    for s in due(second, step, 10) {
        let t = after(at, s);
        let level = (100.0 - day::hour(t) * 2.6).clamp(5.0, 100.0) as f32;
        d.record(
            "device.state.power.raw",
            t,
            &v1::Power { level: Some(level), charging: false, plug: v1::power::Plug::None.into(), ..Default::default() },
        )?;
    }
    for s in due(second, step, 86_400) {
        if second == 0 {
            sleep(d, after(at, s))?;
        }
    }
    Ok(())
}

/// Last night, from 23:00 of the day before.
fn sleep(d: &mut Device, midnight: Timestamp) -> Result<()> {
    use v1::sleep_stages::{Segment, Stage};
    let pb = |t: Timestamp| Some(prost_types::Timestamp { seconds: t.as_second(), nanos: t.subsec_nanos() });
    let begin = midnight.shifted(-3_600_000_000_000);
    let mut segments = Vec::new();
    let mut t = begin;
    for stage in [Stage::Light, Stage::Deep, Stage::Rem].iter().cycle().take(12) {
        let end = after(t, 1_200 + (d.rng.unit() * 900.0) as u64);
        segments.push(Segment { from: pb(t), to: pb(end), stage: (*stage).into() });
        t = end;
    }
    d.record_until("device.health.sleep.raw", begin, Some(t), &v1::SleepStages { segments })
}
