//! The simulated day: three devices as real clients of the server.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use am_core::{CancelToken, Code, DeviceId, Error, Result, Scope};
use am_server::{KeyGrant, create_key};
use am_store::Store;
use indicatif::ProgressBar;
use tokio::task::JoinSet;

use crate::args::Args;
use crate::day::Faults;
use crate::devices::{self, Plan, Sent, Which};
use crate::link::Latencies;

/// What was planted in all.
#[derive(Debug, Default)]
pub(crate) struct Planted {
    pub(crate) readings: u64,
    pub(crate) duplicates: u64,
    pub(crate) invalid: u64,
    pub(crate) left: u64,
}

/// Plays the day; returns when the server has answered for everything.
pub(crate) async fn run(
    args: &Args,
    store: &Store,
    scope: &Scope,
    endpoint: String,
    outboxes: &Path,
    faults: &Faults,
    bar: &ProgressBar,
    stop: &CancelToken,
) -> Result<(Planted, Arc<Latencies>)> {
    let latencies = Arc::new(Latencies::default());
    let plan = Arc::new(Plan {
        seed: args.seed,
        hours: args.hours,
        speed: args.speed,
        faults: faults.clone(),
        endpoint,
        real: store.clock().clone(),
        latencies: latencies.clone(),
        stop: stop.clone(),
        progress: AtomicU64::new(0),
    });
    bar.set_length((args.hours * 3_600.0) as u64 * Which::ALL.len() as u64);
    let mut tasks: JoinSet<Result<Sent>> = JoinSet::new();
    for which in Which::ALL {
        let grant = KeyGrant::new(scope.clone()).device(DeviceId::new(which.id())?);
        let key = create_key(store.backend().devices.as_ref(), store.clock().as_ref(), grant).await?;
        let (plan, folder) = (plan.clone(), outboxes.join(which.id()));
        tasks.spawn(async move { devices::run(which, plan, &folder, key.key).await });
    }
    let mut planted = Planted::default();
    let clock = store.clock().clone();
    loop {
        tokio::select! {
            () = clock.sleep(Duration::from_millis(100)) => bar.set_position(plan.progress.load(Ordering::Relaxed)),
            done = tasks.join_next() => match done {
                None => break,
                Some(Err(e)) => return Err(Error::new(Code::INTERNAL, e.to_string()).op("simulate")),
                Some(Ok(sent)) => {
                    let sent = sent?;
                    planted.readings += sent.readings;
                    planted.duplicates += sent.duplicates;
                    planted.invalid += sent.invalid;
                    planted.left += sent.left;
                }
            }
        }
    }
    Ok((planted, latencies))
}
