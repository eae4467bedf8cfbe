//! Floods, bombs and stalls cost back-pressure, not memory (P10).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test program may fail loudly")]

mod support;

use am_core::Code;
use am_schema::v1::{self, Outcome};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use prost::Message;
use support::stores::{Gated, Mode};
use support::*;
use tonic::codec::CompressionEncoding;

const UPLOAD: &str = "/am.v1.DataIngestionService/BatchUpload";
const BATCHES: &str = "/am.v1.DataIngestionService/StreamBatches";

fn code_of(s: &tonic::Status) -> Option<u16> {
    s.metadata().get("am-code")?.to_str().ok()?.parse().ok()
}

#[tokio::test]
async fn custody_p10_a_bomb_is_refused_by_its_unpacked_size() {
    let store = memory();
    let server = serve(&store, open()).await;
    let channel = channel(server.grpc_addr()).await;
    let before = resident();
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        // 64 MiB of zeros pack into about 64 KiB.
        let bomb = Bytes::from(vec![0u8; 64 << 20]);
        let e = wire::unary::<v1::BatchResponse>(&channel, UPLOAD, bomb, Some(encoding)).await.unwrap_err();
        assert_eq!(code_of(&e), Some(Code::TOO_LARGE.number()), "{e}");
        assert!(e.message().contains("4194304 bytes"), "{e}");
    }
    assert!(resident().saturating_sub(before) < 250 << 20, "client and server together grew from {before} to {}", resident());
    let a = wire::unary::<v1::BatchResponse>(&channel, UPLOAD, batch("b", beats(0..1)).encode_to_vec().into(), None).await.unwrap();
    assert_eq!(outcomes(&a.into_inner().outcomes), [Outcome::Stored]);
    until("all memory to be given back", || async { metric(&server, "am_in_flight_bytes").await == 0.0 }).await;
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).unwrap_or("0");
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1_024
}

#[tokio::test]
async fn an_oversize_message_ends_its_call_with_a_clear_error() {
    let store = memory();
    let server = serve(&store, open()).await;
    let channel = channel(server.grpc_addr()).await;
    let frames = vec![Bytes::from(batch("b", beats(0..3)).encode_to_vec()), Bytes::from(vec![0u8; (4 << 20) + 1])];
    let mut answers = wire::stream::<v1::BatchResponse>(&channel, BATCHES, stream::iter(frames), None).await.unwrap();
    let a = within("the answer", answers.message()).await.unwrap().unwrap();
    assert_eq!(outcomes(&a.outcomes), [Outcome::Stored; 3]);
    let e = within("the end", answers.message()).await.unwrap_err();
    assert!(code_of(&e) == Some(Code::TOO_LARGE.number()) && e.message().contains("AM-1004"), "{e}");
}

#[tokio::test]
async fn a_batch_of_too_many_readings_is_refused_as_one_item() {
    let store = memory();
    let mut config = open();
    config.limits.batch_items = 100;
    let server = serve(&store, config).await;
    let mut client = connect(&server).await;
    let a = client.batch_upload(batch("b", beats(0..101))).await.unwrap().into_inner();
    assert_eq!(outcomes(&a.outcomes), [Outcome::Rejected]);
    assert_eq!(a.errors[0].code, u32::from(Code::TOO_LARGE.number()));
    assert!(a.errors[0].rule.contains("100"), "{a:?}");
    let c = counts(&store).await;
    assert_eq!((c.received, c.stored, c.dead_lettered), (1, 0, 1));
}

#[tokio::test]
async fn custody_p10_ten_thousand_tiny_requests_are_all_answered() {
    let store = memory();
    let server = serve(&store, open()).await;
    let client = connect(&server).await;
    let answered = stream::iter(0..10_000u64)
        .map(|i| {
            let mut client = client.clone();
            async move { client.batch_upload(batch("t", vec![beat(i)])).await.unwrap().into_inner().outcomes }
        })
        .buffer_unordered(200)
        .filter(|o| std::future::ready(outcomes(o) == [Outcome::Stored]))
        .count();
    assert_eq!(within("10,000 requests", answered).await, 10_000);
    assert_eq!(counts(&store).await.stored, 10_000);
    until("all memory to be given back", || async { metric(&server, "am_in_flight_bytes").await == 0.0 }).await;
}

