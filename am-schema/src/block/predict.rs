//! Predictors in wrapping 64-bit integers, so that every platform restores the same samples.

use super::bits::{BitReader, BitWriter, Bytes, Res};

/// Highest fixed polynomial order.
pub(super) const MAX_FIXED: u8 = 3;
/// Taps on the series' own past come in groups of this many.
pub(super) const TAP_STEP: usize = 4;
/// Most taps on the series' own past.
pub(super) const MAX_TAPS: usize = 32;
/// Taps on a reference series: its present sample and three before.
pub(super) const SIDE_TAPS: usize = 4;

/// How a sample is predicted from those before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Predictor {
    /// The polynomial through the last samples (order 0 predicts zero).
    Fixed(u8),
    /// A weighted sum of past samples.
    Linear(Linear),
}

/// Linear prediction with quantised weights.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Linear {
    /// The sum is divided by `2^shift`, rounding half up.
    pub(super) shift: u32,
    /// Weight of the newest sample first.
    pub(super) own: Vec<i64>,
    /// Weights of the reference series, its present sample first.
    pub(super) side: Option<[i64; SIDE_TAPS]>,
}

impl Linear {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let all = || self.own.iter().chain(self.side.iter().flatten());
        let width = all().map(|c| 65 - (c ^ (c >> 63)).leading_zeros()).max().unwrap_or(1);
        let mut w = BitWriter::default();
        w.put((self.own.len() / TAP_STEP - 1) as u64, 3);
        w.put(u64::from(self.shift), 5);
        w.put(u64::from(width - 1), 4);
        for c in all() {
            w.put(*c as u64, width);
        }
        out.extend_from_slice(&w.finish());
    }

    pub(super) fn read(bytes: &mut Bytes<'_>, side: bool) -> Res<Linear> {
        let mut r = BitReader::new(bytes.rest());
        let taps = (r.get(3) as usize + 1) * TAP_STEP;
        let shift = r.get(5) as u32;
        let width = r.get(4) as u32 + 1;
        let mut weight = || ((r.get(width) << (64 - width)) as i64) >> (64 - width);
        let own = (0..taps).map(|_| weight()).collect();
        let side = side.then(|| [weight(), weight(), weight(), weight()]);
        let used = r.finish()?;
        bytes.take(used)?;
        Ok(Linear { shift, own, side })
    }
}

/// Turns residuals into samples in place. The first entry is a sample already; `side` is empty or as long as `series`.
pub(super) fn restore(p: &Predictor, series: &mut [i64], side: &[i64]) {
    match p {
        Predictor::Fixed(order) => restore_fixed(*order, series),
        Predictor::Linear(l) => match l.own.len() {
            4 => restore_linear::<4>(l, series, side),
            8 => restore_linear::<8>(l, series, side),
            12 => restore_linear::<12>(l, series, side),
            16 => restore_linear::<16>(l, series, side),
            20 => restore_linear::<20>(l, series, side),
            24 => restore_linear::<24>(l, series, side),
            28 => restore_linear::<28>(l, series, side),
            _ => restore_linear::<32>(l, series, side),
        },
    }
}

fn restore_fixed(order: u8, series: &mut [i64]) {
    let (mut a, mut b, mut c) = (0i64, 0i64, 0i64);
    // Running differences: the first samples use the orders that they have the past for.
    for (t, x) in series.iter_mut().enumerate() {
        if t == 0 || order == 0 {
            a = *x;
            continue;
        }
        let second = if t >= 3 && order >= 3 { c.wrapping_add(*x) } else { *x };
        let first = if t >= 2 && order >= 2 { b.wrapping_add(second) } else { second };
        let value = a.wrapping_add(first);
        c = if t >= 2 { first.wrapping_sub(b) } else { 0 };
        b = first;
        a = value;
        *x = value;
    }
}

