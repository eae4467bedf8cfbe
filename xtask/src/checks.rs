//! `cargo xtask ci`: everything that must hold before a change is taken.

use std::process::Command;

use crate::parts::{Outcome, Part, run_all};
use crate::{codegen, exec, generate, project_root, test, tidy};

/// Runs the checks, then the tests.
pub(crate) fn run() -> Result<(), String> {
    let args = test::Args::default();
    let cargo = |words: &'static [&'static str]| move || Outcome::from(exec::run(&mut exec::cargo(words.iter().copied())));
    let mut parts = vec![
        Part::new("format", "cargo fmt --check", cargo(&["fmt", "--all", "--check"])),
        Part::new("tidy", "the project's own rules", || tidy::run().into()),
        Part::new("compatible", "the protos still speak with the devices in the field", || codegen::breaking(&project_root()).into()),
        Part::new("generated", "generated files are current", || generate(true).into()),
        Part::new(
            "clippy",
            "lints of all targets, warnings denied",
            cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        ),
        Part::new("docs", "rustdoc, warnings denied", || {
            exec::run(exec::cargo(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings")).into()
        }),
        Part::new("deny", "licences, sources, duplicates and advisories of dependencies", deny),
    ];
    parts.extend(test::parts(&args));
    run_all(parts)
}

fn deny() -> Outcome {
    match exec::capture(Command::new("cargo-deny").arg("--version")) {
        Err(_) => Outcome::Skipped("cargo-deny is not installed: cargo install cargo-deny".into()),
        Ok(_) => exec::run(&mut exec::cargo(["deny", "--workspace", "check"])).into(),
    }
}
