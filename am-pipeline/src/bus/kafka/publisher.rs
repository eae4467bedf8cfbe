//! Onto the bus.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use am_core::{Code, Ctx, Error, Result, Retry};
use async_trait::async_trait;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _};

use super::delivery::Deliveries;
use super::errors::{Quiet, explain};
use super::{Shared, blocking, record, topics};
use crate::bus::{Message, Pressure, Published, Publisher};

/// How long to wait between two tries to put a message into a full buffer.
const PAUSE: Duration = Duration::from_millis(10);
/// A buffer that stays full for so long is told to the caller.
const FULL: Duration = Duration::from_secs(5);

fn refuse(code: Code, text: String) -> Error {
    Error::new(code, text).op("bus.publish")
}

impl Shared {
    /// Kafka's topic for a message, when the message can be one.
    fn address(&self, m: &Message) -> Result<String> {
        if m.body.len() > self.options.body_bytes {
            let text = format!("a body has {} bytes, more than {}", m.body.len(), self.options.body_bytes);
            return Err(refuse(Code::TOO_LARGE, text));
        }
        if !record::id_like(&m.id) {
            return Err(refuse(Code::BAD_ID, "the id of a message has 1 to 64 letters, digits, '-' and '_'".into()));
        }
        topics::name(&self.options.prefix, m.area, &m.topic)
            .ok_or_else(|| refuse(Code::BAD_TOPIC, format!("{:?} cannot be a topic of Kafka", m.topic)))
    }

    /// Hands a message to librdkafka; waits while its buffer is full.
    async fn enqueue(&self, ctx: &Ctx, to: &FutureProducer<Quiet>, topic: &str, m: &Message) -> Result<DeliveryFuture> {
        let key = record::key(m);
        let began = self.clock.monotonic();
        let make = || FutureRecord::to(topic).key(&key).payload(&m.body[..]).headers(record::headers(m));
        loop {
            match to.send_result(make()) {
                Ok(waiting) => return Ok(waiting),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    ctx.check().map_err(|e| e.op("bus.publish"))?;
                    if self.clock.monotonic().saturating_sub(began) >= FULL {
                        let text = "the buffer of messages to be sent is full: Kafka does not take them as fast as they come";
                        return Err(refuse(Code::OVERLOADED, text.into()));
                    }
                    self.clock.sleep(PAUSE).await;
                }
                Err((e, _)) => return Err(explain("bus.publish", false, &self.health, &e)),
            }
        }
    }

    fn published(
        &self,
        topic: &str,
        answer: std::result::Result<rdkafka::producer::future_producer::Delivery, KafkaError>,
    ) -> Result<Published> {
        match answer {
            // Offsets begin at 0, places of a bus at 1.
            Ok(d) => Ok(Published { sequence: d.offset.unsigned_abs().saturating_add(1), duplicate: false }),
            Err(e) => {
                if matches!(e.rdkafka_error_code(), Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) {
                    self.forget(topic);
                }
                Err(explain("bus.publish", true, &self.health, &e))
            }
        }
    }

    async fn send(self: &Arc<Self>, ctx: &Ctx, messages: &[Message]) -> Vec<Result<Published>> {
        let addresses: Vec<Result<String>> = messages.iter().map(|m| self.address(m)).collect();
        let missing = self.ensure(addresses.iter().filter_map(|a| a.as_ref().ok().cloned()).collect()).await;
        let to = match self.producer() {
            Ok(to) => to,
            Err(e) => return messages.iter().map(|_| Err(copy(&e))).collect(),
        };
        let mut out: BTreeMap<usize, Result<Published>> = BTreeMap::new();
        let mut waiting = Deliveries::default();
        // When one cannot go, what comes behind it waits too: a device's readings stay in order when they are sent again.
        let mut stopped: Option<Error> = None;
        for (n, (m, address)) in messages.iter().zip(&addresses).enumerate() {
            let topic = match (address, &stopped) {
                (Err(e), _) | (_, Some(e)) => {
                    out.insert(n, Err(copy(e)));
                    continue;
                }
                (Ok(topic), None) => topic,
            };
            if let Some((code, why)) = missing.get(topic) {
                out.insert(n, Err(refuse(*code, why.clone())));
                continue;
            }
            match self.enqueue(ctx, &to, topic, m).await {
                Ok(d) => waiting.add(n, d),
                Err(e) => {
                    out.insert(n, Err(copy(&e)));
                    stopped = Some(e);
                }
            }
        }
        let late = async {
            match ctx.time_left() {
                Some(left) => ctx.clock().sleep(left).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            () = waiting.all() => None,
            () = late => Some((Code::TIMED_OUT, "Kafka did not acknowledge the message within the deadline")),
            () = ctx.cancel().cancelled() => Some((Code::CANCELLED, "cancelled by the caller")),
        };
        for (n, answer) in waiting.answers() {
            let topic = addresses.get(n).and_then(|a| a.as_ref().ok()).map_or("", String::as_str);
            let result = match (answer, ended) {
                (Some(answer), _) => self.published(topic, answer),
                (None, Some((code, text))) => Err(refuse(code, text.into()).retry(Retry::IfIdempotent)),
                (None, None) => Err(refuse(Code::INTERNAL, "a message was not answered".into())),
            };
            out.insert(n, result);
        }
        out.into_values().collect()
    }
}

fn copy(e: &Error) -> Error {
    Error::new(e.code(), e.message().to_owned()).op("bus.publish").retry(e.advice())
}

/// The publisher's side of what is shared; a bus and its gauge hold the same.
#[async_trait]
impl Publisher for super::Hand {
    async fn publish(&self, ctx: &Ctx, messages: Vec<Message>) -> Vec<Result<Published>> {
        if let Err(e) = ctx.check() {
            return messages.iter().map(|_| Err(copy(&e))).collect();
        }
        let bytes: usize = messages.iter().map(|m| m.body.len()).sum();
        self.0.gauge.sent(messages.len(), bytes);
        self.0.send(ctx, &messages).await
    }

    async fn pressure(&self) -> Result<Pressure> {
        self.0.pressure().await
    }

    fn body_limit(&self) -> usize {
        self.0.options.body_bytes
    }

    async fn ready(&self) -> Result<()> {
        self.0.check_topics().await
    }

    async fn close(&self) -> Result<()> {
        let Some(producer) = self.0.producer.lock().take() else { return Ok(()) };
        let (health, within) = (self.0.health.clone(), Duration::from_millis(self.0.options.publish_ms.clamp(1_000, 3_600_000)));
        blocking("bus.close", move || producer.flush(within).map_err(|e| explain("bus.close", true, &health, &e))).await
    }
}
