//! What one window says about what a person does.
//!
//! Thresholds come from the literature, nothing is fitted:
//! - intensity: rest and light movement end at a mean amplitude deviation of 91 mg at the hip (Vähä-Ypyä et al., "A universal, accurate
//!   intensity-based classification of different physical activities using raw data of accelerometer", 2015) and at a Euclidean norm
//!   minus one of 45 mg at the wrist (Hildebrand et al., "Evaluation of raw acceleration sedentary thresholds", 2017). For normal
//!   distributions the deviation is 1.25 and 2.5 times as large: both are 1.1 m/s². Vigorous begins at 414 mg at the hip: 5.1 m/s²;
//! - cadence: people walk at 1.4 to 2.4 steps a second (Pachi & Ji, "Frequency and velocity of people walking", 2005) and run at 2.2 to
//!   3.5 (Cavagna et al., "The determinants of the step frequency in running", 1988);
//! - vehicles: vibration above 3 Hz without steps, weak against walking (Hemminki et al., "Accelerometer-based transportation mode
//!   detection on smartphones", 2013).

use std::f64::consts::TAU;

use am_schema::v1::{MotionWindow, activity::Class};

/// Fewer samples than this say nothing.
const MIN_SAMPLES: u32 = 20;
/// With less of the window covered it says nothing.
const MIN_COVERAGE: f32 = 0.75;
/// Slower signals cannot show steps (twice the highest cadence).
const MIN_RATE: f64 = 7.0;
/// How much speaks for "unknown" from the start: a class must explain more than this.
const DOUBT: f64 = 0.25;

/// How likely each class is; together 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    /// Still, walking, running, in a vehicle, unknown.
    pub of: [f32; 5],
}

impl Scores {
    /// The classes, in the order of the scores.
    pub const CLASSES: [Class; 5] = [Class::Still, Class::Walking, Class::Running, Class::Vehicle, Class::Unknown];

    /// Nothing can be told.
    pub const UNKNOWN: Scores = Scores { of: [0.0, 0.0, 0.0, 0.0, 1.0] };

    /// The classes with their scores, likeliest first.
    pub fn ranked(&self) -> Vec<(Class, f32)> {
        let mut all: Vec<(Class, f32)> = Self::CLASSES.into_iter().zip(self.of).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    }

    /// The weighted mean with other scores.
    pub(super) fn mixed<'a>(parts: impl IntoIterator<Item = (f32, &'a Scores)>) -> Scores {
        let (mut sum, mut weights) = ([0f32; 5], 0f32);
        for (w, s) in parts {
            weights += w;
            sum.iter_mut().zip(s.of).for_each(|(a, b)| *a += w * b);
        }
        if weights > 0.0 { Scores { of: sum.map(|v| v / weights) } } else { Scores::UNKNOWN }
    }
}

/// 0 up to `from`, 1 beyond `to`, straight in between.
fn ramp(v: f64, from: f64, to: f64) -> f64 {
    ((v - from) / (to - from)).clamp(0.0, 1.0)
}

/// 1 within the range, falling to 0 over `edge` on both sides.
fn within(v: f64, from: f64, to: f64, edge: f64) -> f64 {
    ramp(v, from - edge, from).min(1.0 - ramp(v, to, to + edge))
}

/// Scores a window. `None` when it holds too little to tell.
pub fn classify(w: &MotionWindow) -> Option<Scores> {
    let (x, y, z, magnitude) = (w.x.as_ref()?, w.y.as_ref()?, w.z.as_ref()?, w.magnitude.as_ref()?);
    if w.count < MIN_SAMPLES || w.coverage < MIN_COVERAGE || w.rate < MIN_RATE {
        return None;
    }
    // Over the axes rather than the norm, so that it is the same with and without gravity.
    let intensity = (x.energy + y.energy + z.energy).sqrt();
    let steps = w.step_frequency;
    // That there are steps at all says most of it: their share of the power was looked at.
    let periodic = 0.5 + 0.5 * ramp(w.autocorrelation, 0.2, 0.5).max(ramp(w.dominant_power, 0.3, 0.6));
    // The root mean square frequency: jerk over deviation.
    let pitch = if magnitude.std > 1e-6 { w.jerk / (TAU * magnitude.std) } else { 0.0 };

    let walking = ramp(intensity, 0.7, 1.5) * (1.0 - ramp(intensity, 6.0, 10.0)) * within(steps, 1.4, 2.4, 0.3) * periodic;
    let running = ramp(intensity, 4.0, 7.0) * within(steps, 2.2, 3.5, 0.4).max(0.5 * within(steps, 1.4, 4.0, 0.2)) * periodic;
    let rough = ramp(pitch, 2.5, 3.5) * (1.0 - ramp(w.autocorrelation, 0.5, 0.8));
    let vehicle = ramp(intensity, 0.08, 0.2) * (1.0 - ramp(intensity, 2.0, 4.0)) * rough;
    let still = (1.0 - ramp(intensity, 0.7, 1.5)) * (1.0 - vehicle);
    let of = [still, walking, running, vehicle, DOUBT];
    let sum: f64 = of.iter().sum();
    Some(Scores { of: of.map(|s| (s / sum) as f32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_is_never_guessed_from() {
        let times: Vec<i64> = (0..250).map(|i| i * 20_000_000).collect();
        let whole = super::super::features(&times, &vec![[0.0, 0.0, 9.81]; 250], 5.0);
        assert_eq!(classify(&whole).unwrap().ranked()[0].0, Class::Still);
        assert_eq!(classify(&MotionWindow { coverage: 0.7, ..whole }), None);
        assert_eq!(classify(&MotionWindow { count: 10, ..whole }), None);
        assert_eq!(classify(&MotionWindow { rate: 5.0, ..whole }), None);
        assert_eq!(classify(&MotionWindow { magnitude: None, ..whole }), None);
    }

    #[test]
    fn scores_make_one_together() {
        let w = super::super::features(&(0..50).map(|i| i * 100_000_000).collect::<Vec<_>>(), &vec![[1.0, 2.0, 3.0]; 50], 5.0);
        assert!((classify(&w).unwrap().of.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
