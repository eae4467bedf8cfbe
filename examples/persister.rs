//! Moves readings off the bus into the store; the only program of a cluster that writes them there.
//!
//! ```text
//! cargo run --release --example persister -- --store postgres://am@db/am --bus nats://nats:4222
//! ```
//! Several of them share the work. A message is acknowledged to the bus when the store has committed it; a persister that is killed
//! leaves it to the others, and what is stored twice adds nothing.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to a person")]

mod cluster;

use am_core::Result;
use am_store::bus::Persister;
use clap::Parser;
use cluster::Places;

/// Stores what comes over the bus
#[derive(Debug, Parser)]
#[command(name = "persister", version, max_term_width = 110)]
struct Args {
    #[command(flatten)]
    places: Places,
}

fn main() -> std::process::ExitCode {
    cluster::main("persister", run(Args::parse()))
}

async fn run(args: Args) -> Result<()> {
    let me = args.places.open().await?;
    let mut persister = Persister::new(&me.store, &me.the_bus()?, me.config.persister.clone());
    let status = persister.status();
    me.announce(serde_json::json!({ "program": "persister", "group": me.config.persister.group }))?;
    let line = || {
        let s = status.lock().clone();
        let error = s.last_error.map_or_else(String::new, |e| format!(" · last error: {e}"));
        format!("stored {} · duplicate {} · dead-lettered {} · waiting {}{error}", s.stored, s.duplicate, s.dead_lettered, s.waiting)
    };
    let stop = me.stop.clone();
    let work = async {
        let done = persister.run(&stop).await;
        stop.cancel();
        done
    };
    let (done, ()) = tokio::join!(work, me.report(line));
    me.close().await?;
    done
}
