//! Samples of a block of acceleration, each with its time.

use am_core::{Code, Error, ReadingId, Result, Timestamp};
use am_schema::block::{Channel, Limits, decode as decode_block};
use am_schema::{Reading, v1};

/// The samples of one block, in the order of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// When the block was recorded.
    pub recorded_at: Timestamp,
    /// The block's id.
    pub id: ReadingId,
    /// When each sample was taken, nanoseconds since 1970.
    pub times: Vec<i64>,
    /// x, y and z in m/s².
    pub values: Vec<[f32; 3]>,
    /// Where the samples end: one period after the last.
    pub end: i64,
}

impl Samples {
    /// When the first sample was taken.
    pub fn start(&self) -> i64 {
        self.times.first().copied().unwrap_or(self.end)
    }

    /// The order of blocks, which decides between samples of the same time.
    pub(super) fn order(&self) -> (Timestamp, ReadingId) {
        (self.recorded_at, self.id)
    }

    /// Lets go of samples before a time.
    pub(super) fn forget_before(&mut self, from: i64) {
        let n = self.times.partition_point(|t| *t < from);
        self.times.drain(..n);
        self.values.drain(..n);
    }
}

/// The samples of a reading that carries a block with the channels x, y and z. Samples that are no finite number are left out.
///
/// # Errors
/// `BAD_BLOCK` or `UNDECODABLE` when it does not.
pub fn decode(reading: &Reading) -> Result<Samples> {
    let message: v1::SampleBlock = reading.payload()?;
    let bad = |why: &str| Error::new(Code::BAD_BLOCK, format!("the block of {}: {why}", reading.kind())).op("motion.samples");
    let count = message.count as usize;
    let block = decode_block(&message.data, &Limits::exactly(message.channels.len(), count))?;
    let at = |name: &str| message.channels.iter().position(|c| c.name == name).ok_or_else(|| bad("it has no channels x, y and z"));
    let axis = |i: usize| -> Result<Vec<f32>> {
        let scale = message.channels.get(i).map_or(1.0, |c| c.scale);
        Ok(match block.channels.get(i).ok_or_else(|| bad("a channel is missing"))? {
            Channel::I32(v) => v.iter().map(|s| (f64::from(*s) * if scale == 0.0 { 1.0 } else { scale }) as f32).collect(),
            Channel::F32(v) => v.clone(),
            Channel::F64(v) => v.iter().map(|s| *s as f32).collect(),
        })
    };
    let (x, y, z) = (axis(at("x")?)?, axis(at("y")?)?, axis(at("z")?)?);
    let start = reading.recorded_at().as_nanos();
    let period = i64::try_from(message.period_ns).map_err(|_| bad("its period is too long"))?;
    let times: Vec<i64> = match &block.offsets_ns {
        Some(offsets) => offsets.iter().map(|o| start.saturating_add(*o)).collect(),
        None => (0..count as i64).map(|i| start.saturating_add(i.saturating_mul(period))).collect(),
    };
    let step = if period > 0 { period } else { 1 };
    let end = times.iter().max().map_or(start, |t| t.saturating_add(step));
    let values = x.into_iter().zip(y).zip(z).map(|((x, y), z)| [x, y, z]);
    let mut rows: Vec<(i64, [f32; 3])> = times.into_iter().zip(values).filter(|(_, v)| v.iter().all(|c| c.is_finite())).collect();
    rows.sort_by_key(|(t, _)| *t);
    let (times, values) = rows.into_iter().unzip();
    Ok(Samples { recorded_at: reading.recorded_at(), id: reading.id(), times, values, end })
}
