//! Reading a block.

use am_core::{Code, Error, Result};

use super::bits::{Bytes, Res};
use super::detect::most_corrections;
use super::encode::{HOLD, ODD, OFFSETS};
use super::hold::Hold;
use super::map::{Float, Map};
use super::series::{self, Grid, REACH, Steps};
use super::{Block, Channel, ENCODING, Limits, WIDTHS, checksum, hash};

fn bad(message: &'static str) -> Error {
    Error::new(Code::BAD_BLOCK, format!("the sample block cannot be decoded: {message}")).op("schema.block.decode")
}

/// Decodes a block whose shape is known from the reading around it.
///
/// # Errors
/// `BAD_BLOCK` when the bytes are no block of a known encoding, are damaged, or have another shape or a larger size than `limits`.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Block> {
    let mut block = Block::default();
    Decoder::default().decode_into(bytes, limits, &mut block)?;
    Ok(block)
}

/// Decodes bytes of unknown origin within the default [`Limits`].
///
/// # Errors
/// `BAD_BLOCK`, as [`decode`].
pub fn decode_untrusted(bytes: &[u8]) -> Result<Block> {
    decode(bytes, &Limits::default())
}

/// Decodes many blocks with the same working memory.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The last series, which later channels may refer to; the nearest last.
    before: Vec<Steps>,
    spare: Vec<Steps>,
    odd: Odd,
    rows_i32: Vec<i32>,
    rows_f32: Vec<f32>,
    rows_f64: Vec<f64>,
}

/// Corrections to samples that their mapping misses.
#[derive(Debug, Default)]
struct Odd {
    gaps: Vec<i64>,
    misses: Vec<i64>,
}

struct Shape {
    channels: usize,
    rows: usize,
    kept: usize,
    hold: Option<Hold>,
}

impl Decoder {
    /// Decodes into an existing block, reusing its buffers. After an error the block's content is unspecified, but valid.
    ///
    /// # Errors
    /// `BAD_BLOCK`, as [`decode`].
    pub fn decode_into(&mut self, bytes: &[u8], limits: &Limits, block: &mut Block) -> Result<()> {
        let mut bytes = Bytes::new(bytes);
        let encoding = bytes.u8().map_err(bad)?;
        if encoding != ENCODING {
            return Err(bad("its encoding id is not known to this version").with("encoding", encoding).with("known", ENCODING));
        }
        let (shape, mut budget) = self.head(&mut bytes, limits, block).map_err(bad)?;
        block.channels.truncate(shape.channels);
        self.spare.append(&mut self.before);
        for c in 0..shape.channels {
            if c == block.channels.len() {
                block.channels.push(Channel::I32(Vec::new()));
            }
            if let Some(slot) = block.channels.get_mut(c) {
                self.channel(&mut bytes, &shape, &mut budget, slot).map_err(|m| bad(m).with("channel", c))?;
            }
        }
        let stated = u32::from_le_bytes(bytes.array().map_err(bad)?);
        if !bytes.rest().is_empty() {
            return Err(bad("bytes follow its end").with("bytes", bytes.rest().len()));
        }
        let start = block.offsets_ns.as_deref().map_or(0, |o| hash::of_words(0, o, |v| v as u64));
        let sum = block.channels.iter().fold(start, |sum, c| checksum(sum, c.samples()));
        if sum as u32 != stated { Err(bad("its checksum does not match its samples")) } else { Ok(()) }
    }

    /// Reads everything before the channels; also returns how many bytes the samples may still take.
    fn head(&mut self, bytes: &mut Bytes<'_>, limits: &Limits, block: &mut Block) -> Res<(Shape, usize)> {
        let flags = bytes.u8()?;
        if flags & !(HOLD | OFFSETS) != 0 {
            return Err("it uses a feature that this version does not know");
        }
        let channels = bytes.count(limits.channels, "it has more channels than allowed")?;
        let rows = bytes.count(limits.samples, "it has more samples than allowed")?;
        if channels == 0 || rows == 0 {
            return Err("it has no samples");
        }
        if limits.exact_channels.is_some_and(|n| n != channels) || limits.exact_samples.is_some_and(|n| n != rows) {
            return Err("its shape is not the one that the reading states");
        }
        let offsets = flags & OFFSETS != 0;
        let least = channels.saturating_mul(4) + if offsets { 8 } else { 0 };
        if rows.saturating_mul(least) > limits.bytes {
            return Err("its samples take more bytes than allowed");
        }
        let mut budget = limits.bytes;
        if offsets {
            budget -= rows * 8;
            let times = block.offsets_ns.get_or_insert_default();
            series::decode_values(bytes, rows, times)?;
        } else {
            block.offsets_ns = None;
        }
        let (hold, kept) = if flags & HOLD != 0 { Hold::read(bytes, rows).map(|(h, k)| (Some(h), k))? } else { (None, rows) };
        Ok((Shape { channels, rows, kept, hold }, budget))
    }

