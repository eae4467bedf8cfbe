//! Servers as processes of this machine: Debian's programs with the folder as their root, and the broker in a JVM.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::names::Service;
use super::place::Place;
use super::process::{self, Ask, Process};
use super::provider::{Provider, Stop};
use super::state::{Ports, Server};
use super::{debian, maven, ports, settings};
use crate::exec;

/// How long a server may take to end when asked, and again when killed.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// The reason why a server cannot start on its port.
pub(super) const PORT_TAKEN: &str = "is taken by another program";

/// Makes the folders, settings and first data of all servers, in place of what was there.
pub(super) fn create(provider: Provider, place: &Place, service: Service, servers: &[Server]) -> Result<(), String> {
    remove_data(provider, place, service)?;
    let all: Vec<Ports> = servers.iter().map(|s| s.ports).collect();
    for (n, own) in all.iter().enumerate() {
        let folder = place.server(provider, service, n);
        let seen = place.seen_by_server(provider, service, n);
        let (inner, file, text) = match service {
            Service::Postgres => ("socket", "data/postgresql.conf", settings::postgres(*own, &seen)),
            Service::Nats => ("store", "server.conf", settings::nats(*own, &seen)),
            Service::NatsCluster => ("store", "server.conf", settings::nats_in_cluster(n, &all, &seen)),
            Service::Kafka => ("store", "server.properties", settings::kafka(*own, &seen)),
            Service::Redis => ("store", "redis.conf", settings::redis(*own, &format!("{seen}/store"))),
        };
        let shown = |e: std::io::Error| format!("{}: {e}", folder.display());
        std::fs::create_dir_all(folder.join(inner)).map_err(shown)?;
        // A log of an earlier life would confuse whoever looks for the reason of a failure.
        let _ = std::fs::remove_file(place.log(service, n));
        if service == Service::Postgres {
            debian::open_to_users(place, service)?;
            exec::run_into(&mut debian::initdb(place, &seen), &place.log_named("postgres-initdb"))?;
        }
        std::fs::write(folder.join(file), text).map_err(shown)?;
        if provider == Provider::Debian {
            debian::open_to_users(place, service)?;
        }
        if service == Service::Kafka {
            exec::run_into(&mut maven::format(place, &seen), &place.log_named("kafka-format"))?;
        }
    }
    Ok(())
}

/// Starts a server on the data that is there, once its ports are free.
pub(super) fn start(provider: Provider, place: &Place, service: Service, index: usize, own: Ports) -> Result<Process, String> {
    let needed: Vec<u16> = [own.client, own.monitor, own.peer].into_iter().filter(|p| *p != 0).collect();
    let busy = || needed.iter().find(|p| !ports::is_free(**p));
    if !until(LAST_WORDS, || busy().is_none()) {
        let port = busy().copied().unwrap_or_default();
        return Err(format!("port {port} {PORT_TAKEN}"));
    }
    let folder = place.server(provider, service, index);
    let seen = place.seen_by_server(provider, service, index);
    if service == Service::Postgres {
        forget_lock(&folder, own);
    }
    let mut program = match provider {
        Provider::Maven => maven::broker(place, &seen),
        _ => debian::server(place, service, &seen),
    };
    if provider == Provider::Maven {
        program.current_dir(&folder);
    }
    process::spawn(&mut program, &place.log(service, index))
}

/// PostgreSQL believes that a killed server still runs as long as the kernel knows its number, and that may be long where
/// nobody asks how it ended. Here it is known that all its processes are gone.
fn forget_lock(folder: &Path, own: Ports) {
    for file in ["data/postmaster.pid".into(), format!("socket/.s.PGSQL.{}.lock", own.client)] {
        let _ = std::fs::remove_file(folder.join(file));
    }
}

/// Ends a server and all that belongs to it.
pub(super) fn stop(
    provider: Provider,
    place: &Place,
    service: Service,
    main: Option<Process>,
    index: usize,
    how: Stop,
) -> Result<(), String> {
    let folder = place.server(provider, service, index);
    let seen = place.seen_by_server(provider, service, index);
    let root = if provider == Provider::Debian { place.debian() } else { "/".into() };
    let living = || {
        let mut all = process::left_over(&folder, &root, &seen);
        all.extend(main.filter(|p| p.is_alive()).map(|p| p.pid).filter(|pid| !all.contains(pid)));
        all
    };
    let polite = match (service, how) {
        (_, Stop::Kill) => None,
        // Fast shutdown: the sessions end, the data is written.
        (Service::Postgres, Stop::Gently) => Some(Ask::Interrupt),
        // Immediate shutdown: nothing is written, but the kernel's shared memory is given back.
        (Service::Postgres, Stop::Discard) => Some(Ask::Quit),
        (_, Stop::Gently) => Some(Ask::Terminate),
        (_, Stop::Discard) => None,
    };
    if let (Some(ask), Some(main)) = (polite, main) {
        main.ask(ask);
        until(LAST_WORDS, || living().is_empty());
    }
    process::kill_trees(&living());
    if until(LAST_WORDS, || living().is_empty()) {
        return Ok(());
    }
    Err(format!("processes {:?} of {} do not end", living(), service.server_name(index)))
}

/// Removes the data of all servers of a service.
pub(super) fn remove_data(provider: Provider, place: &Place, service: Service) -> Result<(), String> {
    let all = place.data(provider);
    remove(&all.join(service.name()))?;
    // The last one leaves no empty folder behind.
    let _ = std::fs::remove_dir(all);
    Ok(())
}

/// Removes a folder; one that is not there is no mistake.
pub(super) fn remove(folder: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {e}", folder.display())),
        _ => Ok(()),
    }
}

/// Asks again and again; false when it did not become true in time. Goes on when the user wants to stop, since it is
/// used for cleaning up.
fn until(limit: Duration, true_now: impl Fn() -> bool) -> bool {
    let ticks = am_core::SystemTicks::default();
    loop {
        if true_now() {
            return true;
        }
        if ticks.monotonic() > limit {
            return false;
        }
        let _ = exec::pause(Duration::from_millis(20));
    }
}

/// A program that does its work at once: what it wrote matters only when it fails.
pub(super) fn quiet(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.stdin(std::process::Stdio::null()).output().map_err(|e| format!("{name}: {e}"))?;
    if out.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    Err(format!("{name}: {}: {}", out.status, text.lines().last().unwrap_or_default()))
}
