//! Mappings between float samples and the integers that are coded. All arithmetic is IEEE 754 `+ * /`, conversion and floor.

use super::bits::{Bytes, Res};

/// Powers of ten that a double holds exactly.
const TENS: [f64; 23] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22];

/// A float type whose samples can be coded.
pub(super) trait Float: Copy + PartialEq {
    /// Rounds a double to this type.
    fn of(v: f64) -> Self;
    /// The exact value as a double.
    fn wide(self) -> f64;
    /// The bits as an integer that grows with the value: negative values have their magnitude bits inverted.
    fn ordered(self) -> i64;
    /// The inverse of [`Float::ordered`].
    fn from_ordered(v: i64) -> Self;
    /// The bits, zero-extended.
    fn raw(self) -> u64;
}

impl Float for f32 {
    #[inline(always)]
    fn of(v: f64) -> Self {
        v as f32
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn ordered(self) -> i64 {
        let b = self.to_bits() as i32;
        i64::from(b ^ ((b >> 31) & i32::MAX))
    }
    #[inline(always)]
    fn from_ordered(v: i64) -> Self {
        let b = v as i32;
        f32::from_bits((b ^ ((b >> 31) & i32::MAX)) as u32)
    }
    #[inline(always)]
    fn raw(self) -> u64 {
        u64::from(self.to_bits())
    }
}

impl Float for f64 {
    #[inline(always)]
    fn of(v: f64) -> Self {
        v
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
    #[inline(always)]
    fn ordered(self) -> i64 {
        let b = self.to_bits() as i64;
        b ^ ((b >> 63) & i64::MAX)
    }
    #[inline(always)]
    fn from_ordered(v: i64) -> Self {
        f64::from_bits((v ^ ((v >> 63) & i64::MAX)) as u64)
    }
    #[inline(always)]
    fn raw(self) -> u64 {
        self.to_bits()
    }
}

/// How an integer `k` becomes a float sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Map {
    /// `k` is the float's bits in value order.
    Bits,
    /// `k / 10^e`.
    Decimal(u8),
    /// `k · 2^-j`.
    Binary(i16),
    /// `k · step`.
    Step(f64),
    /// `k · step`, rounded to `e` decimals: `floor(k · step + ½) / 10^e`, the step counted in units of `10^-e`.
    DecimalStep(u8, f64),
}

/// `2^n`; 0 or infinity outside a double's range.
pub(super) fn power_of_two(n: i32) -> f64 {
    match n {
        -1022..=1023 => f64::from_bits(((n + 1023) as u64) << 52),
        -1074..=-1023 => f64::from_bits(1 << (n + 1074)),
        ..-1074 => 0.0,
        _ => f64::INFINITY,
    }
}

pub(super) fn ten(e: u8) -> f64 {
    TENS.get(usize::from(e)).copied().unwrap_or(1.0)
}

impl Map {
    /// The number that stands for the mapping in a channel's head.
    pub(super) fn id(self) -> u8 {
        match self {
            Map::Bits => 0,
            Map::Decimal(_) => 1,
            Map::Binary(_) => 2,
            Map::Step(_) => 3,
            Map::DecimalStep(..) => 4,
        }
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        match self {
            Map::Bits => {}
            Map::Decimal(e) => out.push(e),
            Map::Binary(j) => out.extend_from_slice(&j.to_le_bytes()),
            Map::Step(s) => out.extend_from_slice(&s.to_le_bytes()),
            Map::DecimalStep(e, s) => {
                out.push(e);
                out.extend_from_slice(&s.to_le_bytes());
            }
        }
    }

