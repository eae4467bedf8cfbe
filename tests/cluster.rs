//! A cluster as processes: two gateways, three workers and a persister between NATS and PostgreSQL, killed and cut off under load.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![cfg(unix)]

mod cluster_kit;

use std::process::Command;
use std::time::Duration;

use am_pipeline::Jitter;
use cluster_kit::{Cluster, Place, clock, device, embedded, pause, settled, verify};

fn loops(usual: u32) -> u32 {
    std::env::var("AM_KILL_LOOPS").ok().and_then(|v| v.parse().ok()).unwrap_or(usual)
}

const DEVICES: [&str; 4] = ["watch", "phone", "band", "tablet"];

/// Devices that push for about as long as the faults take.
fn devices(place: &Place, ports: [u16; 2], total: u64, pace: Duration) -> tokio::task::JoinSet<()> {
    let mut work = tokio::task::JoinSet::new();
    for (n, name) in DEVICES.into_iter().enumerate() {
        let folder = place.folder.path().join("outboxes");
        work.spawn(async move { device(name, ports[n % 2], &folder, total, pace).await });
    }
    work
}

async fn finish(mut work: tokio::task::JoinSet<()>) {
    while let Some(done) = work.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p01_custody_p02_a_cluster_whose_members_are_killed_stores_everything_once() {
    let Some(place) = Place::new("kill") else { return };
    let store = place.open().await;
    let mut cluster = Cluster::start(&place, |_| place.bus.clone(), |_| Vec::new());
    let (kills, total) = (loops(12), 3_000);
    let work = devices(&place, cluster.ports, total, Duration::from_millis(120));
    let mut dice = Jitter::seeded(20_261_124);
    let names = ["gateway-0", "gateway-1", "windows", "activity", "windows-2", "persister"];
    for n in 0..kills {
        clock().sleep(Duration::from_micros((dice.unit() * 900_000.0) as u64)).await;
        let name = names[(n as usize + (dice.unit() * 2.0) as usize) % names.len()];
        cluster.member(name).kill();
        clock().sleep(Duration::from_micros((dice.unit() * 400_000.0) as u64)).await;
        cluster.member(name).again();
    }
    finish(work).await;
    let wanted = embedded(&DEVICES.map(|d| (d, total))).await;
    settled(&store, &wanted, &mut cluster, 120).await;
    verify(&store, &wanted).await;
    for p in &mut cluster.members {
        assert!(p.stop(), "{} did not end well: {}", p.name, p.log());
    }
    eprintln!("{kills} kills of members, {} readings", 4 * total);
}

/// Restarts a service with SIGKILL; false, with a word on why, when nothing can.
fn restart(service: &str) -> bool {
    let Ok(ctl) = std::env::var("AM_TEST_SERVICES_CTL") else {
        eprintln!("skipped: AM_TEST_SERVICES_CTL is not set; `cargo xtask test` sets it");
        return false;
    };
    let out = Command::new("sh").args(["-c", &format!("{ctl} restart {service} --kill")]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p01_custody_p02_a_cluster_whose_servers_are_killed_stores_everything_once() {
    if std::env::var("AM_TEST_SERVICES_CTL").is_err() {
        eprintln!("skipped: AM_TEST_SERVICES_CTL is not set; `cargo xtask test` sets it");
        return;
    }
    let Some(place) = Place::new("servers") else { return };
    let store = place.open().await;
    let mut cluster = Cluster::start(&place, |_| place.bus.clone(), |_| Vec::new());
    let (kills, total) = (loops(4), 3_000);
    let work = devices(&place, cluster.ports, total, Duration::from_millis(150));
    for n in 0..kills {
        pause(1_500).await;
        assert!(restart(["nats", "postgres"][n as usize % 2]));
        // Who ended because a server was away is started again, as a supervisor would.
        cluster.revive();
    }
    finish(work).await;
    let wanted = embedded(&DEVICES.map(|d| (d, total))).await;
    settled(&store, &wanted, &mut cluster, 180).await;
    verify(&store, &wanted).await;
    eprintln!("{kills} kills of servers, {} readings", 4 * total);
}
