//! Where readings are kept: one set of traits, `memory:` and `sqlite:` behind it, and the change feed that flows consume.
//!
//! The store is the truth and its feed is the queue. A reading is validated before it comes here, committed here, and only
//! then acknowledged. See `docs/architecture.md`, "The store".

pub mod model;
pub mod traits;
