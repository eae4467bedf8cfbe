//! The encoder's search for the integers behind float samples.

use super::map::{Float, Map, power_of_two, ten};

/// A mapping, the integers under it, and where it does not give the sample back to the bit.
pub(super) struct Mapped {
    pub(super) map: Map,
    pub(super) ks: Vec<i64>,
    /// Positions of the samples that need a correction.
    pub(super) odd: Vec<usize>,
    /// Rough size in bits, for the choice.
    bits: u64,
}

/// Samples looked at to find candidates; all are checked afterwards.
const PROBE: usize = 2048;
/// Integers above this are not exact in a double.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// Misses below this are cheap to correct.
const NEAR: u64 = 1 << 16;

/// The mapping that promises the fewest bits.
pub(super) fn best<F: Float>(samples: &[F], sample_bits: u64) -> Mapped {
    let mut best = apply(Map::Bits, samples, sample_bits);
    let probe: Vec<f64> =
        samples.iter().step_by(samples.len().div_ceil(PROBE).max(1)).map(|x| x.wide()).filter(|x| x.is_finite()).collect();
    let offer = |map: Map, best: &mut Mapped| {
        let m = apply(map, samples, sample_bits);
        if m.bits < best.bits {
            *best = m;
        }
    };
    let places = decimals::<F>(&probe);
    if let Some(e) = places {
        offer(Map::Decimal(e), &mut best);
        let units: Vec<(f64, f64)> = probe.iter().map(|x| ((x.abs() * ten(e) + 0.5).floor(), 0.5)).collect();
        if let Some(step) = common_step(units, 2.0) {
            offer(Map::DecimalStep(e, step), &mut best);
        }
    }
    if let Some(j) = binary_places(samples) {
        offer(Map::Binary(j), &mut best);
    }
    let spans = probe.iter().map(|x| (x.abs(), half_gap::<F>(*x))).collect();
    if let Some(step) = common_step(spans, 0.0) {
        offer(Map::Step(step), &mut best);
    }
    best
}

/// A mapping that misses more samples than this is not used.
pub(super) const fn most_corrections(samples: usize) -> usize {
    samples / 8 + 8
}

fn apply<F: Float>(map: Map, samples: &[F], sample_bits: u64) -> Mapped {
    let mut ks: Vec<i64> = Vec::with_capacity(samples.len());
    let mut odd = Vec::new();
    let (mut before, mut aside) = (0, 0);
    for (i, x) in samples.iter().enumerate() {
        let k = map.nearest(*x);
        let exact = map == Map::Bits || (k as f64).abs() < EXACT;
        let miss = if exact { map.miss(*x, k) } else { i64::MAX };
        if miss != 0 {
            odd.push(i);
            aside += if miss.unsigned_abs() < NEAR { 24 } else { sample_bits + 8 };
        }
        if miss.unsigned_abs() < NEAR {
            before = k;
        }
        // A sample far from every k repeats its neighbour, which costs next to nothing.
        ks.push(before);
    }
    if odd.len() > most_corrections(samples.len()) {
        return Mapped { map, bits: u64::MAX, ks, odd };
    }
    let g = super::series::divisor(&ks);
    let bits: u64 = ks.windows(2).map(|w| 2 + u64::from(64 - (w[1].wrapping_sub(w[0]).unsigned_abs() / g).leading_zeros())).sum();
    Mapped { map, bits: bits + aside, ks, odd }
}

/// The fewest decimals that nine in ten of the values have.
fn decimals<F: Float>(probe: &[f64]) -> Option<u8> {
    let good = |e: u8| {
        let fits = |x: &&f64| {
            let k = (**x * ten(e) + 0.5).floor();
            k.abs() < EXACT && F::of(k / ten(e)).raw() == F::of(**x).raw()
        };
        probe.iter().filter(fits).count() * 10 >= probe.len() * 9
    };
    (0..=15).find(|e| good(*e)).filter(|_| !probe.is_empty())
}

/// The `j` for which every finite sample is a multiple of `2^-j`, if the multiples stay exact.
fn binary_places<F: Float>(samples: &[F]) -> Option<i16> {
    let (mut lowest, mut most) = (i32::MAX, 0.0f64);
    for x in samples.iter().map(|x| x.wide()).filter(|x| x.is_finite() && *x != 0.0) {
        let bits = x.to_bits();
        let exponent = (bits >> 52 & 0x7ff) as i32;
        let (mantissa, exponent) = if exponent == 0 { (bits << 12 >> 12, -1074) } else { (bits << 12 >> 12 | 1 << 52, exponent - 1075) };
        lowest = lowest.min(exponent + mantissa.trailing_zeros() as i32);
        most = most.max(x.abs());
    }
    let fits = lowest != i32::MAX && most * power_of_two((-lowest).min(1023)) < EXACT;
    fits.then(|| i16::try_from(-lowest).ok()).flatten()
}

