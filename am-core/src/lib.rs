//! The small, stable ground that every crate of AM stands on.
//!
//! Ids and [`Scope`], [`Timestamp`] and [`Clock`], the call context [`Ctx`], one [`Error`] with one table of
//! codes, the [`Topic`] grammar, [`Secret`] and the configuration loader. Nothing here knows protobuf, a runtime or I/O.
//!
//! ```
//! use am_core::{Scope, Timestamp, Topic};
//! let scope = Scope::new("acme", "ada")?;
//! let topic = Topic::parse("device.health.heartrate.raw")?;
//! let at = Timestamp::parse("2026-03-01T08:00:00Z")?;
//! assert_eq!((scope.user().as_str(), topic.stage(), at.as_second()), ("ada", "raw", 1_772_352_000));
//! # Ok::<(), am_core::Error>(())
//! ```

mod cancel;
mod clock;
mod codes;
pub mod config;
mod ctx;
mod error;
mod ids;
pub mod policy;
mod secret;
mod time;
mod topic;
mod trace;

pub use cancel::{CancelToken, Cancelled};
pub use clock::{BoxFuture, Clock, ManualClock, Monotonic, SystemTicks};
pub use codes::{CODES, Code, CodeInfo};
pub use ctx::{Ctx, Lookup, LookupRange, NoLookup, Record};
pub use error::{Error, ErrorKind, Result, ResultExt, Retry};
pub use ids::{DeviceId, ReadingId, Scope, TenantId, UserId};
pub use secret::Secret;
pub use time::Timestamp;
pub use topic::{Topic, TopicFilter};
pub use trace::TraceParent;
