//! Scores, checks and the best of many: the part of vector search that every backend shares, so that they give the same hits.

mod check;
mod score;
mod top;

pub use check::{MAX_VALUE, fault_of, model, query, same_model, unknown_model};
pub use score::{Target, norm, read_into, write_into};
pub use top::Top;