/// Half the distance to the next float of this type.
fn half_gap<F: Float>(x: f64) -> f64 {
    let a = F::of(x.abs());
    (F::from_ordered(a.ordered() + 1).wide() - a.wide()) * 0.5
}

/// The step of which all values, given with their tolerance, are whole multiples. Distances up to `blur` do not count as different.
fn common_step(mut values: Vec<(f64, f64)>, blur: f64) -> Option<f64> {
    values.retain(|(v, half)| v.is_finite() && half.is_finite());
    values.push((0.0, 0.0));
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    values.dedup_by(|b, a| b.0 - a.0 <= blur + (a.1 + b.1) * 2.0);
    if values.len() < 8 {
        return None;
    }
    let smallest = values.windows(2).map(|w| w[1].0 - w[0].0).fold(f64::INFINITY, f64::min);
    // A first guess from the small distances, then ever longer multiples pin it down.
    let (mut sum, mut count) = (0.0, 0.0);
    for d in values.windows(2).map(|w| w[1].0 - w[0].0).filter(|d| *d < smallest * 1.2) {
        sum += d;
        count += 1.0;
    }
    let mut step: f64 = sum / count;
    let (mut vk, mut kk, mut taken) = (0.0, 0.0, 0usize);
    for (v, half) in &values {
        let k = (v / step + 0.5).floor();
        if k > 0.0 && (v - k * step).abs() <= step * 0.25 + half {
            vk += v * k;
            kk += k * k;
            step = if kk > 0.0 { vk / kk } else { step };
            taken += 1;
        }
    }
    // Steps that differ little from the spacing of the values themselves explain nothing.
    if taken * 10 < values.len() * 9 || !step.is_finite() || step <= 0.0 {
        return None;
    }
    Some(most_agreed(&values, step))
}

/// Each value allows an interval of steps; the point that most of them share.
fn most_agreed(values: &[(f64, f64)], step: f64) -> f64 {
    let mut edges: Vec<(f64, i32)> = Vec::with_capacity(values.len() * 2);
    for (v, half) in values {
        let k = (v / step + 0.5).floor();
        if k > 0.0 {
            edges.push(((v - half) / k, 1));
            edges.push(((v + half) / k, -1));
        }
    }
    edges.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut depth, mut deepest, mut at) = (0, 0, step);
    for pair in edges.windows(2) {
        depth += pair[0].1;
        if depth > deepest {
            deepest = depth;
            at = (pair[0].0 + pair[1].0) * 0.5;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(i: usize) -> i64 {
        ((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 52) as i64 - 2048
    }

    #[test]
    fn decimals_are_recognised() {
        let xs: Vec<f32> = (0..500).map(|i| (raw(i) as f64 / 1000.0) as f32).collect();
        let m = best(&xs, 32);
        assert_eq!(m.map, Map::Decimal(3));
        assert!(m.odd.is_empty());
        assert_eq!(m.ks[7], raw(7));
    }

    #[test]
    fn a_sensor_step_is_recognised_in_floats_and_in_rounded_decimals() {
        let step = 0.002_663_372_6;
        let floats: Vec<f32> = (0..500).map(|i| (raw(i) as f64 * step) as f32).collect();
        let m = best(&floats, 32);
        assert!(matches!(m.map, Map::Step(_)), "{:?}", m.map);
        assert!(m.odd.is_empty(), "{}", m.odd.len());

        let rounded: Vec<f64> = (0..500).map(|i| (raw(i) as f64 * step * 1e6 + 0.5).floor() / 1e6).collect();
        let m = best(&rounded, 64);
        assert!(matches!(m.map, Map::DecimalStep(6, _)), "{:?}", m.map);
        assert!(m.odd.len() < 10, "{}", m.odd.len());
    }

    #[test]
    fn values_that_no_mapping_gives_back_are_kept_aside() {
        let mut xs: Vec<f64> = (0..500).map(|i| raw(i) as f64 / 4.0).collect();
        xs[3] = -0.0;
        xs[100] = f64::NAN;
        xs[499] = f64::NEG_INFINITY;
        let m = best(&xs, 64);
        assert!(matches!(m.map, Map::Decimal(2) | Map::Binary(2)), "{:?}", m.map);
        assert_eq!(m.odd, [3, 100, 499]);
    }
}
