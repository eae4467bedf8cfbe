//! Which buckets rollups keep, and how a span is covered by them.

use std::time::Duration;

use am_schema::Kind;
use am_schema::catalogue::Cadence;

use crate::model::BucketWidth;

/// The widths that are kept, coarsest first.
pub(crate) const WIDTHS: [BucketWidth; 4] = [BucketWidth::Day, BucketWidth::Hour, BucketWidth::FiveMinutes, BucketWidth::Minute];

/// The widths kept for a kind, coarsest first: those that hold at least ten readings, because a bucket of a few readings takes more
/// room than they save. Finer ones are answered from rows.
pub(crate) fn kept(kind: Kind) -> &'static [BucketWidth] {
    let every = match kind.cadence() {
        Cadence::Every(d) => d,
        Cadence::OnEvent => Duration::from_secs(300),
    };
    let n = WIDTHS.iter().take_while(|w| w.nanos() as u128 >= every.as_nanos().saturating_mul(10)).count();
    WIDTHS.get(..n.max(1)).unwrap_or(&WIDTHS)
}

/// The number of the bucket that holds a time.
pub(crate) fn bucket(at: i64, width: BucketWidth) -> i64 {
    at.div_euclid(width.nanos().max(1))
}

/// A part of a span: whole buckets of a width, or rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// `None` for rows.
    pub width: Option<BucketWidth>,
    /// From here on.
    pub from: i64,
    /// Before here.
    pub to: i64,
}

/// The widest buckets that fit into `[from, to)`, then narrower ones at both ends, then rows; in order of time.
pub(crate) fn cover(from: i64, to: i64, widths: &[BucketWidth]) -> Vec<Stretch> {
    let mut out = Vec::new();
    cover_into(from, to, widths, &mut out);
    out
}

fn cover_into(from: i64, to: i64, widths: &[BucketWidth], out: &mut Vec<Stretch>) {
    if from >= to {
        return;
    }
    let Some((w, finer)) = widths.split_first() else { return out.push(Stretch { width: None, from, to }) };
    let n = w.nanos();
    let first = if from.rem_euclid(n) == 0 { from.div_euclid(n) } else { from.div_euclid(n).saturating_add(1) };
    let (a, b) = (first.saturating_mul(n), to.div_euclid(n).saturating_mul(n));
    if a >= b {
        return cover_into(from, to, finer, out);
    }
    cover_into(from, a, finer, out);
    out.push(Stretch { width: Some(*w), from: a, to: b });
    cover_into(b, to, finer, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cover_has_no_gap_and_whole_buckets(a in -400_000_000_000_000i64..400_000_000_000_000, b in -400_000_000_000_000i64..400_000_000_000_000) {
            let (from, to) = (a.min(b), a.max(b));
            let mut at = from;
            for s in cover(from, to, &WIDTHS) {
                prop_assert_eq!(s.from, at);
                prop_assert!(s.to > s.from);
                if let Some(w) = s.width {
                    prop_assert!(s.from.rem_euclid(w.nanos()) == 0 && s.to.rem_euclid(w.nanos()) == 0);
                }
                at = s.to;
            }
            prop_assert_eq!(at, to);
        }
    }
}
