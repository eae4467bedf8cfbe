//! Seeded signals and what is needed to run them through a flow.
#![allow(unreachable_pub, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::f64::consts::TAU;
use std::sync::Arc;

use am_core::{DeviceId, Scope, Timestamp};
use am_pipeline::{Jitter, TokioClock};
use am_schema::block::{ENCODING, Samples, encode};
use am_schema::{Catalogue, Reading, v1};
use am_store::model::{Generations, ScanQuery, Stored};
use am_store::runner::{Flow, FlowRunner, RunnerOptions};
use am_store::{Store, StoreOptions};
use serde_json::json;

pub const START: i64 = 1_772_352_000_000_000_000;

/// The shapes of movement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Movement {
    Still,
    Walking,
    Running,
    Vehicle,
}

fn noise(j: &mut Jitter) -> f64 {
    // Box and Muller (1958).
    (-2.0 * (1.0 - j.unit()).ln()).sqrt() * (TAU * j.unit()).cos()
}

/// Samples of x, y and z at `rate` hertz.
pub fn signal(movement: Movement, rate: f64, n: usize, gravity: bool, seed: u64) -> Vec<[f32; 3]> {
    let mut j = Jitter::seeded(seed);
    let g = if gravity { 9.81 } else { 0.0 };
    let phase = j.unit();
    let mut row = |i: usize| {
        let t = i as f64 / rate + phase;
        let wave = |hz: f64| (TAU * hz * t).sin();
        let (x, y, z, spread) = match movement {
            Movement::Still => (0.0, 0.0, 0.0, 0.02),
            // An impact a step with its harmonic, and the sway of every second one.
            Movement::Walking => (0.8 * wave(0.9), 0.4 * wave(1.8), 2.2 * wave(1.8) + 0.8 * wave(3.6), 0.25),
            Movement::Running => (2.5 * wave(1.35), 1.5 * wave(2.7), 9.0 * wave(2.7) + 2.0 * wave(5.4), 0.8),
            Movement::Vehicle => (0.0, 0.0, 0.0, 0.45),
        };
        [x + spread * noise(&mut j), y + spread * noise(&mut j), g + z + spread * noise(&mut j)].map(|v| v as f32)
    };
    (0..n).map(&mut row).collect()
}

/// A block of samples that begins at a time.
pub fn block(device: &str, at: i64, period: i64, rows: &[[f32; 3]]) -> Reading {
    let axis = |i: usize| rows.iter().map(|r| r[i]).collect::<Vec<f32>>();
    let (x, y, z) = (axis(0), axis(1), axis(2));
    let data = encode(None, &[Samples::F32(&x), Samples::F32(&y), Samples::F32(&z)]).unwrap();
    let channel = |name: &str| v1::Channel { name: name.into(), ..Default::default() };
    let payload = v1::SampleBlock {
        period_ns: period as u64,
        count: rows.len() as u32,
        channels: ["x", "y", "z"].map(channel).to_vec(),
        encoding: u32::from(ENCODING),
        data: data.into(),
    };
    let kind = Catalogue::builtin().get("device.sensor.accelerometer.raw").unwrap();
    Reading::builder(kind, DeviceId::new(device).unwrap(), Timestamp::from_nanos(at)).payload(&payload).build().unwrap()
}

/// Cuts samples into blocks of these lengths, over and over.
pub fn blocks(device: &str, start: i64, rate: f64, rows: &[[f32; 3]], lengths: &[usize]) -> Vec<Reading> {
    let period = (1e9 / rate) as i64;
    let (mut out, mut at, mut lengths) = (Vec::new(), 0, lengths.iter().cycle());
    while at < rows.len() {
        let n = (*lengths.next().unwrap()).clamp(1, rows.len() - at);
        out.push(block(device, start + at as i64 * period, period, &rows[at..at + n]));
        at += n;
    }
    out
}

pub async fn memory() -> Store {
    let clock = Arc::new(TokioClock::default());
    Store::open("memory:", StoreOptions::default(), clock, Catalogue::builtin()).await.unwrap()
}

/// The flow of `flows/motion.yaml`.
pub fn flow(version: &str, hop: &str) -> Flow {
    let (registry, catalogue) = (am_enrich::registry().unwrap(), Catalogue::builtin());
    Flow::new("motion", version)
        .input(&catalogue, "device.sensor.accelerometer.raw")
        .unwrap()
        .step(&registry, &catalogue, "motion.window", &json!({"size": "5s", "hop": hop}))
        .unwrap()
        .step(&registry, &catalogue, "motion.activity", &json!({}))
        .unwrap()
}

pub fn runner(store: &Store, options: RunnerOptions) -> FlowRunner {
    FlowRunner::new(store, flow("1", "2.5s"), options).unwrap()
}

pub async fn all(store: &Store, topic: &str, generations: Generations) -> Vec<Stored> {
    let mut query = ScanQuery::default();
    query.kinds = vec![store.catalogue().get(topic).unwrap()];
    query.generations = generations;
    query.limit = 100_000;
    store.scoped(&Scope::local()).scan(&query).await.unwrap().items
}

pub async fn windows(store: &Store) -> Vec<(i64, v1::MotionWindow)> {
    let found = all(store, am_enrich::motion::WINDOWED, Generations::Newest).await;
    found.into_iter().map(|s| (s.reading.recorded_at().as_nanos(), s.reading.payload().unwrap())).collect()
}

pub async fn activities(store: &Store) -> Vec<v1::Activity> {
    let found = all(store, am_enrich::motion::ACTIVITY, Generations::Newest).await;
    found.into_iter().map(|s| s.reading.payload().unwrap()).collect()
}
