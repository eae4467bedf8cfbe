//! Runs one or several flows on the bus, or on a store's feed where there is no bus.
//!
//! ```text
//! cargo run --release --example flow_worker -- --store postgres://am@db/am --bus nats://nats:4222 flows/motion.yaml
//! ```
//! The same flow files run here as in one process. One worker of a flow works at a time; start a second one, and it takes over when the
//! first is gone.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to a person")]

mod cluster;

use std::path::PathBuf;

use am_core::{Code, Error, Result};
use am_store::Store;
use am_store::bus::worker;
use am_store::runner::{Flow, FlowRunner, RunnerOptions, StatusHandle};
use clap::Parser;
use cluster::Places;
use tokio::task::JoinSet;

/// Derives readings from readings
#[derive(Debug, Parser)]
#[command(name = "flow_worker", version, max_term_width = 110)]
struct Args {
    #[command(flatten)]
    places: Places,
    /// Flow files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only this flow of the files; may be given several times
    #[arg(long, value_name = "NAME")]
    flow: Vec<String>,
    /// The version of the flows; another one derives everything that is kept again
    #[arg(long, default_value = "1", value_name = "TEXT")]
    flow_version: String,
}

fn main() -> std::process::ExitCode {
    cluster::main("flow_worker", run(Args::parse()))
}

fn load(args: &Args, store: &Store) -> Result<Vec<Flow>> {
    let read = |p: &PathBuf| std::fs::read_to_string(p).map(|text| (p.display().to_string(), text));
    let texts: Vec<(String, String)> =
        args.files.iter().map(|p| read(p).map_err(|e| Error::io("flow_worker.file", p.display(), e))).collect::<Result<_>>()?;
    let files: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let mut flows = Flow::load(&files, &args.flow_version, &am_enrich::registry()?, store.catalogue())?;
    if let Some(missing) = args.flow.iter().find(|name| !flows.iter().any(|f| f.name() == *name)) {
        let there: Vec<&str> = flows.iter().map(Flow::name).collect();
        return Err(Error::new(Code::BAD_FLOW, format!("there is no flow {missing}; there are {}", there.join(", "))).op("flow_worker"));
    }
    flows.retain(|f| args.flow.is_empty() || args.flow.iter().any(|name| name == f.name()));
    Ok(flows)
}

async fn run(args: Args) -> Result<()> {
    let me = args.places.open().await?;
    let flows = load(&args, &me.store)?;
    let names: Vec<String> = flows.iter().map(|f| f.name().to_owned()).collect();
    let mut work: JoinSet<Result<()>> = JoinSet::new();
    let mut statuses: Vec<StatusHandle> = Vec::new();
    for flow in flows {
        let store = match &me.bus {
            Some(bus) => {
                let (inner, catalogue) = (me.store.backend().clone(), me.store.catalogue().clone());
                let backend = worker(inner, bus, flow.name(), me.config.worker.clone(), me.clock.clone(), catalogue.clone())?;
                Store::of(backend, me.clock.clone(), catalogue)
            }
            None => me.store.clone(),
        };
        let mut runner = FlowRunner::new(&store, flow, RunnerOptions::default())?;
        statuses.push(runner.status());
        let stop = me.stop.clone();
        work.spawn(async move { runner.run(&stop).await });
    }
    me.announce(serde_json::json!({ "program": "flow_worker", "flows": names }))?;
    let line = || {
        let of = |s: &StatusHandle| {
            let s = s.get();
            let error = s.last_error.map_or_else(String::new, |(_, e)| format!(" · last error: {e}"));
            format!("{}: taken {} · derived {} · parked {}{error}", s.flow, s.taken, s.derived, s.parked)
        };
        statuses.iter().map(of).collect::<Vec<_>>().join("\n")
    };
    let stop = me.stop.clone();
    let finish = async {
        let mut first = Ok(());
        while let Some(ended) = work.join_next().await {
            let ended = ended.unwrap_or_else(|e| Err(Error::new(Code::INTERNAL, e.to_string()).op("flow_worker")));
            // One that cannot go on ends the program, so that whoever watches it notices.
            stop.cancel();
            first = first.and(ended);
        }
        first
    };
    let (done, ()) = tokio::join!(finish, me.report(line));
    me.close().await?;
    done
}