    fn channel(&mut self, bytes: &mut Bytes<'_>, shape: &Shape, budget: &mut usize, slot: &mut Channel) -> Res<()> {
        let head = bytes.u8()?;
        let kind = head & 3;
        let width = WIDTHS.get(usize::from(kind)).copied().ok_or("it has an unknown sample type")?;
        *budget = budget.checked_sub(width * shape.rows).ok_or("its samples take more bytes than allowed")?;
        if head >> 6 != 0 || (kind == 0 && head != 0) {
            return Err("it has an unknown head byte");
        }
        let map = Map::read(head >> 2 & 7, bytes)?;
        self.odd.gaps.clear();
        self.odd.misses.clear();
        if head & ODD != 0 {
            let n = bytes.count(most_corrections(shape.kept), "it has too many corrections")?;
            if n == 0 {
                return Err("it has no corrections where it promises some");
            }
            series::decode_values(bytes, n, &mut self.odd.gaps)?;
            series::decode_values(bytes, n, &mut self.odd.misses)?;
        }
        let mut steps = self.spare.pop().unwrap_or_default();
        let grid = series::decode(bytes, shape.kept, &self.before, &mut steps)?;
        let hold = shape.hold.as_ref();
        match kind {
            0 => {
                let out = reuse(slot, |c| if let Channel::I32(v) = c { Some(v) } else { None }, Channel::I32)?;
                let values = steps.iter().map(|s| grid.value(*s) as i32);
                spread(hold, &mut self.rows_i32, out, shape.rows, |to| {
                    to.extend(values);
                    Ok(())
                })?;
            }
            1 => {
                let out = reuse(slot, |c| if let Channel::F32(v) = c { Some(v) } else { None }, Channel::F32)?;
                spread(hold, &mut self.rows_f32, out, shape.rows, |to| floats(map, &steps, grid, &self.odd, to))?;
            }
            _ => {
                let out = reuse(slot, |c| if let Channel::F64(v) = c { Some(v) } else { None }, Channel::F64)?;
                spread(hold, &mut self.rows_f64, out, shape.rows, |to| floats(map, &steps, grid, &self.odd, to))?;
            }
        }
        self.before.push(steps);
        if self.before.len() > REACH {
            self.spare.push(self.before.remove(0));
        }
        Ok(())
    }
}

/// The channel's own buffer when it has the type already.
fn reuse<T>(slot: &mut Channel, of: fn(&mut Channel) -> Option<&mut Vec<T>>, new: fn(Vec<T>) -> Channel) -> Res<&mut Vec<T>> {
    if of(slot).is_none() {
        *slot = new(Vec::new());
    }
    let v = of(slot).ok_or("it has an unknown sample type")?;
    v.clear();
    Ok(v)
}

/// Fills `out` directly, or by way of `kept` when some rows repeat.
fn spread<T: Copy>(
    hold: Option<&Hold>,
    kept: &mut Vec<T>,
    out: &mut Vec<T>,
    rows: usize,
    fill: impl FnOnce(&mut Vec<T>) -> Res<()>,
) -> Res<()> {
    out.reserve(rows);
    match hold {
        None => fill(out),
        Some(h) => {
            kept.clear();
            fill(kept)?;
            h.expand(kept, out);
            Ok(())
        }
    }
}

fn floats<F: Float>(map: Map, steps: &[i64], grid: Grid, odd: &Odd, out: &mut Vec<F>) -> Res<()> {
    map.expand(steps, grid, out);
    let mut next = 0usize;
    for (gap, miss) in odd.gaps.iter().zip(&odd.misses) {
        let gap = usize::try_from(*gap).ok().filter(|g| *g < steps.len()).ok_or("a correction lies outside the samples")?;
        let x = out.get_mut(next + gap).ok_or("a correction lies outside the samples")?;
        *x = F::from_ordered(x.ordered().wrapping_add(*miss));
        next += gap + 1;
    }
    Ok(())
}
