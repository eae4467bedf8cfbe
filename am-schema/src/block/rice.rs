//! Adaptive Golomb-Rice coding (Rice and Plaunt 1971): the parameter follows a running mean of the magnitudes.

use super::bits::{BitReader, BitWriter, Bytes, Res, unzigzag, zigzag};

/// Quotients from here on are written as a length and that many bits.
const ESCAPE: u32 = 16;
const ESCAPE_BITS: u64 = (1 << ESCAPE) - 1;
/// Keeps the running mean from overflowing.
const CAP: u64 = 1 << 56;

/// Exponentially weighted mean of magnitudes, times 2^rate.
#[derive(Clone, Copy)]
pub(super) struct Mean {
    scaled: u64,
    rate: u32,
}

impl Mean {
    /// `start` is the base-2 logarithm of the first mean, `rate` that of the window in samples.
    pub(super) fn new(start: u32, rate: u32) -> Self {
        Mean { scaled: (1u64 << start.min(55)) << rate, rate }
    }

    #[inline(always)]
    pub(super) fn update(&mut self, z: u64) {
        self.scaled = self.scaled - (self.scaled >> self.rate) + z.min(CAP);
    }

    #[inline(always)]
    pub(super) fn scaled(&self) -> u64 {
        self.scaled
    }

    #[inline(always)]
    fn parameter(&self) -> u32 {
        ((self.scaled >> self.rate) | 1).ilog2()
    }
}

/// The number of bits that [`encode`] takes for the residuals.
pub(super) fn cost(residuals: &[i64], start: u32, rate: u32) -> u64 {
    let mut mean = Mean::new(start, rate);
    let mut bits = 0u64;
    for r in residuals {
        let z = zigzag(*r);
        let k = mean.parameter();
        let q = z >> k;
        bits += if q < u64::from(ESCAPE) { q + 1 + u64::from(k) } else { u64::from(ESCAPE) + 6 + u64::from((z | 1).ilog2()) + 1 };
        mean.update(z);
    }
    bits
}

/// The parameter to begin with: the logarithm of the mean of the first few magnitudes.
pub(super) fn first_parameter(residuals: &[i64]) -> u32 {
    let head = residuals.get(..residuals.len().min(16)).unwrap_or_default();
    let sum: u64 = head.iter().map(|r| zigzag(*r).min(CAP)).sum();
    ((sum / (head.len() as u64).max(1)) | 1).ilog2().min(55)
}

/// Appends the coded residuals: one byte of parameters, then the bits. Returns the rate that was best.
pub(super) fn encode(residuals: &[i64], out: &mut Vec<u8>) -> u32 {
    let start = first_parameter(residuals);
    let rate = (3..=6).min_by_key(|rate| cost(residuals, start, *rate)).unwrap_or(4);
    out.push((start | (rate - 3) << 6) as u8);
    let mut w = BitWriter::default();
    let mut mean = Mean::new(start, rate);
    for r in residuals {
        let z = zigzag(*r);
        let k = mean.parameter();
        let q = z >> k;
        if q < u64::from(ESCAPE) {
            w.put((1 << q) - 1, q as u32 + 1);
            w.put(z, k);
        } else {
            let len = (z | 1).ilog2() + 1;
            w.put(ESCAPE_BITS, ESCAPE);
            w.put(u64::from(len - 1), 6);
            w.put(z, len);
        }
        mean.update(z);
    }
    out.extend_from_slice(&w.finish());
    rate
}

/// Fills `out` with residuals.
pub(super) fn decode(bytes: &mut Bytes<'_>, out: &mut [i64]) -> Res<()> {
    let head = u32::from(bytes.u8()?);
    let mut mean = Mean::new(head & 63, (head >> 6) + 3);
    let mut r = BitReader::new(bytes.rest());
    for slot in out {
        let k = mean.parameter();
        r.refill();
        let q = r.peek().trailing_ones();
        let z = if q < ESCAPE {
            r.skip(q + 1);
            if k <= 32 { u64::from(q) << k | r.take(k) } else { u64::from(q) << k | r.get(k) }
        } else {
            r.skip(ESCAPE);
            let len = r.take(6) as u32 + 1;
            r.get(len)
        };
        *slot = unzigzag(z);
        mean.update(z);
    }
    let used = r.finish()?;
    bytes.take(used)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_magnitude_comes_back() {
        let mut all: Vec<i64> = (0..64).flat_map(|b| [1i64 << b, (1i64 << b).wrapping_neg(), (1i64 << b).wrapping_sub(1)]).collect();
        all.extend([0; 300]);
        all.extend([i64::MAX, i64::MIN, 5]);
        let mut out = Vec::new();
        encode(&all, &mut out);
        let mut back = vec![0; all.len()];
        let mut bytes = Bytes::new(&out);
        decode(&mut bytes, &mut back).unwrap();
        assert_eq!(back, all);
        assert!(bytes.rest().is_empty());
    }
}
