//! Measures AM's figures. Every row stands beside a baseline that was measured in the same run.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints a table")]

mod bare_queries;
mod bus_step;
mod cluster;
mod gorilla;
mod harness;
mod noop;
mod pf01_pipeline;
mod pf02_grpc;
mod pf03_ingest;
mod pf04_timescale;
mod pf05_queries;
mod pf06_cluster;
mod pf12_outbox;
mod pf15_blocks;
mod pf17_custody;
mod pf18_full_stack;
mod pf18_server;
mod pf19_bytes;
mod pf20_build;
mod pg_baseline;
mod report;
mod served;
mod services;
mod signals;
mod slow_sync;
mod sqlite_baseline;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use harness::{Bench, Options, Row};

/// Every figure and the function that measures it.
const BENCHES: &[(&str, Bench)] = &[
    ("PF1", pf01_pipeline::run),
    ("PF12", pf12_outbox::run),
    ("PF15", pf15_blocks::run),
    ("PF19", pf19_bytes::run),
    ("STORE", store::run),
    ("PF20", pf20_build::run),
    ("PF2", pf02_grpc::run),
    ("PF3", pf03_ingest::run),
    ("PF4", pf04_timescale::run),
    ("PF5", pf05_queries::run),
    ("PF6", pf06_cluster::run),
    ("PF17", pf17_custody::run),
    ("PF18", pf18_server::run),
];

/// Measures AM's figures and prints one table: id, what, ours, baseline, unit, ratio, target, ok.
#[derive(Parser)]
struct Args {
    /// Which figures to measure, such as PF1 PF12; all when none is named
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Small inputs and few repetitions: shows that the benches run, measures nothing worth quoting
    #[arg(long)]
    quick: bool,
    /// Also write the rows as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    if let Err(e) = served::serve_if_child() {
        eprintln!("{e}");
        return ExitCode::FAILURE;
    }
    let args = Args::parse();
    let known = |id: &String| BENCHES.iter().any(|(name, _)| name.eq_ignore_ascii_case(id));
    if let Some(id) = args.ids.iter().find(|id| !known(id)) {
        let names: Vec<&str> = BENCHES.iter().map(|(name, _)| *name).collect();
        eprintln!("there is no figure {id}; there are {}", names.join(", "));
        return ExitCode::from(2);
    }
    let options = Options { quick: args.quick };
    let mut rows: Vec<Row> = Vec::new();
    let mut failed = false;
    for (name, bench) in BENCHES.iter().filter(|(name, _)| args.ids.is_empty() || args.ids.iter().any(|id| name.eq_ignore_ascii_case(id))) {
        eprintln!("measuring {name} …");
        match bench(&options) {
            Ok(more) => rows.extend(more),
            Err(e) => {
                failed = true;
                eprintln!("{name}: {e}");
            }
        }
    }
    print!("{}", report::table(&rows));
    if let Some(file) = &args.json {
        let text = report::json(&rows, args.quick);
        if let Err(e) = std::fs::write(file, text) {
            eprintln!("{}: {e}", file.display());
            failed = true;
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
