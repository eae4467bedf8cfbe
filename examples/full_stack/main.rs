//! AM on one machine, for real: `cargo run --release --example full_stack`.
//!
//! Opens a store, serves gRPC ingestion, health and metrics, runs the motion flow on the store's feed, and either simulates a day of
//! three devices – each a real client with its own outbox over a real socket – or takes in a folder of files. Ends with a report and goes
//! on serving until Ctrl-C, unless `--once`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to people")]

mod args;
mod day;
mod devices;
mod find;
mod flows;
mod link;
mod look;
mod report;
mod rng;
mod simulate;
mod take_in;
mod wires;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use am_core::{CancelToken, Clock, Result, Scope};
use am_pipeline::TokioClock;
use am_schema::Catalogue;
use am_server::{Auth, Server, ServerConfig};
use am_store::{Store, StoreOptions};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use args::Args;
use find::Compared;
use report::{Counts, Latency, Quantiles, Report, Unavailable};

/// What the whole of AM will have and this version has not.
const UNAVAILABLE: &[Unavailable] = &[
    Unavailable {
        part: "sound, photos, screenshots, video",
        reason: "their bytes need the blob store, which is not built yet; the kinds exist and validate",
    },
    Unavailable { part: "models (speech, OCR, embeddings)", reason: "am-ml is not built yet" },
    Unavailable { part: "agent, memories, nudges", reason: "am-agent is not built yet" },
    Unavailable { part: "REST, WebSocket, console", reason: "only gRPC, health and metrics are served" },
    Unavailable { part: "coverage ledger, erasure, sealing", reason: "room is reserved in the store's format; not built yet" },
];

fn main() -> std::process::ExitCode {
    let args = Args::parse();
    if let Err(why) = args.check() {
        eprintln!("full_stack: {why}");
        return 2.into();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(r) => r,
        Err(e) => {
            eprintln!("full_stack: cannot start: {e}");
            return 1.into();
        }
    };
    match runtime.block_on(run(args)) {
        Ok(true) => 0.into(),
        Ok(false) => 1.into(),
        Err(e) => {
            eprintln!("full_stack: {e}\n  {}", e.code().info().next_step);
            1.into()
        }
    }
}

/// An address without the user and password in it.
fn place(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, host)| host)
}

/// The folder beside the store, for the devices' outboxes; a temporary one when the store is in memory.
fn outboxes(store: &str, seed: u64) -> (PathBuf, bool) {
    match store.strip_prefix("sqlite:").map(|p| p.strip_prefix("//").unwrap_or(p)) {
        Some(path) => (PathBuf::from(format!("{path}.outboxes")), false),
        None => (std::env::temp_dir().join(format!("am-full-stack-{}-{seed}", std::process::id())), true),
    }
}

