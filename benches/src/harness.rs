//! What a bench is, what it reports, and how time is taken.
#![allow(dead_code, reason = "each bench takes what it needs")]

use std::time::Duration;

use am_core::SystemTicks;

/// How to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Small inputs and few repetitions.
    pub(crate) quick: bool,
}

/// Measures one figure: one row or several.
pub(crate) type Bench = fn(&Options) -> Result<Vec<Row>, String>;

/// What a row must reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// Our value.
    AtLeast(f64),
    /// Our value.
    AtMost(f64),
    /// Our value divided by the baseline.
    RatioAtLeast(f64),
    /// Our value divided by the baseline.
    RatioAtMost(f64),
    /// The row is there to compare, or something it needs is not on this machine.
    Nothing,
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The figure, such as PF15.
    pub(crate) id: &'static str,
    /// What was measured, on what.
    pub(crate) what: String,
    /// Our value; NaN when it could not be measured.
    pub(crate) ours: f64,
    /// The baseline's value from the same run; NaN when there is none.
    pub(crate) baseline: f64,
    /// Unit of both values.
    pub(crate) unit: &'static str,
    /// What must hold.
    pub(crate) target: Target,
    /// What the baseline is, or why the row is empty.
    pub(crate) note: String,
}

impl Row {
    /// Our value divided by the baseline.
    pub(crate) fn ratio(&self) -> f64 {
        self.ours / self.baseline
    }

    /// Whether the target is reached; `None` when there is none or nothing was measured.
    pub(crate) fn ok(&self) -> Option<bool> {
        let (value, test): (f64, fn(&f64, &f64) -> bool) = match self.target {
            Target::AtLeast(_) => (self.ours, f64::ge),
            Target::AtMost(_) => (self.ours, f64::le),
            Target::RatioAtLeast(_) => (self.ratio(), f64::ge),
            Target::RatioAtMost(_) => (self.ratio(), f64::le),
            Target::Nothing => return None,
        };
        let bound = match self.target {
            Target::AtLeast(b) | Target::AtMost(b) | Target::RatioAtLeast(b) | Target::RatioAtMost(b) => b,
            Target::Nothing => return None,
        };
        (!value.is_nan()).then(|| test(&value, &bound))
    }

    /// A row for something that this machine does not have.
    pub(crate) fn unavailable(id: &'static str, what: impl Into<String>, why: impl Into<String>) -> Row {
        let note = format!("unavailable: {}", why.into());
        Row { id, what: what.into(), ours: f64::NAN, baseline: f64::NAN, unit: "", target: Target::Nothing, note }
    }
}

/// The middle value; NaN of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value that a share of the values is not above, such as 0.99; NaN of none.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// Takes wall-clock time from its making.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stopwatch(SystemTicks);

impl Stopwatch {
    /// Wall-clock time since it was made.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.monotonic()
    }
}

/// Time this thread has spent on a processor (Linux), or the time since `start` elsewhere.
fn thread_time(start: &Stopwatch) -> Duration {
    let ns = std::fs::read_to_string("/proc/thread-self/schedstat").ok().and_then(|s| s.split(' ').next()?.parse().ok());
    ns.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

/// User and system time of a process so far (Linux). Its resolution is a hundredth of a second.
pub(crate) fn process_time(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

/// User and system time of this process so far.
pub(crate) fn own_time() -> Option<Duration> {
    process_time(std::process::id())
}

/// Seconds of processor time that one call of `a` and one of `b` take: medians over `rounds` alternated rounds of at least `least` each.
pub(crate) fn alternate(rounds: usize, least: Duration, mut a: impl FnMut(), mut b: impl FnMut()) -> (f64, f64) {
    let watch = Stopwatch::default();
    let time = |f: &mut dyn FnMut()| {
        let (wall, start) = (watch.elapsed(), thread_time(&watch));
        let mut calls = 0u32;
        while watch.elapsed() - wall < least || calls == 0 {
            f();
            calls += 1;
        }
        (thread_time(&watch).saturating_sub(start)).as_secs_f64() / f64::from(calls)
    };
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        of_a.push(time(&mut a));
        of_b.push(time(&mut b));
    }
    (median(of_a), median(of_b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_ok_only_when_its_target_is_reached() {
        let row = |target| Row { id: "PF0", what: String::new(), ours: 3.0, baseline: 4.0, unit: "s", target, note: String::new() };
        assert_eq!(row(Target::AtMost(3.0)).ok(), Some(true));
        assert_eq!(row(Target::AtLeast(3.1)).ok(), Some(false));
        assert_eq!(row(Target::RatioAtMost(0.7)).ok(), Some(false));
        assert_eq!(row(Target::RatioAtLeast(0.7)).ok(), Some(true));
        assert_eq!(row(Target::Nothing).ok(), None);
        assert_eq!(Row::unavailable("PF0", "x", "y").ok(), None);
    }

    #[test]
    fn our_own_processor_time_can_be_read() {
        if cfg!(target_os = "linux") {
            assert!(own_time().is_some());
        }
    }
}
