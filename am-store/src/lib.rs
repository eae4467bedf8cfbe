//! Where readings are kept: one set of traits, `memory:` and `sqlite:` behind it, and the change feed that flows consume.
//!
//! The store is the truth and its feed is the queue. A reading is validated before it comes here, committed here, and only
//! then acknowledged. See `docs/architecture.md`, "The store".
//!
//! Users hold a [`Store`] and ask it through a scope. Authors of backends implement [`traits`], with the shared parts of
//! [`mod@cursor`], [`limits`], [`predicate`], [`text`] and [`mod@vectors`], and run the conformance kit in `testkit` (feature `testkit`).
//!
//! ```
//! use std::sync::Arc;
//! use am_core::{DeviceId, Scope, Timestamp};
//! use am_schema::{Catalogue, Reading, v1};
//! use am_store::{Store, StoreOptions, model::ScanQuery};
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let clock = Arc::new(am_pipeline::TokioClock::default());
//! let store = Store::open("memory:", StoreOptions::default(), clock, Catalogue::builtin()).await?;
//! let mine = store.scoped(&Scope::local());
//!
//! let kind = store.catalogue().get("device.health.heartrate.raw").ok_or("unknown kind")?;
//! let beat = Reading::builder(kind, DeviceId::new("watch")?, Timestamp::parse("2026-03-01T08:00:00Z")?)
//!     .payload(&v1::HeartRate { bpm: 61, ..Default::default() })
//!     .build()?;
//! mine.put(vec![beat.clone()]).await?;
//! mine.put(vec![beat]).await?;
//! assert_eq!(mine.scan(&ScanQuery::default()).await?.items.len(), 1);
//! assert_eq!(mine.counts().await?.duplicate, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ancestry;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod buckets;
pub mod bus;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod conflict;
pub mod cursor;
pub mod entries;
pub mod limits;
pub mod lookup;
pub mod memory;
pub mod model;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod predicate;
#[cfg(feature = "redis")]
pub mod redis;
mod replay;
pub mod runner;
mod scoped;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod store;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod text;
pub mod traits;
pub mod vectors;

pub use ancestry::{Ancestry, Step};
pub use replay::{Repair, Replayed};
pub use scoped::ScopedStore;
pub use store::{Store, StoreOptions};
