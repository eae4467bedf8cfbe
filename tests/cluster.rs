//! A cluster as processes: two gateways, three workers and a persister between NATS and PostgreSQL, killed and cut off under load.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![cfg(unix)]

mod cluster_kit;

use std::process::Command;
use std::time::Duration;

use am_core::Secret;
use am_pipeline::Jitter;
use cluster_kit::net::{Door, Host};
use cluster_kit::{Cluster, Place, Way, address, clock, device, embedded, pause, settled, verify};

/// One cluster at a time: two of them would wait for each other's processor time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn seconds(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(usual)
}

fn loops(usual: u32) -> u32 {
    std::env::var("AM_KILL_LOOPS").ok().and_then(|v| v.parse().ok()).unwrap_or(usual)
}

const DEVICES: [&str; 4] = ["watch", "phone", "band", "tablet"];

/// Devices that push for about as long as the faults take.
fn devices(place: &Place, key: &Secret<String>, ports: [u16; 2], total: u64, pace: Duration) -> tokio::task::JoinSet<()> {
    let mut work = tokio::task::JoinSet::new();
    for (n, name) in DEVICES.into_iter().enumerate() {
        let folder = place.folder.path().join("outboxes");
        let key = key.clone();
        work.spawn(async move { device(name, ports[n % 2], key, &folder, total, pace).await });
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
    let _alone = ALONE.lock().await;
    let Some(place) = Place::new("kill") else { return };
    let store = place.open().await;
    let key = place.key(&store).await;
    let mut cluster = Cluster::start(&place);
    let (kills, total) = (loops(12), 3_000);
    let work = devices(&place, &key, cluster.ports, total, Duration::from_millis(120));
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
    let wanted = embedded(&place, &DEVICES.map(|d| (d, total))).await;
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
    let _alone = ALONE.lock().await;
    let Some(place) = Place::new("servers") else { return };
    let store = place.open().await;
    let key = place.key(&store).await;
    let mut cluster = Cluster::start(&place);
    let (kills, total) = (loops(4), 3_000);
    let work = devices(&place, &key, cluster.ports, total, Duration::from_millis(150));
    for n in 0..kills {
        pause(1_500).await;
        assert!(restart(["nats", "postgres"][n as usize % 2]));
        // Who ended because a server was away is started again, as a supervisor would.
        cluster.revive();
    }
    finish(work).await;
    let wanted = embedded(&place, &DEVICES.map(|d| (d, total))).await;
    settled(&store, &wanted, &mut cluster, 180).await;
    verify(&store, &wanted).await;
    eprintln!("{kills} kills of servers, {} readings", 4 * total);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p01_custody_p02_a_cluster_whose_network_is_cut_stores_everything_once() {
    let _alone = ALONE.lock().await;
    let Some(place) = Place::new("cut") else { return };
    // A gateway, the worker of the windows and the persister are on hosts of their own.
    let apart = ["gateway-0", "windows", "persister"];
    let hosts: Result<Vec<Host>, String> = (1..=3).map(Host::new).collect();
    let hosts = match hosts {
        Ok(hosts) => hosts,
        Err(why) => return eprintln!("skipped: no network namespaces here: {why}"),
    };
    let (nats, postgres) = (address(&place.bus), address(&place.store));
    let mut leads = Vec::new();
    for h in &hosts {
        leads.push((h.lead(nats).await, h.lead(postgres).await));
    }
    let store = place.open().await;
    let key = place.key(&store).await;
    let mut ways = Vec::new();
    for (n, name) in apart.into_iter().enumerate() {
        let bus = place.bus.replace(&nats.to_string(), &leads[n].0.to_string());
        let db = place.store.replace(&postgres.to_string(), &leads[n].1.to_string());
        ways.push((name, Way { bus, store: db, within: hosts[n].within() }));
    }
    let mut cluster = Cluster::start_apart(&place, |name| ways.iter().find(|w| w.0 == name).map(|w| w.1.clone()));
    // The gateway behind the cable is reached through its own end of it.
    let ports = [hosts[0].inward(cluster.ports[0]).await, cluster.ports[1]];
    let (cut, total) = (seconds("AM_CUT_SECONDS", 8), 2_000);
    let work = devices(&place, &key, ports, total, Duration::from_millis(120));
    for h in &hosts {
        pause(1_000).await;
        h.connect(false);
        pause(cut * 1_000).await;
        h.connect(true);
    }
    finish(work).await;
    let wanted = embedded(&place, &DEVICES.map(|d| (d, total))).await;
    settled(&store, &wanted, &mut cluster, 240).await;
    verify(&store, &wanted).await;
    eprintln!("3 cuts of {cut} s each, {} readings", 4 * total);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p10_a_database_that_is_stopped_costs_waiting_and_not_memory() {
    let _alone = ALONE.lock().await;
    let Some(place) = Place::new("stall") else { return };
    let store = place.open().await;
    let key = place.key(&store).await;
    // The database is reached through a door that can be shut, as one that hangs.
    let door = Door::to(address(&place.store)).await;
    let db = place.store.replace(&address(&place.store).to_string(), &door.address.to_string());
    let way = Way { bus: place.bus.clone(), store: db, within: Vec::new() };
    let mut cluster = Cluster::start_apart(&place, |_| Some(way.clone()));
    let stall = seconds("AM_STALL_SECONDS", 10);
    let rate = seconds("AM_STALL_RATE", 2_000);
    let total = (rate * (stall + 4) / 4).div_ceil(500) * 500;
    // As fast as that, from all devices together.
    let work = devices(&place, &key, cluster.ports, total, Duration::from_micros(50 * 1_000_000 * 4 / rate));
    pause(2_000).await;
    let before: Vec<u64> = ["gateway-0", "gateway-1", "persister"].map(|n| cluster.member(n).memory()).to_vec();
    door.shut(true);
    let mut most = before.clone();
    for _ in 0..stall * 2 {
        pause(500).await;
        for (m, name) in most.iter_mut().zip(["gateway-0", "gateway-1", "persister"]) {
            *m = (*m).max(cluster.member(name).memory());
        }
    }
    door.shut(false);
    finish(work).await;
    let wanted = embedded(&place, &DEVICES.map(|d| (d, total))).await;
    settled(&store, &wanted, &mut cluster, 600).await;
    verify(&store, &wanted).await;
    eprintln!("stopped for {stall} s at {rate} readings/s: before {before:?}, most {most:?} bytes");
    for (b, m) in before.iter().zip(&most) {
        assert!(*m < b + (64 << 20), "memory grew from {b} to {m} bytes");
    }
}
