//! Ready-made sources, processors and sinks.

mod null;
mod route;

pub use null::Null;
pub use route::Router;
