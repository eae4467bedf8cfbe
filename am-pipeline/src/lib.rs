//! Sources, processors and sinks with receipts, credits and flow files.

mod clock;
mod dead_letter;

pub use clock::TokioClock;
pub use dead_letter::DeadLetter;
