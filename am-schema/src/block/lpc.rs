//! The encoder's linear prediction analysis: least squares over the whole series (covariance method), optionally with a reference series.
//! Only `+ - * /` of IEEE 754 doubles are used, so that every platform finds the same weights.

use super::predict::{Linear, MAX_TAPS, SIDE_TAPS};

/// Sums of products for the normal equations, for up to [`MAX_TAPS`] own taps and [`SIDE_TAPS`] of a reference.
pub(super) struct Moments {
    /// `own[i][j]` = Σ x[t−i]·x[t−j].
    own: Vec<Vec<f64>>,
    /// `cross[i][j]` = Σ x[t−i]·y[t−j].
    cross: Vec<Vec<f64>>,
    /// `side[i][j]` = Σ y[t−i]·y[t−j].
    side: Vec<Vec<f64>>,
    samples: usize,
}

/// Largest weight after scaling, by series length: short series cannot pay for precise weights.
fn precision(samples: usize) -> u32 {
    match samples {
        0..512 => 8,
        512..4096 => 10,
        4096..32_768 => 12,
        _ => 14,
    }
}

/// Σ a[t−i]·b[t−j] for t in `from..n`, for all i < rows, j < columns. The first row and column are summed, the others follow from their
/// upper-left neighbour by one product at each end.
fn products(a: &[f64], b: &[f64], rows: usize, columns: usize, from: usize) -> Vec<Vec<f64>> {
    let n = a.len().min(b.len());
    let at = |s: &[f64], t: usize| s.get(t).copied().unwrap_or(0.0);
    let sum = |i: usize, j: usize| {
        let x = a.get(from - i..n - i).unwrap_or_default();
        let y = b.get(from - j..n - j).unwrap_or_default();
        // Eight partial sums in a fixed order: faster than one, and the same everywhere.
        let mut part = [0.0f64; 8];
        let (x8, xr) = x.as_chunks::<8>();
        let (y8, yr) = y.as_chunks::<8>();
        for (p, q) in x8.iter().zip(y8) {
            for k in 0..8 {
                part[k] += p[k] * q[k];
            }
        }
        part.iter().sum::<f64>() + xr.iter().zip(yr).map(|(p, q)| p * q).sum::<f64>()
    };
    let mut m: Vec<Vec<f64>> = vec![vec![0.0; columns]; rows];
    for i in 0..rows {
        for j in 0..columns {
            let v = if i == 0 || j == 0 {
                sum(i, j)
            } else {
                let before = m.get(i - 1).and_then(|r| r.get(j - 1)).copied().unwrap_or(0.0);
                before + at(a, from - i) * at(b, from - j) - at(a, n - i) * at(b, n - j)
            };
            if let Some(slot) = m.get_mut(i).and_then(|r| r.get_mut(j)) {
                *slot = v;
            }
        }
    }
    m
}

/// Centred copy for the analysis.
pub(super) fn as_floats(series: &[i64]) -> Vec<f64> {
    series.iter().map(|x| *x as f64).collect()
}

impl Moments {
    /// Sums for `taps` own taps; `side` may be empty.
    pub(super) fn new(series: &[f64], side: &[f64], taps: usize) -> Moments {
        let from = taps.clamp(SIDE_TAPS, MAX_TAPS);
        let own = products(series, series, taps + 1, taps + 1, from);
        if side.is_empty() {
            return Moments { own, cross: Vec::new(), side: Vec::new(), samples: series.len() };
        }
        let cross = products(series, side, taps + 1, SIDE_TAPS, from);
        Moments { own, cross, side: products(side, side, SIDE_TAPS, SIDE_TAPS, from), samples: series.len() }
    }

