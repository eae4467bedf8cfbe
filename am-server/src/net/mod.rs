//! Sockets: accepting, TLS, and cutting.

pub(crate) mod link;
pub(crate) mod listener;
pub(crate) mod tls;