    pub(super) fn read(id: u8, bytes: &mut Bytes<'_>) -> Res<Map> {
        let decimals = |bytes: &mut Bytes<'_>| bytes.u8().and_then(|e| if e <= 22 { Ok(e) } else { Err("it has too many decimals") });
        Ok(match id {
            0 => Map::Bits,
            1 => Map::Decimal(decimals(bytes)?),
            2 => Map::Binary(i16::from_le_bytes(bytes.array()?)),
            3 => Map::Step(f64::from_le_bytes(bytes.array()?)),
            4 => Map::DecimalStep(decimals(bytes)?, f64::from_le_bytes(bytes.array()?)),
            _ => return Err("it has an unknown number mapping"),
        })
    }

    /// The sample of `k`.
    pub(super) fn sample<F: Float>(self, k: i64) -> F {
        match self {
            Map::Bits => F::from_ordered(k),
            Map::Decimal(e) => F::of(k as f64 / ten(e)),
            Map::Binary(j) => F::of(k as f64 * power_of_two(-i32::from(j))),
            Map::Step(s) => F::of(k as f64 * s),
            Map::DecimalStep(e, s) => F::of((k as f64 * s + 0.5).floor() / ten(e)),
        }
    }

    /// The `k` whose sample is nearest; the caller checks whether it is the same to the bit.
    pub(super) fn nearest<F: Float>(self, x: F) -> i64 {
        let near = |v: f64| (v + 0.5).floor() as i64;
        match self {
            Map::Bits => x.ordered(),
            Map::Decimal(e) => near(x.wide() * ten(e)),
            Map::Binary(j) => near(x.wide() * power_of_two(i32::from(j))),
            Map::Step(s) => near(x.wide() / s),
            Map::DecimalStep(e, s) => near((x.wide() * ten(e) + 0.5).floor() / s),
        }
    }

    /// By how many floats the sample misses `x`.
    pub(super) fn miss<F: Float>(self, x: F, k: i64) -> i64 {
        x.ordered().wrapping_sub(self.sample::<F>(k).ordered())
    }

    /// Appends the samples of `first + step·divisor`, one tight loop per mapping.
    pub(super) fn expand<F: Float>(self, steps: &[i64], grid: super::series::Grid, out: &mut Vec<F>) {
        let ks = steps.iter().map(|s| grid.value(*s));
        match self {
            Map::Bits => out.extend(ks.map(F::from_ordered)),
            Map::Decimal(e) => {
                let unit = ten(e);
                out.extend(ks.map(|k| F::of(k as f64 / unit)));
            }
            Map::Binary(j) => {
                let unit = power_of_two(-i32::from(j));
                out.extend(ks.map(|k| F::of(k as f64 * unit)));
            }
            Map::Step(s) => out.extend(ks.map(|k| F::of(k as f64 * s))),
            Map::DecimalStep(e, s) => {
                let unit = ten(e);
                out.extend(ks.map(|k| F::of((k as f64 * s + 0.5).floor() / unit)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordered_bits_grow_with_the_value_and_come_back() {
        let all = [f64::NEG_INFINITY, -1.5, -f64::MIN_POSITIVE, -0.0, 0.0, 1e-310, 2.0, f64::INFINITY];
        assert!(all.windows(2).all(|w| w[0].ordered() < w[1].ordered()));
        for x in all {
            assert_eq!(f64::from_ordered(x.ordered()).to_bits(), x.to_bits());
            let y = x as f32;
            assert_eq!(f32::from_ordered(y.ordered()).to_bits(), y.to_bits());
        }
        let nan = f32::from_bits(0xffc1_2345);
        assert_eq!(f32::from_ordered(nan.ordered()).to_bits(), nan.to_bits());
    }

    #[test]
    fn powers_of_two_are_exact() {
        assert_eq!([power_of_two(0), power_of_two(-3), power_of_two(10)], [1.0, 0.125, 1024.0]);
        assert_eq!(power_of_two(-1074), f64::from_bits(1));
        assert_eq!(power_of_two(-1022), f64::MIN_POSITIVE);
        assert_eq!((power_of_two(-1075), power_of_two(1024)), (0.0, f64::INFINITY));
    }
}
