//! Where readings are kept: one set of traits, `memory:` and `sqlite:` behind it, and the change feed that flows consume.
//!
//! The store is the truth and its feed is the queue. A reading is validated before it comes here, committed here, and only
//! then acknowledged. See `docs/architecture.md`, "The store".
//!
//! Users hold a `Store` and ask it through a scope. Authors of backends implement [`traits`], with the shared parts of
//! [`mod@cursor`], [`limits`], [`predicate`] and [`text`], and run the conformance kit in `testkit`.

pub mod cursor;
pub mod limits;
pub mod model;
pub mod predicate;
pub mod text;
pub mod traits;
