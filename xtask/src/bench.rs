//! `cargo xtask bench`.

use std::path::PathBuf;

use crate::services::{self, Service, Session};
use crate::{exec, project_root};

/// Figures that need services, and which.
const NEEDS: &[(&str, &[Service])] =
    &[("PF4", &[Service::Postgres]), ("PF5", &[Service::Postgres]), ("PF6", &[Service::Postgres, Service::Nats])];

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
    /// Start no services; figures that need them use those that AM_TEST_POSTGRES and the like name, and are left out otherwise
    #[arg(long)]
    no_services: bool,
}

/// The services that the chosen figures need.
fn wanted(ids: &[String]) -> Vec<Service> {
    let chosen = NEEDS.iter().filter(|(id, _)| ids.is_empty() || ids.iter().any(|i| i.eq_ignore_ascii_case(id)));
    let all: Vec<Service> = chosen.flat_map(|(_, services)| services.iter().copied()).collect();
    Service::ALL.into_iter().filter(|s| all.contains(s)).collect()
}

/// Builds the benches and runs them, with the services that they need.
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
    let mut bench = exec::cargo(words);
    let wanted = wanted(&args.ids);
    if args.no_services || wanted.is_empty() {
        return exec::run(&mut bench);
    }
    let session = Session::begin(&wanted).map_err(|why| format!("services: {why}"))?;
    services::tell_missing(&session.report);
    session.show_to(&mut bench);
    let measured = exec::run(&mut bench);
    measured.and(session.end().map_err(|why| format!("services: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_services_that_a_chosen_figure_needs_are_started() {
        let of = |ids: &[&str]| wanted(&ids.iter().map(|i| i.to_string()).collect::<Vec<_>>());
        assert_eq!(of(&["PF3", "pf12"]), []);
        assert_eq!(of(&["pf4"]), [Service::Postgres]);
        assert_eq!(of(&["PF3", "PF6"]), of(&[]));
        assert!(of(&[]).contains(&Service::Nats) && of(&[]).contains(&Service::Postgres));
    }
}
