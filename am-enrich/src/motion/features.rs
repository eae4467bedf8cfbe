//! The features of one window.
//!
//! Chosen from Bao & Intille (2004), Ravi et al. (2005), Preece et al. (2009) and Anguita et al. (2013): mean, deviation, range, energy,
//! crossings of the mean and interquartile range per axis and of the magnitude; signal magnitude area; dominant frequency and its share;
//! spectral entropy; autocorrelation.

use am_schema::v1::{MotionWindow, motion_window::Axis};

use super::spectrum::{Spectrum, autocorrelation};

/// The frequency domain is computed at this rate at most; faster signals are averaged.
const GRID_HZ: f64 = 64.0;
/// What the catalogue allows.
const MAX_RATE: f64 = 100_000.0;
/// Magnitudes with a smaller deviation than this are flat, m/s².
const FLAT: f64 = 1e-6;
/// Below this share of the power there are no steps.
const STEP_SHARE: f64 = 0.2;
/// Below this deviation nobody steps, m/s²: the lower bound of light activity (Vähä-Ypyä et al., 2015).
const STEP_STD: f64 = 0.3;

/// The features of samples in the order of time; `seconds` is the length of the window. With or without gravity.
pub fn features(times: &[i64], values: &[[f32; 3]], seconds: f64) -> MotionWindow {
    let axis = |i: usize| -> Vec<f64> { values.iter().map(|v| f64::from(v.get(i).copied().unwrap_or_default())).collect() };
    let (x, y, z) = (axis(0), axis(1), axis(2));
    let norm: Vec<f64> = x.iter().zip(&y).zip(&z).map(|((x, y), z)| (x * x + y * y + z * z).sqrt()).collect();
    let span = match (times.first(), times.last()) {
        (Some(a), Some(b)) => b.saturating_sub(*a) as f64 / 1e9,
        _ => 0.0,
    };
    let rate = rate(times);
    let (ax, ay, az, magnitude) = (of_axis(&x, span), of_axis(&y, span), of_axis(&z, span), of_axis(&norm, span));
    let away = |v: &[f64], mean: f64| v.iter().map(|v| (v - mean).abs()).sum::<f64>();
    let sma = (away(&x, ax.mean) + away(&y, ay.mean) + away(&z, az.mean)) / x.len().max(1) as f64;
    let tilt = match (ax.mean * ax.mean + ay.mean * ay.mean + az.mean * az.mean).sqrt() {
        g if g > 1e-9 => (az.mean / g).clamp(-1.0, 1.0).acos().to_degrees(),
        _ => 0.0,
    };
    let mut w = MotionWindow {
        count: u32::try_from(times.len()).unwrap_or(u32::MAX),
        rate,
        coverage: if rate > 0.0 { (times.len() as f64 / (rate * seconds)).clamp(0.0, 1.0) as f32 } else { 0.0 },
        sma,
        tilt,
        ..Default::default()
    };
    if magnitude.std > FLAT && rate > 0.0 {
        let (grid, hz) = even(times, &norm, rate);
        let spectrum = Spectrum::of(&grid, hz);
        let (frequency, share) = spectrum.dominant();
        w.dominant_frequency = frequency;
        w.dominant_power = share;
        w.spectral_entropy = spectrum.entropy();
        w.autocorrelation = autocorrelation(&grid, hz);
        let changes = grid.windows(2).filter_map(|p| Some((p.get(1)? - p.first()?).powi(2))).sum::<f64>();
        w.jerk = (changes / grid.len().saturating_sub(1).max(1) as f64).sqrt() * hz;
        // Of the vector: without gravity its norm would swing twice as fast.
        let axes = [&x, &y, &z].map(|v| Spectrum::of(&even(times, v, rate).0, hz));
        w.step_frequency = match Spectrum::together(axes.into()).and_then(|s| s.steps()) {
            Some((f, share)) if share >= STEP_SHARE && magnitude.std >= STEP_STD => f,
            _ => 0.0,
        };
    }
    MotionWindow { x: Some(ax), y: Some(ay), z: Some(az), magnitude: Some(magnitude), ..w }
}

/// Samples a second, from the median time between samples, so that gaps do not count; 0 below two samples.
fn rate(times: &[i64]) -> f64 {
    let mut gaps: Vec<i64> = times.windows(2).filter_map(|p| Some(p.get(1)?.saturating_sub(*p.first()?))).filter(|d| *d > 0).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).map_or(0.0, |d| (1e9 / *d as f64).min(MAX_RATE))
}

