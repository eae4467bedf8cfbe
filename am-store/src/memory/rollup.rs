//! Sums per minute, five minutes, hour and day, kept as readings arrive.

use std::collections::BTreeMap;

use am_core::Timestamp;

use crate::model::{Aggregate, BucketWidth};

const LEVELS: [BucketWidth; 4] = [BucketWidth::Minute, BucketWidth::FiveMinutes, BucketWidth::Hour, BucketWidth::Day];

#[derive(Default)]
pub(super) struct Rollups {
    levels: [BTreeMap<i64, Aggregate>; 4],
}

/// The start of the bucket that holds a time.
pub(super) fn floor(ns: i64, width: i64) -> i64 {
    ns.div_euclid(width).saturating_mul(width)
}

/// The first start of a bucket at or after a time.
pub(super) fn ceil(ns: i64, width: i64) -> i64 {
    let f = floor(ns, width);
    if f == ns { f } else { f.saturating_add(width) }
}

impl Rollups {
    pub(super) fn add(&mut self, at: Timestamp, v: f64) {
        for (level, width) in self.levels.iter_mut().zip(LEVELS) {
            level.entry(floor(at.as_nanos(), width.nanos())).or_default().merge(&Aggregate::of(at, v));
        }
    }

    /// The bounds of the minute around a time.
    pub(super) fn minute_of(at: Timestamp) -> (Timestamp, Timestamp) {
        let w = BucketWidth::Minute.nanos();
        let from = floor(at.as_nanos(), w);
        (Timestamp::from_nanos(from), Timestamp::from_nanos(from.saturating_add(w)))
    }

    /// Counts the minute around a time anew, and what contains it.
    pub(super) fn rebuild(&mut self, at: Timestamp, values: impl Iterator<Item = (Timestamp, f64)>) {
        let mut sum = Aggregate::default();
        for (t, v) in values {
            sum.merge(&Aggregate::of(t, v));
        }
        for (n, width) in LEVELS.into_iter().enumerate() {
            let start = floor(at.as_nanos(), width.nanos());
            if let Some(finer) = n.checked_sub(1).and_then(|n| self.levels.get(n)) {
                sum = Aggregate::default();
                finer.range(start..start.saturating_add(width.nanos())).for_each(|(_, a)| sum.merge(a));
            }
            if let Some(level) = self.levels.get_mut(n) {
                if sum.count == 0 {
                    level.remove(&start);
                } else {
                    level.insert(start, sum);
                }
            }
        }
    }

    /// The buckets of a width that begin in `[from, to)`.
    pub(super) fn buckets(&self, width: BucketWidth, from: i64, to: i64) -> impl Iterator<Item = (i64, &Aggregate)> {
        let level = LEVELS.iter().position(|w| *w == width).and_then(|n| self.levels.get(n));
        level.into_iter().filter(move |_| from < to).flat_map(move |l| l.range(from..to).map(|(k, v)| (*k, v)))
    }

    /// Everything in `[from, to)`; `rows` gives the values of the parts of minutes at both ends.
    pub(super) fn whole(&self, from: i64, to: i64, rows: impl Fn(i64, i64) -> Aggregate) -> Aggregate {
        let (minute, day) = (BucketWidth::Minute.nanos(), BucketWidth::Day.nanos());
        let (m0, m1) = (ceil(from, minute), floor(to, minute));
        if m0 >= m1 {
            return rows(from, to);
        }
        let (d0, d1) = (ceil(m0, day), floor(m1, day));
        let mut sum = rows(from, m0);
        let mut take = |width, a, b| self.buckets(width, a, b).for_each(|(_, x)| sum.merge(x));
        if d0 < d1 {
            take(BucketWidth::Minute, m0, d0);
            take(BucketWidth::Day, d0, d1);
            take(BucketWidth::Minute, d1, m1);
        } else {
            take(BucketWidth::Minute, m0, m1);
        }
        sum.merge(&rows(m1, to));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[(i64, f64)]) -> Aggregate {
        let mut sum = Aggregate::default();
        values.iter().for_each(|(t, v)| sum.merge(&Aggregate::of(Timestamp::from_nanos(*t), *v)));
        sum
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_span_is_the_sum_of_its_readings(
            times in proptest::collection::vec(-200_000_000_000_000i64..200_000_000_000_000, 1..60),
            a in -250_000_000_000_000i64..250_000_000_000_000,
            b in -250_000_000_000_000i64..250_000_000_000_000,
            gone in 0usize..60,
        ) {
            let mut rows: Vec<(i64, f64)> = times.iter().enumerate().map(|(n, t)| (*t, n as f64)).collect();
            let mut rollups = Rollups::default();
            rows.iter().for_each(|(t, v)| rollups.add(Timestamp::from_nanos(*t), *v));
            if gone < rows.len() {
                let (t, _) = rows.swap_remove(gone);
                let (from, to) = Rollups::minute_of(Timestamp::from_nanos(t));
                let left = rows.iter().filter(|(t, _)| (from.as_nanos()..to.as_nanos()).contains(t));
                rollups.rebuild(Timestamp::from_nanos(t), left.map(|(t, v)| (Timestamp::from_nanos(*t), *v)));
            }
            let (from, to) = (a.min(b), a.max(b));
            let within = |from: i64, to: i64| of(&rows.iter().copied().filter(|(t, _)| (from..to).contains(t)).collect::<Vec<_>>());
            let (got, want) = (rollups.whole(from, to, within), within(from, to));
            prop_assert_eq!((got.count, got.min, got.max), (want.count, want.min, want.max));
            prop_assert!((got.sum - want.sum).abs() < 1e-9 && (got.m2 - want.m2).abs() < 1e-6 * want.m2.max(1.0));
        }
    }
}
