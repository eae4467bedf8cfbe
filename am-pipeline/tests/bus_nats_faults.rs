//! The bus on NATS while connections, servers and leaders come and go, and streams are full.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/nats.rs"]
mod servers;

#[path = "support/traffic.rs"]
mod traffic;

use std::time::Duration;

use am_core::Code;
use am_pipeline::bus::nats::{self, NatsOptions};
use am_pipeline::bus::{Area, TailSpec};
use proxy::Proxy;
use servers::Own;
use traffic::{clock, ctx, deliver, group, message, number, pause, survives, tail, take_all};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p01_nothing_is_lost_or_doubled_over_lost_connections() {
    let Some(urls) = servers::servers("AM_TEST_NATS") else { return };
    let own = Own::new(&urls, 32 << 20).await;
    let proxy = Proxy::new(&urls[0]).await;
    let trouble = async {
        for ms in [30, 120, 5, 400, 60, 1, 200] {
            pause(150).await;
            proxy.cut();
            pause(ms).await;
            proxy.restore();
        }
    };
    let failed = survives(&own, vec![proxy.url.clone()], 2_500, trouble).await;
    assert!(failed > 0, "no connection was lost while something was published");
    own.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p01_nothing_is_lost_or_doubled_over_changes_of_leader() {
    let Some(urls) = servers::servers("AM_TEST_NATS_CLUSTER") else { return };
    let own = Own::new(&urls, 32 << 20).await;
    let (js, stream) = (own.js().clone(), own.stream(Area::Readings));
    let prefix = own.options.prefix.clone();
    let trouble = async {
        for i in 0..6 {
            pause(300).await;
            let leaders = ["STREAM.LEADER.STEPDOWN", "CONSUMER.LEADER.STEPDOWN"];
            let subject = match leaders[i % 2] {
                s if s.starts_with("STREAM") => format!("{s}.{stream}"),
                s => format!("{s}.{stream}.{prefix}-group-g"),
            };
            let _: Result<serde_json::Value, _> = js.request(subject, &serde_json::json!({})).await;
        }
    };
    survives(&own, urls.clone(), 1_500, trouble).await;
    own.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_stream_refuses_and_takes_again_when_a_slow_consumer_has_settled() {
    let Some(urls) = servers::servers("AM_TEST_NATS") else { return };
    let mut own = Own::new(&urls, 1 << 20).await;
    own.options.streams.readings.max_bytes = 1 << 20;
    let bus = own.open().await;
    let mut c = bus.groups.join(group("slow")).await.unwrap();
    let (mut n, mut last) = (0, 0.0);
    let refused = loop {
        let r = bus.publisher.publish(&ctx(), vec![message(n, 50_000)]).await.remove(0);
        match r {
            Ok(_) => n += 1,
            Err(e) => break e,
        }
        assert!(n < 100, "a stream of 1 MiB took {n} messages of 50 kB");
    };
    assert_eq!(refused.code(), Code::OVERLOADED, "{refused}");
    for _ in 0..20 {
        last = bus.publisher.pressure().await.unwrap().share();
        if last > 0.9 {
            break;
        }
        pause(200).await;
    }
    assert!(last > 0.9, "a full stream says {last}");
    // Nothing of what was taken was thrown away to make room.
    assert_eq!(take_all(&mut c, n).await.len() as u64, n);
    let mut tries = 0;
    while let Err(e) = bus.publisher.publish(&ctx(), vec![message(n, 50_000)]).await.remove(0) {
        assert_eq!(e.code(), Code::OVERLOADED);
        tries += 1;
        assert!(tries < 40, "it goes on refusing what there is room for");
        pause(200).await;
    }
    let got = c.fetch(5, Duration::from_secs(2)).await.unwrap();
    assert_eq!(got.iter().map(|d| number(d.message.as_ref().unwrap())).collect::<Vec<_>>(), [n]);
    own.remove().await;
}

#[tokio::test]
async fn settings_that_would_lose_something_are_named() {
    let Some(urls) = servers::servers("AM_TEST_NATS") else { return };
    let own = Own::new(&urls, 1 << 20).await;
    let config = async_nats::jetstream::stream::Config {
        name: own.stream(Area::Readings),
        subjects: vec![format!("{}.r.>", own.options.prefix)],
        max_bytes: 1 << 20,
        ..Default::default()
    };
    own.js().create_stream(config).await.unwrap();
    let e = nats::open(own.options.clone(), clock()).await.unwrap_err();
    assert_eq!(e.code(), Code::BUS_MISMATCH);
    assert!(e.message().contains("discard Old") && e.message().contains(&own.stream(Area::Readings)), "{e}");
    own.remove().await;
}

#[tokio::test]
async fn the_first_message_of_a_failed_start_says_what_to_do() {
    let e = nats::open(NatsOptions::at(["nats://127.0.0.1:9"]), clock()).await.unwrap_err();
    assert!(e.code() == Code::BUS_UNAVAILABLE && e.message().contains("nats://127.0.0.1:9"), "{e}");
    let e = nats::open(NatsOptions::at(["nats://me:secret@127.0.0.1:9"]), clock()).await.unwrap_err();
    assert!(e.code() == Code::BAD_CONFIG && !e.to_string().contains("secret"), "{e}");
    let Some(urls) = servers::servers("AM_TEST_NATS") else { return };
    let own = Own::new(&urls, 1 << 50).await;
    let e = nats::open(own.options.clone(), clock()).await.unwrap_err();
    assert!(e.code() == Code::BUS_MISMATCH && e.message().contains("max_bytes"), "{e}");
    let mut three = Own::new(&urls, 1 << 20).await;
    three.options.streams.readings.replicas = 3;
    let e = nats::open(three.options.clone(), clock()).await.unwrap_err();
    assert!(e.code() == Code::BUS_MISMATCH && e.message().contains("replicas"), "{e}");
    own.remove().await;
    three.remove().await;
}

#[tokio::test]
async fn a_trimmed_place_is_told_and_the_first_that_is_left_is_named() {
    let Some(urls) = servers::servers("AM_TEST_NATS") else { return };
    let own = Own::new(&urls, 1 << 20).await;
    let bus = own.open().await;
    deliver(&bus, 0, 20, 0).await;
    let stream = own.js().get_stream(own.stream(Area::Readings)).await.unwrap();
    stream.purge().sequence(11).await.unwrap();
    let tails = bus.tails.as_ref().unwrap();
    let e = tails.open(TailSpec { after: 5, ..tail("late") }).await.err().unwrap();
    assert!(e.code() == Code::BUS_TRIMMED && e.message().contains("11"), "{e}");
    for (after, first) in [(10, 10), (0, 10), (15, 15)] {
        let mut t = tails.open(TailSpec { after, ..tail("late") }).await.unwrap();
        let got = t.next(1, Duration::from_secs(2)).await.unwrap();
        assert_eq!(number(got[0].message.as_ref().unwrap()), first);
    }
    own.remove().await;
}

#[tokio::test]
async fn a_reader_of_a_quiet_topic_knows_that_what_was_removed_was_not_for_it() {
    let Some(urls) = servers::servers("AM_TEST_NATS") else { return };
    let mut own = Own::new(&urls, 1 << 20).await;
    own.options.note_every = Duration::from_millis(50);
    let bus = own.open().await;
    let tails = bus.tails.as_ref().unwrap();
    let quiet = |after| TailSpec { after, topics: vec!["device.sensor.gps.raw".into()], ..tail("quiet") };
    let mut first = message(0, 10);
    first.topic = "device.sensor.gps.raw".into();
    let place = bus.publisher.publish(&ctx(), vec![first]).await.remove(0).unwrap().sequence;
    let mut t = tails.open(quiet(0)).await.unwrap();
    assert_eq!(t.next(5, Duration::from_secs(1)).await.unwrap().len(), 1);
    t.done(place).await.unwrap();
    // Much that it does not want, then idle moments in which it notes that.
    deliver(&bus, 1, 40, 0).await;
    for _ in 0..4 {
        assert!(t.next(5, Duration::from_millis(80)).await.unwrap().is_empty());
    }
    let stream = own.js().get_stream(own.stream(Area::Readings)).await.unwrap();
    stream.purge().sequence(30).await.unwrap();
    drop(t);
    let mut t = tails.open(quiet(place)).await.unwrap();
    let mut next = message(99, 10);
    next.topic = "device.sensor.gps.raw".into();
    bus.publisher.publish(&ctx(), vec![next]).await.remove(0).unwrap();
    assert_eq!(number(t.next(5, Duration::from_secs(2)).await.unwrap()[0].message.as_ref().unwrap()), 99);
    // Who had not even seen its first message cannot know.
    bus.publisher.publish(&ctx(), vec![message(100, 10)]).await.remove(0).unwrap();
    let e = tails.open(TailSpec { name: "other".into(), ..quiet(place) }).await.err().unwrap();
    assert_eq!(e.code(), Code::BUS_TRIMMED, "{e}");
    own.remove().await;
}

#[tokio::test]
async fn a_bus_that_is_closed_says_so() {
    let Some(urls) = servers::servers("AM_TEST_NATS") else { return };
    let own = Own::new(&urls, 1 << 20).await;
    let bus = own.open().await;
    bus.publisher.ready().await.unwrap();
    let mut c = bus.groups.join(group("g")).await.unwrap();
    bus.publisher.close().await.unwrap();
    let e = loop {
        match c.fetch(1, Duration::from_millis(200)).await {
            Err(e) => break e,
            Ok(got) => assert!(got.is_empty()),
        }
    };
    assert!(matches!(e.code(), Code::CLOSED | Code::BUS_UNAVAILABLE), "{e}");
    let r = bus.publisher.publish(&ctx(), vec![message(1, 1)]).await.remove(0).unwrap_err();
    assert!(matches!(r.code(), Code::CLOSED | Code::BUS_UNAVAILABLE), "{r}");
    own.remove().await;
}
