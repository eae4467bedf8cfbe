//! Range asymmetric numeral systems (Duda 2013) with one frequency table per context; the context is the size of the recent residuals.

use super::bits::{BitReader, BitWriter, Bytes, Res, unzigzag, zigzag};
use super::rice::Mean;

/// Tokens below this are the magnitude itself; each later octave has four tokens and the rest in plain bits.
const DIRECT: u64 = 16;
/// One token for each magnitude class of 64 bits.
pub(super) const TOKENS: usize = 256;
/// Contexts that one table set may have.
pub(super) const MAX_CONTEXTS: usize = 8;
/// Size classes of the running mean: four to an octave.
pub(super) const LEVELS: usize = 256;
/// States live in `[2^16, 2^32)` and give or take 16 bits at a time.
const LOW: u32 = 1 << 16;

/// Token, number of plain bits, plain bits.
pub(super) fn split(z: u64) -> (u8, u32, u64) {
    if z < DIRECT {
        return (z as u8, 0, 0);
    }
    let octave = z.ilog2();
    let extra = octave - 2;
    let token = DIRECT + u64::from(octave - 4) * 4 + ((z >> extra) & 3);
    (token as u8, extra, z & ((1u64 << extra) - 1))
}

/// The size class of a running mean.
#[inline(always)]
pub(super) fn level(mean: &Mean) -> usize {
    let s = mean.scaled() | 4;
    let octave = s.ilog2();
    ((octave << 2) as usize) | ((s >> (octave - 2)) & 3) as usize
}

/// What the decoder needs besides the coded data.
pub(super) struct Model {
    /// Base-2 logarithm of the first running mean.
    pub(super) start: u32,
    /// Base-2 logarithm of the running mean's window.
    pub(super) rate: u32,
    /// Base-2 logarithm of the sum of each table.
    pub(super) log: u32,
    /// Context `c` ends before level `ends[c]`; the last one has no end.
    pub(super) ends: Vec<u8>,
    /// Per context, the frequency of each token, summing to `2^log`.
    pub(super) tables: Vec<[u16; TOKENS]>,
}

impl Model {
    /// Level to context.
    pub(super) fn contexts(&self) -> [u8; LEVELS] {
        let mut map = [0u8; LEVELS];
        for (l, slot) in map.iter_mut().enumerate() {
            *slot = self.ends.iter().filter(|end| usize::from(**end) <= l).count() as u8;
        }
        map
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push((self.start | (self.rate - 3) << 6) as u8);
        out.push((self.ends.len() as u32 | (self.log - 9) << 4) as u8);
        out.extend_from_slice(&self.ends);
        let mut w = BitWriter::default();
        for table in &self.tables {
            let first = table.iter().position(|f| *f > 0).unwrap_or(0);
            let last = table.iter().rposition(|f| *f > 0).unwrap_or(0);
            w.put(first as u64, 8);
            w.put(last as u64, 8);
            for f in table.get(first..=last).unwrap_or_default() {
                let len = (u32::from(*f) + 1).ilog2();
                w.put(u64::from(len), 4);
                w.put(u64::from(*f) + 1, len);
            }
        }
        out.extend_from_slice(&w.finish());
    }

    fn read(bytes: &mut Bytes<'_>) -> Res<Model> {
        let (a, b) = (u32::from(bytes.u8()?), u32::from(bytes.u8()?));
        let (contexts, log) = ((b & 15) as usize + 1, (b >> 4) + 9);
        if contexts > MAX_CONTEXTS || log > 12 {
            return Err("its entropy tables have an unknown shape");
        }
        let ends = bytes.take(contexts - 1)?.to_vec();
        let mut r = BitReader::new(bytes.rest());
        let mut tables = Vec::with_capacity(contexts);
        for _ in 0..contexts {
            let (first, last) = (r.get(8) as usize, r.get(8) as usize);
            let mut table = [0u16; TOKENS];
            let mut sum = 0u32;
            for f in table.get_mut(first..=last).ok_or("its entropy tables are damaged")? {
                let len = r.get(4) as u32;
                let v = (1u32 << len | r.get(len) as u32) - 1;
                *f = v.min(0x1fff) as u16;
                sum += v;
            }
            if sum != 1 << log {
                return Err("its entropy tables are damaged");
            }
            tables.push(table);
        }
        let used = r.finish()?;
        bytes.take(used)?;
        Ok(Model { start: a & 63, rate: (a >> 6) + 3, log, ends, tables })
    }
}

