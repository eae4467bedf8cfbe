//! A member of a group.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use am_core::{Code, Error, Result};
use async_trait::async_trait;
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::errors::{Health, explain, hear, log};
use super::ledger::{Ledger, Place};
use super::{Shared, blocking, record};
use crate::bus::{Consumer, Delivery, GroupSpec, Tag};

/// A member that has had no room for so long stops its partitions, and goes on being heard of by the group.
const STALLED: Duration = Duration::from_secs(5);
/// How long joining waits for the group.
const JOINED_WITHIN: Duration = Duration::from_secs(5);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);

/// What librdkafka tells a member: partitions come and go.
pub(super) struct Watch {
    health: Health,
    ledger: Arc<Mutex<Ledger>>,
}

impl Watch {
    pub(super) fn new(health: Health, ledger: Arc<Mutex<Ledger>>) -> Self {
        Watch { health, ledger }
    }
}

fn places(list: &TopicPartitionList) -> Vec<Place> {
    list.elements().iter().map(|e| (Arc::from(e.topic()), e.partition())).collect()
}

fn list(places: &[Place]) -> TopicPartitionList {
    let mut out = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in places {
        out.add_partition(topic, *partition);
    }
    out
}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        hear(&self.health, &error, reason);
    }
}

impl ConsumerContext for Watch {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, change: &Rebalance<'_>) {
        match change {
            Rebalance::Assign(list) => self.ledger.lock().assign(places(list)),
            Rebalance::Revoke(list) => self.ledger.lock().revoke(places(list)),
            Rebalance::Error(e) => tracing::warn!(error = %e, "partitions could not be shared out"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        // What the brokers did not hear of comes again; nothing is lost.
        if let Err(e) = result {
            tracing::debug!(error = %e, "offsets were not committed");
        }
    }
}

/// A member.
pub(super) struct Member {
    shared: Arc<Shared>,
    /// `None` only while it is dropped.
    consumer: Option<Arc<StreamConsumer<Watch>>>,
    ledger: Arc<Mutex<Ledger>>,
    spec: GroupSpec,
    full_since: Option<Duration>,
    /// Names of topics, shared by what is read of them.
    names: HashMap<String, Arc<str>>,
}

impl Member {
    pub(super) fn new(shared: Arc<Shared>, consumer: StreamConsumer<Watch>, ledger: Arc<Mutex<Ledger>>, spec: GroupSpec) -> Self {
        Member { shared, consumer: Some(Arc::new(consumer)), ledger, spec, full_since: None, names: HashMap::new() }
    }

    /// Waits until the group knows this member and every partition it got has given what it has, or as much as there is room for: a group
    /// is there once it is joined, and its first fetch finds what waits. Not for ever, because it takes the other members' help. What
    /// comes meanwhile is kept for that fetch.
    pub(super) async fn settle_in(&mut self) -> Result<()> {
        let consumer = self.consumer()?;
        let until = self.shared.clock.monotonic().saturating_add(JOINED_WITHIN);
        let mut ends = 0;
        while !self.ledger.lock().is_settled_in(ends) && self.shared.clock.monotonic() < until {
            // A change of partitions alone does not end the wait for a message.
            let look = self.shared.clock.sleep(LOOK);
            tokio::select! {
                next = consumer.recv() => {
                    ends += usize::from(matches!(next, Err(KafkaError::PartitionEOF(_))));
                    self.receive(next, self.shared.clock.monotonic())?;
                }
                () = look => {}
            }
        }
        Ok(())
    }

    fn consumer(&self) -> Result<Arc<StreamConsumer<Watch>>> {
        self.consumer.clone().ok_or_else(|| Error::new(Code::CLOSED, "this member has left its group").op("bus.fetch"))
    }

    fn admit(&mut self, message: &BorrowedMessage<'_>, now: Duration) {
        if !self.names.contains_key(message.topic()) {
            self.names.insert(message.topic().to_owned(), Arc::from(message.topic()));
        }
        let Some(topic) = self.names.get(message.topic()) else { return };
        let content = record::read(&self.shared.options.prefix, message);
        let wanted = match &content {
            Ok(m) => self.spec.scope.as_ref().is_none_or(|s| *s == m.scope),
            // Nobody knows whose it is: only those who read everybody's see it.
            Err(_) => self.spec.scope.is_none(),
        };
        let place = (topic.clone(), message.partition());
        self.ledger.lock().admit(&place, message.offset(), wanted.then_some(content), now);
    }

    /// Tells librdkafka how far it may commit.
    fn store(&self, consumer: &StreamConsumer<Watch>) {
        let moved = self.ledger.lock().moved();
        for ((topic, partition), position) in moved {
            let mut one = TopicPartitionList::with_capacity(1);
            let stored = one.add_partition_offset(&topic, partition, Offset::Offset(position)).and_then(|()| consumer.store_offsets(&one));
            if let Err(e) = stored {
                // The partition has just gone to another member, which reads it again from what was committed.
                tracing::debug!(topic = %topic, partition, error = %e, "an offset was not kept");
            }
        }
    }

