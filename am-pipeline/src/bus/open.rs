//! A bus by its address.

use std::sync::Arc;

use am_core::{Clock, Code, Error, Result};

use super::{Bus, memory};

/// Options of every bus; the one that the address names reads its own.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BusOptions {
    /// For `nats://…`; the addresses win over those in here.
    #[cfg(feature = "nats")]
    pub nats: super::nats::NatsOptions,
    /// For `kafka://…`; the brokers win over those in here.
    #[cfg(feature = "kafka")]
    pub kafka: super::kafka::KafkaOptions,
}

fn refused(url: &str, why: &str) -> Error {
    let there = "there are memory:, nats://HOST:PORT[,…] and kafka://HOST:PORT[,…]";
    // An address may hold a password.
    let shown = url.rsplit_once('@').map_or(url, |(_, host)| host);
    Error::new(Code::BAD_CONFIG, format!("the bus {shown:?} {why}; {there}")).op("bus.open")
}

/// Opens the bus at an address: `memory:`, `nats://HOST:PORT` (or `tls://`) and `kafka://HOST:PORT`, several joined by commas. User and
/// password belong into the options.
///
/// # Errors
/// `BAD_CONFIG` when no bus answers to the address or this program was built without it; whatever keeps the bus from opening.
pub async fn open(url: &str, options: BusOptions, clock: Arc<dyn Clock>) -> Result<Bus> {
    match url.split_once(':') {
        Some(("memory", "")) => Ok(memory::open(memory::MemoryBusOptions::default(), clock)),
        Some(("nats" | "tls", _)) => nats(url, options, clock).await,
        Some(("kafka", rest)) => kafka(rest.trim_start_matches('/'), options, clock).await,
        _ => Err(refused(url, "is not known")),
    }
}

#[cfg(feature = "nats")]
async fn nats(url: &str, options: BusOptions, clock: Arc<dyn Clock>) -> Result<Bus> {
    let mut options = options.nats;
    options.urls = url.split(',').map(|u| u.trim().to_owned()).filter(|u| !u.is_empty()).collect();
    super::nats::open(options, clock).await
}

#[cfg(not(feature = "nats"))]
async fn nats(url: &str, _: BusOptions, _: Arc<dyn Clock>) -> Result<Bus> {
    Err(refused(url, "needs the feature `nats`, which this program was built without"))
}

#[cfg(feature = "kafka")]
async fn kafka(brokers: &str, options: BusOptions, clock: Arc<dyn Clock>) -> Result<Bus> {
    let mut options = options.kafka;
    options.brokers = brokers.to_owned();
    super::kafka::open(options, clock).await
}

#[cfg(not(feature = "kafka"))]
async fn kafka(brokers: &str, _: BusOptions, _: Arc<dyn Clock>) -> Result<Bus> {
    Err(refused(brokers, "needs the feature `kafka`, which this program was built without"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_no_bus_is_refused_with_what_there_is_and_without_its_password() {
        let clock: Arc<dyn Clock> = Arc::new(crate::TokioClock::default());
        for bad in ["", "nats", "memory:x", "amqp://me:secret@host"] {
            let e = open(bad, BusOptions::default(), clock.clone()).await.unwrap_err();
            assert_eq!(e.code(), Code::BAD_CONFIG, "{bad}");
            assert!(e.message().contains("memory:, nats://") && !e.message().contains("secret"), "{e}");
        }
        assert_eq!(open("memory:", BusOptions::default(), clock).await.unwrap().name, "memory");
    }
}
