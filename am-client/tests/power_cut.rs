//! The outbox under power cuts (P01): what was reported durable is there afterwards, whole and once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod disk;

use std::collections::BTreeMap;
use std::sync::Arc;

use am_client::outbox::{FileOutbox, OutboxLimits, OutboxStore};
use disk::{FaultDisk, Rng, Sabotage};

fn payload(seq: u64, rng: &mut Rng) -> Vec<u8> {
    let mut b = seq.to_le_bytes().to_vec();
    b.resize(9 + rng.below(300) as usize, seq as u8 | 1);
    b
}

fn block_on<T>(f: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(f)
}

/// What the owner of the outbox was told.
#[derive(Default)]
struct Told {
    written: BTreeMap<u64, Vec<u8>>,
    durable: u64,
    settled: u64,
}

/// Works until the power goes.
fn work(outbox: &mut FileOutbox, told: &mut Told, rng: &mut Rng) -> am_core::Result<()> {
    loop {
        match rng.below(10) {
            0..=5 => {
                let items: Vec<Vec<u8>> = (0..=rng.below(4)).map(|i| payload(outbox.stats().last + 1 + i, rng)).collect();
                let refs: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
                let last = outbox.append(&refs)?;
                let first = last + 1 - items.len() as u64;
                for (seq, item) in (first..).zip(items) {
                    told.written.insert(seq, item);
                }
            }
            6..=8 => {
                let done = block_on(outbox.sync());
                outbox.synced(done.as_ref().ok().copied());
                told.durable = told.durable.max(done?);
            }
            _ => {
                let through = told.settled + rng.below(told.durable + 1 - told.settled);
                told.settled = told.settled.max(through);
                outbox.settle(through)?;
            }
        }
    }
}

/// Runs one story with several cuts; says what was lost.
fn story(seed: u64, sabotage: Sabotage) -> Result<(), String> {
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let disk = FaultDisk::new(sabotage);
    let mut told = Told::default();
    let mut limits = OutboxLimits::default();
    limits.segment_bytes = 1_500;
    for _ in 0..4 {
        disk.cut_after(20 + rng.below(200));
        if let Ok(mut outbox) = FileOutbox::open(Arc::new(disk.clone()), limits) {
            let _ = work(&mut outbox, &mut told, &mut rng);
        }
        disk.power_cycle(&mut rng);

        let mut outbox = FileOutbox::open(Arc::new(disk.clone()), limits).map_err(|e| format!("seed {seed}: cannot open: {e}"))?;
        let mut found = BTreeMap::new();
        let mut after = 0;
        loop {
            let read = outbox.read(after, 50, 4_000).map_err(|e| format!("seed {seed}: cannot read: {e}"))?;
            let Some(last) = read.last() else { break };
            after = last.0;
            for (seq, b) in read {
                if found.insert(seq, b).is_some() {
                    return Err(format!("seed {seed}: {seq} came twice"));
                }
            }
        }
        for (seq, b) in &found {
            if told.written.get(seq).is_some_and(|w| w != b) {
                return Err(format!("seed {seed}: {seq} has other bytes"));
            }
        }
        for seq in told.written.keys().copied().filter(|s| (told.settled + 1..=told.durable).contains(s)) {
            if !found.contains_key(&seq) {
                return Err(format!("seed {seed}: {seq} of {} was reported durable and is gone", told.durable));
            }
        }
        let last = outbox.stats().last;
        if last < told.durable {
            return Err(format!("seed {seed}: numbers go back from {} to {last}", told.durable));
        }
        // What was written but never reported durable may be gone, also between others; its numbers may be used again at the end.
        told.written.retain(|s, _| found.contains_key(s));
        told.written.extend(found.into_iter().map(|(s, b)| (s, b.to_vec())));
        told.durable = last;
    }
    Ok(())
}

fn cuts() -> u64 {
    std::env::var("AM_CUTS").ok().and_then(|s| s.parse().ok()).unwrap_or(300)
}

#[test]
fn power_cut_loses_no_reading_that_was_reported_durable() {
    for seed in 1..=cuts() {
        story(seed, Sabotage::None).unwrap();
    }
}

#[test]
fn power_cut_is_noticed_when_files_are_not_synced() {
    assert!((1..=cuts()).any(|seed| story(seed, Sabotage::FileSync).is_err()));
}

#[test]
fn power_cut_is_noticed_when_the_folder_is_not_synced() {
    assert!((1..=cuts()).any(|seed| story(seed, Sabotage::FolderSync).is_err()));
}
