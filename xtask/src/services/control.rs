//! Servers that are stopped, killed and started again on their data: for tests that break them.

use am_core::SystemTicks;

use super::environment;
use super::names::{Service, Target};
use super::process::Process;
use super::provider::Stop;
use super::state::{Book, Entry, Server};
use super::waiting::wait;

/// Ends a service or one of its servers, its data stays.
pub(super) fn stop(book: &mut Book, target: Target, how: Stop) -> Result<(), String> {
    let mut entry = known(book, target.service)?;
    for n in target.servers() {
        if let Some(server) = entry.servers.get_mut(n).filter(|s| !s.stopped) {
            entry.provider.stop(&book.place, target.service, server, n, how)?;
            let name = target.service.server_name(n);
            eprintln!("{name}: {}", if how == Stop::Kill { "killed" } else { "stopped" });
        }
    }
    book.state.services.insert(target.service, entry);
    book.save()
}

/// Starts what was stopped or has died, on its data and its ports, and waits until the whole service answers.
pub(super) fn start(book: &mut Book, target: Target) -> Result<(), String> {
    let ticks = SystemTicks::default();
    let mut entry = known(book, target.service)?;
    for n in target.servers() {
        let runs = |s: &Server| !s.stopped && (entry.provider.is_container() || s.process.is_some_and(Process::is_alive));
        if entry.servers.get(n).is_some_and(|s| !runs(s)) {
            // Children of a server that died by itself may still hold its port or its data.
            if let Some(server) = entry.servers.get_mut(n).filter(|_| !entry.provider.is_container()) {
                entry.provider.stop(&book.place, target.service, server, n, Stop::Kill)?;
            }
            entry.provider.start(&book.place, target.service, &mut entry.servers, n)?;
        }
    }
    book.state.services.insert(target.service, entry.clone());
    book.save()?;
    // Servers that are stopped on purpose are not waited for.
    entry.servers.retain(|s| !s.stopped);
    wait(&book.place, target.service, &entry, ticks)
}

fn known(book: &Book, service: Service) -> Result<Entry, String> {
    let name = service.name();
    book.state.services.get(&service).cloned().ok_or_else(|| match environment::given(service, &book.state) {
        Some(_) => format!("{name} is the one that {} names; it was not started here", service.variable()),
        None => format!("{name} is not up; start it with `cargo xtask services up {name}`"),
    })
}