#[tokio::test]
async fn custody_p10_a_client_that_reads_no_answers_is_cut_and_others_are_served() {
    let store = memory();
    let mut config = open();
    config.times.stall_ms = 300;
    let server = serve(&store, config).await;
    // Answers of 10,000 findings are large; a window of 64 KiB that nobody empties is soon full.
    let stuck = tonic::transport::Channel::from_shared(format!("http://{}", server.grpc_addr())).unwrap().connect().await.unwrap();
    let frame = Bytes::from(batch("b", vec![v1::Reading::default(); 5_000]).encode_to_vec());
    let endless = stream::repeat(frame);
    let answers = wire::stream::<v1::BatchResponse>(&stuck, BATCHES, endless, None).await.unwrap();
    until("the client to be cut", || async { metric(&server, "am_refused_total{reason=\"stalled\"}").await >= 1.0 }).await;
    until("its connection to be gone", || async { metric(&server, "am_open_connections").await == 0.0 }).await;
    assert!(metric(&server, "am_in_flight_bytes").await < 128e6);
    let mut other = connect(&server).await;
    let a = other.batch_upload(batch("b", beats(0..5))).await.unwrap().into_inner();
    assert_eq!(outcomes(&a.outcomes), [Outcome::Stored; 5]);
    drop(answers);
    assert!(counts(&store).await.balanced());
}

#[tokio::test]
async fn custody_p10_a_stalled_store_holds_clients_back_and_readiness_says_so() {
    let (store, gate) = Gated::over(&memory());
    let mut config = open();
    config.limits.in_flight_bytes = 2 << 20;
    config.limits.message_bytes = 512 << 10;
    config.times.overload_ms = 400;
    config.times.accept_ms = 60_000;
    let server = serve(&store, config).await;
    gate.set(Mode::Hold);
    let frame = |n: u64| batch("b", beats(n..n + 2_000)).encode_to_vec();
    assert!(frame(0).len() > 150 << 10);
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..20u64 {
        let mut client = connect(&server).await;
        let readings = beats(n * 2_000..(n + 1) * 2_000);
        calls.spawn(async move { client.batch_upload(batch("b", readings)).await });
    }
    until("readiness to turn", || async { page(&server, "/readyz").await.1.contains("overloaded") }).await;
    assert_eq!(page(&server, "/healthz").await.0, 200);
    let used = metric(&server, "am_in_flight_bytes").await;
    assert!(used <= f64::from(2 << 20) && gate.held() <= 5, "{used} bytes, {} batches", gate.held());
    // The ones without room end as overloaded, and may try again.
    let refused = within("an overloaded call", async {
        loop {
            if let Some(Ok(Err(e))) = calls.join_next().await {
                return e;
            }
        }
    })
    .await;
    assert_eq!((refused.code(), code_of(&refused)), (tonic::Code::ResourceExhausted, Some(Code::OVERLOADED.number())), "{refused}");
    assert!(refused.metadata().contains_key("am-retry-after-ms"));
    gate.set(Mode::Work);
    let mut stored = 0;
    while let Some(done) = within("the rest", calls.join_next()).await {
        stored += done.unwrap().map_or(0, |a| a.into_inner().outcomes.len());
    }
    assert_eq!(counts(&store).await.stored, stored as u64);
    assert!(stored > 0);
    until("readiness to come back", || async { page(&server, "/readyz").await.0 == 200 }).await;
}

#[tokio::test]
async fn custody_p10_a_commit_that_never_ends_is_answered_retry() {
    let (store, gate) = Gated::over(&memory());
    let mut config = open();
    config.times.accept_ms = 200;
    let server = serve(&store, config).await;
    gate.set(Mode::Hold);
    let mut client = connect(&server).await;
    let a = within("the answer", client.batch_upload(batch("b", beats(0..5)))).await.unwrap().into_inner();
    assert_eq!(outcomes(&a.outcomes), [Outcome::Retry; 5]);
    assert_eq!(a.errors[0].code, u32::from(Code::TIMED_OUT.number()));
    gate.set(Mode::Work);
    let a = client.batch_upload(batch("b", beats(0..5))).await.unwrap().into_inner();
    assert_eq!(a.outcomes.len(), 5);
    assert_eq!(counts(&store).await.stored, 5);
}

