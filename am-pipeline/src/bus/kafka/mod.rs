//! The bus on Apache Kafka, over librdkafka: `docs/kafka.md` has what an operator needs to know.
//!
//! A message is acknowledged when `in_sync` servers of its partition have it ([`KafkaOptions::in_sync`]); Kafka does not sync to disk
//! before it answers, so custody needs at least two. A group's offsets are committed after [`super::Consumer::ack`], and only up to the
//! oldest message that is not settled. How often a message was delivered is counted by the member that has it: a member that dies takes
//! the count with it. Kafka does not remove duplicates by id; what the group writes to must, as the store does.
//!
//! There are no tails, because Kafka has no order over all messages, and no entries.
//!
//! ```no_run
//! # async fn f() -> am_core::Result<()> {
//! use std::sync::Arc;
//! use am_pipeline::bus::kafka::{self, KafkaOptions};
//! let bus = kafka::open(KafkaOptions::new("kafka-1:9092,kafka-2:9092"), Arc::new(am_pipeline::TokioClock::default())).await?;
//! bus.publisher.ready().await?;
//! # Ok(()) }
//! ```

mod consumer;
mod delivery;
mod errors;
mod groups;
mod ledger;
mod offsets;
mod options;
mod pressure;
mod publisher;
mod record;
mod topics;
mod upkeep;

pub use options::{Compression, KafkaOptions, Protocol, Security, Topics};

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use am_core::{Clock, Code, Error, Result};
use parking_lot::Mutex;
use rdkafka::admin::AdminClient;
use rdkafka::producer::{FutureProducer, Producer as _};

use super::{Bus, Durability};
use errors::{Health, Quiet, explain};
use pressure::Gauge;

/// What all handles of a bus share.
struct Shared {
    options: KafkaOptions,
    clock: Arc<dyn Clock>,
    health: Health,
    /// Made anew after a fault that librdkafka calls fatal.
    producer: Mutex<Option<FutureProducer<Quiet>>>,
    admin: AdminClient<Quiet>,
    /// Topics that were seen.
    known: Mutex<BTreeSet<String>>,
    gauge: Arc<Gauge>,
}

/// What users of the bus hold.
struct Hand(Arc<Shared>);

/// Connects, and checks that a broker answers and lets this user in.
///
/// # Errors
/// `BAD_CONFIG`, `BUS_UNAVAILABLE`, `BUS_REFUSED`.
pub async fn open(options: KafkaOptions, clock: Arc<dyn Clock>) -> Result<Bus> {
    options.check()?;
    let health = Health::default();
    let made = |e| explain("kafka.open", false, &health, &e);
    let admin = options.client()?.create_with_context(Quiet(health.clone())).map_err(made)?;
    let shared = Arc::new(Shared {
        producer: Mutex::new(Some(producer(&options, &health)?)),
        gauge: Arc::new(Gauge::new(options.clone())),
        known: Mutex::default(),
        admin,
        health,
        clock,
        options,
    });
    shared.look_around().await?;
    let durability = match shared.options.acknowledged_by() {
        1 => Durability::Unsynced,
        n => Durability::Replicas(u8::try_from(n).unwrap_or(u8::MAX)),
    };
    let hand = Arc::new(Hand(shared));
    Ok(Bus { name: "kafka", durability, publisher: hand.clone(), groups: hand, tails: None, entries: None })
}

fn producer(options: &KafkaOptions, health: &Health) -> Result<FutureProducer<Quiet>> {
    options.producer()?.create_with_context(Quiet(health.clone())).map_err(|e| explain("kafka.open", false, health, &e))
}

impl Shared {
    fn ask_within(&self) -> Duration {
        Duration::from_millis(self.options.ask_ms.clamp(100, 600_000))
    }

    /// The producer, a fresh one if the last has come to an end.
    fn producer(&self) -> Result<FutureProducer<Quiet>> {
        let mut held = self.producer.lock();
        let Some(found) = held.as_ref() else { return Err(Error::new(Code::CLOSED, "the bus is closed").op("bus.publish")) };
        if let Some((code, why)) = found.client().fatal_error() {
            tracing::warn!(%code, why, "the producer is made anew");
            *held = Some(producer(&self.options, &self.health)?);
        }
        held.clone().ok_or_else(|| Error::new(Code::CLOSED, "the bus is closed").op("bus.publish"))
    }
}

/// Runs what blocks, as librdkafka's questions do, where it holds nobody up.
async fn blocking<T: Send + 'static>(op: &'static str, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let ended = |e| Error::new(Code::INTERNAL, format!("a question to Kafka ended without an answer: {e}")).op(op);
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}
