//! The day that is simulated: what the person does, where they are, and what goes wrong.

use std::time::Duration;

use am_core::Timestamp;
use serde::Serialize;

use crate::rng::Rng;

/// Midnight of the simulated day, UTC.
pub(crate) fn start() -> Timestamp {
    Timestamp::from_second(1_772_323_200)
}

/// What the person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Doing {
    Still,
    Walking,
    Running,
    Vehicle,
}

/// The plan: from which hour on, what. Sitting and sleeping are both still.
const PLAN: &[(f64, Doing)] = &[
    (0.0, Doing::Still),
    (7.5, Doing::Walking),
    (7.75, Doing::Vehicle),
    (8.25, Doing::Walking),
    (8.35, Doing::Still),
    (12.0, Doing::Walking),
    (12.3, Doing::Still),
    (17.0, Doing::Walking),
    (17.15, Doing::Vehicle),
    (17.6, Doing::Still),
    (18.5, Doing::Running),
    (19.1, Doing::Walking),
    (19.3, Doing::Still),
];

/// What is done at an hour of the day.
pub(crate) fn doing(hour: f64) -> Doing {
    let hour = hour.rem_euclid(24.0);
    PLAN.iter().rev().find(|p| p.0 <= hour).map_or(Doing::Still, |p| p.1)
}

/// Whether the person sleeps.
pub(crate) fn asleep(hour: f64) -> bool {
    !(7.0..23.0).contains(&hour.rem_euclid(24.0))
}

/// Hours since midnight.
pub(crate) fn hour(t: Timestamp) -> f64 {
    t.since(start()).as_secs_f64() / 3_600.0
}

/// The time at an hour.
pub(crate) fn at(hour: f64) -> Timestamp {
    start().saturating_add(Duration::from_secs_f64(hour.max(0.0) * 3_600.0))
}

/// What goes wrong, planted on purpose.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Faults {
    /// The phone is without a network, hours of the day.
    pub(crate) offline: (f64, f64),
    /// The laptop's clock is wrong, hours of the day, and by how many seconds.
    pub(crate) clock: (f64, f64, i64),
    /// The phone may not use its position, hours of the day.
    pub(crate) permission: (f64, f64),
    /// The share of readings that are sent twice.
    pub(crate) duplicates: f64,
    /// The share of items that are broken.
    pub(crate) invalid: f64,
}

impl Faults {
    /// Three hours offline, two minutes back, one hour without permission; scaled down for shorter days.
    pub(crate) fn of(hours: f64) -> Self {
        let k = (hours / 24.0).min(1.0);
        Faults {
            offline: (9.0 * k, 12.0 * k),
            clock: (14.0 * k, 15.5 * k, -120),
            permission: (16.0 * k, 17.0 * k),
            duplicates: 0.01,
            invalid: 0.001,
        }
    }
}

/// Where the person is: home, then along a road to work, and back.
pub(crate) fn position(t: Timestamp, rng: &mut Rng) -> (f64, f64, f64) {
    const HOME: (f64, f64) = (52.5170, 13.3889);
    const WORK: (f64, f64) = (52.4650, 13.4700);
    let h = hour(t).rem_euclid(24.0);
    let share = match h {
        h if h < 7.5 => 0.0,
        h if h < 8.35 => (h - 7.5) / 0.85,
        h if h < 17.0 => 1.0,
        h if h < 17.6 => 1.0 - (h - 17.0) / 0.6,
        _ => 0.0,
    };
    // A round in the park while running.
    let (dx, dy) = if (18.5..19.1).contains(&h) {
        let a = (h - 18.5) / 0.6 * std::f64::consts::TAU * 3.0;
        (0.004 * a.sin(), 0.004 * (1.0 - a.cos()))
    } else {
        (0.0, 0.0)
    };
    let noise = 0.00003;
    (
        HOME.0 + (WORK.0 - HOME.0) * share + dy + rng.normal() * noise,
        HOME.1 + (WORK.1 - HOME.1) * share + dx + rng.normal() * noise,
        34.0 + 12.0 * share + rng.normal(),
    )
}

/// Metres per second.
pub(crate) fn speed(d: Doing) -> f64 {
    match d {
        Doing::Still => 0.0,
        Doing::Walking => 1.4,
        Doing::Running => 2.9,
        Doing::Vehicle => 11.0,
    }
}

/// Beats per minute.
pub(crate) fn heart_rate(hour: f64, rng: &mut Rng) -> f64 {
    let base = match doing(hour) {
        Doing::Running => 152.0,
        Doing::Walking => 98.0,
        Doing::Vehicle => 74.0,
        Doing::Still if asleep(hour) => 54.0,
        Doing::Still => 68.0,
    };
    base + 3.0 * (hour * 37.0).sin() + rng.normal() * 2.0
}
