//! The gRPC side.

pub mod codec;
pub(crate) mod front;
pub(crate) mod lane;
pub(crate) mod metered;
pub(crate) mod probe;
pub(crate) mod service;
pub(crate) mod status;