    /// The weights of `taps` own taps, and of the reference when there is one. `None` when the equations have no usable answer.
    pub(super) fn solve(&self, taps: usize) -> Option<Linear> {
        let with_side = !self.side.is_empty();
        let n = taps + if with_side { SIDE_TAPS } else { 0 };
        // Unknown u is own tap u+1, or reference tap u−taps.
        let entry = |u: usize, v: usize| match (u < taps, v < taps) {
            (true, true) => get(&self.own, u + 1, v + 1),
            (true, false) => get(&self.cross, u + 1, v - taps),
            (false, true) => get(&self.cross, v + 1, u - taps),
            (false, false) => get(&self.side, u - taps, v - taps),
        };
        let goal = |u: usize| if u < taps { get(&self.own, 0, u + 1) } else { get(&self.cross, 0, u - taps) };
        let scale = (0..n).map(|u| entry(u, u)).fold(0.0, f64::max);
        let ridge = scale * 1e-9 + 1e-9;
        let mut a: Vec<Vec<f64>> =
            (0..n).map(|u| (0..n).map(|v| entry(u, v) + if u == v { ridge } else { 0.0 }).chain([goal(u)]).collect()).collect();
        let weights = eliminate(&mut a)?;
        quantise(&weights, taps, precision(self.samples))
    }
}

fn get(m: &[Vec<f64>], i: usize, j: usize) -> f64 {
    m.get(i).and_then(|r| r.get(j)).copied().unwrap_or(0.0)
}

/// Gaussian elimination of a symmetric positive definite system with its right side as last column.
fn eliminate(a: &mut [Vec<f64>]) -> Option<Vec<f64>> {
    let n = a.len();
    for p in 0..n {
        let (done, below) = a.split_at_mut(p + 1);
        let pivot_row = done.last()?;
        let pivot = *pivot_row.get(p)?;
        if !(pivot.is_finite() && pivot > 0.0) {
            return None;
        }
        for row in below {
            let f = *row.get(p)? / pivot;
            for (x, y) in row.iter_mut().zip(pivot_row).skip(p) {
                *x -= f * y;
            }
        }
    }
    let mut w = vec![0.0; n];
    for p in (0..n).rev() {
        let row = a.get(p)?;
        let known: f64 = (p + 1..n).map(|q| row.get(q).copied().unwrap_or(0.0) * w.get(q).copied().unwrap_or(0.0)).sum();
        let v = (row.get(n)? - known) / row.get(p)?;
        *w.get_mut(p)? = v.is_finite().then_some(v)?;
    }
    Some(w)
}

/// Scales the weights to integers, carrying each rounding error into the next.
fn quantise(weights: &[f64], taps: usize, bits: u32) -> Option<Linear> {
    let most = weights.iter().map(|w| w.abs()).fold(0.0, f64::max);
    let limit = f64::from(1u32 << bits);
    let mut shift = 20u32;
    while most * f64::from(1u32 << shift) >= limit {
        shift = shift.checked_sub(1)?;
    }
    let factor = f64::from(1u32 << shift);
    let mut error = 0.0;
    let mut ints = weights.iter().map(|w| {
        let exact = w * factor + error;
        let whole = (exact + 0.5).floor();
        error = exact - whole;
        whole as i64
    });
    let own = ints.by_ref().take(taps).collect();
    let rest: Vec<i64> = ints.collect();
    Some(Linear { shift, own, side: rest.first_chunk::<SIDE_TAPS>().copied() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_the_recurrence_of_a_resonance() {
        // x[t] = 1.8 x[t-1] - 0.9 x[t-2] + noise.
        let (mut x, mut seed) = (vec![0.0f64; 2], 1u64);
        for t in 2..5000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            let noise = ((seed >> 40) as f64 / f64::from(1 << 24) - 0.5) * 100.0;
            x.push(1.8 * x[t - 1] - 0.9 * x[t - 2] + noise);
        }
        let l = Moments::new(&x, &[], 4).solve(4).unwrap();
        let unit = f64::from(1u32 << l.shift);
        assert!((l.own[0] as f64 / unit - 1.8).abs() < 0.05, "{l:?}");
        assert!((l.own[1] as f64 / unit + 0.9).abs() < 0.08, "{l:?}");
    }

    #[test]
    fn a_copy_of_the_reference_is_predicted_by_it() {
        let y: Vec<f64> = (0..2000u32).map(|i| f64::from(i.wrapping_mul(2_654_435_761) >> 20)).collect();
        let x: Vec<f64> = y.iter().map(|v| v * 2.0).collect();
        let l = Moments::new(&x, &y, 4).solve(4).unwrap();
        let side = l.side.unwrap();
        let unit = (1i64 << l.shift) as f64;
        // The reference alone explains it; own taps and old reference taps may cancel each other.
        assert!((side[0] as f64 / unit - 2.0).abs() < 0.02, "{l:?}");
    }
}
