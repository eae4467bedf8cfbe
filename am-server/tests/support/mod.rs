//! A server over a real socket and the clients that the tests talk through.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "shared by several test programs; tests may fail loudly"
)]

pub mod stores;
pub mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use am_client::v1::data_ingestion_service_client::DataIngestionServiceClient;
use am_core::{Clock, Ctx, ReadingId, Scope, Timestamp};
use am_pipeline::TokioClock;
use am_schema::v1::{self, reading::Data};
use am_schema::{Catalogue, v1::Outcome};
use am_server::{Server, ServerConfig};
use am_store::Store;
use am_store::memory::{self, MemoryOptions};
use am_store::traits::{Backend, Counts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Channel;

pub type Client = DataIngestionServiceClient<Channel>;

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(TokioClock::default())
}

pub fn memory() -> Backend {
    memory::open(MemoryOptions::default(), clock(), Catalogue::builtin())
}

pub fn scope() -> Scope {
    Scope::new("acme", "ada").unwrap()
}

pub fn ctx() -> Ctx {
    Ctx::new(scope(), clock())
}

/// Open to everybody on this machine, on free ports.
pub fn open() -> ServerConfig {
    ServerConfig::local(scope())
}

pub fn handle(backend: &Backend) -> Store {
    Store::of(backend.clone(), clock(), Catalogue::builtin())
}

pub async fn serve(store: &Backend, config: ServerConfig) -> Server {
    Server::builder(&handle(store)).config(config).bind().await.unwrap()
}

pub async fn channel(addr: SocketAddr) -> Channel {
    try_channel(addr).await.unwrap()
}

pub async fn try_channel(addr: SocketAddr) -> Result<Channel, tonic::transport::Error> {
    Channel::from_shared(format!("http://{addr}")).unwrap().tcp_nodelay(true).connect().await
}

pub async fn connect(server: &Server) -> Client {
    DataIngestionServiceClient::new(channel(server.grpc_addr()).await)
}

/// Fails a test that hangs, instead of letting it hang.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        () = TokioClock::default().sleep(Duration::from_secs(30)) => panic!("{what} took more than 30 s"),
    }
}

/// Looks again and again until something holds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    within(what, async {
        while !holds().await {
            TokioClock::default().sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub fn time(t: Timestamp) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: t.as_second(), nanos: t.subsec_nanos() })
}

/// The `i`-th heart rate of a watch; the same `i` is the same reading.
pub fn beat(i: u64) -> v1::Reading {
    let at = Timestamp::from_millisecond(1_772_352_000_000 + i as i64);
    let mut random = [0u8; 16];
    random[8..].copy_from_slice(&i.to_be_bytes());
    v1::Reading {
        device_id: "watch".into(),
        reading_id: ReadingId::v7_from(at, random).to_string(),
        recorded_at: time(at),
        kind: "device.health.heartrate.raw".into(),
        data: Some(Data::HeartRate(v1::HeartRate { bpm: 60 + (i % 60) as i32, confidence: 0.9, ..Default::default() })),
        ..Default::default()
    }
}

pub fn batch(id: &str, readings: Vec<v1::Reading>) -> v1::BatchRequest {
    v1::BatchRequest { batch_id: id.into(), readings, client: "test".into(), client_version: "1".into(), ..Default::default() }
}

pub fn beats(range: std::ops::Range<u64>) -> Vec<v1::Reading> {
    range.map(beat).collect()
}

pub fn outcomes(list: &[i32]) -> Vec<Outcome> {
    list.iter().map(|o| Outcome::try_from(*o).unwrap()).collect()
}

pub async fn counts(store: &Backend) -> Counts {
    store.maintenance.counts(&ctx()).await.unwrap()
}

/// Status code and body of a page of the side port.
pub async fn page(server: &Server, path: &str) -> (u16, String) {
    let mut s = TcpStream::connect(server.http_addr().unwrap()).await.unwrap();
    s.write_all(format!("GET {path} HTTP/1.1\r\nHost: am\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    s.read_to_string(&mut text).await.unwrap();
    let code = text.split(' ').nth(1).unwrap().parse().unwrap();
    (code, text.split_once("\r\n\r\n").map(|p| p.1.to_owned()).unwrap_or_default())
}

/// The value of a metric, labels included in its name.
pub async fn metric(server: &Server, name: &str) -> f64 {
    let text = page(server, "/metrics").await.1;
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    line.unwrap_or_else(|| panic!("{name} is missing in\n{text}"))
}
