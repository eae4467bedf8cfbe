//! Writing a block.

use am_core::{Code, Error, Result};

use super::bits::put_varint;
use super::detect::{self, Mapped};
use super::hold::Hold;
use super::map::Float;
use super::series::{self, REACH, Steps};
use super::{ENCODING, MAX_CHANNELS, MAX_DECODED_BYTES, MAX_SAMPLES, Samples, WIDTHS, checksum, hash};

/// Flag: some rows repeat the one before.
pub(super) const HOLD: u8 = 1;
/// Flag: sample times are in the block.
pub(super) const OFFSETS: u8 = 2;
/// In a channel's head: some samples are kept aside.
pub(super) const ODD: u8 = 1 << 5;

fn bad(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Code::BAD_BLOCK, message).op("schema.block.encode")
}

/// Encodes channels of equal length, and the times of the samples in nanoseconds after the block's start when they are not periodic.
/// The same input gives the same bytes on every platform.
///
/// # Errors
/// `BAD_BLOCK` when there is no channel or no sample, when lengths differ, or when the block is larger than [`MAX_CHANNELS`],
/// [`MAX_SAMPLES`] or [`MAX_DECODED_BYTES`].
pub fn encode(offsets_ns: Option<&[i64]>, channels: &[Samples<'_>]) -> Result<Vec<u8>> {
    let rows = channels.first().map_or(0, Samples::len);
    if rows == 0 {
        return Err(bad("a sample block needs at least one channel and one sample"));
    }
    if channels.len() > MAX_CHANNELS || rows > MAX_SAMPLES {
        return Err(bad(format!("a sample block holds at most {MAX_CHANNELS} channels of {MAX_SAMPLES} samples; split it"))
            .with("channels", channels.len())
            .with("samples", rows));
    }
    if let Some(c) = channels.iter().position(|c| c.len() != rows) {
        return Err(bad("the channels of a sample block must have the same number of samples").with("channel", c).with("samples", rows));
    }
    if offsets_ns.is_some_and(|o| o.len() != rows) {
        return Err(bad("a sample block needs as many offsets as samples").with("samples", rows));
    }
    let width: usize = channels.iter().map(|c| WIDTHS.get(type_of(c)).copied().unwrap_or(8)).sum::<usize>() + offsets_ns.map_or(0, |_| 8);
    if width * rows > MAX_DECODED_BYTES {
        return Err(bad(format!("a sample block holds at most {MAX_DECODED_BYTES} bytes of samples; split it")).with("bytes", width * rows));
    }
    let plain = body(offsets_ns, channels, rows, None);
    let mut out = match Hold::find(channels, rows) {
        Some((hold, same)) => {
            let kept: Vec<OwnedRows> = channels.iter().map(|c| OwnedRows::without(c, &same)).collect();
            let views: Vec<Samples<'_>> = kept.iter().map(OwnedRows::view).collect();
            let held = body(offsets_ns, &views, rows, Some(&hold));
            if held.len() < plain.len() { held } else { plain }
        }
        None => plain,
    };
    let mut sum = offsets_ns.map_or(0, |o| hash::of_words(0, o, |v| v as u64));
    for c in channels {
        sum = checksum(sum, *c);
    }
    out.extend_from_slice(&(sum as u32).to_le_bytes());
    Ok(out)
}

fn type_of(c: &Samples<'_>) -> usize {
    match c {
        Samples::I32(_) => 0,
        Samples::F32(_) => 1,
        Samples::F64(_) => 2,
    }
}

/// Rows of a channel that do not repeat.
enum OwnedRows {
    I32(Vec<i32>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl OwnedRows {
    fn without(c: &Samples<'_>, same: &[bool]) -> OwnedRows {
        fn pick<T: Copy>(s: &[T], same: &[bool]) -> Vec<T> {
            s.iter().zip(same).filter(|(_, same)| !**same).map(|(v, _)| *v).collect()
        }
        match c {
            Samples::I32(s) => OwnedRows::I32(pick(s, same)),
            Samples::F32(s) => OwnedRows::F32(pick(s, same)),
            Samples::F64(s) => OwnedRows::F64(pick(s, same)),
        }
    }

    fn view(&self) -> Samples<'_> {
        match self {
            OwnedRows::I32(s) => Samples::I32(s),
            OwnedRows::F32(s) => Samples::F32(s),
            OwnedRows::F64(s) => Samples::F64(s),
        }
    }
}

fn body(offsets_ns: Option<&[i64]>, channels: &[Samples<'_>], rows: usize, hold: Option<&Hold>) -> Vec<u8> {
    let flags = if hold.is_some() { HOLD } else { 0 } | if offsets_ns.is_some() { OFFSETS } else { 0 };
    let mut out = vec![ENCODING, flags];
    put_varint(&mut out, channels.len() as u64);
    put_varint(&mut out, rows as u64);
    if let Some(o) = offsets_ns {
        series::encode(o, &[], false, &mut out);
    }
    if let Some(h) = hold {
        h.write(&mut out);
    }
    let mut before: Vec<Steps> = Vec::new();
    for c in channels {
        let steps = channel(c, &before, &mut out);
        if before.len() == REACH {
            before.remove(0);
        }
        before.push(steps);
    }
    out
}

fn channel(c: &Samples<'_>, before: &[Steps], out: &mut Vec<u8>) -> Steps {
    match c {
        Samples::I32(s) => {
            out.push(0);
            let values: Vec<i64> = s.iter().map(|v| i64::from(*v)).collect();
            series::encode(&values, before, true, out)
        }
        Samples::F32(s) => floats(s, 1, detect::best(s, 32), before, out),
        Samples::F64(s) => floats(s, 2, detect::best(s, 64), before, out),
    }
}

fn floats<F: Float>(samples: &[F], kind: u8, m: Mapped, before: &[Steps], out: &mut Vec<u8>) -> Steps {
    out.push(kind | m.map.id() << 2 | if m.odd.is_empty() { 0 } else { ODD });
    m.map.write(out);
    if !m.odd.is_empty() {
        put_varint(out, m.odd.len() as u64);
        let mut next = 0;
        let mut gaps = Vec::with_capacity(m.odd.len());
        let mut misses = Vec::with_capacity(m.odd.len());
        for i in &m.odd {
            gaps.push((*i - next) as i64);
            next = *i + 1;
            if let (Some(x), Some(k)) = (samples.get(*i), m.ks.get(*i)) {
                misses.push(m.map.miss(*x, *k));
            }
        }
        series::encode(&gaps, &[], false, out);
        series::encode(&misses, &[], false, out);
    }
    series::encode(&m.ks, before, true, out)
}
