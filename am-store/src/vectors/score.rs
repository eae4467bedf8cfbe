//! How alike two vectors are.

use crate::model::Metric;

/// How many sums run side by side: enough for the widest registers, and always the same, so that every machine and backend adds in
/// the same order and gets the same bits.
const LANES: usize = 16;

/// A vector that others are compared with.
#[derive(Debug, Clone)]
pub struct Target {
    values: Vec<f32>,
    norm: f64,
    metric: Metric,
}

impl Target {
    /// Of a vector that was checked.
    pub fn new(values: Vec<f32>, metric: Metric) -> Target {
        let norm = norm(&values);
        Target { values, norm, metric }
    }

    /// The score of another vector, whose norm was taken when it was stored. Higher is more alike.
    #[inline]
    pub fn score(&self, other: &[f32], norm: f64) -> f64 {
        let score = match self.metric {
            Metric::Cosine => (f64::from(dot(&self.values, other)) / (self.norm * norm)).clamp(-1.0, 1.0),
            Metric::Dot => f64::from(dot(&self.values, other)),
            Metric::L2 => -f64::from(squared_distance(&self.values, other)).sqrt(),
        };
        // There is one zero, so that equal scores are equal in every order.
        score + 0.0
    }
}

/// The Euclidean norm.
pub fn norm(v: &[f32]) -> f64 {
    v.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
}

#[inline]
fn lanes(a: &[f32], b: &[f32], each: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0f32; LANES];
    let (whole_a, rest_a) = a.as_chunks::<LANES>();
    let (whole_b, rest_b) = b.as_chunks::<LANES>();
    for (x, y) in whole_a.iter().zip(whole_b) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += each(*x, *y);
        }
    }
    let rest: f32 = rest_a.iter().zip(rest_b).map(|(x, y)| each(*x, *y)).sum();
    sums.iter().sum::<f32>() + rest
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    lanes(a, b, |x, y| x * y)
}

fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    lanes(a, b, |x, y| (x - y) * (x - y))
}

/// Writes a vector as little-endian bytes.
pub fn write_into(values: &[f32], out: &mut Vec<u8>) {
    out.clear();
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
}

/// Reads a vector from little-endian bytes; false when they are of another length.
pub fn read_into(bytes: &[u8], dimensions: u32, out: &mut Vec<f32>) -> bool {
    let (whole, rest) = bytes.as_chunks::<4>();
    out.clear();
    out.extend(whole.iter().map(|b| f32::from_le_bytes(*b)));
    rest.is_empty() && out.len() == dimensions as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn score(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
        Target::new(a.to_vec(), metric).score(b, norm(b))
    }

    #[test]
    fn scores_are_those_of_the_formulas() {
        let (a, b) = ([3.0, 4.0, 0.0], [4.0, 3.0, 0.0]);
        assert!((score(Metric::Cosine, &a, &b) - 0.96).abs() < 1e-7);
        assert_eq!(score(Metric::Dot, &a, &b), 24.0);
        assert!((score(Metric::L2, &a, &b) + 2f64.sqrt()).abs() < 1e-7);
        assert!(score(Metric::L2, &a, &a).is_sign_positive(), "there is one zero");
    }

    proptest! {
        #[test]
        fn sums_in_lanes_are_the_plain_sums(
            pairs in proptest::collection::vec((-1.0f32..1.0, -1.0f32..1.0), 1..100)
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
            let plain: f64 = pairs.iter().map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            prop_assert!((score(Metric::Dot, &a, &b) - plain).abs() < 1e-4);
            let far: f64 = pairs.iter().map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>().sqrt();
            prop_assert!((score(Metric::L2, &a, &b) + far).abs() < 1e-4);
            let (mut bytes, mut again) = (Vec::new(), Vec::new());
            write_into(&a, &mut bytes);
            prop_assert!(read_into(&bytes, a.len() as u32, &mut again));
            prop_assert_eq!(&a, &again);
            prop_assert!(!read_into(&bytes, a.len() as u32 + 1, &mut again));
        }
    }
}
