//! Sources, processors and sinks with receipts, credits and flow files.
//!
#![doc = include_str!("guide.md")]

mod attempts;
pub mod bus;
mod clock;
mod condition;
pub mod dead_letter;
pub mod exec;
mod field;
#[cfg(feature = "flow-files")]
pub mod flow;
mod item;
pub mod nodes;
pub mod options;
mod outcome;
mod output;
pub mod policies;
mod processor;
mod receipt;
mod record;
mod registry;
mod runtime;
mod sink;
mod source;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use attempts::{Attempts, Jitter};
pub use clock::TokioClock;
pub use condition::{Condition, ConditionProblem};
pub use dead_letter::{DeadLetter, DeadLetterFile, DeadLetterMemory, DeadLetters, LetterQuery};
pub use item::{Batch, Item, Origin};
pub use outcome::{Outcome, Reason, Severity};
pub use output::{Decided, Output};
pub use processor::Processor;
pub use receipt::{Ledger, Receipt};
pub use registry::{Factory, Partition, ProcessorSpec, Registry, Setup};
pub use runtime::{Batching, Metric, NodeOptions, NodeStatus, Pipeline, PipelineBuilder, Report, SourceOptions, Status, Totals};
pub use sink::{Sink, Written};
pub use source::{Arrival, Polled, Settled, Source, Token};
