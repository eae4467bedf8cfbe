//! Spectrum and autocorrelation of a short, evenly sampled signal.

use std::f64::consts::TAU;

/// Higher frequencies are left out: movements and vehicles vibrate below.
const MAX_HZ: f64 = 20.0;

/// Powers by frequency, without the mean.
pub(super) struct Spectrum {
    /// Hertz between two powers; the first is at this frequency.
    step: f64,
    powers: Vec<f64>,
    total: f64,
}

impl Spectrum {
    /// The periodogram with a Hann window (Harris, "On the use of windows for harmonic analysis", 1978) of a signal at `rate` hertz.
    pub(super) fn of(signal: &[f64], rate: f64) -> Spectrum {
        let n = signal.len();
        let mean = signal.iter().sum::<f64>() / n.max(1) as f64;
        let tapered: Vec<f64> =
            signal.iter().enumerate().map(|(i, v)| (v - mean) * (0.5 - 0.5 * (TAU * i as f64 / n as f64).cos())).collect();
        let step = rate / n.max(1) as f64;
        let bins = ((MAX_HZ.min(rate / 2.0) / step.max(1e-9)).floor() as usize).min(n / 2);
        let powers: Vec<f64> = (1..=bins).map(|k| power(&tapered, k)).collect();
        let total = powers.iter().sum();
        Spectrum { step, powers, total }
    }

    /// The powers of several signals of the same length together: those of a vector, whichever way it is turned.
    pub(super) fn together(mut all: Vec<Spectrum>) -> Option<Spectrum> {
        let mut sum = all.pop()?;
        for s in all {
            sum.powers.iter_mut().zip(s.powers).for_each(|(a, b)| *a += b);
        }
        sum.total = sum.powers.iter().sum();
        Some(sum)
    }

    /// The frequency with the most power, and the share of the total within its main lobe; zeros when the signal is flat.
    pub(super) fn dominant(&self) -> (f64, f64) {
        let best = self.powers.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        match best {
            Some((i, p)) if *p > 0.0 => (self.peak(i), self.lobe(i)),
            _ => (0.0, 0.0),
        }
    }

    /// Steps a second: the frequency in [1.4, 4] Hz with the most power together with its half, since arms swing once in two steps
    /// (Henriksen et al., "Test-retest reliability of a trunk accelerometric gait analysis", 2004, for the range of cadences).
    /// Returns the share of power too; `None` when there is no such frequency.
    pub(super) fn steps(&self) -> Option<(f64, f64)> {
        let place = |f: f64| ((f / self.step).round() as usize).checked_sub(1);
        let (from, to) = (place(1.4)?, place(4.0)?.min(self.powers.len().checked_sub(2)?));
        // Half of it counts only where it is no cadence itself.
        let half = |i: usize| place(self.hertz(i) / 2.0).filter(|h| *h < from).map_or(0.0, |h| self.lobe(h));
        let score = |i: usize| self.lobe(i) + half(i);
        // Only where the power has a peak of its own: the edge of another one is no cadence.
        let peaks = (from..=to).filter(|i| self.at(*i) >= self.at(i + 1) && i.checked_sub(1).is_none_or(|l| self.at(*i) >= self.at(l)));
        let best = peaks.map(|i| (i, score(i))).max_by(|a, b| a.1.total_cmp(&b.1))?;
        Some((self.peak(best.0), best.1.clamp(0.0, 1.0)))
    }

    /// Shannon entropy of the powers over that of even ones, 0 to 1.
    pub(super) fn entropy(&self) -> f64 {
        if self.powers.len() < 2 || self.total <= 0.0 {
            return 0.0;
        }
        let h: f64 = self.powers.iter().map(|p| p / self.total).filter(|q| *q > 0.0).map(|q| -q * q.ln()).sum();
        (h / (self.powers.len() as f64).ln()).clamp(0.0, 1.0)
    }

    fn at(&self, i: usize) -> f64 {
        self.powers.get(i).copied().unwrap_or(0.0)
    }

    fn hertz(&self, i: usize) -> f64 {
        self.step * (i + 1) as f64
    }

    fn lobe(&self, i: usize) -> f64 {
        let sum = self.at(i) + self.at(i + 1) + i.checked_sub(1).map_or(0.0, |l| self.at(l));
        if self.total > 0.0 { (sum / self.total).clamp(0.0, 1.0) } else { 0.0 }
    }

