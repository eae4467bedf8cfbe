//! Between processes: a bus that keeps what was published until everyone who wants it has it.
//!
//! A [`Bus`] is a struct of handles, each behind a trait, as a store's backend is; what one bus cannot do is an `Option`. There are
//! `memory` for tests and single processes, `nats` (JetStream, feature `nats`) and `kafka` (feature `kafka`). All of them pass the
//! cases of `testkit::bus`.
//!
//! What is published is a [`Message`]: an area, whose it is, a topic of the catalogue, and a body. Bodies are [`Parcel`]s: readings of
//! one person and one topic, with their provenance. A message is safe once [`Publisher::publish`] says so for it; what "safe" means is
//! written at each bus (P01).
//!
//! There are two ways to read. A [`Consumer`] shares the messages of a group with other members and settles each by itself: what moves
//! readings into a database uses it. A [`Tail`] reads in order from a place on: a flow with state uses it, because its state belongs to
//! a place.

mod consumer;
mod entries;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod memory;
mod message;
#[cfg(feature = "nats")]
pub mod nats;
mod open;
mod pack;
mod parcel;
mod publisher;
mod sink;
mod source;
pub mod subject;
mod tail;

pub use consumer::{Consumer, Delivery, Foreign, GroupSpec, Groups, Tag};
pub use entries::{Entries, Entry, LARGEST_VALUE, check_key, check_value};
pub use message::{Area, Message};
pub use open::{BusOptions, open};
pub use pack::{MAX_ITEMS, pack};
pub use parcel::{Parcel, Parcels};
pub use publisher::{Durability, Pressure, Published, Publisher};
pub use sink::BusSink;
pub use source::BusSource;
pub use tail::{Sequenced, Tail, TailSpec, Tails};

use std::sync::Arc;

/// A bus's abilities, each behind its trait.
#[derive(Clone)]
pub struct Bus {
    /// Which one it is, such as `nats`.
    pub name: &'static str,
    /// What its acknowledgement of a message stands for.
    pub durability: Durability,
    /// Onto the bus.
    pub publisher: Arc<dyn Publisher>,
    /// Off the bus, shared by the members of a group.
    pub groups: Arc<dyn Groups>,
    /// Off the bus, in order from a place on; `None` where there is no such order over all messages.
    pub tails: Option<Arc<dyn Tails>>,
    /// Small values with compare-and-set; `None` where the bus has none.
    pub entries: Option<Arc<dyn Entries>>,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("name", &self.name).field("durability", &self.durability).finish_non_exhaustive()
    }
}
