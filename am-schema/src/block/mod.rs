//! Sample blocks: seconds to minutes of a high-rate signal, compressed without loss.
//!
//! A block holds one or more channels of equal length, and the sample times when they are not periodic. Each channel is turned into
//! integers (floats through the decimals, binary fraction or sensor step that they were made from, checked bit by bit), predicted from
//! its past and from another channel, and the residuals are entropy coded. `docs/sample-blocks.md` has the format.
//!
//! ```
//! use am_schema::block::{Channel, Samples, decode_untrusted, encode};
//! let x: Vec<f32> = (0..500).map(|i| (i % 40) as f32 * 0.25).collect();
//! let bytes = encode(None, &[Samples::F32(&x)])?;
//! assert!(bytes.len() < 200);
//! assert_eq!(decode_untrusted(&bytes)?.channels, [Channel::F32(x)]);
//! # Ok::<(), am_core::Error>(())
//! ```

mod bits;
mod decode;
mod detect;
mod encode;
mod hash;
mod hold;
mod lpc;
mod map;
mod model;
mod predict;
mod rans;
mod rice;
mod series;

pub use decode::{Decoder, decode, decode_untrusted};
pub use encode::encode;

/// The encoding id that this module writes and reads: the first byte of every block.
pub const ENCODING: u8 = 1;
/// Most channels in a block.
pub const MAX_CHANNELS: usize = 256;
/// Most samples in a channel: five minutes at 8 kHz.
pub const MAX_SAMPLES: usize = 5 * 60 * 8_000;
/// Most bytes of decoded samples in a block.
pub const MAX_DECODED_BYTES: usize = 32 << 20;

/// The samples of a channel, to be encoded.
#[derive(Debug, Clone, Copy)]
pub enum Samples<'a> {
    /// Integers, as an integer sensor gives them; the scale is kept beside the block.
    I32(&'a [i32]),
    /// Single floats, kept to the bit.
    F32(&'a [f32]),
    /// Double floats, kept to the bit.
    F64(&'a [f64]),
}

impl Samples<'_> {
    /// How many samples there are.
    pub fn len(&self) -> usize {
        match self {
            Samples::I32(s) => s.len(),
            Samples::F32(s) => s.len(),
            Samples::F64(s) => s.len(),
        }
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The decoded samples of a channel.
#[derive(Debug, Clone, PartialEq)]
pub enum Channel {
    /// Integers.
    I32(Vec<i32>),
    /// Single floats.
    F32(Vec<f32>),
    /// Double floats.
    F64(Vec<f64>),
}

impl Channel {
    /// The samples, borrowed.
    pub fn samples(&self) -> Samples<'_> {
        match self {
            Channel::I32(s) => Samples::I32(s),
            Channel::F32(s) => Samples::F32(s),
            Channel::F64(s) => Samples::F64(s),
        }
    }
}

/// A decoded block.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Block {
    /// Nanoseconds from the block's start to each sample; `None` when the samples are periodic.
    pub offsets_ns: Option<Vec<i64>>,
    /// The channels, in the order they were encoded.
    pub channels: Vec<Channel>,
}

/// What a block must look like and how large it may be, checked before anything is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Most channels.
    pub channels: usize,
    /// Most samples in each channel.
    pub samples: usize,
    /// Most bytes of decoded samples, offsets included. Working memory is at most seven times as much.
    pub bytes: usize,
    /// The exact number of channels, when it is known from elsewhere.
    pub exact_channels: Option<usize>,
    /// The exact number of samples, when it is known from elsewhere.
    pub exact_samples: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { channels: MAX_CHANNELS, samples: MAX_SAMPLES, bytes: MAX_DECODED_BYTES, exact_channels: None, exact_samples: None }
    }
}

impl Limits {
    /// The default limits, and the shape that the reading around the block states.
    #[must_use]
    pub fn exactly(channels: usize, samples: usize) -> Self {
        Limits { exact_channels: Some(channels), exact_samples: Some(samples), ..Limits::default() }
    }
}

/// Bytes of one sample, and the seed of its checksum, by type number: 0 = i32, 1 = f32, 2 = f64.
const WIDTHS: [usize; 3] = [4, 4, 8];

/// Folds a channel into the block's checksum.
fn checksum(seed: u64, samples: Samples<'_>) -> u64 {
    match samples {
        Samples::I32(s) => hash::of_halves(seed, s, |v| v as u32),
        Samples::F32(s) => hash::of_halves(seed.wrapping_add(1), s, f32::to_bits),
        Samples::F64(s) => hash::of_words(seed.wrapping_add(2), s, f64::to_bits),
    }
}
