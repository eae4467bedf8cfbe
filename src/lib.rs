//! AM keeps what your devices and accounts record over time: what it accepts is durable, and nothing is dropped silently.
//!
//! This crate gathers AM's crates under one name. The ground ([`Scope`], [`Timestamp`], [`Error`] …) is at the root and the kinds of
//! readings are in [`schema`]; everything else is behind a feature of its module's name, and each feature adds without changing the rest:
//!
//! | feature | gives | for |
//! |---|---|---|
//! | `pipeline` | `am::pipeline` | sources, processors and sinks of your own, flow files |
//! | `store` | `am::store` | keeping and asking for readings, in memory or SQLite, and running flows on its feed |
//! | `enrich` | `am::enrich` | processors that derive meaning from signals |
//! | `connect` | `am::connect` | importing files that devices and services export |
//! | `client` | `am::client` | the device side: outbox and upload |
//! | `server` | `am::server` | gRPC ingestion in front of a store |
//! | `testkit` | `am::store::testkit`, `am::pipeline::testkit` | conformance cases for backends and nodes of your own |
//! | `full` | all of these but `testkit` | |
//!
//! A reading is valid by construction, whichever features are on:
//!
//! ```
//! use am::prelude::*;
//!
//! let kind = Catalogue::builtin().get("device.health.heartrate.raw").ok_or("unknown kind")?;
//! let at = Timestamp::parse("2026-03-01T08:00:00Z")?;
//! let watch = DeviceId::new("watch")?;
//! let beat = |bpm| Reading::builder(kind, watch.clone(), at).payload(&v1::HeartRate { bpm, ..Default::default() }).build();
//!
//! assert_eq!(beat(61)?.payload::<v1::HeartRate>()?.bpm, 61);
//! let refused = beat(9_000).err().ok_or("an impossible heart rate was taken")?;
//! assert!(refused.to_string().contains("bpm"), "{refused}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The picture of the whole is in `docs/architecture.md`, the words in `docs/glossary.md`, every error code in `docs/errors.md`.

pub mod prelude;

pub use am_core::*;

pub use am_schema as schema;

#[cfg(feature = "client")]
pub use am_client as client;
#[cfg(feature = "connect")]
pub use am_connect as connect;
#[cfg(feature = "enrich")]
pub use am_enrich as enrich;
#[cfg(feature = "pipeline")]
pub use am_pipeline as pipeline;
#[cfg(feature = "server")]
pub use am_server as server;
#[cfg(feature = "store")]
pub use am_store as store;

/// The examples of the README, compiled and run as tests.
#[cfg(all(doctest, feature = "full"))]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// The newcomer's pipeline of `examples/hello_pipeline.rs`, run with the other documentation tests.
#[cfg(all(doctest, feature = "full"))]
#[doc = concat!("```\n", include_str!("../examples/hello_pipeline.rs"), "\n```")]
mod hello_pipeline {}
