//! The bus on Kafka. Needs a broker: `AM_TEST_KAFKA`, such as `127.0.0.1:9092`. Topics and groups have a prefix of the run's own.
#![cfg(feature = "kafka")]

#[path = "bus_kafka/setting.rs"]
mod setting;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use am_core::{Clock as _, Code};
use am_pipeline::TokioClock;
use am_pipeline::bus::kafka::{self, KafkaOptions, Topics};
use am_pipeline::bus::{Area, Consumer, Delivery, Durability, GroupSpec, Message, Tag};
use bytes::Bytes;
use setting::{GPS, IMU, clock, ctx, ctx_of, message, options, publish, read, scope, server, with};

/// Held while a test uses the server; the one that kills it waits for all others.
static SERVER: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

const SECOND: Duration = Duration::from_secs(1);

fn tags(d: &[Delivery]) -> Vec<Tag> {
    d.iter().map(|d| d.tag).collect()
}

/// Of the messages; foreign ones have none.
fn bodies(d: &[Delivery]) -> Vec<String> {
    d.iter().filter_map(|d| Some(String::from_utf8_lossy(&d.message.as_ref().ok()?.body).into_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_come_once_per_group_in_order_of_their_device_and_as_they_were() {
    let Some(brokers) = server() else { return };
    let _up = SERVER.read().await;
    let bus = kafka::open(options(&brokers), clock()).await.unwrap();
    assert_eq!((bus.name, bus.durability, bus.tails.is_none()), ("kafka", Durability::Unsynced, true));
    let mut sent: Vec<Message> = Vec::new();
    for n in 0..200 {
        sent.push(message(&scope("acme", "ada"), GPS, &format!("d{}", n % 7), &format!("{n}")));
    }
    publish(&bus, &sent).await;
    for group in ["one", "two"] {
        let mut member = bus.groups.join(GroupSpec::new(group, [Area::Readings])).await.unwrap();
        let got = read(&mut *member, 200).await;
        let mut by_device: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for d in &got {
            assert_eq!((d.attempt, d.last), (1, false));
            let m = d.message.as_ref().unwrap();
            assert!(sent.contains(m), "{m:?}");
            let body = String::from_utf8(m.body.to_vec()).unwrap();
            by_device.entry(m.device.as_ref().unwrap().to_string()).or_default().push(body.parse().unwrap());
        }
        assert_eq!(by_device.len(), 7);
        assert!(by_device.values().all(|v| v.is_sorted() && v.len() >= 28), "{by_device:?}");
        member.ack(&tags(&got)).await.unwrap();
        assert!(member.fetch(10, SECOND / 4).await.unwrap().is_empty());
    }
    bus.publisher.ready().await.unwrap();
    bus.publisher.close().await.unwrap();
    let closed = bus.publisher.publish(&ctx(), sent).await;
    assert!(closed.iter().all(|r| r.as_ref().is_err_and(|e| e.code() == Code::CLOSED)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_share_a_group_and_what_one_left_unsettled_comes_to_another() {
    let Some(brokers) = server() else { return };
    let _up = SERVER.read().await;
    let bus = kafka::open(options(&brokers), clock()).await.unwrap();
    let all: Vec<Message> = (0..300).map(|n| message(&scope("acme", "ada"), GPS, &format!("d{}", n % 40), &n.to_string())).collect();
    publish(&bus, &all[..100]).await;
    let spec = GroupSpec::new("g", [Area::Readings]).topics([GPS.to_owned()]);
    let mut first = bus.groups.join(spec.clone()).await.unwrap();
    let got = read(&mut *first, 100).await;
    // Half of it is settled; the rest, and the place of it, belongs to whoever comes next.
    let (settled, open) = got.split_at(50);
    first.ack(&tags(settled)).await.unwrap();
    drop(first);
    publish(&bus, &all[100..]).await;
    let (mut a, mut b) = (bus.groups.join(spec.clone()).await.unwrap(), bus.groups.join(spec).await.unwrap());
    let mut seen: BTreeSet<String> = bodies(settled).into_iter().collect();
    let mut twice = 0;
    let mut shares = [0, 0];
    let until = TokioClock::default();
    while seen.len() < 300 && until.monotonic() < 60 * SECOND {
        let (x, y) = tokio::join!(a.fetch(50, SECOND / 2), b.fetch(50, SECOND / 2));
        for (n, (member, d)) in [(&mut a, x.unwrap()), (&mut b, y.unwrap())].into_iter().enumerate() {
            shares[n] += d.len();
            twice += bodies(&d).into_iter().filter(|body| !seen.insert(body.clone())).count();
            member.ack(&tags(&d)).await.unwrap();
        }
    }
    assert_eq!(seen.len(), 300);
    assert!(bodies(open).iter().all(|b| seen.contains(b)));
    println!("shares {shares:?}, {twice} came again although they were settled (behind an open one)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_shall_come_again_does_and_the_last_time_says_so_until_it_is_settled() {
    let Some(brokers) = server() else { return };
    let _up = SERVER.read().await;
    let bus = kafka::open(options(&brokers), clock()).await.unwrap();
    publish(&bus, &[message(&scope("acme", "ada"), GPS, "d", "x")]).await;
    let spec = GroupSpec::new("g", [Area::Readings]).deliveries(2).settle_within(2 * SECOND);
    let mut member = bus.groups.join(spec.clone()).await.unwrap();
    let first = read(&mut *member, 1).await;
    member.again(&tags(&first), SECOND / 2).await.unwrap();
    assert!(member.fetch(1, SECOND / 10).await.unwrap().is_empty());
    let second = read(&mut *member, 1).await;
    assert_eq!((second[0].attempt, second[0].last), (2, true));
    // Nobody settles it: it comes again by itself, and its old tag says nothing.
    let third = read(&mut *member, 1).await;
    assert_eq!((third[0].attempt, third[0].last), (3, true));
    member.ack(&tags(&second)).await.unwrap();
    drop(member);
    let mut member = bus.groups.join(spec.clone()).await.unwrap();
    let again = read(&mut *member, 1).await;
    assert_eq!(again[0].attempt, 1, "the count went with the member");
    member.ack(&tags(&again)).await.unwrap();
    drop(member);
    let mut member = bus.groups.join(spec).await.unwrap();
    assert!(member.fetch(1, 4 * SECOND).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scope_shows_nobody_elses_messages_whatever_the_ids_are() {
    let Some(brokers) = server() else { return };
    let _up = SERVER.read().await;
    let bus = kafka::open(options(&brokers), clock()).await.unwrap();
    let people = [scope("a", "b/c"), scope("a/b", "c"), scope("a%", "b_"), scope("a", "b"), scope("A", "b"), scope("ä", "=b😀")];
    for (n, who) in people.iter().enumerate() {
        let own = (0..5).map(|i| message(who, GPS, "c/d", &format!("{n}.{i}"))).collect::<Vec<_>>();
        let results = bus.publisher.publish(&ctx_of(who), own).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }
    for (n, who) in people.iter().enumerate() {
        let mut member = bus.groups.join(GroupSpec::new(format!("g{n}"), [Area::Readings]).scope(who.clone())).await.unwrap();
        let got = read(&mut *member, 5).await;
        assert!(got.iter().all(|d| d.message.as_ref().is_ok_and(|m| m.scope == *who && m.device.as_ref().unwrap().as_str() == "c/d")));
        assert_eq!(bodies(&got), (0..5).map(|i| format!("{n}.{i}")).collect::<Vec<_>>());
        assert!(member.fetch(10, SECOND / 4).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn areas_and_topics_are_apart_and_a_new_topic_is_found() {
    let Some(brokers) = server() else { return };
    let _up = SERVER.read().await;
    let bus = kafka::open(options(&brokers), clock()).await.unwrap();
    let work = Message { area: Area::Work, ..message(&scope("acme", "ada"), GPS, "d", "work") };
    let error = Message { area: Area::Errors, topic: "processing.errors.motion".into(), ..work.clone() };
    publish(&bus, &[message(&scope("acme", "ada"), GPS, "d", "gps"), work, error]).await;
    let mut readings = bus.groups.join(GroupSpec::new("readings", [Area::Readings])).await.unwrap();
    assert_eq!(bodies(&read(&mut *readings, 1).await), ["gps"]);
    let mut rest = bus.groups.join(GroupSpec::new("rest", [Area::Work, Area::Errors])).await.unwrap();
    let got = read(&mut *rest, 2).await;
    assert_eq!(got.iter().map(|d| d.message.as_ref().unwrap().area).collect::<BTreeSet<_>>(), [Area::Work, Area::Errors].into());
    // The topic comes after the group; nothing of it is missed.
    publish(&bus, &[message(&scope("acme", "ada"), IMU, "d", "imu")]).await;
    assert_eq!(bodies(&read(&mut *readings, 1).await), ["imu"]);
    let only = GroupSpec::new("only", [Area::Readings]).topics([IMU.to_owned()]);
    let mut only = bus.groups.join(only).await.unwrap();
    assert_eq!(bodies(&read(&mut *only, 1).await), ["imu"]);
    assert!(only.fetch(10, SECOND / 4).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lag_is_what_nobody_has_and_the_flight_is_bounded() {
    let Some(brokers) = server() else { return };
    let _up = SERVER.read().await;
    let bus = kafka::open(options(&brokers), clock()).await.unwrap();
    let all: Vec<Message> = (0..50).map(|n| message(&scope("acme", "ada"), GPS, &format!("d{}", n % 5), &n.to_string())).collect();
    publish(&bus, &all).await;
    let mut member = bus.groups.join(GroupSpec::new("g", [Area::Readings]).in_flight(20)).await.unwrap();
    assert_eq!(member.lag().await.unwrap(), 50);
    let got = read(&mut *member, 20).await;
    assert!(member.fetch(100, SECOND / 4).await.unwrap().is_empty(), "no more than 20 are in flight");
    assert_eq!(member.lag().await.unwrap(), 30);
    member.again(&tags(&got[..5]), 60 * SECOND).await.unwrap();
    assert_eq!(member.lag().await.unwrap(), 35, "what waits for its next turn is with nobody");
    member.ack(&tags(&got[5..])).await.unwrap();
    let more = read(&mut *member, 15).await;
    member.ack(&tags(&more)).await.unwrap();
    let rest = read(&mut *member, 15).await;
    member.ack(&tags(&rest)).await.unwrap();
    assert_eq!(member.lag().await.unwrap(), 5);
    // Another member of the group knows only what is committed.
    assert!(bus.publisher.pressure().await.unwrap().share() < 0.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kafka_cannot_take_is_said_of_the_message_alone() {
    let Some(brokers) = server() else { return };
    let _up = SERVER.read().await;
    let bus = kafka::open(options(&brokers), clock()).await.unwrap();
    let limit = bus.publisher.body_limit();
    let sized = |body: usize| Message { body: Bytes::from(vec![7; body]), ..message(&scope("acme", "ada"), GPS, "d", "") };
    let topicless = Message { topic: "not a topic".into(), ..sized(1) };
    let idless = Message { id: "a.b".into(), ..sized(1) };
    let results = bus.publisher.publish(&ctx(), vec![sized(1), sized(limit + 1), topicless, idless, sized(limit)]).await;
    let codes: Vec<Option<Code>> = results.iter().map(|r| r.as_ref().err().map(am_core::Error::code)).collect();
    assert_eq!(codes, [None, Some(Code::TOO_LARGE), Some(Code::BAD_TOPIC), Some(Code::BAD_ID), None]);
    let mut member = bus.groups.join(GroupSpec::new("g", [Area::Readings])).await.unwrap();
    let got = read(&mut *member, 2).await;
    assert_eq!(got.iter().map(|d| d.message.as_ref().unwrap().body.len()).max(), Some(limit));
    let cancelled = ctx();
    cancelled.cancel().cancel();
    let results = bus.publisher.publish(&cancelled, vec![sized(1)]).await;
    assert_eq!(results[0].as_ref().unwrap_err().code(), Code::CANCELLED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_am_did_not_write_is_handed_over_as_foreign_and_settled_like_others() {
    let Some(brokers) = server() else { return };
    let _up = SERVER.read().await;
    let options = options(&brokers);
    let bus = kafka::open(options.clone(), clock()).await.unwrap();
    publish(&bus, &[message(&scope("acme", "ada"), GPS, "d", "1")]).await;
    setting::foreign(&brokers, &format!("{}{GPS}", options.prefix), b"not ours", 0).await;
    let mut member = bus.groups.join(GroupSpec::new("g", [Area::Readings])).await.unwrap();
    let got = read(&mut *member, 2).await;
    let foreign = got.iter().find_map(|d| d.message.as_ref().err()).unwrap();
    assert!(foreign.why.contains("am-tenant") && foreign.body == Bytes::from_static(b"not ours"), "{foreign:?}");
    member.ack(&tags(&got)).await.unwrap();
    assert_eq!(member.lag().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pressure_grows_with_the_age_of_what_a_group_leaves_unsettled() {
    let Some(brokers) = server() else { return };
    let _up = SERVER.read().await;
    let options = with(options(&brokers), |o| (o.retention_hours, o.retention_bytes) = (1, 10_000));
    let bus = kafka::open(options.clone(), clock()).await.unwrap();
    assert_eq!(bus.publisher.pressure().await.unwrap().share(), 0.0, "nobody reads");
    // The topic is there from now on; its first message is an old one, as times grow within a partition.
    let spec = GroupSpec::new("g", [Area::Readings]).topics([GPS.to_owned()]);
    let mut member = bus.groups.join(spec).await.unwrap();
    setting::foreign(&brokers, &format!("{}{GPS}", options.prefix), b"old", 51).await;
    publish(&bus, &[message(&scope("acme", "ada"), GPS, "d", "1")]).await;
    let got = read(&mut *member, 2).await;
    // Another process, which looks for groups for the first time.
    let gateway = kafka::open(options.clone(), clock()).await.unwrap();
    let mut found = gateway.publisher.pressure().await.unwrap();
    let patience = clock();
    while found.age == 0.0 && patience.monotonic() < 20 * SECOND {
        clock().sleep(SECOND).await;
        found = gateway.publisher.pressure().await.unwrap();
    }
    assert!((0.75..0.85).contains(&found.age) && found.bytes > 0.02, "{found:?}");
    member.ack(&tags(&got)).await.unwrap();
    while found.share() > 0.0 {
        clock().sleep(SECOND).await;
        found = gateway.publisher.pressure().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_removed_before_the_group_had_it_is_told_once() {
    let Some(brokers) = server() else { return };
    let _up = SERVER.read().await;
    let options = options(&brokers);
    let bus = kafka::open(options.clone(), clock()).await.unwrap();
    let all: Vec<Message> = (0..10).map(|n| message(&scope("acme", "ada"), GPS, "d", &n.to_string())).collect();
    publish(&bus, &all).await;
    let spec = GroupSpec::new("g", [Area::Readings]);
    let mut member = bus.groups.join(spec.clone()).await.unwrap();
    let got = read(&mut *member, 10).await;
    member.ack(&tags(&got[..3])).await.unwrap();
    drop(member);
    setting::trim(&brokers, &format!("{}{GPS}", options.prefix), 8).await;
    let mut member = bus.groups.join(spec.clone()).await.unwrap();
    let patience = clock();
    let told = loop {
        match member.fetch(10, SECOND).await {
            Err(e) => break e,
            Ok(d) => assert!(d.is_empty() && patience.monotonic() < 30 * SECOND),
        }
    };
    assert!(told.code() == Code::BUS_TRIMMED && told.message().starts_with("5 messages of 1 partitions"), "{told:?}");
    assert_eq!(bodies(&read(&mut *member, 2).await), ["8", "9"]);
    drop(member);
    let mut member = bus.groups.join(spec).await.unwrap();
    assert_eq!(bodies(&read(&mut *member, 2).await), ["8", "9"], "told once, and they are not settled yet");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_settings_are_told_with_what_to_do() {
    let absent = with(KafkaOptions::new("127.0.0.1:1"), |o| o.ask_ms = 1_000);
    let e = kafka::open(absent, clock()).await.unwrap_err();
    assert_eq!(e.code(), Code::BUS_UNAVAILABLE, "{e:?}");
    let mut odd = KafkaOptions::new("127.0.0.1:1");
    odd.more.insert("no.such.setting".into(), "1".into());
    assert_eq!(kafka::open(odd, clock()).await.unwrap_err().code(), Code::BAD_CONFIG);
    let Some(brokers) = server() else { return };
    let _up = SERVER.read().await;
    let options = options(&brokers);
    let off = kafka::open(with(options.clone(), |o| o.topics = Topics::Off), clock()).await.unwrap();
    let m = message(&scope("acme", "ada"), GPS, "d", "x");
    let results = off.publisher.publish(&ctx(), vec![m.clone()]).await;
    let e = results[0].as_ref().unwrap_err();
    assert!(e.code() == Code::BUS_MISMATCH && e.message().contains("kafka.topics"), "{e:?}");
    let many = kafka::open(with(options.clone(), |o| o.replication = 30), clock()).await.unwrap();
    let e = many.publisher.publish(&ctx(), vec![m.clone()]).await.remove(0).unwrap_err();
    assert!(e.message().contains("fewer brokers"), "{e:?}");
    let bus = kafka::open(options.clone(), clock()).await.unwrap();
    publish(&bus, &[m]).await;
    let e = many.publisher.ready().await.unwrap_err();
    assert!(e.code() == Code::BUS_MISMATCH && e.message().contains("copies"), "{e:?}");
    let longer = kafka::open(with(options, |o| o.retention_hours = 9_999), clock()).await.unwrap();
    let e = longer.publisher.ready().await.unwrap_err();
    assert!(e.code() == Code::BUS_MISMATCH && e.message().contains("retention.ms"), "{e:?}");

    let mut member = bus.groups.join(GroupSpec::new("g", [Area::Readings])).await.unwrap();
    read(&mut *member, 1).await;
    let other = bus.groups.join(GroupSpec::new("g", [Area::Readings]).topics([GPS.to_owned()])).await;
    let e = other.err().unwrap();
    assert!(e.code() == Code::BUS_MISMATCH && e.message().contains("kafka-consumer-groups"), "{e:?}");
    assert_eq!(bus.groups.join(GroupSpec::new("a.b", [Area::Readings])).await.err().unwrap().code(), Code::BUS_MISMATCH);
}

/// The other half of the next test: a process that reads everything, settles half, and is killed.
#[tokio::test]
async fn a_child_reads_and_settles_half() {
    let (Ok(brokers), Ok(prefix)) = (std::env::var("AM_TEST_KAFKA"), std::env::var("AM_TEST_KAFKA_CHILD")) else { return };
    let bus = kafka::open(with(options(&brokers), |o| o.prefix = prefix), clock()).await.unwrap();
    let mut member = bus.groups.join(GroupSpec::new("g", [Area::Readings])).await.unwrap();
    let got = read(&mut *member, 40).await;
    member.ack(&tags(&got[..20])).await.unwrap();
    // Long enough for the commit, and for ever without settling the rest.
    clock().sleep(SECOND).await;
    println!("settled {}", bodies(&got[..20]).join(","));
    clock().sleep(600 * SECOND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_member_repeats_what_it_had_not_settled_and_nothing_that_was_committed() {
    use tokio::io::AsyncBufReadExt as _;
    let Some(brokers) = server() else { return };
    let _up = SERVER.read().await;
    let options = options(&brokers);
    let bus = kafka::open(options.clone(), clock()).await.unwrap();
    // One device, so that all of it is in one partition and what is settled is a run from the beginning.
    let all: Vec<Message> = (0..40).map(|n| message(&scope("acme", "ada"), GPS, "d", &n.to_string())).collect();
    publish(&bus, &all).await;
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["a_child_reads_and_settles_half", "--exact", "--nocapture"])
        .env("AM_TEST_KAFKA_CHILD", &options.prefix)
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let settled: BTreeSet<String> = loop {
        let line = lines.next_line().await.unwrap().expect("the child says what it settled");
        if let Some((_, list)) = line.split_once("settled ") {
            break list.split(',').map(str::to_owned).collect();
        }
    };
    child.kill().await.unwrap();
    let mut member = bus.groups.join(GroupSpec::new("g", [Area::Readings])).await.unwrap();
    let got = read(&mut *member, 20).await;
    let rest: BTreeSet<String> = (0..40).map(|n: u32| n.to_string()).filter(|n| !settled.contains(n)).collect();
    assert_eq!(bodies(&got).into_iter().collect::<BTreeSet<_>>(), rest);
    assert!(member.fetch(10, SECOND / 4).await.unwrap().is_empty());
}

/// A restart of the broker is only tried where the services can be told to (`AM_TEST_SERVICES_CTL`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_broker_loses_nothing_that_was_acknowledged() {
    let Some(brokers) = server() else { return };
    let _up = SERVER.write().await;
    let Some(ctl) = setting::control() else { return };
    let bus = kafka::open(options(&brokers), clock()).await.unwrap();
    let one = |n: u32| message(&scope("acme", "ada"), GPS, &format!("d{}", n % 5), &n.to_string());
    publish(&bus, &(0..50).map(one).collect::<Vec<_>>()).await;
    let mut member: Box<dyn Consumer> = bus.groups.join(GroupSpec::new("g", [Area::Readings])).await.unwrap();
    let mut seen = BTreeSet::new();
    let got = read(&mut *member, 30).await;
    seen.extend(bodies(&got));
    member.ack(&tags(&got)).await.unwrap();
    ctl.restart("kafka --kill").await;
    let mut acknowledged: BTreeSet<String> = (0..50u32).map(|n| n.to_string()).collect();
    for n in 50..80 {
        // What was not acknowledged is sent again, as a gateway does.
        for _ in 0..40 {
            let within = ctx_of(&scope("acme", "ada")).with_timeout(5 * SECOND);
            if bus.publisher.publish(&within, vec![one(n)]).await.remove(0).is_ok() {
                acknowledged.insert(n.to_string());
                break;
            }
        }
    }
    assert_eq!(acknowledged.len(), 80);
    let began = clock();
    while !acknowledged.is_subset(&seen) && began.monotonic() < 60 * SECOND {
        let Ok(d) = member.fetch(100, SECOND).await else { continue };
        seen.extend(bodies(&d));
        member.ack(&tags(&d)).await.unwrap();
    }
    assert!(acknowledged.is_subset(&seen));
}
