//! The bus on Kafka against the cases for buses. Needs a broker: `AM_TEST_KAFKA`.
#![cfg(feature = "kafka")]

#[path = "bus_kafka/setting.rs"]
#[allow(dead_code, reason = "each test file takes what it needs")]
mod setting;

use am_pipeline::bus::kafka;
use am_pipeline::testkit;

/// What Kafka does not promise; `docs/kafka.md` says so.
const NOT_PROMISED: [&str; 6] = [
    // It knows no ids, so what is published again is there twice.
    "publish.again",
    "publish.cancel",
    // The order is that of a device; this case looks at two of a person.
    "publish.whole",
    // The lag of a scoped group counts what others published to its topics.
    "group.lag",
    // Without a bound on bytes the pressure is an age in steps of hours.
    "pressure.moves",
    // A second member gets its share when the first has let go of it, which takes as long as it takes; `bus_kafka.rs` waits for it.
    "group.shares",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_holds_the_cases() {
    let Some(brokers) = setting::server() else { return };
    let options = setting::options(&brokers);
    let wanted = |id: &str| !NOT_PROMISED.contains(&id);
    let make = || async { kafka::open(options.clone(), setting::clock()).await.unwrap() };
    let verdicts = Box::pin(testkit::bus_only(make, wanted)).await;
    testkit::hold(&verdicts);
}
