//! `cargo xtask bench`.

use std::path::PathBuf;

use crate::{exec, project_root};

/// Prints one table: id, ours, baseline, unit, ratio, target, ok.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which figures to measure, such as PF1 PF12; all when none is named
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Also write the rows as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Small inputs and few repetitions: shows that the benches run, measures nothing worth quoting
    #[arg(long)]
    quick: bool,
}

/// Builds the benches and runs them.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    if !project_root().join("benches/Cargo.toml").exists() {
        return Err("there is no benches/Cargo.toml".into());
    }
    let mut words: Vec<std::ffi::OsString> =
        ["run", "--release", "--package", "am-bench", "--bin", "am-bench", "--"].into_iter().map(Into::into).collect();
    words.extend(args.ids.iter().map(Into::into));
    if let Some(file) = &args.json {
        // The benches run in the project root; the file is meant from where the user stands.
        let file = std::path::absolute(file).map_err(|e| format!("{}: {e}", file.display()))?;
        words.extend(["--json".into(), file.into()]);
    }
    words.extend(args.quick.then(|| "--quick".into()));
    exec::run(&mut exec::cargo(words))
}