    /// The top of the parabola through a power and its neighbours.
    fn peak(&self, i: usize) -> f64 {
        let (l, m, r) = (i.checked_sub(1).map_or(0.0, |l| self.at(l)), self.at(i), self.at(i + 1));
        let bend = l - 2.0 * m + r;
        let shift = if bend < 0.0 { ((l - r) / (2.0 * bend)).clamp(-0.5, 0.5) } else { 0.0 };
        self.hertz(i) + shift * self.step
    }
}

/// The squared magnitude of one frequency, by Goertzel's recurrence (1958).
fn power(signal: &[f64], k: usize) -> f64 {
    let w = 2.0 * (TAU * k as f64 / signal.len() as f64).cos();
    let (a, b) = signal.iter().fold((0.0, 0.0), |(a, b), x| (x + w * a - b, a));
    (a * a + b * b - w * a * b).max(0.0)
}

/// The highest autocorrelation at lags of 0.25 to 2 s, each normalised by the parts that overlap; 0 when the signal is flat or short.
pub(super) fn autocorrelation(signal: &[f64], rate: f64) -> f64 {
    let n = signal.len();
    let mean = signal.iter().sum::<f64>() / n.max(1) as f64;
    let x: Vec<f64> = signal.iter().map(|v| v - mean).collect();
    let lag = |s: f64| (s * rate).round() as usize;
    // At least half of the signal must overlap.
    let at = |l: usize| {
        let (head, tail) = (x.get(..n - l).unwrap_or_default(), x.get(l..).unwrap_or_default());
        let both: f64 = head.iter().zip(tail).map(|(a, b)| a * b).sum();
        let norm = (head.iter().map(|a| a * a).sum::<f64>() * tail.iter().map(|b| b * b).sum::<f64>()).sqrt();
        if norm > 1e-12 { (both / norm).clamp(-1.0, 1.0) } else { 0.0 }
    };
    let (from, to) = (lag(0.25).max(1), lag(2.0).min(n / 2));
    if from > to { 0.0 } else { (from..=to).map(at).fold(-1.0, f64::max) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(hz: f64, rate: f64, n: usize) -> Vec<f64> {
        (0..n).map(|i| (TAU * hz * i as f64 / rate).sin()).collect()
    }

    #[test]
    fn a_tone_is_found_at_its_frequency_with_all_of_the_power() {
        for hz in [0.7, 1.8, 2.73, 4.4] {
            for rate in [10.0, 50.0] {
                let (f, share) = Spectrum::of(&wave(hz, rate, (rate * 5.0) as usize), rate).dominant();
                assert!((f - hz).abs() < 0.1 && share > 0.9, "{hz} Hz at {rate}: {f} with {share}");
            }
        }
    }

    #[test]
    fn goertzel_is_the_fourier_sum() {
        let x: Vec<f64> = (0..37).map(|i| ((i * i) % 11) as f64 - 5.0).collect();
        for k in 1..18 {
            let turn = |i: usize| TAU * (k * i) as f64 / 37.0;
            let re: f64 = x.iter().enumerate().map(|(i, v)| v * turn(i).cos()).sum();
            let im: f64 = x.iter().enumerate().map(|(i, v)| v * turn(i).sin()).sum();
            assert!((power(&x, k) - (re * re + im * im)).abs() < 1e-6);
        }
    }

    #[test]
    fn an_arm_that_swings_at_half_the_cadence_gives_the_cadence() {
        let both: Vec<f64> = wave(0.9, 50.0, 250).iter().zip(wave(1.8, 50.0, 250)).map(|(a, b)| a + 0.7 * b).collect();
        let (f, share) = Spectrum::of(&both, 50.0).steps().unwrap();
        assert!((f - 1.8).abs() < 0.1 && share > 0.9, "{f} {share}");
    }

    #[test]
    fn flat_and_tiny_signals_have_no_frequency() {
        for n in 0..4 {
            let s = Spectrum::of(&vec![1.0; n], 50.0);
            assert_eq!((s.dominant(), s.entropy(), s.steps().map(|s| s.1).unwrap_or(0.0)), ((0.0, 0.0), 0.0, 0.0));
            assert_eq!(autocorrelation(&vec![1.0; n], 50.0), 0.0);
        }
    }

    #[test]
    fn a_periodic_signal_goes_with_itself_one_period_later() {
        assert!(autocorrelation(&wave(1.8, 50.0, 250), 50.0) > 0.95);
    }
}