/// Appends the coded residuals under a model that has a frequency for every token that occurs.
pub(super) fn encode(residuals: &[i64], model: &Model, out: &mut Vec<u8>) {
    model.write(out);
    let map = model.contexts();
    let starts: Vec<[u32; TOKENS]> = model
        .tables
        .iter()
        .map(|t| {
            let mut sum = 0;
            t.map(|f| {
                sum += u32::from(f);
                sum - u32::from(f)
            })
        })
        .collect();
    let mut mean = Mean::new(model.start, model.rate);
    let mut plain = BitWriter::default();
    let mut steps = Vec::with_capacity(residuals.len());
    for r in residuals {
        let z = zigzag(*r);
        let (token, extra, rest) = split(z);
        plain.put(rest, extra);
        let context = usize::from(map.get(level(&mean)).copied().unwrap_or(0));
        let t = usize::from(token);
        let f = model.tables.get(context).and_then(|x| x.get(t)).copied().unwrap_or(1);
        let start = starts.get(context).and_then(|x| x.get(t)).copied().unwrap_or(0);
        steps.push((u32::from(f).max(1), start));
        mean.update(z);
    }
    let mut state = LOW;
    let mut words: Vec<u16> = Vec::with_capacity(residuals.len() / 2);
    for (f, start) in steps.iter().rev() {
        if u64::from(state) >= u64::from(*f) << (32 - model.log) {
            words.push(state as u16);
            state >>= 16;
        }
        state = ((state / f) << model.log) + state % f + start;
    }
    super::bits::put_varint(out, words.len() as u64);
    out.extend_from_slice(&state.to_le_bytes());
    out.extend(words.iter().rev().flat_map(|w| w.to_le_bytes()));
    out.extend_from_slice(&plain.finish());
}

/// Frequency minus one (12 bits), offset in the token's range (12 bits), token (8 bits).
fn lookup(model: &Model) -> Vec<u32> {
    let mut slots = Vec::with_capacity(model.tables.len() << model.log);
    for table in &model.tables {
        for (token, f) in table.iter().enumerate() {
            let f = u32::from(*f);
            slots.extend((0..f).map(|i| (f - 1) << 20 | i << 8 | token as u32));
        }
    }
    slots
}

/// Fills `out` with residuals.
pub(super) fn decode(bytes: &mut Bytes<'_>, out: &mut [i64]) -> Res<()> {
    let model = Model::read(bytes)?;
    let count = bytes.count(out.len(), "it has more entropy words than samples")?;
    let mut state = u32::from_le_bytes(bytes.array()?);
    let mut words = bytes.take(count * 2)?.as_chunks::<2>().0.iter();
    let mut plain = BitReader::new(bytes.rest());
    let slots = lookup(&model);
    let map = model.contexts();
    let mut mean = Mean::new(model.start, model.rate);
    let (log, mask) = (model.log, (1u32 << model.log) - 1);
    for slot in out {
        let context = u32::from(map.get(level(&mean)).copied().unwrap_or(0));
        let entry = slots.get((context << log | state & mask) as usize).copied().unwrap_or(0);
        state = ((entry >> 20) + 1).wrapping_mul(state >> log).wrapping_add(entry >> 8 & 0xfff);
        if state < LOW {
            state = state << 16 | words.next().map_or(0, |w| u32::from(u16::from_le_bytes(*w)));
        }
        let token = u64::from(entry & 0xff);
        let z = if token < DIRECT {
            token
        } else {
            let extra = ((token - DIRECT) >> 2) as u32 + 2;
            let lead = (4 | token & 3) << extra;
            if extra <= 56 {
                plain.refill();
                lead | plain.take(extra)
            } else {
                lead | plain.get(extra)
            }
        };
        *slot = unzigzag(z);
        mean.update(z);
    }
    if state != LOW || words.next().is_some() {
        return Err("its entropy code is damaged");
    }
    let used = plain.finish()?;
    bytes.take(used)?;
    Ok(())
}
