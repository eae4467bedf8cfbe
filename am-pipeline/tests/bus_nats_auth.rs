//! Users and permissions of `deploy/nats/accounts.conf`, on a server that `AM_TEST_NATS_AUTH` names and whose passwords are all `test`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/nats.rs"]
mod servers;
#[path = "support/traffic.rs"]
mod traffic;

use std::time::Duration;

use am_core::Code;
use am_core::config::SecretRef;
use am_pipeline::bus::nats::{self, NatsOptions};
use am_pipeline::bus::{Area, GroupSpec};
use traffic::{clock, ctx, message};

fn options(urls: &[String], user: &str, password: &str) -> NatsOptions {
    let dir = tempfile::tempdir().unwrap().keep();
    std::fs::write(dir.join("password"), password).unwrap();
    let mut o = NatsOptions::at(urls.to_vec());
    o.auth.user = Some(user.into());
    o.auth.password = Some(SecretRef::File(dir.join("password").to_string_lossy().into_owned()));
    o.inbox = format!("_INBOX.{user}");
    o.answer_within = Duration::from_secs(3);
    for s in [&mut o.streams.readings, &mut o.streams.work, &mut o.streams.errors] {
        (s.max_bytes, s.replicas) = (8 << 20, 1);
    }
    o
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p08_each_role_may_do_its_work_and_nothing_else() {
    let Some(urls) = servers::servers("AM_TEST_NATS_AUTH") else { return };
    let e = nats::open(options(&urls, "gateway", "wrong"), clock()).await.unwrap_err();
    assert_eq!(e.code(), Code::BUS_REFUSED, "{e}");
    assert!(!format!("{e:?}").contains("wrong"));

    clean(&urls).await;
    let _ = nats::open(options(&urls, "operator", "test"), clock()).await.unwrap();
    let gateway = nats::open(options(&urls, "gateway", "test"), clock()).await.unwrap();
    gateway.publisher.publish(&ctx(), vec![message(1, 10)]).await.remove(0).unwrap();
    gateway.publisher.pressure().await.unwrap();
    let mut job = message(2, 10);
    job.area = Area::Work;
    let start = clock().monotonic();
    let e = gateway.publisher.publish(&ctx(), vec![job]).await.remove(0).unwrap_err();
    assert_eq!(e.code(), Code::BUS_REFUSED, "{e}");
    assert!(clock().monotonic().saturating_sub(start) < Duration::from_secs(2), "it is told, not waited for");
    let e = gateway.groups.join(GroupSpec::new("persister", [Area::Readings])).await.err().unwrap();
    assert_eq!(e.code(), Code::BUS_REFUSED, "{e}");

    let persister = nats::open(options(&urls, "persister", "test"), clock()).await.unwrap();
    let mut c = persister.groups.join(GroupSpec::new("persister", [Area::Readings])).await.unwrap();
    let got = c.fetch(4, Duration::from_secs(2)).await.unwrap();
    assert_eq!(got.len(), 1);
    c.ack(&[got[0].tag]).await.unwrap();
    let e = persister.publisher.publish(&ctx(), vec![message(3, 10)]).await.remove(0).unwrap_err();
    assert_eq!(e.code(), Code::BUS_REFUSED, "{e}");

    let worker = nats::open(options(&urls, "flow-motion", "test"), clock()).await.unwrap();
    worker.publisher.publish(&ctx(), vec![message(4, 10)]).await.remove(0).unwrap();
    let entries = worker.entries.as_ref().unwrap();
    entries.put("flow.motion", "state".into(), None).await.unwrap();
    assert_eq!(entries.keys("flow").await.unwrap(), ["flow.motion"]);
    assert!(entries.delete("flow.motion", None).await.unwrap());
    let e = worker.groups.join(GroupSpec::new("persister", [Area::Readings])).await.err().unwrap();
    assert_eq!(e.code(), Code::BUS_REFUSED, "{e}");
    clean(&urls).await;
}

/// Removes what an earlier run left.
async fn clean(urls: &[String]) {
    let operator =
        async_nats::ConnectOptions::with_user_and_password("operator".into(), "test".into()).custom_inbox_prefix("_INBOX.operator");
    let js = async_nats::jetstream::new(operator.connect(urls).await.unwrap());
    for stream in ["am-readings", "am-work", "am-errors", "KV_am-state"] {
        let _ = js.delete_stream(stream).await;
    }
}
