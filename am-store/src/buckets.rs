//! Which buckets rollups keep.

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
