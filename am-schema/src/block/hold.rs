//! Rows that repeat the row before in every channel: a sensor read faster than it measures. They are left out and described by the
//! lengths of the runs of kept and of repeated rows.

use super::bits::{Bytes, Res, put_varint};
use super::{Samples, series};

/// Runs of kept rows and of repeated rows in turn, beginning with kept ones.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Hold {
    /// Rows kept in each turn.
    pub(super) kept: Vec<i64>,
    /// Rows repeated after each of them; the last may be 0.
    pub(super) repeated: Vec<i64>,
}

fn repeats(samples: &Samples<'_>, same: &mut [bool]) {
    fn mark<T: Copy, B: PartialEq>(s: &[T], same: &mut [bool], bits: impl Fn(T) -> B) {
        for (w, flag) in s.windows(2).zip(same) {
            *flag &= bits(w[0]) == bits(w[1]);
        }
    }
    let same = same.get_mut(1..).unwrap_or_default();
    match samples {
        Samples::I32(s) => mark(s, same, |v| v),
        Samples::F32(s) => mark(s, same, f32::to_bits),
        Samples::F64(s) => mark(s, same, f64::to_bits),
    }
}

impl Hold {
    /// The runs in the channels, if at least one row in 32 repeats.
    pub(super) fn find(channels: &[Samples<'_>], rows: usize) -> Option<(Hold, Vec<bool>)> {
        let mut same = vec![true; rows];
        if let Some(first) = same.first_mut() {
            *first = false;
        }
        for c in channels {
            repeats(c, &mut same);
        }
        if same.iter().filter(|s| **s).count() * 32 < rows {
            return None;
        }
        let mut hold = Hold::default();
        for run in same.chunk_by(|a, b| a == b) {
            let side = if run.first() == Some(&true) { &mut hold.repeated } else { &mut hold.kept };
            side.push(run.len() as i64);
        }
        if hold.repeated.len() < hold.kept.len() {
            hold.repeated.push(0);
        }
        Some((hold, same))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_varint(out, self.kept.len() as u64);
        series::encode(&self.kept, &[], false, out);
        series::encode(&self.repeated, &[], false, out);
    }

    /// Reads the runs and checks that they add up to `rows`. Returns them with the number of kept rows.
    pub(super) fn read(bytes: &mut Bytes<'_>, rows: usize) -> Res<(Hold, usize)> {
        let n = bytes.count(rows / 2 + 1, "it has more runs than rows")?;
        if n == 0 {
            return Err("it has no runs of rows");
        }
        let mut hold = Hold::default();
        series::decode_values(bytes, n, &mut hold.kept)?;
        series::decode_values(bytes, n, &mut hold.repeated)?;
        let (mut kept, mut all) = (0usize, 0usize);
        for (k, r) in hold.kept.iter().zip(&hold.repeated) {
            let k = usize::try_from(*k).ok().filter(|k| (1..=rows).contains(k)).ok_or("a run of rows has an impossible length")?;
            let r = usize::try_from(*r).ok().filter(|r| *r <= rows).ok_or("a run of rows has an impossible length")?;
            kept += k;
            all += k + r;
            if all > rows {
                break;
            }
        }
        if all == rows { Ok((hold, kept)) } else { Err("the runs do not add up to the rows") }
    }

    /// Puts the repeated rows back.
    pub(super) fn expand<T: Copy>(&self, kept: &[T], out: &mut Vec<T>) {
        let mut rest = kept;
        for (k, r) in self.kept.iter().zip(&self.repeated) {
            let (run, tail) = rest.split_at_checked(*k as usize).unwrap_or((rest, &[]));
            out.extend_from_slice(run);
            if let Some(last) = run.last() {
                out.resize(out.len() + *r as usize, *last);
            }
            rest = tail;
        }
    }
}
