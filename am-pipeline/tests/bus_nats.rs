//! The bus on NATS passes the cases for buses, on a single server and on a cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/nats.rs"]
mod servers;

use am_pipeline::testkit;
use servers::Own;

const SMALL: u64 = 32 << 20;

async fn holds(variable: &str) {
    let Some(urls) = servers::servers(variable) else { return };
    let own = Own::new(&urls, SMALL).await;
    let verdicts = testkit::bus(|| own.open()).await;
    let put = |subject: String, body| {
        let subject = subject.replacen("am.", &format!("{}.", own.options.prefix), 1);
        let js = own.js().clone();
        async move {
            js.publish(subject, body).await.unwrap().await.unwrap();
        }
    };
    let foreign = testkit::foreign(|| own.open(), put).await;
    own.remove().await;
    testkit::hold(&verdicts);
    testkit::hold(&foreign);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_server_holds_the_cases() {
    holds("AM_TEST_NATS").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_holds_the_cases() {
    holds("AM_TEST_NATS_CLUSTER").await;
}