#[tokio::test]
async fn custody_p10_a_half_sent_message_and_a_silent_stream_keep_nothing_for_ever() {
    let store = memory();
    let mut config = open();
    config.times.stall_ms = 200;
    let server = serve(&store, config).await;
    let channel = channel(server.grpc_addr()).await;
    // Half a frame by hand: the header promises 1,000 bytes and 10 come.
    let half = Bytes::from([&[0u8, 0, 0, 3, 0xe8][..], &[7; 10]].concat());
    let (tx, rx) = tokio::sync::mpsc::channel::<Bytes>(1);
    tx.send(half).await.unwrap();
    let body = tonic::body::Body::new(http_body_util::StreamBody::new(stream::unfold(rx, |mut rx| async {
        rx.recv().await.map(|b| (Ok::<_, tonic::Status>(http_body::Frame::data(b)), rx))
    })));
    let request = http::Request::post(format!("http://{}{BATCHES}", server.grpc_addr()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    let mut service = channel.clone();
    std::future::poll_fn(|cx| tonic::client::GrpcService::poll_ready(&mut service, cx)).await.unwrap();
    let response = within("the headers", tonic::client::GrpcService::call(&mut service, request)).await.unwrap();
    let trailers = within("the end", http_body_util::BodyExt::collect(response.into_body())).await.unwrap().trailers().cloned().unwrap();
    assert_eq!(trailers.get("am-code").unwrap(), &Code::TIMED_OUT.number().to_string());
    assert_eq!(metric(&server, "am_in_flight_bytes").await, 0.0);
    drop(tx);

    // A stream that says nothing is allowed to live, and costs no reserved memory; it ends with its connection.
    let (quit, end) = tokio::sync::oneshot::channel::<()>();
    let other = std::thread::spawn({
        let addr = server.grpc_addr();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let other = support::channel(addr).await;
                let _answers = wire::stream::<v1::BatchResponse>(&other, BATCHES, stream::pending::<Bytes>(), None).await.unwrap();
                end.await.unwrap();
            });
        }
    });
    until("the stream to be open", || async { metric(&server, "am_open_streams").await == 1.0 }).await;
    assert_eq!(metric(&server, "am_in_flight_bytes").await, 0.0);
    quit.send(()).unwrap();
    other.join().unwrap();
    until("the stream to be closed", || async { metric(&server, "am_open_streams").await == 0.0 }).await;
}

#[tokio::test]
async fn cancelled_calls_give_everything_back_and_what_was_committed_stays() {
    let (store, gate) = Gated::over(&memory());
    let server = serve(&store, open()).await;
    gate.set(Mode::Hold);
    let client = connect(&server).await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..10u64 {
        let mut client = client.clone();
        calls.spawn(async move { client.batch_upload(batch("b", beats(n * 10..n * 10 + 10))).await });
    }
    until("all to reach the store", || async { gate.held() == 10 }).await;
    calls.shutdown().await;
    gate.set(Mode::Work);
    until("all memory to be given back", || async { metric(&server, "am_in_flight_bytes").await == 0.0 }).await;
    let c = counts(&store).await;
    assert!(c.balanced() && c.stored == 100, "{c:?}");
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused() {
    let store = memory();
    let mut config = open();
    config.limits.streams = 3;
    let server = serve(&store, config).await;
    let channel = channel(server.grpc_addr()).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let (tx, rx) = tokio::sync::mpsc::channel::<Bytes>(1);
        let messages = stream::unfold(rx, |mut rx| async { rx.recv().await.map(|b| (b, rx)) });
        open.push((tx, wire::stream::<v1::BatchResponse>(&channel, BATCHES, messages, None).await.unwrap()));
    }
    let e = wire::stream::<v1::BatchResponse>(&channel, BATCHES, stream::pending(), None).await.unwrap_err();
    assert_eq!(code_of(&e), Some(Code::OVERLOADED.number()), "{e}");
    let (tx, mut answers) = open.pop().unwrap();
    drop(tx);
    assert!(within("the end", answers.message()).await.unwrap().is_none());
    until("a place to be free", || async { metric(&server, "am_open_streams").await == 2.0 }).await;
    wire::stream::<v1::BatchResponse>(&channel, BATCHES, stream::pending(), None).await.unwrap();
}
