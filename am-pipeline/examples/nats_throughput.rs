//! How much faster or slower AM's publisher and groups are than the plain client with the same bodies, on one server in the same run.
//!
//! `NATS_URL=nats://127.0.0.1:4222 cargo run --release -p am-pipeline --features nats --example nats_throughput`
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, reason = "a measurement on the command line")]

use std::collections::VecDeque;
use std::future::{IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use am_core::{Clock, Ctx, DeviceId, Scope, Timestamp};
use am_pipeline::TokioClock;
use am_pipeline::bus::nats::{self, NatsOptions};
use am_pipeline::bus::{Area, Bus, GroupSpec, Message, Parcel, Parcels};
use am_schema::{Catalogue, Reading, v1};
use async_nats::jetstream::{Context, consumer::pull, context::ContextBuilder};
use bytes::Bytes;

/// Messages of a round, readings of a message, messages of one call, acknowledgements that the plain client waits for.
const MESSAGES: usize = 5_000;
const READINGS: u64 = 100;
const CALL: usize = 64;
const IN_FLIGHT: usize = 256;
const ROUNDS: usize = 5;
const TOPIC: &str = "device.health.heartrate.raw";

fn bodies() -> Vec<Bytes> {
    let kind = Catalogue::builtin().get(TOPIC).unwrap();
    let body = |m: u64| {
        let reading = |i: u64| {
            let at = Timestamp::from_second(1_772_352_000 + (m * READINGS + i) as i64);
            let payload = v1::HeartRate { bpm: 60 + (i % 50) as i32, ..Default::default() };
            Reading::builder(kind, DeviceId::new("watch").unwrap(), at).payload(&payload).build().unwrap().to_wire()
        };
        Parcel { client: "bench".into(), readings: (0..READINGS).map(|i| reading(i).into()).collect(), ..Default::default() }.to_body()
    };
    (0..MESSAGES as u64).map(body).collect()
}

/// As one would write it: ids, acknowledgements awaited behind a window.
async fn publish_plain(js: &Context, subject: &str, round: usize, bodies: &[Bytes]) {
    let mut sent = VecDeque::new();
    for (n, body) in bodies.iter().enumerate() {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("plain-{round}-{n}"));
        if sent.len() == IN_FLIGHT {
            let oldest: async_nats::jetstream::context::PublishAckFuture = sent.pop_front().unwrap();
            oldest.await.unwrap();
        }
        sent.push_back(js.publish_with_headers(subject.to_owned(), headers, body.clone()).await.unwrap());
    }
    for ack in sent {
        ack.into_future().await.unwrap();
    }
}

/// By so many callers at once; how long each call took.
async fn publish_ours(bus: &Bus, ctx: &Ctx, round: usize, bodies: &[Bytes], callers: usize) -> Vec<Duration> {
    let caller = |(part, bodies): (usize, &[Bytes])| {
        let (bus, ctx, bodies) = (bus.clone(), ctx.clone(), bodies.to_vec());
        tokio::spawn(async move {
            let mut took = Vec::new();
            for (i, chunk) in bodies.chunks(CALL).enumerate() {
                let message = |(n, body): (usize, &Bytes)| Message {
                    area: Area::Readings,
                    scope: ctx.scope().clone(),
                    topic: TOPIC.into(),
                    device: DeviceId::new("watch").ok(),
                    id: format!("ours-{round}-{part}-{i}-{n}"),
                    trace: Default::default(),
                    body: body.clone(),
                };
                let start = ctx.clock().monotonic();
                let results = bus.publisher.publish(&ctx, chunk.iter().enumerate().map(message).collect()).await;
                assert!(results.iter().all(|r| r.as_ref().is_ok_and(|p| !p.duplicate)));
                took.push(ctx.clock().monotonic().saturating_sub(start));
            }
            took
        })
    };
    let mut all = Vec::new();
    for task in bodies.chunks(bodies.len().div_ceil(callers)).enumerate().map(caller).collect::<Vec<_>>() {
        all.extend(task.await.unwrap());
    }
    all
}

