//! The bus on NATS JetStream.
//!
//! Three streams, one per [`Area`], a bucket for [`super::Entries`], durable consumers for groups and tails. What an operator needs to
//! know – set-up, permissions, monitoring, and what an acknowledgement is worth – is in `docs/nats.md`.
//!
//! **What "safe" means here** (P01). A message is acknowledged when the stream's leader and a majority of its copies have it in the
//! operating system's memory; with the server's default settings it is synced to disk up to two minutes later. With three copies on three
//! machines that is custody. On a single server it is custody only when that server has `sync_interval: always`, which a client cannot
//! see: the operator says so with [`NatsOptions::single_node_sync`]. [`super::Bus::durability`] tells which of these it is.

mod api;
mod clear;
mod connect;
mod entries;
mod envelope;
mod group;
mod link;
mod member;
mod options;
mod pressure;
mod publish;
mod pull;
mod streams;
mod tail;
mod turn;
mod units;

pub use options::{AuthOptions, NatsOptions, Retention, StreamOptions, StreamsOptions, TlsOptions};

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use am_core::{Clock, Code, Error, Result};
use async_nats::jetstream::ContextBuilder;
use tokio::sync::Semaphore;

use super::{Area, Bus};
use api::Api;
use link::Link;
use pressure::Gauge;

/// Connects, and makes what is missing.
///
/// # Errors
/// `BAD_CONFIG` for settings that cannot be; `BUS_UNAVAILABLE` when nothing answers; `BUS_REFUSED` for wrong credentials or missing
/// permissions; `BUS_MISMATCH` when a stream is there with other settings, when JetStream is off, or when the streams do not fit.
pub async fn open(options: NatsOptions, clock: Arc<dyn Clock>) -> Result<Bus> {
    options.check()?;
    let link = Link::new();
    let client = connect::connect(&options, &link).await?;
    let cluster = client.server_info().cluster.is_some();
    let units = usize::try_from(options.in_flight_bytes).unwrap_or(usize::MAX) / publish::UNIT;
    let units = units.clamp(1 << 11, u32::MAX as usize / 2);
    // The bound on what is in flight is ours, in bytes; the context's, in messages, is never reached.
    let js = ContextBuilder::new().timeout(options.answer_within).max_ack_inflight(units).build(client);
    let api = Api { js, link };
    streams::account(&api).await?;
    let (mut durability, mut largest) = (None, usize::MAX);
    for area in Area::ALL {
        let info = streams::ensure(&api, &streams::wanted(&options, area, cluster), streams::compare).await?;
        if area == Area::Readings {
            durability = Some(streams::durability(&info.config, options.single_node_sync));
        }
        if info.config.max_message_size > 0 {
            largest = largest.min(info.config.max_message_size as usize);
        }
    }
    let entries = Arc::new(entries::Bucket::open(&options, &api, &clock, cluster).await?);
    let durability = durability.unwrap_or(super::Durability::Unsynced);
    if !durability.is_custody() {
        tracing::warn!(
            "an acknowledgement of this single NATS server is not a sync: a power cut can lose what was acknowledged. Use three servers, \
             or set `sync_interval: always` there and `single_node_sync` here; see docs/nats.md"
        );
    }
    let shared = Arc::new_cyclic(|me| Shared {
        me: me.clone(),
        api,
        clock,
        cluster,
        largest,
        room: Arc::new(Semaphore::new(units)),
        units: u32::try_from(units).unwrap_or(u32::MAX),
        pressure: Gauge::default(),
        options,
    });
    Ok(Bus { name: "nats", durability, publisher: shared.clone(), groups: shared.clone(), tails: Some(shared), entries: Some(entries) })
}

/// What all handles of a bus have in common.
struct Shared {
    /// For the readers it hands out.
    me: Weak<Shared>,
    api: Api,
    clock: Arc<dyn Clock>,
    options: NatsOptions,
    cluster: bool,
    /// Bytes of the largest message that every stream takes.
    largest: usize,
    /// Room for what is in flight, in units of [`publish::UNIT`] bytes.
    room: Arc<Semaphore>,
    units: u32,
    pressure: Gauge,
}

impl Shared {
    fn me(&self) -> Result<Arc<Shared>> {
        self.me.upgrade().ok_or_else(|| Error::new(Code::CLOSED, "the bus is gone").op("bus.nats"))
    }

    /// What a future gives, unless it takes longer.
    async fn within<T>(&self, d: Duration, work: impl Future<Output = T>) -> Option<T> {
        let timer = self.clock.sleep(d);
        tokio::select! {
            biased;
            v = work => Some(v),
            () = timer => None,
        }
    }
}
