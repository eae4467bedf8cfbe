//! The project's own commands: `cargo xtask test`, `ci`, `tidy`, `bench`, `codegen`, `services`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program speaks through its output")]

mod bench;
mod checks;
mod codegen;
mod error_docs;
mod exec;
mod manifest;
mod parts;
mod python;
mod services;
mod test;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands. Each runs from any folder of the checkout.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every test: Rust, other languages, features one by one, wasm
    ///
    /// Says first what it will run. A part whose tools cannot be had is reported as `skipped NAME: reason`. The last
    /// line counts the parts: `N passed, N failed, N skipped`. Build results go to $CARGO_TARGET_DIR, or to
    /// ~/.cache/am/target.
    Test(test::Args),
    /// Everything that must hold before a change is taken: format, lints, docs, tidy, generated files, then `test`
    Ci,
    /// Check the project's own rules: levels of the crates, file sizes, names, docs, decision records, links
    Tidy,
    /// Build the benches in release mode and run all or some of them
    Bench(bench::Args),
    /// Write the generated files again: messages, shapes, gRPC, error table
    Codegen {
        /// Write nothing; fail when a file is out of date
        #[arg(long)]
        check: bool,
    },
    /// Start and stop the databases and buses that tests use: PostgreSQL, NATS, Kafka, Redis
    ///
    /// All on free ports of 127.0.0.1 and with throw-away data, below ~/.cache/am/services or $AM_SERVICES_DIR.
    Services(services::Args),
}

/// The folder that holds the workspace's `Cargo.toml`.
fn project_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    exec::stop_children_on_signals();
    let done = match cli.command {
        Command::Test(args) => test::run(&args),
        Command::Ci => checks::run(),
        Command::Tidy => tidy::run(),
        Command::Bench(args) => bench::run(&args),
        Command::Codegen { check } => generate(check),
        Command::Services(args) => services::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            if !why.is_empty() {
                eprintln!("xtask: {why}");
            }
            ExitCode::from(if exec::stopping() { 130 } else { 1 })
        }
    }
}

/// All generated files of the project.
fn generate(check: bool) -> Result<(), String> {
    let sources = codegen::run(check);
    let errors = error_docs::run(check);
    match (sources, errors) {
        (Ok(()), Ok(())) => Ok(()),
        (Err(a), Err(b)) => Err(format!("{a}\n{b}")),
        (Err(e), _) | (_, Err(e)) => Err(e),
    }
}
