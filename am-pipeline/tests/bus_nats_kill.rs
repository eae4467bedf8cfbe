//! The bus on NATS while its servers are killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "support/nats.rs"]
mod servers;
#[path = "support/traffic.rs"]
mod traffic;

use servers::Own;
use traffic::{pause, survives};

/// Tells the services to do something, when there is someone to tell.
async fn control(command: &'static str) {
    let start = std::env::var("AM_TEST_SERVICES_CTL").unwrap();
    let run = move || std::process::Command::new("sh").arg("-c").arg(format!("{start} {command}")).output().unwrap();
    let out = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
}

fn controlled() -> bool {
    let there = std::env::var("AM_TEST_SERVICES_CTL").is_ok_and(|c| !c.is_empty());
    if !there {
        eprintln!("skipped: AM_TEST_SERVICES_CTL says nothing about how servers are killed");
    }
    there
}

fn loops() -> usize {
    std::env::var("AM_KILL_LOOPS").ok().and_then(|n| n.parse().ok()).unwrap_or(2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p01_a_single_server_that_syncs_is_killed_and_nothing_is_lost_or_doubled() {
    let Some(urls) = servers::servers("AM_TEST_NATS").filter(|_| controlled()) else { return };
    let own = Own::new(&urls, 32 << 20).await;
    let trouble = async {
        for _ in 0..loops() {
            pause(300).await;
            control("restart nats --kill").await;
        }
    };
    survives(&own, urls.clone(), 600, trouble).await;
    own.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p01_servers_of_a_cluster_are_killed_one_by_one_and_nothing_is_lost_or_doubled() {
    let Some(urls) = servers::servers("AM_TEST_NATS_CLUSTER").filter(|_| controlled()) else { return };
    let own = Own::new(&urls, 32 << 20).await;
    let trouble = async {
        for _ in 0..loops().div_ceil(2) {
            for server in [
                ["stop nats-cluster:1 --kill", "start nats-cluster:1"],
                ["stop nats-cluster:2 --kill", "start nats-cluster:2"],
                ["stop nats-cluster:3 --kill", "start nats-cluster:3"],
            ] {
                for command in server {
                    pause(300).await;
                    control(command).await;
                }
            }
        }
    };
    survives(&own, urls.clone(), 600, trouble).await;
    own.remove().await;
}
