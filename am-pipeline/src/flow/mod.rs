//! Flow files: which processors run on which topics, and what goes to other services.
//!
//! The format is described in `docs/flow-files.md`. [`Checker`] reads any number of files and finds everything that is wrong with them
//! at once; [`Flows::draw`] draws them; [`chain`] makes one processor of a flow's steps.

mod chain;
mod check;
mod cycle;
mod draw;
mod model;
mod problem;
mod read;
mod yaml;

pub use chain::{Chain, chain};
pub use check::Checker;
pub use model::{Flow, Flows, OnError, Priority, RemoteTarget, Route, Step};
pub use problem::{Place, Problem};
