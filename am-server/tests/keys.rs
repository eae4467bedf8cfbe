//! Device keys: who may write, for which device, and until when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test program may fail loudly")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use am_core::{Code, Ctx, DeviceId, Scope, Timestamp};
use am_schema::v1::{self, Outcome};
use am_server::{Auth, KeyGrant, Server, ServerConfig, create_key, revoke_key};
use am_store::traits::{ApiKey, Backend, DeviceRow, Devices};
use futures_util::stream;
use support::*;
use tonic::{Request, Status};

fn keyed() -> ServerConfig {
    let mut config = open();
    config.auth = Auth::Keys;
    config.times.key_cache_ms = 50;
    config
}

async fn key(store: &Backend, grant: KeyGrant) -> (String, String) {
    let k = create_key(store.devices.as_ref(), clock().as_ref(), grant).await.unwrap();
    (k.id, k.key.expose().clone())
}

fn with_key<T>(message: T, key: &str) -> Request<T> {
    let mut r = Request::new(message);
    r.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    r
}

async fn upload(server: &Server, key: &str, readings: Vec<v1::Reading>) -> Result<v1::BatchResponse, Status> {
    connect(server).await.batch_upload(with_key(batch("b", readings), key)).await.map(|r| r.into_inner())
}

#[tokio::test]
async fn a_key_decides_whose_data_it_is() {
    let store = memory();
    let server = serve(&store, keyed()).await;
    let (_, ada) = key(&store, KeyGrant::new(scope())).await;
    let (id, bob) = key(&store, KeyGrant::new(Scope::new("acme", "bob").unwrap())).await;
    assert!(ada.starts_with("am_") && ada.len() == 3 + 16 + 1 + 64);
    upload(&server, &ada, beats(0..3)).await.unwrap();
    upload(&server, &bob, beats(0..5)).await.unwrap();
    assert_eq!(counts(&store).await.stored, 3);
    let bobs = ctx().with_scope(Scope::new("acme", "bob").unwrap());
    assert_eq!(store.maintenance.counts(&bobs).await.unwrap().stored, 5);
    let page = store.readings.scan(&bobs, &Default::default()).await.unwrap();
    assert_eq!(store.readings.provenance(&bobs, page.items[0].batch).await.unwrap().unwrap().key_id, id);
    let row = store.devices.key(&id).await.unwrap().unwrap();
    assert!(!format!("{row:?}").contains(&bob[20..]), "the store must not hold the secret");
}

#[tokio::test]
async fn calls_without_a_valid_key_are_refused_and_the_key_is_never_repeated() {
    let store = memory();
    let server = serve(&store, keyed()).await;
    let (id, good) = key(&store, KeyGrant::new(scope())).await;
    let (_, expired) = key(&store, KeyGrant::new(scope()).expires_at(Timestamp::from_second(1))).await;
    let wrong = format!("am_{id}_{}", "0".repeat(64));
    let unknown = format!("am_{}_{}", "0".repeat(16), "0".repeat(64));
    for bad in [wrong, unknown, expired, "am_x_y".into(), "hunter2".into(), good[..good.len() - 1].to_owned()] {
        let e = upload(&server, &bad, beats(0..1)).await.unwrap_err();
        assert_eq!(e.code(), tonic::Code::Unauthenticated, "{bad}");
        let text = format!("{e:?}");
        assert!(e.message().contains("AM-2001") && !text.contains(&bad) && !text.contains(&id), "{text}");
    }
    let e = connect(&server).await.batch_upload(batch("b", beats(0..1))).await.unwrap_err();
    assert!(e.code() == tonic::Code::Unauthenticated && e.message().contains("no authorization header"), "{e}");
    let e = connect(&server).await.stream_batches(stream::pending()).await.unwrap_err();
    assert_eq!(e.code(), tonic::Code::Unauthenticated);
    assert_eq!(counts(&store).await.received, 0);
    assert!(metric(&server, "am_refused_total{reason=\"unauthenticated\"}").await >= 8.0);
    // Health asks for no key.
    connect(&server).await.health_check(v1::HealthRequest {}).await.unwrap();
}

#[tokio::test]
async fn custody_p09_a_key_of_one_device_refuses_readings_of_others_item_by_item() {
    let store = memory();
    let server = serve(&store, keyed()).await;
    let (_, key) = key(&store, KeyGrant::new(scope()).device(DeviceId::new("watch").unwrap())).await;
    let mut readings = beats(0..3);
    readings[1].device_id = "phone".into();
    let a = upload(&server, &key, readings).await.unwrap();
    use Outcome::{Rejected as R, Stored as S};
    assert_eq!(outcomes(&a.outcomes), [S, R, S]);
    let e = &a.errors[0];
    assert_eq!((e.index, e.code, e.field.as_str(), e.value.as_str()), (1, u32::from(Code::FORBIDDEN.number()), "device_id", "phone"));
    assert!(e.rule.contains("watch"), "{e:?}");
    let c = counts(&store).await;
    assert_eq!((c.stored, c.dead_lettered, c.balanced()), (2, 1, true));
    let info = v1::DeviceInfo { device_id: "phone".into(), ..Default::default() };
    let e = connect(&server).await.register_device(with_key(info, &key)).await.unwrap_err();
    assert_eq!(e.code(), tonic::Code::PermissionDenied);
}

