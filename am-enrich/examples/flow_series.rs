//! Takes in a fixed series of blocks and runs the motion flow over them, in one process: the one that `tests/flow_kill.rs` kills.
//!
//! `flow_series PATH TOTAL`: goes on where the store ends, up to TOTAL blocks, prints `done` and ends.
#![allow(clippy::print_stdout)]

#[path = "../tests/series/mod.rs"]
mod series;
#[path = "../tests/signal/mod.rs"]
mod signal;

use std::sync::Arc;
use std::time::Duration;

use am_core::{CancelToken, Clock, Result, Scope};
use am_pipeline::TokioClock;
use am_schema::Catalogue;
use am_store::runner::RunnerOptions;
use am_store::{Store, StoreOptions};

/// How many blocks are put together.
const TOGETHER: usize = 2;

async fn work(path: &str, total: usize) -> Result<()> {
    let clock = Arc::new(TokioClock::default());
    let store = Store::open(&format!("sqlite:{path}"), StoreOptions::default(), clock.clone(), Catalogue::builtin()).await?;
    let mut runner = signal::runner(&store, RunnerOptions::default().batch(7).linger(Duration::ZERO));
    let stop = CancelToken::new();
    let flow = tokio::spawn({
        let stop = stop.clone();
        async move {
            runner.run(&stop).await?;
            runner.drain().await
        }
    });
    let mine = store.scoped(&Scope::local());
    let raw = am_enrich::motion::RAW;
    let mut next = mine.by_kind().await?.iter().find(|k| k.topic == raw).map_or(0, |k| k.readings as usize);
    while next < total {
        let blocks = (next..total.min(next + TOGETHER)).map(series::block).collect();
        mine.put(blocks).await?;
        next += TOGETHER;
        clock.sleep(Duration::from_millis(2)).await;
    }
    stop.cancel();
    flow.await.map_err(|e| am_core::Error::new(am_core::Code::INTERNAL, e.to_string()))??;
    store.close().await
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (path, total) = (args.next().ok_or("PATH TOTAL")?, args.next().ok_or("PATH TOTAL")?.parse()?);
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(work(&path, total))?;
    println!("done");
    Ok(())
}
