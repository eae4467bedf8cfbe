//! `cargo xtask test`.

use std::ffi::OsString;

use crate::manifest::Manifest;
use crate::parts::{Outcome, Part, run_all};
use crate::services::{self, Service, Session};
use crate::{exec, project_root, python};

const WASM: &str = "wasm32-unknown-unknown";

/// The parts there are: name and what it does.
const PARTS: [(&str, &str); 4] = [
    ("rust", "unit, integration and doc tests of all crates"),
    ("interop", "messages written by another protobuf implementation (Python) are read here"),
    ("features", "each feature of each crate compiles alone"),
    ("wasm", "am-core and am-schema compile for wasm32-unknown-unknown"),
];

/// What to test.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Only these parts: rust, interop, features, wasm; all when none is named
    #[arg(value_name = "NAME", value_parser = PARTS.map(|p| p.0))]
    names: Vec<String>,
    /// Leave this part out; may be given several times
    #[arg(long, value_name = "NAME", value_parser = PARTS.map(|p| p.0))]
    skip: Vec<String>,
    /// Start no services; their tests use those that AM_TEST_POSTGRES and the like name, and are skipped otherwise
    #[arg(long)]
    no_services: bool,
    /// Words for the test programs of the part `rust`, such as a part of a test's name
    #[arg(last = true, value_name = "ARGS")]
    filter: Vec<OsString>,
}

/// Runs the chosen parts.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    run_all(parts(args))
}

/// The chosen parts, in the order in which they run.
pub(crate) fn parts(args: &Args) -> Vec<Part<'_>> {
    let chosen = |name: &str| (args.names.is_empty() || args.names.iter().any(|n| n == name)) && !args.skip.iter().any(|n| n == name);
    let part = |(name, what): (&'static str, &'static str)| {
        Part::new(name, what, move || match name {
            "rust" => rust(args),
            "interop" => interop(),
            "features" => features(),
            _ => wasm(),
        })
    };
    PARTS.into_iter().filter(|(name, _)| chosen(name)).map(part).collect()
}

fn rust(args: &Args) -> Outcome {
    let mut c = exec::cargo(["test", "--workspace", "--no-fail-fast"]);
    if !args.filter.is_empty() {
        c.arg("--").args(&args.filter);
    }
    if args.no_services {
        return exec::run(&mut c).into();
    }
    let session = match Session::begin(&Service::ALL) {
        Ok(session) => session,
        Err(why) => return Outcome::Failed(format!("services: {why}")),
    };
    let up: Vec<&str> = session.report.up.iter().map(|(service, _)| service.name()).collect();
    println!("services that are up: {}", if up.is_empty() { "none".into() } else { up.join(", ") });
    services::tell_missing(&session.report);
    session.show_to(&mut c);
    let tests = exec::run(&mut c);
    tests.and(session.end().map_err(|why| format!("services: {why}"))).into()
}

fn interop() -> Outcome {
    match python::interpreter() {
        Err(why) => Outcome::Skipped(why),
        Ok(python) => {
            // With --workspace the features are the same as in the part `rust`, so nothing is built twice.
            let mut c = exec::cargo(["test", "--workspace", "--test", "interop_protobuf"]);
            exec::run(c.env("AM_INTEROP_PYTHON", python)).into()
        }
    }
}

fn features() -> Outcome {
    let all = match crates_with_features() {
        Ok(all) => all,
        Err(why) => return Outcome::Failed(why),
    };
    let mut failed = Vec::new();
    for (name, features) in all {
        for feature in std::iter::once("").chain(features.iter().map(String::as_str)) {
            let alone = ["check", "--quiet", "--lib", "--no-default-features", "--package", name.as_str(), "--features", feature];
            if exec::run(&mut exec::cargo(alone)).is_err() {
                failed.push(format!("{name} with {}", if feature.is_empty() { "no feature" } else { feature }));
            }
            if exec::stopping() {
                return Outcome::Failed("stopped".into());
            }
        }
    }
    if failed.is_empty() { Outcome::Passed } else { Outcome::Failed(failed.join(", ")) }
}

/// Every library of the workspace that has features, with their names.
fn crates_with_features() -> Result<Vec<(String, Vec<String>)>, String> {
    let read = |dir: &str| {
        let path = project_root().join(dir).join("Cargo.toml");
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Manifest::parse(&text).map_err(|e| format!("{}: {e}", path.display()))
    };
    let root = read("")?;
    let mut out = Vec::new();
    for dir in std::iter::once("").chain(root.members.iter().map(String::as_str)) {
        let m = read(dir)?;
        if !m.features.is_empty() && project_root().join(dir).join("src/lib.rs").exists() {
            out.push((m.name, m.features.into_iter().filter(|f| f != "default").collect()));
        }
    }
    Ok(out)
}

fn wasm() -> Outcome {
    let mut rustc = std::process::Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let sysroot = match exec::capture(rustc.args(["--print", "sysroot"])) {
        Ok(path) => path,
        Err(why) => return Outcome::Skipped(why),
    };
    let target = std::path::Path::new(sysroot.trim()).join("lib/rustlib").join(WASM);
    if !target.exists() {
        return Outcome::Skipped(format!("the target is not installed: rustup target add {WASM}"));
    }
    exec::run(&mut exec::cargo(["check", "--lib", "--package", "am-core", "--package", "am-schema", "--target", WASM])).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(args: &Args) -> Vec<&'static str> {
        parts(args).iter().map(|p| p.name).collect()
    }

    #[test]
    fn parts_are_chosen_by_name_and_left_out_by_skip() {
        let words = |w: &[&str]| w.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&Args::default()), ["rust", "interop", "features", "wasm"]);
        assert_eq!(names(&Args { names: words(&["wasm", "rust"]), ..Args::default() }), ["rust", "wasm"]);
        assert_eq!(names(&Args { skip: words(&["rust"]), ..Args::default() }), ["interop", "features", "wasm"]);
    }

    #[test]
    fn the_features_of_the_facade_and_of_the_store_are_found() {
        let all = crates_with_features().unwrap();
        let of = |name: &str| all.iter().find(|(n, _)| n == name).map(|(_, f)| f.clone()).unwrap_or_default();
        assert!(of("am-sdk").contains(&"pipeline".to_owned()) && of("am-store").contains(&"sqlite".to_owned()), "{all:?}");
    }
}
