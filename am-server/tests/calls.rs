//! The five calls, over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test program may fail loudly")]

mod support;

use am_core::{Code, Timestamp};
use am_schema::v1::{self, Outcome};
use am_store::model::{Origin, ScanQuery};
use futures_util::{StreamExt, stream};
use support::stores::{Gated, Mode};
use support::*;
use tonic::codec::CompressionEncoding;

#[tokio::test]
async fn custody_p04_a_batch_sent_twice_is_stored_once_and_counts_balance() {
    let store = memory();
    let server = serve(&store, open()).await;
    let mut client = connect(&server).await;
    let first = client.batch_upload(batch("b1", beats(0..100))).await.unwrap().into_inner();
    assert_eq!((first.batch_id.as_str(), outcomes(&first.outcomes)), ("b1", vec![Outcome::Stored; 100]));
    assert!(first.errors.is_empty());
    let again = client.batch_upload(batch("b2", beats(50..150))).await.unwrap().into_inner();
    let want: Vec<_> = (50..150).map(|i| if i < 100 { Outcome::Duplicate } else { Outcome::Stored }).collect();
    assert_eq!(outcomes(&again.outcomes), want);
    let c = counts(&store).await;
    assert_eq!((c.received, c.stored, c.duplicate, c.dead_lettered), (200, 150, 50, 0));
    assert!(c.balanced());
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn custody_p01_nothing_is_answered_stored_before_the_commit() {
    let (store, gate) = Gated::over(&memory());
    let server = serve(&store, open()).await;
    gate.set(Mode::Hold);
    let mut client = connect(&server).await;
    let mut call = std::pin::pin!(client.batch_upload(batch("b", beats(0..3))));
    within("the batch to reach the store", async {
        tokio::select! {
            _ = &mut call => panic!("answered before the commit"),
            () = until("held", || async { gate.held() == 1 }) => {}
        }
    })
    .await;
    gate.set(Mode::Work);
    let answer = within("the answer", call).await.unwrap().into_inner();
    assert_eq!(outcomes(&answer.outcomes), [Outcome::Stored; 3]);
}

#[tokio::test]
async fn batches_of_a_stream_wait_together_and_are_answered_in_order() {
    let (store, gate) = Gated::over(&memory());
    let server = serve(&store, open()).await;
    gate.set(Mode::Hold);
    let mut client = connect(&server).await;
    let requests = stream::iter((0..40u64).map(|b| batch(&format!("b{b}"), beats(b * 10..b * 10 + 10))));
    let mut answers = client.stream_batches(requests).await.unwrap().into_inner();
    until("eight batches to wait", || async { gate.held() == 8 }).await;
    gate.set(Mode::Work);
    for b in 0..40 {
        let a = within("an answer", answers.message()).await.unwrap().unwrap();
        assert_eq!((a.batch_id, outcomes(&a.outcomes)), (format!("b{b}"), vec![Outcome::Stored; 10]));
    }
    assert!(within("the end", answers.message()).await.unwrap().is_none());
    assert_eq!(gate.most_held(), 8);
    assert_eq!(counts(&store).await.stored, 400);
}

#[tokio::test]
async fn single_readings_are_grouped_by_count_and_by_age() {
    let store = memory();
    let server = serve(&store, open()).await;
    let mut client = connect(&server).await;
    let (tx, rx) = tokio::sync::mpsc::channel(2_000);
    let mut answers =
        client.stream_data(stream::unfold(rx, |mut rx| async { rx.recv().await.map(|m| (m, rx)) })).await.unwrap().into_inner();
    for i in 0..1_100 {
        tx.send(beat(i)).await.unwrap();
    }
    let (mut seen, mut groups) = (0u64, Vec::new());
    while seen < 1_100 {
        let a = within("a group", answers.message()).await.unwrap().unwrap();
        assert_eq!(a.first, seen);
        assert!(a.outcomes.len() <= 512 && outcomes(&a.outcomes).iter().all(|o| *o == Outcome::Stored));
        seen += a.outcomes.len() as u64;
        groups.push(a.outcomes.len());
    }
    assert!(groups.len() < 200, "{} groups for 1,100 readings", groups.len());
    // The stream is still open: a lone reading is answered without waiting for company.
    tx.send(beat(0)).await.unwrap();
    let a = within("the lone reading's group", answers.message()).await.unwrap().unwrap();
    assert_eq!((a.first, outcomes(&a.outcomes)), (1_100, vec![Outcome::Duplicate]));
    drop(tx);
    assert!(within("the end", answers.message()).await.unwrap().is_none());
}

#[tokio::test]
async fn packed_messages_are_read_and_answers_packed_both_ways() {
    let store = memory();
    let server = serve(&store, open()).await;
    for (n, encoding) in [CompressionEncoding::Gzip, CompressionEncoding::Zstd].into_iter().enumerate() {
        let from = n as u64 * 1_000;
        let mut client = connect(&server).await.send_compressed(encoding).accept_compressed(encoding);
        let response = client.batch_upload(batch("b", beats(from..from + 500))).await.unwrap();
        let name = if n == 0 { "gzip" } else { "zstd" };
        assert_eq!(response.metadata().get("grpc-encoding").unwrap(), name);
        assert_eq!(outcomes(&response.into_inner().outcomes), [Outcome::Stored; 500]);
    }
    assert_eq!(metric(&server, "am_in_flight_bytes").await, 0.0);
}

#[tokio::test]
async fn who_brought_a_batch_is_kept_with_its_readings() {
    let store = memory();
    let server = serve(&store, open()).await;
    let mut client = connect(&server).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = v1::BatchRequest {
        sent_at: time(Timestamp::from_second(1_772_352_000)),
        boot_id: "boot-7".into(),
        monotonic_ns: 42,
        origin: v1::Origin::Backfill as i32,
        traceparent: trace.into(),
        ..batch("b9", beats(0..1))
    };
    client.batch_upload(request).await.unwrap();
    let page = store.readings.scan(&ctx(), &ScanQuery::default()).await.unwrap();
    assert_eq!(page.items[0].origin, Origin::Backfill);
    let p = store.readings.provenance(&ctx(), page.items[0].batch).await.unwrap().unwrap();
    assert_eq!((p.client.as_str(), p.client_version.as_str(), p.batch_id.as_str(), p.boot_id.as_str()), ("test", "1", "b9", "boot-7"));
    assert_eq!((p.traceparent.as_str(), p.monotonic_ns, p.sent_at), (trace, 42, Some(Timestamp::from_second(1_772_352_000))));
}

#[tokio::test]
async fn a_device_registers_and_is_told_which_kinds_nobody_knows() {
    let store = memory();
    let server = serve(&store, open()).await;
    let mut client = connect(&server).await;
    let kind = |k: &str| v1::DeclaredKind { kind: k.into(), period_ns: 1_000_000_000 };
    let info = v1::DeviceInfo {
        device_id: "watch".into(),
        name: "Ada's watch".into(),
        kinds: vec![kind("device.health.heartrate.raw"), kind("device.mood.ring")],
        ..Default::default()
    };
    let a = client.register_device(info.clone()).await.unwrap().into_inner();
    assert_eq!((a.device_id.as_str(), a.created, a.unknown_kinds), ("watch", true, vec!["device.mood.ring".to_owned()]));
    assert!(!client.register_device(info.clone()).await.unwrap().into_inner().created);
    let rows = store.devices.list(&ctx()).await.unwrap();
    assert_eq!(rows[0].kinds, [("device.health.heartrate.raw".to_owned(), 1_000_000_000)]);
    let e = client.register_device(v1::DeviceInfo { device_id: "a b".into(), ..info.clone() }).await.unwrap_err();
    assert!(e.code() == tonic::Code::InvalidArgument && e.message().contains("AM-1007"), "{e}");
    let e = client.register_device(v1::DeviceInfo { name: "n\0".into(), ..info }).await.unwrap_err();
    assert!(e.message().contains("name"), "{e}");
}

#[tokio::test]
async fn configured_legacy_names_reach_the_same_service_and_others_do_not() {
    let store = memory();
    let mut config = open();
    config.legacy_services = vec!["loom.gateway.v1.DataIngestionService".into()];
    let server = serve(&store, config).await;
    let channel = channel(server.grpc_addr()).await;
    let readings = stream::iter(beats(0..10)).map(|r| prost::Message::encode_to_vec(&r).into());
    let mut answers =
        wire::stream::<v1::DataResponse>(&channel, "/loom.gateway.v1.DataIngestionService/StreamData", readings, None).await.unwrap();
    let a = within("the group", answers.message()).await.unwrap().unwrap();
    assert_eq!(outcomes(&a.outcomes), [Outcome::Stored; 10]);
    for wrong in ["/other.v1.DataIngestionService/StreamData", "/am.v1.DataIngestionService/Nothing", "/x", "/am.v1.DataIngestionService"] {
        let e = wire::unary::<v1::BatchResponse>(&channel, wrong, Default::default(), None).await.unwrap_err();
        assert_eq!(e.code(), tonic::Code::Unimplemented, "{wrong}: {e}");
    }
}

#[tokio::test]
async fn custody_p02_items_the_store_cannot_take_are_answered_retry_and_none_is_lost() {
    let (store, gate) = Gated::over(&memory());
    let server = serve(&store, open()).await;
    let mut client = connect(&server).await;
    for (code, after) in [(Code::STORE_FULL, 30_000), (Code::STORE_UNAVAILABLE, 1_000), (Code::STORE_READ_ONLY, 30_000)] {
        gate.set(Mode::Fail(code));
        let a = client.batch_upload(batch("b", beats(0..5))).await.unwrap().into_inner();
        assert_eq!((outcomes(&a.outcomes), a.retry_after_ms), (vec![Outcome::Retry; 5], after));
        assert_eq!(a.errors[0].code, u32::from(code.number()));
    }
    gate.set(Mode::Work);
    let a = client.batch_upload(batch("b", beats(0..5))).await.unwrap().into_inner();
    assert_eq!(outcomes(&a.outcomes), [Outcome::Stored; 5]);
    assert!(counts(&store).await.balanced());
    assert_eq!(metric(&server, "am_outcomes_total{outcome=\"retry\"}").await, 15.0);
}

#[tokio::test]
async fn health_is_told_alike_by_every_page() {
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
    let store = memory();
    let server = serve(&store, open()).await;
    let mut client = connect(&server).await;
    let h = client.health_check(v1::HealthRequest {}).await.unwrap().into_inner();
    assert_eq!((h.status(), h.problems.len()), (v1::health_response::Status::Ready, 0));
    assert_eq!(page(&server, "/healthz").await.0, 200);
    assert_eq!(page(&server, "/readyz").await.0, 200);
    assert_eq!(page(&server, "/nothing").await.0, 404);
    let mut probe = HealthClient::new(channel(server.grpc_addr()).await);
    for service in ["", "am.v1.DataIngestionService"] {
        let r = probe.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        assert_eq!(r.status(), ServingStatus::Serving);
    }
    assert_eq!(probe.check(HealthCheckRequest { service: "x".into() }).await.unwrap_err().code(), tonic::Code::NotFound);
    let mut watch = probe.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(within("the watch", watch.message()).await.unwrap().unwrap().status(), ServingStatus::Serving);

    store.maintenance.close().await.unwrap();
    until("readyz to turn", || async { page(&server, "/readyz").await.0 == 503 }).await;
    let body: serde_json::Value = serde_json::from_str(&page(&server, "/readyz").await.1).unwrap();
    assert!(body["problems"][0].as_str().unwrap().contains("the store is not ready"), "{body}");
    assert_eq!(within("the watch to turn", watch.message()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let h = client.health_check(v1::HealthRequest {}).await.unwrap().into_inner();
    assert_eq!((h.status(), h.problems.len()), (v1::health_response::Status::Degraded, 1));
    // A store that answers, even with an error, is alive: a restart would not help.
    assert_eq!(page(&server, "/healthz").await.0, 200);
}