    /// Says once, of partitions that just came, whether messages are gone that the group never had; librdkafka would go on in silence.
    async fn look_for_gaps(&self, consumer: &Arc<StreamConsumer<Watch>>) -> Result<()> {
        let fresh = self.ledger.lock().fresh();
        if fresh.is_empty() {
            return Ok(());
        }
        let (asking, shared) = (consumer.clone(), self.shared.clone());
        let lost = blocking("bus.fetch", move || super::offsets::trimmed(&*asking, &shared, &fresh)).await?;
        for ((topic, partition), _, begin) in &lost {
            // Said now; the next one to have the partition shall not hear of it again.
            let mut one = TopicPartitionList::with_capacity(1);
            if one.add_partition_offset(topic, *partition, Offset::Offset(*begin)).is_ok() {
                drop(consumer.store_offsets(&one));
            }
        }
        let Some(((topic, partition), done, begin)) = lost.first() else { return Ok(()) };
        let count: i64 = lost.iter().map(|(_, done, begin)| begin - done).sum();
        let text = format!(
            "{count} messages of {} partitions were removed before the group {} had them, such as {done} to {begin} of {topic}/{partition}",
            lost.len(),
            self.spec.name
        );
        Err(Error::new(Code::BUS_TRIMMED, text).op("bus.fetch"))
    }

    /// Takes in what is there already, as long as there is room.
    async fn drain(&mut self, consumer: &StreamConsumer<Watch>, now: Duration) -> Result<()> {
        while !self.ledger.lock().full() {
            let next = tokio::select! {
                biased;
                next = consumer.recv() => next,
                () = std::future::ready(()) => return Ok(()),
            };
            self.receive(next, now)?;
        }
        Ok(())
    }

    fn receive(&mut self, next: KafkaResult<BorrowedMessage<'_>>, now: Duration) -> Result<()> {
        match next {
            Ok(message) => {
                self.admit(&message, now);
                Ok(())
            }
            // Nothing more has arrived.
            Err(KafkaError::PartitionEOF(_)) => Ok(()),
            Err(e) => {
                let e = explain("bus.fetch", false, &self.shared.health, &e);
                match e.code() {
                    // A topic that was subscribed to by name and removed since: there is nothing to read of it.
                    Code::BUS_MISMATCH => {
                        tracing::warn!(error = %e, "a topic cannot be read");
                        Ok(())
                    }
                    _ => Err(e),
                }
            }
        }
    }

    /// Stops or starts the partitions, so that a member without room still hears of the group.
    fn turn(&self, consumer: &StreamConsumer<Watch>, pause: bool) {
        let wrong = self.ledger.lock().turn(pause);
        if wrong.is_empty() {
            return;
        }
        let turned = if pause { consumer.pause(&list(&wrong)) } else { consumer.resume(&list(&wrong)) };
        if let Err(e) = turned {
            tracing::debug!(error = %e, "partitions were not turned");
        }
    }

    /// Waits for a message, for one that is due again, or for the end of the wait.
    async fn wait(&mut self, consumer: &StreamConsumer<Watch>, left: Duration, now: Duration) -> Result<()> {
        let (full, due) = {
            let ledger = self.ledger.lock();
            (ledger.full(), ledger.next_due())
        };
        let nap = self.shared.clock.sleep(due.map_or(left, |d| left.min(d.saturating_sub(now))));
        if !full {
            self.full_since = None;
            self.turn(consumer, false);
        } else {
            let since = *self.full_since.get_or_insert(now);
            if now.saturating_sub(since) < STALLED {
                nap.await;
                return Ok(());
            }
            self.turn(consumer, true);
        }
        tokio::select! {
            next = consumer.recv() => self.receive(next, self.shared.clock.monotonic()),
            () = nap => Ok(()),
        }
    }
}

#[async_trait]
impl Consumer for Member {
    async fn fetch(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let consumer = self.consumer()?;
        let until = self.shared.clock.monotonic().saturating_add(wait);
        loop {
            let now = self.shared.clock.monotonic();
            let drained = self.drain(&consumer, now).await;
            self.look_for_gaps(&consumer).await?;
            self.store(&consumer);
            let out = self.ledger.lock().take(max, now);
            if !out.is_empty() {
                return Ok(out);
            }
            drained?;
            let left = until.saturating_sub(now);
            if left.is_zero() {
                return match self.shared.health.take() {
                    Some((true, why)) => {
                        Err(Error::new(Code::BUS_REFUSED, format!("the brokers do not let this user in: {why}")).op("bus.fetch"))
                    }
                    Some((false, why)) => Err(Error::new(Code::BUS_UNAVAILABLE, format!("no broker answers: {why}")).op("bus.fetch")),
                    None => Ok(out),
                };
            }
            self.wait(&consumer, left, now).await?;
        }
    }

    async fn ack(&mut self, tags: &[Tag]) -> Result<()> {
        let consumer = self.consumer()?;
        self.ledger.lock().done(tags);
        self.store(&consumer);
        Ok(())
    }

    async fn again(&mut self, tags: &[Tag], after: Duration) -> Result<()> {
        let due = self.shared.clock.monotonic().saturating_add(after);
        self.ledger.lock().again(tags, due);
        Ok(())
    }

    async fn lag(&mut self) -> Result<u64> {
        let (read, waiting) = {
            let ledger = self.ledger.lock();
            (ledger.read(), ledger.waiting())
        };
        let (consumer, shared, spec) = (self.consumer()?, self.shared.clone(), self.spec.clone());
        let seen = self.shared.look_around().await?;
        let behind = blocking("bus.lag", move || super::offsets::behind(&*consumer, &shared, &spec, &seen, &read)).await?;
        Ok(behind.saturating_add(waiting))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let Some(consumer) = self.consumer.take() else { return };
        // Leaving the group commits what is acknowledged and waits for the brokers, which no task of the runtime should do.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(consumer))),
            Err(_) => drop(consumer),
        }
    }
}
