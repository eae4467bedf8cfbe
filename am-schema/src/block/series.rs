//! One series of integers: first value, common divisor, predictor, coded residuals.

use super::bits::{Bytes, Res, put_varint, zigzag};
use super::lpc::{Moments, as_floats};
use super::predict::{Linear, MAX_FIXED, Predictor, residuals, restore};
use super::{model, rans, rice};

/// Head byte: predictor in bits 0–2, coder in bits 3–4, divisor flag in bit 5.
const LINEAR: u8 = 4;
const LINEAR_WITH_SIDE: u8 = 5;
const CODER_ZERO: u8 = 0;
const CODER_RICE: u8 = 1;
const CODER_RANS: u8 = 2;
const DIVISOR: u8 = 1 << 5;
/// How many series back a reference may be.
pub(super) const REACH: usize = 8;
/// Linear prediction is not tried on longer magnitudes: its sums would wrap and predict nothing.
const LINEAR_MAX: u64 = 1 << 46;
/// Shorter series cannot pay for weights.
const LINEAR_MIN_SAMPLES: usize = 48;
/// Shorter series cannot pay for entropy tables.
const RANS_MIN_SAMPLES: usize = 256;

/// A series as it was coded: `(value − first) / divisor`, which later channels may refer to.
pub(super) type Steps = Vec<i64>;

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The largest number that divides all differences to the first value, at least 1.
pub(super) fn divisor(values: &[i64]) -> u64 {
    let first = values.first().copied().unwrap_or(0);
    let mut g = 0;
    for v in values {
        g = gcd(g, v.wrapping_sub(first).unsigned_abs());
        if g == 1 {
            break;
        }
    }
    g.max(1)
}

struct Choice {
    predictor: Predictor,
    back: usize,
    bits: u64,
}

/// Appends a series; `before` are the series that it may refer to, the nearest last. Returns its steps.
pub(super) fn encode(values: &[i64], before: &[Steps], linear: bool, out: &mut Vec<u8>) -> Steps {
    let first = values.first().copied().unwrap_or(0);
    let mut g = divisor(values);
    let wide = values.iter().any(|v| v.checked_sub(first).is_none());
    if wide {
        // Differences that wrap are not multiples of anything.
        g = 1;
    }
    let steps: Steps = values.iter().map(|v| v.wrapping_sub(first)).map(|d| if g > 1 { d / g as i64 } else { d }).collect();
    let choice = choose(&steps, before, linear);
    let side = reference(before, choice.back);
    let mut rest = Vec::new();
    residuals(&choice.predictor, &steps, side, &mut rest);
    let (coder, coded) = code(&rest);
    let kind = match &choice.predictor {
        Predictor::Fixed(order) => *order,
        Predictor::Linear(l) if l.side.is_some() => LINEAR_WITH_SIDE,
        Predictor::Linear(_) => LINEAR,
    };
    out.push(kind | coder << 3 | if g > 1 { DIVISOR } else { 0 });
    put_varint(out, zigzag(first));
    if g > 1 {
        put_varint(out, g);
    }
    if let Predictor::Linear(l) = &choice.predictor {
        if l.side.is_some() {
            out.push(choice.back as u8);
        }
        l.write(out);
    }
    out.extend_from_slice(&coded);
    steps
}

/// The reference `back` series before, empty for 0.
fn reference(before: &[Steps], back: usize) -> &[i64] {
    if back == 0 { &[] } else { before.len().checked_sub(back).and_then(|i| before.get(i)).map_or(&[], Vec::as_slice) }
}

/// The smaller of the coders' outputs; the window that suits one suits the other.
fn code(rest: &[i64]) -> (u8, Vec<u8>) {
    if rest.iter().all(|r| *r == 0) {
        return (CODER_ZERO, Vec::new());
    }
    let mut by_rice = Vec::new();
    let rate = rice::encode(rest, &mut by_rice);
    if rest.len() >= RANS_MIN_SAMPLES {
        let (m, bits) = model::fit(rest, rate);
        if bits / 128 < by_rice.len() as u64 {
            let mut by_rans = Vec::new();
            rans::encode(rest, &m, &mut by_rans);
            if by_rans.len() < by_rice.len() {
                return (CODER_RANS, by_rans);
            }
        }
    }
    (CODER_RICE, by_rice)
}

fn bits_of(p: &Predictor, steps: &[i64], side: &[i64], rest: &mut Vec<i64>) -> u64 {
    residuals(p, steps, side, rest);
    let mut head = Vec::new();
    if let Predictor::Linear(l) = p {
        l.write(&mut head);
    }
    head.len() as u64 * 8 + rice::cost(rest, rice::first_parameter(rest), 4)
}

