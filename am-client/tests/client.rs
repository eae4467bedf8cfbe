//! The client over a transport that fails in every way a network can.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use am_client::{Client, ClientOptions, ItemOutcome, Transport, Upload, UploadAnswer};
use am_core::{Code, DeviceId, Error, Result, Timestamp};
use am_pipeline::TokioClock;
use am_schema::{Catalogue, Reading, v1};
use async_trait::async_trait;
use parking_lot::Mutex;

/// A server that stores by content, and loses, refuses or answers late by turns.
#[derive(Default)]
struct Flaky {
    calls: Mutex<u64>,
    stored: Mutex<BTreeMap<Vec<u8>, u32>>,
    reliable: bool,
}

#[async_trait]
impl Transport for Flaky {
    async fn upload(&self, batch: Upload) -> Result<UploadAnswer> {
        let call = {
            let mut c = self.calls.lock();
            *c += 1;
            *c
        };
        if !self.reliable && call % 5 == 1 {
            return Err(Error::new(Code::UNREACHABLE, "no route"));
        }
        let mut outcomes = Vec::new();
        for (i, (_, b)) in batch.items.iter().enumerate() {
            if !self.reliable && call % 5 == 2 && i % 2 == 0 {
                outcomes.push(ItemOutcome::Retry);
                continue;
            }
            let mut s = self.stored.lock();
            let n = s.entry(b.to_vec()).or_default();
            *n += 1;
            outcomes.push(if *n == 1 { ItemOutcome::Stored } else { ItemOutcome::Duplicate });
        }
        if !self.reliable && call % 5 == 3 {
            return Err(Error::new(Code::TIMED_OUT, "the answer was lost"));
        }
        Ok(UploadAnswer { outcomes, retry_after_ms: 0 })
    }
}

fn reading(n: u64) -> Reading {
    let kind = Catalogue::builtin().get("device.health.heartrate.raw").unwrap();
    Reading::builder(kind, DeviceId::new("watch").unwrap(), Timestamp::from_second(1_760_000_000 + n as i64))
        .payload(&v1::HeartRate { bpm: 60 + (n % 40) as i32, confidence: 0.9, ..Default::default() })
        .build()
        .unwrap()
}

fn options(folder: &std::path::Path) -> ClientOptions {
    let mut o = ClientOptions::default();
    o.folder = folder.to_owned();
    o.linger_ms = 5;
    o.sync_ms = 5;
    o.backoff = am_core::policy::Backoff::new(1, 4);
    o
}

#[tokio::test]
async fn custody_p01_everything_pushed_arrives_over_a_network_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    let server = Arc::new(Flaky::default());
    let client = Client::open_with(options(dir.path()), server.clone(), Arc::new(TokioClock::default())).unwrap();
    for n in 0..3_000 {
        client.push(&reading(n)).unwrap();
    }
    client.flush().await.unwrap();
    let s = client.status();
    assert_eq!((s.depth, s.settled_seq, server.stored.lock().len()), (0, 3_000, 3_000));
    assert!(s.stored + s.duplicate >= 3_000 && s.duplicate > 0);
    client.close().await.unwrap();
    assert_eq!(client.push(&reading(1)).unwrap_err().code(), Code::CLOSED);
}

#[tokio::test]
async fn custody_p01_a_new_start_sends_what_the_last_one_left() {
    let dir = tempfile::tempdir().unwrap();
    {
        let dead = Arc::new(Flaky { calls: Mutex::new(0), ..Default::default() });
        let mut o = options(dir.path());
        o.linger_ms = 60_000;
        o.batch_min = 500;
        let client = Client::open_with(o, dead, Arc::new(TokioClock::default())).unwrap();
        for n in 0..100 {
            client.push(&reading(n)).unwrap();
        }
        client.sync().await.unwrap();
        assert_eq!(client.status().durable_seq, 100);
        client.close().await.unwrap();
    }
    let server = Arc::new(Flaky { reliable: true, ..Default::default() });
    let client = Client::open_with(options(dir.path()), server.clone(), Arc::new(TokioClock::default())).unwrap();
    assert_eq!(client.status().depth, 100);
    client.flush().await.unwrap();
    assert_eq!(server.stored.lock().len(), 100);
    assert!(client.status().last_success.is_some());
}

#[tokio::test]
async fn custody_p10_a_full_outbox_refuses_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut o = options(dir.path());
    o.max_bytes = 20_000;
    let client = Client::open_with(o, Arc::new(Flaky::default()), Arc::new(TokioClock::default())).unwrap();
    let err = (0..1_000).find_map(|n| client.push(&reading(n)).err()).unwrap();
    assert_eq!(err.code(), Code::OUTBOX_FULL);
    assert!(client.status().bytes <= 20_000);
}

#[tokio::test]
async fn a_second_process_is_kept_out_of_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let a = Client::open_with(options(dir.path()), Arc::new(Flaky::default()), Arc::new(TokioClock::default())).unwrap();
    let e = Client::open_with(options(dir.path()), Arc::new(Flaky::default()), Arc::new(TokioClock::default())).err().unwrap();
    assert_eq!(e.code(), Code::STORE_LOCKED);
    drop(a);
}
