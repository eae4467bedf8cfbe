//! Words, questions and ranking: the part of text search that every backend shares, so that they give the same hits.

mod bm25;
mod query;
mod tokenizer;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod words;

pub use bm25::{Statistics, rank};
pub use query::{MAX_TERMS, Query};
pub use tokenizer::{Document, FIELD_GAP, MAX_TERM_BYTES, terms};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) use words::Words;
