//! The outbox under SIGKILL (P01): a real process pushes and is killed at random instants.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a child process runs on real time")]
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use am_client::outbox::{FileOutbox, OutboxLimits, OutboxStore, StdDisk};

fn device() -> PathBuf {
    // target/<profile>/deps/kill-… -> target/<profile>/examples/device
    let mut p = std::env::current_exe().unwrap();
    p.pop();
    p.pop();
    p.join("examples").join("device")
}

fn loops() -> u64 {
    std::env::var("AM_KILL_LOOPS").ok().and_then(|s| s.parse().ok()).unwrap_or(50)
}

#[test]
fn custody_p01_a_killed_device_keeps_every_reading_it_was_told_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = 0u64;
    for round in 0..loops() {
        let mut child = Command::new(device())
            .args(["--folder", dir.path().to_str().unwrap(), "--endpoint", "http://127.0.0.1:9", "--count", "100000", "--quiet-upload"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let until = 1 + (round * 7919) % 400;
        let mut killed = false;
        for (i, line) in lines.enumerate() {
            let Ok(line) = line else { break };
            if let Some(seq) = line.strip_prefix("kept ").and_then(|s| s.parse::<u64>().ok()) {
                told = told.max(seq);
            }
            if i as u64 == until && !killed {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        let mut outbox = FileOutbox::open(Arc::new(StdDisk::open(dir.path()).unwrap()), OutboxLimits::default()).unwrap();
        let mut next = 1;
        loop {
            let read = outbox.read(next - 1, 500, 1 << 20).unwrap();
            if read.is_empty() {
                break;
            }
            for (seq, _) in read {
                assert_eq!(seq, next, "round {round}");
                next += 1;
            }
        }
        assert!(next > told, "round {round}: {told} was kept, but only {} are there", next - 1);
    }
    assert!(told >= loops(), "the device was killed before it did anything");
}
