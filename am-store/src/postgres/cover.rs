//! How a span is covered by buckets.

use crate::model::BucketWidth;

/// A part of a span: whole buckets of a width, or rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// `None` for rows.
    pub width: Option<BucketWidth>,
    /// From here on.
    pub from: i64,
    /// Before here.
    pub to: i64,
}

/// The widest buckets that fit into `[from, to)`, then narrower ones at both ends, then rows; in order of time.
pub(super) fn cover(from: i64, to: i64, widths: &[BucketWidth]) -> Vec<Stretch> {
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
    use crate::buckets::WIDTHS;
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
