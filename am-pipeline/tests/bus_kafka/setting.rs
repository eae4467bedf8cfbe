//! Brokers, prefixes and messages for the tests of the bus on Kafka.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "test code may fail loudly")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use am_core::{Clock, Ctx, DeviceId, ReadingId, Scope, TraceParent};
use am_pipeline::TokioClock;
use am_pipeline::bus::kafka::KafkaOptions;
use am_pipeline::bus::{Area, Bus, Consumer, Delivery, Message};

pub(crate) const GPS: &str = "device.sensor.gps.raw";
pub(crate) const IMU: &str = "device.sensor.imu.raw";

/// The brokers to test with; `None` says why the test does nothing.
pub(crate) fn server() -> Option<String> {
    let brokers = std::env::var("AM_TEST_KAFKA").ok();
    let required = std::env::var("AM_TEST_REQUIRE").is_ok_and(|r| r.split(',').any(|s| s.trim() == "kafka"));
    assert!(brokers.is_some() || !required, "AM_TEST_REQUIRE has kafka, but AM_TEST_KAFKA is not set");
    if brokers.is_none() {
        println!("skipped: AM_TEST_KAFKA is not set");
    }
    brokers
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(TokioClock::default())
}

/// One copy, because there is one broker; names of this test alone.
pub(crate) fn options(brokers: &str) -> KafkaOptions {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let run = ReadingId::v7(clock().now()).unwrap().to_string();
    let mut o = KafkaOptions::new(brokers);
    o.prefix = format!("am-test-{}-{}.", &run[24..], NEXT.fetch_add(1, Ordering::Relaxed));
    (o.replication, o.partitions, o.session_ms, o.discover_ms) = (1, 3, 6_000, 500);
    o
}

pub(crate) fn scope(tenant: &str, user: &str) -> Scope {
    Scope::new(tenant, user).unwrap()
}

pub(crate) fn ctx_of(scope: &Scope) -> Ctx {
    Ctx::new(scope.clone(), clock())
}

pub(crate) fn ctx() -> Ctx {
    ctx_of(&scope("acme", "ada"))
}

pub(crate) fn message(scope: &Scope, topic: &str, device: &str, body: &str) -> Message {
    Message {
        area: Area::Readings,
        scope: scope.clone(),
        topic: topic.into(),
        device: Some(DeviceId::new(device).unwrap()),
        id: "id-1".into(),
        trace: TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap(),
        body: body.to_owned().into(),
    }
}

/// Publishes what must all be taken.
pub(crate) async fn publish(bus: &Bus, messages: &[Message]) {
    let results = bus.publisher.publish(&ctx(), messages.to_vec()).await;
    assert_eq!(results.len(), messages.len());
    for r in results {
        let published = r.unwrap();
        assert!(published.sequence > 0 && !published.duplicate);
    }
}

/// Exactly so many messages, without settling them. A group takes some seconds to share out its partitions.
pub(crate) async fn read(member: &mut dyn Consumer, want: usize) -> Vec<Delivery> {
    let clock = TokioClock::default();
    let mut out = Vec::new();
    while out.len() < want && clock.monotonic() < Duration::from_secs(45) {
        out.extend(member.fetch(want - out.len(), Duration::from_secs(1)).await.unwrap());
    }
    assert_eq!(out.len(), want);
    out
}

/// Something that another program wrote, so many minutes ago.
pub(crate) async fn foreign(brokers: &str, topic: &str, body: &[u8], minutes: i64) {
    use rdkafka::producer::{FutureProducer, FutureRecord};
    let producer: FutureProducer = rdkafka::ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let record: FutureRecord<'_, str, [u8]> =
        FutureRecord::to(topic).payload(body).timestamp(clock().now().as_nanos() / 1_000_000 - minutes * 60_000);
    producer.send(record, Duration::from_secs(5)).await.unwrap();
}

/// Removes what lies before an offset, in the partition that reaches so far, as the retention does.
pub(crate) async fn trim(brokers: &str, topic: &str, before: i64) {
    use rdkafka::admin::{AdminClient, AdminOptions};
    use rdkafka::client::DefaultClientContext;
    let admin: AdminClient<DefaultClientContext> = rdkafka::ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    for partition in 0..3 {
        let (_, end) = admin.inner().fetch_watermarks(topic, partition, Duration::from_secs(5)).unwrap();
        if end >= before {
            list.add_partition_offset(topic, partition, rdkafka::Offset::Offset(before)).unwrap();
        }
    }
    admin.delete_records(&list, &AdminOptions::new()).await.unwrap();
}

/// The same options with a change.
pub(crate) fn with(mut options: KafkaOptions, change: impl FnOnce(&mut KafkaOptions)) -> KafkaOptions {
    change(&mut options);
    options
}

/// A way to restart services: `AM_TEST_SERVICES_CTL` is the beginning of a command for the shell.
pub(crate) struct Control(String);

pub(crate) fn control() -> Option<Control> {
    let ctl = std::env::var("AM_TEST_SERVICES_CTL").ok().map(Control);
    if ctl.is_none() {
        println!("skipped: AM_TEST_SERVICES_CTL is not set");
    }
    ctl
}

impl Control {
    pub(crate) async fn restart(&self, service: &str) {
        let command = format!("{} restart {service}", self.0);
        let status = tokio::process::Command::new("sh").args(["-c", &command]).status().await.unwrap();
        assert!(status.success(), "{command}: {status}");
    }
}