#[tokio::test]
async fn a_revoked_key_ends_open_streams_within_moments() {
    let store = memory();
    let server = serve(&store, keyed()).await;
    let (id, key) = key(&store, KeyGrant::new(scope())).await;
    let (tx, rx) = tokio::sync::mpsc::channel(1);
    let batches = stream::unfold(rx, |mut rx| async { rx.recv().await.map(|m| (m, rx)) });
    let mut answers = connect(&server).await.stream_batches(with_key(batches, &key)).await.unwrap().into_inner();
    tx.send(batch("b0", beats(0..1))).await.unwrap();
    assert_eq!(within("an answer", answers.message()).await.unwrap().unwrap().batch_id, "b0");
    revoke_key(store.devices.as_ref(), clock().as_ref(), &id).await.unwrap();
    let e = within("the stream to end", async {
        for n in 1.. {
            let _ = tx.send(batch("b", beats(n..n + 1))).await;
            match answers.message().await {
                Ok(_) => clock().sleep(Duration::from_millis(10)).await,
                Err(e) => return e,
            }
        }
        unreachable!()
    })
    .await;
    assert!(e.code() == tonic::Code::Unauthenticated && e.message().contains("revoked"), "{e}");
    let e = upload(&server, &key, beats(0..1)).await.unwrap_err();
    assert_eq!(e.code(), tonic::Code::Unauthenticated);
}

/// A store whose keys cannot be asked for while `away` is set.
struct Away {
    inner: Arc<dyn Devices>,
    away: AtomicBool,
}

#[async_trait::async_trait]
impl Devices for Away {
    async fn register(&self, ctx: &Ctx, device: DeviceRow) -> am_core::Result<bool> {
        self.inner.register(ctx, device).await
    }
    async fn list(&self, ctx: &Ctx) -> am_core::Result<Vec<DeviceRow>> {
        self.inner.list(ctx).await
    }
    async fn add_key(&self, key: ApiKey) -> am_core::Result<()> {
        self.inner.add_key(key).await
    }
    async fn key(&self, id: &str) -> am_core::Result<Option<ApiKey>> {
        match self.away.load(Ordering::SeqCst) {
            true => Err(am_core::Error::new(Code::STORE_UNAVAILABLE, "away")),
            false => self.inner.key(id).await,
        }
    }
    async fn keys(&self, ctx: &Ctx) -> am_core::Result<Vec<ApiKey>> {
        self.inner.keys(ctx).await
    }
    async fn revoke_key(&self, id: &str, at: am_core::Timestamp) -> am_core::Result<()> {
        self.inner.revoke_key(id, at).await
    }
}

#[tokio::test]
async fn a_key_that_was_known_outlasts_a_store_that_is_away_and_an_unknown_one_is_told_to_wait() {
    let store = memory();
    let away = Arc::new(Away { inner: store.devices.clone(), away: AtomicBool::new(false) });
    let store = Backend { devices: away.clone(), ..store };
    let mut config = keyed();
    config.times.key_stale_ms = 60_000;
    let server = serve(&store, config).await;
    let (known, other) = (key(&store, KeyGrant::new(scope())).await, key(&store, KeyGrant::new(scope())).await);
    upload(&server, &known.1, beats(0..1)).await.unwrap();
    away.away.store(true, Ordering::SeqCst);
    clock().sleep(Duration::from_millis(80)).await;
    upload(&server, &known.1, beats(1..2)).await.unwrap();
    let e = upload(&server, &other.1, beats(0..1)).await.unwrap_err();
    assert_eq!(e.code(), tonic::Code::Unavailable, "{e}");
    // Back again, what was revoked meanwhile is over.
    away.away.store(false, Ordering::SeqCst);
    revoke_key(store.devices.as_ref(), clock().as_ref(), &known.0).await.unwrap();
    clock().sleep(Duration::from_millis(80)).await;
    assert_eq!(upload(&server, &known.1, beats(0..1)).await.unwrap_err().code(), tonic::Code::Unauthenticated);
}

#[tokio::test]
async fn an_open_server_does_not_start_beyond_loopback() {
    let mut config = open();
    config.grpc = "0.0.0.0:0".parse().unwrap();
    let e = Server::builder(&handle(&memory())).config(config).bind().await.unwrap_err();
    assert!(e.code() == Code::BAD_CONFIG && e.message().contains("loopback"), "{e}");
}