fn of_axis(v: &[f64], span: f64) -> Axis {
    let n = v.len().max(1) as f64;
    let mean = v.iter().sum::<f64>() / n;
    let energy = v.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
    let crossings = v.windows(2).filter(|p| matches!(p, [a, b] if (*a >= mean) != (*b >= mean))).count();
    let mut sorted = v.to_vec();
    sorted.sort_by(f64::total_cmp);
    let bound = |f: fn(f64, f64) -> f64| v.iter().copied().reduce(f).unwrap_or(0.0);
    Axis {
        mean,
        std: energy.sqrt(),
        min: bound(f64::min),
        max: bound(f64::max),
        energy,
        zero_crossings: if span > 0.0 { (crossings as f64 / span).min(MAX_RATE) } else { 0.0 },
        iqr: quantile(&sorted, 0.75) - quantile(&sorted, 0.25),
    }
}

/// By linear interpolation between the two nearest (Hyndman & Fan, 1996, type 7).
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * sorted.len().saturating_sub(1) as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    let get = |i: usize| sorted.get(i).or(sorted.last()).copied().unwrap_or(0.0);
    get(low) + (get(low + 1) - get(low)) * part
}

/// The signal at even times, and its rate: interpolated where it is slow, averaged where it is faster than [`GRID_HZ`].
fn even(times: &[i64], v: &[f64], rate: f64) -> (Vec<f64>, f64) {
    let hz = rate.min(GRID_HZ);
    let start = times.first().copied().unwrap_or(0);
    let place = |t: i64| t.saturating_sub(start) as f64 / 1e9 * hz;
    let n = times.last().map_or(0, |t| (place(*t) + 1e-6).floor() as usize + 1);
    let mut out = Vec::with_capacity(n);
    if rate > GRID_HZ {
        let (mut i, mut last) = (0, v.first().copied().unwrap_or(0.0));
        for k in 1..=n {
            let (mut sum, mut count) = (0.0, 0usize);
            while let (Some(t), Some(value)) = (times.get(i), v.get(i))
                && place(*t) < k as f64
            {
                sum += value;
                count += 1;
                i += 1;
            }
            last = if count > 0 { sum / count as f64 } else { last };
            out.push(last);
        }
        return (out, hz);
    }
    let mut i = 0;
    for k in 0..n {
        while times.get(i + 1).is_some_and(|t| place(*t) <= k as f64) {
            i += 1;
        }
        let (Some(t), Some(a)) = (times.get(i), v.get(i)) else { break };
        let value = match (times.get(i + 1), v.get(i + 1)) {
            (Some(u), Some(b)) if u > t => a + (b - a) * ((k as f64 - place(*t)) / (place(*u) - place(*t))).clamp(0.0, 1.0),
            _ => *a,
        };
        out.push(value);
    }
    (out, hz)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_still_device_has_gravity_and_nothing_else() {
        let times: Vec<i64> = (0..250).map(|i| i * 20_000_000).collect();
        let w = features(&times, &vec![[0.0, 0.0, 9.75]; 250], 5.0);
        assert_eq!((w.count, w.rate, w.coverage), (250, 50.0, 1.0));
        assert_eq!((w.sma, w.tilt, w.jerk, w.dominant_frequency, w.step_frequency), (0.0, 0.0, 0.0, 0.0, 0.0));
        assert_eq!(w.magnitude.map(|m| (m.mean, m.std)), Some((9.75, 0.0)));
    }

    #[test]
    fn a_gap_lowers_the_coverage_and_not_the_rate() {
        let times: Vec<i64> = (0..250).filter(|i| !(50..150).contains(i)).map(|i| i * 20_000_000).collect();
        let w = features(&times, &vec![[1.0, 0.0, 0.0]; times.len()], 5.0);
        assert_eq!((w.rate, w.coverage), (50.0, 0.6));
    }

    #[test]
    fn quartiles_lie_between_the_samples() {
        assert_eq!(of_axis(&[4.0, 1.0, 3.0, 2.0], 1.0).iqr, 1.5);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn every_feature_is_a_finite_number_whatever_comes_in(
            rows in prop::collection::vec((0i64..5_000_000_000, prop::array::uniform3(-160f32..160.0)), 0..300)
        ) {
            let mut rows = rows;
            rows.sort_by_key(|r| r.0);
            rows.dedup_by_key(|r| r.0);
            let (times, values): (Vec<i64>, Vec<[f32; 3]>) = rows.into_iter().unzip();
            let w = features(&times, &values, 5.0);
            let m = w.magnitude.unwrap();
            for v in [w.rate, f64::from(w.coverage), w.sma, w.dominant_frequency, w.dominant_power, w.spectral_entropy,
                      w.tilt, w.autocorrelation, w.jerk, w.step_frequency, m.mean, m.std, m.min, m.max, m.energy, m.zero_crossings, m.iqr] {
                prop_assert!(v.is_finite());
            }
            prop_assert!(w.jerk <= 1e6 && w.coverage <= 1.0 && w.autocorrelation.abs() <= 1.0 && w.step_frequency <= 20.0);
        }
    }
}
