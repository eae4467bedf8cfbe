//! The front door: gRPC ingestion with device keys, health and metrics.
//!
//! A reading is validated, committed to the store, and only then answered (P01). Every item of a request has its own outcome;
//! what breaks a rule is parked as a dead letter in the same transaction and answered with field, value and rule (P02, P09).
//! Memory is bounded: a message is charged before it is read, and while there is no room its sender is held back (P10).
//!
//! ```no_run
//! # async fn run(store: am_store::Store) -> am_core::Result<()> {
//! use am_core::Scope;
//! use am_server::{Server, ServerConfig};
//! let server = Server::builder(&store).config(ServerConfig::local(Scope::local())).bind().await?;
//! println!("readings go to {}, health is at {:?}", server.grpc_addr(), server.http_addr());
//! server.shutdown().await
//! # }
//! ```

mod answer;
mod auth;
mod config;
pub mod grpc;
mod health;
mod http;
mod intake;
mod metrics;
mod net;
mod server;

#[allow(missing_docs, unreachable_pub, rust_2018_idioms, clippy::all, clippy::pedantic)]
mod generated {
    include!("generated/ingest_server.rs");
}

pub use auth::{KeyGrant, NewKey, create_key, revoke_key};
pub use config::{Auth, Limits, ServerConfig, Times, TlsConfig};
pub use server::{Server, ServerBuilder};