fn restore_linear<const N: usize>(l: &Linear, series: &mut [i64], side: &[i64]) {
    let mut own = [0i64; N];
    for (w, c) in own.iter_mut().rev().zip(&l.own) {
        *w = *c;
    }
    let warm = N.min(series.len());
    let mut last = 0i64;
    for x in series.iter_mut().take(warm) {
        last = x.wrapping_add(last);
        *x = last;
    }
    let half = (1i64 << l.shift) >> 1;
    match l.side {
        None => {
            for t in N..series.len() {
                let sum = series.get(t - N..t).and_then(|w| w.first_chunk::<N>()).map_or(0, |w| dot(&own, w));
                if let Some(x) = series.get_mut(t) {
                    *x = x.wrapping_add(sum.wrapping_add(half) >> l.shift);
                }
            }
        }
        Some(weights) => {
            for t in N..series.len() {
                let sum = series.get(t - N..t).and_then(|w| w.first_chunk::<N>()).map_or(0, |w| dot(&own, w));
                let sum = sum.wrapping_add(side_sum(&weights, side, t));
                if let Some(x) = series.get_mut(t) {
                    *x = x.wrapping_add(sum.wrapping_add(half) >> l.shift);
                }
            }
        }
    }
}

#[inline(always)]
fn dot<const N: usize>(a: &[i64; N], b: &[i64; N]) -> i64 {
    let mut sum = 0i64;
    for i in 0..N {
        sum = sum.wrapping_add(a[i].wrapping_mul(b[i]));
    }
    sum
}

#[inline(always)]
fn side_sum(weights: &[i64; SIDE_TAPS], side: &[i64], t: usize) -> i64 {
    let Some(w) = side.get(t + 1 - SIDE_TAPS..=t).and_then(|w| w.first_chunk::<SIDE_TAPS>()) else { return 0 };
    let [w3, w2, w1, w0] = *w;
    dot(weights, &[w0, w1, w2, w3])
}

/// Residuals of every sample but the first.
pub(super) fn residuals(p: &Predictor, series: &[i64], side: &[i64], out: &mut Vec<i64>) {
    out.clear();
    let at = |t: usize, back: usize| if back <= t { series.get(t - back).copied().unwrap_or(0) } else { 0 };
    for t in 1..series.len() {
        let p1 = at(t, 1);
        let guess = match p {
            Predictor::Fixed(order) => match usize::from(*order).min(t) {
                0 => 0,
                1 => p1,
                2 => p1.wrapping_mul(2).wrapping_sub(at(t, 2)),
                _ => p1.wrapping_sub(at(t, 2)).wrapping_mul(3).wrapping_add(at(t, 3)),
            },
            Predictor::Linear(l) if t >= l.own.len() => {
                let past = series.get(t - l.own.len()..t).unwrap_or_default();
                let sum = l.own.iter().zip(past.iter().rev()).fold(0i64, |s, (c, x)| s.wrapping_add(c.wrapping_mul(*x)));
                let sum = l.side.map_or(sum, |w| sum.wrapping_add(side_sum(&w, side, t)));
                sum.wrapping_add((1i64 << l.shift) >> 1) >> l.shift
            }
            Predictor::Linear(_) => p1,
        };
        out.push(at(t, 0).wrapping_sub(guess));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(p: &Predictor, series: &[i64], side: &[i64]) {
        let mut r = Vec::new();
        residuals(p, series, side, &mut r);
        let mut back = vec![series[0]];
        back.extend(&r);
        restore(p, &mut back, side);
        assert_eq!(back, series, "{p:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_predictor_restores_what_it_predicted(
            series in prop::collection::vec(any::<i64>(), 1..80),
            weights in prop::collection::vec(-16_384i64..16_384, 32),
            shift in 0u32..21,
        ) {
            let side: Vec<i64> = series.iter().map(|x| x.wrapping_mul(3)).collect();
            for order in 0..=MAX_FIXED {
                check(&Predictor::Fixed(order), &series, &[]);
            }
            for taps in (TAP_STEP..=MAX_TAPS).step_by(TAP_STEP) {
                let mut l = Linear { shift, own: weights[..taps].to_vec(), side: None };
                check(&Predictor::Linear(l.clone()), &series, &[]);
                l.side = Some([weights[0], -7, weights[1], 1]);
                check(&Predictor::Linear(l.clone()), &series, &side);
                let mut out = Vec::new();
                l.write(&mut out);
                prop_assert_eq!(Linear::read(&mut Bytes::new(&out), true).unwrap(), l);
            }
        }
    }

    #[test]
    fn a_parabola_has_no_third_order_residual() {
        let series: Vec<i64> = (0..50).map(|t| 3 * t * t - 7 * t + 4).collect();
        let mut r = Vec::new();
        residuals(&Predictor::Fixed(3), &series, &[], &mut r);
        assert!(r[2..].iter().all(|x| *x == 0), "{r:?}");
    }
}
