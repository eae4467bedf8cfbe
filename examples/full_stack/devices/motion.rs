//! What an accelerometer and its companions feel while a person moves.

use std::f64::consts::TAU;

use am_core::{Result, Timestamp};
use am_schema::block::{ENCODING, Samples, encode};
use am_schema::v1;

use crate::day::{self, Doing};
use crate::rng::Rng;

/// A minute of three axes at 50 Hz as an accelerometer with a step of 1/1024 m/s² gives them, gravity included.
pub(super) fn acceleration(start: Timestamp, wrist: bool, rng: &mut Rng) -> Result<v1::SampleBlock> {
    const RATE: usize = 50;
    let (mut x, mut y, mut z) = (Vec::with_capacity(60 * RATE), Vec::with_capacity(60 * RATE), Vec::with_capacity(60 * RATE));
    let phase = rng.unit() * TAU;
    for i in 0..60 * RATE {
        let t = i as f64 / RATE as f64;
        let h = day::hour(start) + t / 3_600.0;
        let swing = if wrist { 1.4 } else { 1.0 };
        let (ax, ay, az, noise) = match day::doing(h) {
            Doing::Still => (0.0, 0.0, 0.0, 0.02),
            Doing::Walking => gait(t, phase, 1.85, 2.2 * swing, 0.35),
            Doing::Running => gait(t, phase, 2.75, 8.5 * swing, 0.9),
            Doing::Vehicle => (
                0.25 * (TAU * 0.15 * t).sin() + 0.2 * (TAU * 11.3 * t + phase).sin(),
                0.3 * (TAU * 0.08 * t + 1.0).sin() + 0.2 * (TAU * 13.1 * t).sin(),
                0.35 * (TAU * 9.7 * t).sin(),
                0.25,
            ),
        };
        let mut put = |v: &mut Vec<f32>, a: f64| v.push(((a + rng.normal() * noise) * 1_024.0).round() as f32 / 1_024.0);
        put(&mut x, ax + 0.6);
        put(&mut y, ay + 1.8);
        put(&mut z, az + 9.6);
    }
    block(20_000_000, "m/s2", &[("x", &x), ("y", &y), ("z", &z)])
}

/// Steps: the body's vertical bounce with its second harmonic, and the sway at half the frequency.
fn gait(t: f64, phase: f64, hz: f64, amplitude: f64, noise: f64) -> (f64, f64, f64, f64) {
    let w = TAU * hz * t + phase;
    (0.35 * amplitude * (w / 2.0).sin(), 0.5 * amplitude * (w + 0.7).sin(), amplitude * (w.sin() + 0.35 * (2.0 * w).sin()), noise)
}

/// A minute of any three-axis sensor at a rate that follows the movement loosely.
pub(super) fn companion(start: Timestamp, hz: u32, unit: &str, base: [f64; 3], amplitude: f64, rng: &mut Rng) -> Result<v1::SampleBlock> {
    let n = 60 * hz as usize;
    let moving = match day::doing(day::hour(start)) {
        Doing::Still => 0.02,
        Doing::Walking => 0.6,
        Doing::Running => 1.5,
        Doing::Vehicle => 0.15,
    };
    let axis = |k: usize, rng: &mut Rng| -> Vec<f32> {
        let b = base.get(k).copied().unwrap_or_default();
        (0..n)
            .map(|i| {
                let t = i as f64 / f64::from(hz);
                let v = b + amplitude * moving * (TAU * (0.9 + 0.1 * k as f64) * t).sin() + amplitude * 0.01 * rng.normal();
                (v * 256.0).round() as f32 / 256.0
            })
            .collect()
    };
    let (x, y, z) = (axis(0, rng), axis(1, rng), axis(2, rng));
    block(1_000_000_000 / u64::from(hz), unit, &[("x", &x), ("y", &y), ("z", &z)])
}

fn block(period_ns: u64, unit: &str, channels: &[(&str, &[f32])]) -> Result<v1::SampleBlock> {
    let samples: Vec<Samples<'_>> = channels.iter().map(|c| Samples::F32(c.1)).collect();
    Ok(v1::SampleBlock {
        period_ns,
        count: channels.first().map_or(0, |c| c.1.len() as u32),
        channels: channels.iter().map(|c| v1::Channel { name: c.0.into(), unit: unit.into(), ..Default::default() }).collect(),
        encoding: ENCODING.into(),
        data: encode(None, &samples)?.into(),
    })
}