/// Tries the predictors, the quicker ones first; a slower one must save half a percent.
fn choose(steps: &[i64], before: &[Steps], linear: bool) -> Choice {
    let mut rest = Vec::with_capacity(steps.len());
    let mut best = Choice { predictor: Predictor::Fixed(0), back: 0, bits: u64::MAX };
    for order in 0..=MAX_FIXED {
        let predictor = Predictor::Fixed(order);
        let bits = bits_of(&predictor, steps, &[], &mut rest);
        if bits < best.bits {
            best = Choice { predictor, back: 0, bits };
        }
    }
    let quiet = best.bits < steps.len() as u64 * 5 / 4;
    if !linear || quiet || steps.len() < LINEAR_MIN_SAMPLES || steps.iter().any(|s| s.unsigned_abs() > LINEAR_MAX) {
        return best;
    }
    let floats = as_floats(steps);
    let taps: &[usize] = if steps.len() < 512 { &[4, 8] } else { &[4, 8, 16, 32] };
    let widest = taps.last().copied().unwrap_or(4);
    let mut consider = |l: Option<Linear>, back: usize, best: &mut Choice| {
        let Some(l) = l else { return };
        let predictor = Predictor::Linear(l);
        let bits = bits_of(&predictor, steps, reference(before, back), &mut rest);
        if bits < best.bits - best.bits / 200 {
            *best = Choice { predictor, back, bits };
        }
    };
    let alone = Moments::new(&floats, &[], widest);
    for n in taps {
        consider(alone.solve(*n), 0, &mut best);
    }
    let back = nearest_relative(steps, before);
    if back > 0 {
        let both = Moments::new(&floats, &as_floats(reference(before, back)), widest.min(16));
        for n in taps.iter().filter(|n| **n <= 16) {
            consider(both.solve(*n), back, &mut best);
        }
    }
    best
}

/// The earlier series whose changes go best with ours; 0 when none does.
fn nearest_relative(steps: &[i64], before: &[Steps]) -> usize {
    let changes = |s: &[i64]| -> Vec<f64> { s.windows(2).map(|w| w[1].wrapping_sub(w[0]) as f64).collect() };
    let ours = changes(steps);
    let power: f64 = ours.iter().map(|x| x * x).sum();
    let mut best = (0.02, 0);
    for back in 1..=before.len().min(REACH) {
        let other = reference(before, back);
        if other.len() != steps.len() || other.iter().any(|s| s.unsigned_abs() > LINEAR_MAX) {
            continue;
        }
        let theirs = changes(other);
        let both: f64 = ours.iter().zip(&theirs).map(|(x, y)| x * y).sum();
        let their_power: f64 = theirs.iter().map(|y| y * y).sum();
        let squared = both * both / (power * their_power).max(1e-30);
        if squared > best.0 {
            best = (squared, back);
        }
    }
    best.1
}

/// Where and how a series' values lie on its steps.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub(super) first: i64,
    pub(super) divisor: i64,
}

impl Grid {
    #[inline(always)]
    pub(super) fn value(self, step: i64) -> i64 {
        self.first.wrapping_add(step.wrapping_mul(self.divisor))
    }
}

/// Reads `n` ≥ 1 steps into `steps`.
pub(super) fn decode(bytes: &mut Bytes<'_>, n: usize, before: &[Steps], steps: &mut Steps) -> Res<Grid> {
    let head = bytes.u8()?;
    if head >> 6 != 0 {
        return Err("a series begins with an unknown head byte");
    }
    let first = bytes.signed()?;
    let divisor = if head & DIVISOR != 0 { bytes.varint()? as i64 } else { 1 };
    let mut side: &[i64] = &[];
    let predictor = match head & 7 {
        order @ 0..=MAX_FIXED => Predictor::Fixed(order),
        LINEAR => Predictor::Linear(Linear::read(bytes, false)?),
        LINEAR_WITH_SIDE => {
            let back = usize::from(bytes.u8()?);
            side = reference(before, back);
            if back > REACH || side.len() != n {
                return Err("a series refers to one that is not there");
            }
            Predictor::Linear(Linear::read(bytes, true)?)
        }
        _ => return Err("a series has an unknown predictor"),
    };
    steps.clear();
    steps.resize(n, 0);
    let rest = steps.get_mut(1..).unwrap_or_default();
    match head >> 3 & 3 {
        CODER_ZERO => {}
        CODER_RICE => rice::decode(bytes, rest)?,
        CODER_RANS => rans::decode(bytes, rest)?,
        _ => return Err("a series has an unknown coder"),
    }
    restore(&predictor, steps, side);
    Ok(Grid { first, divisor })
}

/// Reads a series of plain numbers, as [`encode`] wrote them.
pub(super) fn decode_values(bytes: &mut Bytes<'_>, n: usize, out: &mut Vec<i64>) -> Res<()> {
    let grid = decode(bytes, n, &[], out)?;
    for v in out.iter_mut() {
        *v = grid.value(*v);
    }
    Ok(())
}