async fn run(args: Args) -> Result<bool> {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::default());
    let begin = clock.monotonic();
    let stop = CancelToken::new();
    tokio::spawn({
        let stop = stop.clone();
        async move {
            // The first one drains; the second one does not wait.
            let _ = tokio::signal::ctrl_c().await;
            eprintln!("\nfinishing what is in flight; press Ctrl-C again to stop at once");
            stop.cancel();
            let _ = tokio::signal::ctrl_c().await;
            std::process::exit(130);
        }
    });

    let scope = Scope::local();
    if let Some(parent) = args.store.strip_prefix("sqlite:").and_then(|p| std::path::Path::new(p).parent()) {
        std::fs::create_dir_all(parent).map_err(|e| am_core::Error::io("full_stack", parent.display(), e))?;
    }
    let store = Store::open(&args.store, StoreOptions::default(), clock.clone(), Catalogue::builtin()).await?;
    let mine = store.scoped(&scope);
    let wires = wires::lay(&store, args.bus.as_deref(), &args.bus_prefix).await?;
    let mut config = ServerConfig::default();
    config.grpc = args.grpc;
    config.http = Some(args.http);
    config.auth = Auth::Keys;
    let server = Server::builder(&wires.front).config(config).bind().await?;
    let flow = flows::start(&store, &wires)?;
    let ready_ms = clock.monotonic().saturating_sub(begin).as_secs_f64() * 1e3;
    let endpoint = format!("http://{}", server.grpc_addr());
    println!("store    {}", place(&args.store));
    if let Some(bus) = &args.bus {
        println!("bus      {}", place(bus));
    }
    println!("gRPC     {endpoint}  (device keys)");
    if let Some(a) = server.http_addr() {
        println!("health   http://{a}/healthz  http://{a}/readyz   metrics  http://{a}/metrics");
    }

    let before = Counts::of(mine.counts().await?);
    let bar = progress(args.quiet, args.input.is_some());
    let mut report = Report {
        store: place(&args.store).to_owned(),
        ready_ms,
        unavailable: UNAVAILABLE.iter().map(|u| Unavailable { ..*u }).collect(),
        ..Default::default()
    };
    let faults = day::Faults::of(args.hours);
    let mut planted = None;
    match &args.input {
        Some(folder) => report.input = Some(take_in::run(&mine, folder, &bar, &stop).await?),
        None => {
            let (folder, temporary) = outboxes(&args.store, args.seed);
            let (p, latencies) = simulate::run(&args, &store, &scope, endpoint, &folder, &faults, &bar, &stop).await?;
            report.latency_ms = Latency { accept: Quantiles { p50: latencies.quantile(0.5), p99: latencies.quantile(0.99) } };
            planted = Some(p);
            if temporary {
                let _ = std::fs::remove_dir_all(&folder);
            }
        }
    }
    bar.finish_and_clear();

    // The flow works behind the feed: wait until it has caught up with what was accepted.
    let waiting = progress(args.quiet, false);
    waiting.set_message("deriving");
    flow.caught_up(&store, &wires, &stop, &waiting).await?;
    waiting.finish_and_clear();

    let whole = !stop.is_cancelled();
    report.total = Counts::of(mine.counts().await?);
    report.counts = report.total.since(before);
    report.by_kind = mine.by_kind().await?.into_iter().map(|k| (k.topic, k.readings)).collect();
    report.rejected = look::rejected(&mine).await?;
    if let (Some(p), true) = (&planted, whole) {
        report.faults = find::compare(&mine, &faults).await?;
        report.faults.push(counted("duplicates", p.duplicates, report.counts.duplicate, before.received > 0));
        let again = before.received > 0;
        let letters = if again { report.total.dead_lettered } else { report.counts.dead_lettered };
        report.faults.push(counted("invalid", p.invalid, letters, again));
        report.activities = look::activities(&mine, args.hours).await?;
        debug_assert_eq!(p.readings + p.duplicates + p.invalid, report.counts.received + p.left);
    }
    report.searches = look::searches(&mine).await?;
    store.backend().maintenance.tidy().await?;
    let stats = store.stats().await?;
    report.bytes_on_disk = stats.bytes_on_disk;
    report.flows.push(flow.report());
    report.seconds = clock.monotonic().saturating_sub(begin).as_secs_f64();
    println!("{}", report.text());
    if let Some(path) = &args.report {
        let json = serde_json::to_string_pretty(&report).map_err(|e| am_core::Error::new(am_core::Code::INTERNAL, e.to_string()))?;
        std::fs::write(path, json).map_err(|e| am_core::Error::io("full_stack.report", path.display(), e))?;
        println!("report written to {}", path.display());
    }

    if !args.once && whole {
        println!("serving until Ctrl-C");
        stop.cancelled().await;
    }
    stop.cancel();
    server.shutdown().await?;
    flow.finish().await?;
    wires.finish().await?;
    store.close().await?;
    Ok(report.faults.iter().all(|f| f.matches))
}

/// A fault that is counted. When everything was sent before, every reading is a duplicate, and only "at least" can be said.
fn counted(fault: &'static str, planted: u64, found: u64, at_least: bool) -> Compared {
    let matches = if at_least { found >= planted } else { found == planted };
    Compared { fault, planted: planted.to_string(), found: found.to_string(), matches }
}

fn progress(quiet: bool, files: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let template = if files { "{bar:40} {pos}/{len} files  {elapsed}" } else { "{bar:40} {percent:>3} %  {elapsed}  {msg}" };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