async fn fetch_plain(js: &Context, stream: &str, round: usize) {
    let config = pull::Config { durable_name: Some(format!("plain{round}")), max_ack_pending: 16_384, ..Default::default() };
    let consumer = js.get_stream(stream).await.unwrap().create_consumer(config).await.unwrap();
    let mut n = 0;
    while n < MESSAGES {
        let mut batch = consumer.fetch().max_messages(256).messages().await.unwrap();
        while let Some(m) = poll_fn(|cx| futures_core::Stream::poll_next(Pin::new(&mut batch), cx)).await {
            // A new consumer of a cluster has no leader for a moment.
            let Ok(m) = m else { break };
            m.ack().await.unwrap();
            n += 1;
        }
    }
}

async fn fetch_ours(bus: &Bus, round: usize) {
    let mut c = bus.groups.join(GroupSpec::new(format!("g{round}"), [Area::Readings])).await.unwrap();
    let mut n = 0;
    while n < MESSAGES {
        let got = c.fetch(256, Duration::from_secs(5)).await.unwrap();
        n += got.len();
        c.ack(&got.iter().map(|d| d.tag).collect::<Vec<_>>()).await.unwrap();
    }
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

#[tokio::main]
async fn main() {
    let url = std::env::var("NATS_URL").unwrap_or_else(|_| "nats://127.0.0.1:4222".into());
    let urls: Vec<String> = url.split(',').map(str::to_owned).collect();
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::default());
    let mut options = NatsOptions::at(urls.clone());
    options.prefix = format!("bench{:x}", clock.now().as_nanos() & 0xFFFF_FFFF);
    for s in [&mut options.streams.readings, &mut options.streams.work, &mut options.streams.errors] {
        s.max_bytes = 2 << 30;
    }
    let bus = nats::open(options.clone(), clock.clone()).await.unwrap();
    let ctx = Ctx::new(Scope::local(), clock.clone());
    let client = async_nats::connect(urls.as_slice()).await.unwrap();
    let js = ContextBuilder::new().max_ack_inflight(IN_FLIGHT * 2).build(client);
    let (subject, bodies) = (format!("{}.r.local.me.{TOPIC}", options.prefix), bodies());
    let since = |start: Duration| MESSAGES as f64 / clock.monotonic().saturating_sub(start).as_secs_f64();
    let [mut raw, mut one, mut four, mut raw_fetch, mut our_fetch, mut calls]: [Vec<f64>; 6] = Default::default();
    for round in 0..ROUNDS {
        let start = clock.monotonic();
        publish_plain(&js, &subject, round, &bodies).await;
        raw.push(since(start));
        let start = clock.monotonic();
        calls.extend(publish_ours(&bus, &ctx, round * 2, &bodies, 1).await.iter().map(Duration::as_secs_f64));
        one.push(since(start));
        let start = clock.monotonic();
        publish_ours(&bus, &ctx, round * 2 + 1, &bodies, 4).await;
        four.push(since(start));
        let start = clock.monotonic();
        fetch_ours(&bus, round).await;
        our_fetch.push(since(start));
        let start = clock.monotonic();
        fetch_plain(&js, &options.stream(Area::Readings), round).await;
        raw_fetch.push(since(start));
    }
    calls.sort_by(f64::total_cmp);
    let (raw, raw_fetch) = (median(raw), median(raw_fetch));
    println!("{READINGS} readings and {} bytes per message, {MESSAGES} messages, medians of {ROUNDS} rounds", bodies[0].len());
    for (what, rate, base) in [
        ("publish, plain client, window of 256", raw, raw),
        ("publish, AM, one caller, 64 per call", median(one), raw),
        ("publish, AM, four callers", median(four), raw),
        ("fetch and acknowledge, plain client", raw_fetch, raw_fetch),
        ("fetch and acknowledge, AM", median(our_fetch), raw_fetch),
    ] {
        println!("{what:38} {rate:8.0} messages/s {:8.0} k readings/s {:6.2} of plain", rate * READINGS as f64 / 1e3, rate / base);
    }
    println!(
        "one call of {CALL} messages: median {:.2} ms, p99 {:.2} ms",
        calls[calls.len() / 2] * 1e3,
        calls[calls.len() * 99 / 100] * 1e3
    );
    for area in Area::ALL {
        let _ = js.delete_stream(options.stream(area)).await;
    }
    let _ = js.delete_stream(format!("KV_{}", options.bucket())).await;
}
