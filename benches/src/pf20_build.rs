//! PF20: what a newcomer waits for: a cold build of `am-pipeline` alone, its number of crates, and the whole workspace.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Options, Row, Stopwatch, Target};

const ID: &str = "PF20";

/// Builds into a folder of its own, in the dev profile, with every dependency fetched before.
pub(crate) fn run(options: &Options) -> Result<Vec<Row>, String> {
    let row = |what: &str, ours, unit, bound, note: String| Row {
        id: ID,
        what: what.to_owned(),
        ours,
        baseline: f64::NAN,
        unit,
        target: Target::AtMost(bound),
        note,
    };
    let crates = crates()?;
    let mut rows = vec![row("am-pipeline: crates", crates as f64, "crates", 75.0, "`cargo tree -e normal,build`, itself included".into())];
    if options.quick {
        rows.push(Row::unavailable(ID, "cold builds", "they take minutes; run without --quick"));
        return Ok(rows);
    }
    done(cargo().args(["fetch", "--locked"]))?;
    let load = load();
    let alone = cold(&["--package", "am-pipeline"])?;
    rows.push(row("am-pipeline: cold build alone", alone, "s", 40.0, format!("dev profile; the machine's load was {load} at the start")));
    let all = cold(&["--workspace"])?;
    rows.push(row("whole workspace: cold build", all, "s", 600.0, "dev profile, libraries and programs without tests".into()));
    Ok(rows)
}

fn cargo() -> Command {
    let mut c = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    c.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    c
}

fn done(command: &mut Command) -> Result<(), String> {
    let out = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().map_err(|e| format!("cargo: {e}"))?;
    let tail = || String::from_utf8_lossy(&out.stderr).lines().rev().take(5).collect::<Vec<_>>().join(" | ");
    if out.status.success() { Ok(()) } else { Err(format!("cargo: {}: {}", out.status, tail())) }
}

/// Seconds of a build that finds nothing built.
fn cold(what: &[&str]) -> Result<f64, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let watch = Stopwatch::default();
    done(cargo().args(["build", "--locked", "--offline"]).args(what).arg("--target-dir").arg(folder.path()))?;
    Ok(watch.elapsed().as_secs_f64())
}

/// How many packages are compiled for `am-pipeline`.
fn crates() -> Result<usize, String> {
    let args = ["tree", "--edges", "normal,build", "--package", "am-pipeline", "--prefix", "none", "--locked"];
    let out = cargo().args(args).output().map_err(|e| format!("cargo: {e}"))?;
    if !out.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&out.stderr).trim()));
    }
    let text = String::from_utf8_lossy(&out.stdout);
    let names: BTreeSet<&str> = text.lines().map(|l| l.trim_end_matches(" (*)")).collect();
    Ok(names.iter().filter(|l| !l.trim().is_empty()).count())
}

/// The machine's load of the last minute (Linux).
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().filter(|w| !w.is_empty()).unwrap_or("unknown").to_owned()
}
