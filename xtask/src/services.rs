//! `cargo xtask services`: the databases and buses that tests use, on free loopback ports and with throw-away data.

mod address;
mod container;
mod control;
mod debian;
mod environment;
mod health;
mod lifecycle;
mod maven;
mod names;
mod native;
mod place;
mod ports;
mod process;
mod provider;
mod session;
mod settings;
mod state;
mod table;
mod waiting;
mod wire;

use std::ffi::OsString;
use std::process::Command;

use clap::Subcommand;

use crate::exec::{self, CleansUp};
use lifecycle::{For, Report};
pub(crate) use names::Service;
use names::Target;
use place::Place;
use provider::Stop;
pub(crate) use session::Session;
use state::{Book, State};

/// What to do with the services.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Start services and wait until they answer; all that can be had when none is named
    ///
    /// What runs already stays as it is. The first source that works is used: the service that a variable such as
    /// AM_TEST_POSTGRES names, a container engine, packages.
    Up {
        #[arg(value_name = "NAME")]
        names: Vec<Service>,
    },
    /// End services and remove their data; all of them when none is named
    Down {
        #[arg(value_name = "NAME")]
        names: Vec<Service>,
    },
    /// Ask all services how they are; fails when one that should run does not answer
    Status {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Run a command with the variables that tell where the services are
    ///
    /// Services that are not up are started first, and taken down at the end unless somebody else wants them.
    Run {
        /// Services that the command cannot do without; all that can be had when none is named
        #[arg(value_name = "NAME")]
        names: Vec<Service>,
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// End a service or one server of it (nats-cluster:1); its data and ports stay
    Stop {
        #[arg(value_name = "NAME")]
        target: Target,
        /// As a crash does: SIGKILL for the server and all its children at once
        #[arg(long)]
        kill: bool,
    },
    /// Start what was stopped or has died, on its data and ports, and wait until it answers
    Start {
        #[arg(value_name = "NAME")]
        target: Target,
    },
    /// `stop`, then `start`
    Restart {
        #[arg(value_name = "NAME")]
        target: Target,
        /// As a crash does: SIGKILL for the server and all its children at once
        #[arg(long)]
        kill: bool,
    },
}

/// Does it.
pub(crate) fn run(args: Args) -> Result<(), String> {
    // A half-started server is taken down before this program ends.
    let _cleans_up = CleansUp::begin();
    let how = |kill: bool| if kill { Stop::Kill } else { Stop::Gently };
    let open = || Book::open(Place::of_environment());
    match args.what {
        What::Up { names } => up(&names),
        What::Down { names } => lifecycle::down(&mut open()?, &names),
        What::Status { json } => status(json),
        What::Run { names, command } => with_services(&names, &command),
        What::Stop { target, kill } => control::stop(&mut open()?, target, how(kill)),
        What::Start { target } => control::start(&mut open()?, target),
        What::Restart { target, kill } => {
            let mut book = open()?;
            control::stop(&mut book, target, how(kill))?;
            control::start(&mut book, target)
        }
    }
}

/// The named services, or all.
fn wanted(names: &[Service]) -> Vec<Service> {
    if names.is_empty() { Service::ALL.to_vec() } else { names.to_vec() }
}

fn up(names: &[Service]) -> Result<(), String> {
    let mut book = Book::open(Place::of_environment())?;
    let report = lifecycle::up(&mut book, &wanted(names), For::Good)?;
    tell_missing(&report);
    for (service, address) in &report.up {
        println!("export {}={address}", service.variable());
    }
    judge(names, &report)
}

/// Says which services cannot be had, and why.
pub(crate) fn tell_missing(report: &Report) {
    for (service, why) in &report.missing {
        eprintln!("skipped {}: {why}", service.name());
    }
}

/// Fails when a service that was asked for by name is missing, or when there is none at all.
fn judge(names: &[Service], report: &Report) -> Result<(), String> {
    let missing: Vec<&str> = report.missing.iter().filter(|(s, _)| names.contains(s)).map(|(s, _)| s.name()).collect();
    if !missing.is_empty() {
        return Err(format!("not up: {}; docs/services.md says what each needs", missing.join(", ")));
    }
    if report.up.is_empty() {
        return Err("no service can be had here; docs/services.md says what each needs".into());
    }
    Ok(())
}

fn status(json: bool) -> Result<(), String> {
    // Without the lock: one may ask while others wait for a service to start.
    let rows = table::rows(&State::read(&Place::of_environment().state_file())?);
    if json {
        println!("{}", table::json(&rows));
    } else {
        print!("{}", table::table(&rows));
    }
    let sick = rows.iter().filter(|r| r.is_sick()).count();
    if sick == 0 {
        Ok(())
    } else {
        Err(format!("{sick} not healthy: `cargo xtask services start NAME` keeps the data, `up NAME` starts anew"))
    }
}

fn with_services(names: &[Service], command: &[OsString]) -> Result<(), String> {
    let Some((program, words)) = command.split_first() else { return Err("there is no command to run".into()) };
    let session = Session::begin(&wanted(names))?;
    tell_missing(&session.report);
    let ended = judge(names, &session.report).and_then(|()| {
        let mut c = Command::new(program);
        session.show_to(c.args(words));
        exec::exit_code(&mut c)
    });
    let cleaned = session.end();
    match ended? {
        0 => cleaned,
        code => {
            cleaned.unwrap_or_else(|why| eprintln!("xtask: {why}"));
            std::process::exit(code.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_service_matters_only_to_those_who_named_it() {
        let report = Report { up: vec![(Service::Redis, "x".into())], missing: vec![(Service::Kafka, "no java".into())] };
        assert_eq!(judge(&[], &report), Ok(()));
        assert_eq!(judge(&[Service::Redis], &report), Ok(()));
        assert!(judge(&[Service::Kafka], &report).unwrap_err().starts_with("not up: kafka"));
        assert!(judge(&[], &Report::default()).is_err());
    }
}
