//! The device side of AM: readings are pushed in microseconds, kept in an outbox on disk, and uploaded when the network allows.
//!
//! [`Client::push`] returns once the reading is written, so that it survives a kill of the process; within
//! [`ClientOptions::sync_ms`] it is synced as well and [`Status::durable_seq`] says so; [`Client::flush`] waits until the server
//! has answered for everything pushed before. A reading leaves the outbox only when the server has stored it, knows it already,
//! or has parked it as a dead letter (P01, P02).

mod client;
#[cfg(feature = "grpc")]
mod grpc;
mod options;
pub mod outbox;
mod planner;
mod status;
mod transport;

/// The generated client of all five calls, for those who need more than [`Client`].
#[cfg(feature = "grpc")]
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v1 {
    include!("generated/ingest_client.rs");
}

pub use client::Client;
#[cfg(feature = "grpc")]
pub use grpc::GrpcTransport;
pub use options::{ClientOptions, Compression};
pub use outbox::{FileOutbox, OutboxStore};
pub use status::{RejectedItem, Status};
pub use transport::{ItemOutcome, Transport, Upload, UploadAnswer};
