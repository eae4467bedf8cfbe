//! Measures AM's figures. Every row stands beside a baseline that was measured in the same run.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints a table")]

mod gorilla;
mod harness;
mod pf15_blocks;
mod report;
mod signals;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use harness::{Bench, Options, Row};

/// Every figure and the function that measures it.
const BENCHES: &[(&str, Bench)] = &[("PF15", pf15_blocks::run)];

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
