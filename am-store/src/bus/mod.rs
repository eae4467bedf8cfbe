//! The parts of a cluster: the same server, the same flows and the same store, with a bus between them.
//!
//! - [`gateway`]: a backend for a server that publishes what it takes in instead of storing it.
//! - [`Persister`]: the one that moves messages off the bus into a store; only it writes readings to the database.
//! - [`worker`]: a backend for a [`crate::runner::FlowRunner`] whose feed is the bus and whose commits go onto the bus.
//!
//! No transaction spans two systems. A gateway answers when the bus has acknowledged; the persister acknowledges to the bus when the
//! store has committed; a worker publishes what it derived, awaits every acknowledgement, then moves its cursor with one
//! compare-and-set. Whatever is done twice because an acknowledgement was lost adds nothing, because readings are named by content.

mod feed;
mod flows;
mod gateway;
mod lanes;
mod lease;
mod parcels;
mod persister;
mod saved;
mod seen;

pub use feed::reader_of;
pub use flows::WorkerOptions;
pub use gateway::{GatewayOptions, gateway};
pub use persister::{Persister, PersisterOptions, PersisterStatus};

use std::sync::Arc;

use am_core::{Clock, Code, Error, Result};
use am_pipeline::bus::Bus;
use am_schema::Catalogue;

use crate::traits::Backend;

/// A backend for the runner of one flow: the feed is the bus's stream of readings, commits go onto the bus, and history is asked of
/// `inner`, as it is at the time. Places of the feed are those of the bus and have nothing to do with those of `inner`.
///
/// One runner of a flow works at a time; the others wait as `STORE_LOCKED` until it lets go or is silent for the lease's length.
///
/// # Errors
/// `BUS_MISMATCH` when the bus has no order or no entries.
pub fn worker(
    inner: Backend,
    bus: &Bus,
    flow: &str,
    options: WorkerOptions,
    clock: Arc<dyn Clock>,
    catalogue: Catalogue,
) -> Result<Backend> {
    let lacks = |what| Error::new(Code::BUS_MISMATCH, format!("flows need {what}, and the bus {} has none", bus.name)).op("bus.worker");
    let tails = bus.tails.clone().ok_or_else(|| lacks("an order over all messages"))?;
    let entries = bus.entries.clone().ok_or_else(|| lacks("entries with compare-and-set"))?;
    let progress = Arc::new(feed::Progress::default());
    let flows = flows::BusFlows::new(bus.clone(), entries, options, clock.clone(), progress.clone());
    let feed = feed::BusFeed::new(tails, flow.to_owned(), flows.lease(), catalogue, progress);
    let readings = Arc::new(feed::Unplaced(inner.readings.clone()));
    Ok(Backend { name: "bus", readings, feed: Arc::new(feed), flows: Arc::new(flows), ..inner })
}
