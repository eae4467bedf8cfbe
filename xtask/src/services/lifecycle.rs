//! Bringing services up and down.

use std::time::Duration;

use super::environment;
use super::names::{Service, Target};
use super::place::Place;
use super::ports::{self, Ports as FreePorts};
use super::process::Process;
use super::provider::{self, Provider, Stop};
use super::state::{Book, Entry, Ports, Server};
use super::{container, health, native};
use crate::exec;

/// Who wants the services.
#[derive(Debug, Clone, Copy)]
pub(super) enum For {
    /// Somebody who will end them with `down`.
    Good,
    /// A program, until it ends. Where processes cannot be told apart nobody is remembered.
    Run(Option<Process>),
}

/// What `up` came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// Services that answer, and where.
    pub(crate) up: Vec<(Service, String)>,
    /// Services that cannot be had, and why.
    pub(crate) missing: Vec<(Service, String)>,
}

/// Starts what is not there and waits until everything answers.
pub(super) fn up(book: &mut Book, wanted: &[Service], whom: For) -> Result<Report, String> {
    let mut report = Report::default();
    let mut waiting = Vec::new();
    let engine = std::cell::LazyCell::new(container::engine);
    for &service in wanted {
        if exec::stopping() {
            report.missing.push((service, "stopped".into()));
            continue;
        }
        if let Some(value) = environment::given(service, &book.state) {
            let variable = service.variable();
            match health::of_given(service, &value) {
                Ok(()) => {
                    say(service, &format!("is there, {variable} names it"));
                    report.up.push((service, value));
                }
                Err(why) => report.missing.push((service, format!("the service that {variable} names does not answer: {why}"))),
            }
            continue;
        }
        match begin(book, service, whom, &engine) {
            Ok(()) => waiting.push(service),
            Err(why) => {
                clear(book, service)?;
                report.missing.push((service, why));
            }
        }
    }
    for service in waiting {
        match finish(book, service, whom, &engine) {
            Ok(address) => report.up.push((service, address)),
            Err(why) => {
                clear(book, service)?;
                report.missing.push((service, why));
            }
        }
    }
    Ok(report)
}

/// Starts a service unless it runs; does not wait until it answers.
fn begin(book: &mut Book, service: Service, whom: For, engine: &Result<Provider, String>) -> Result<(), String> {
    if let Some(mut entry) = book.state.services.get(&service).cloned() {
        note(&mut entry, whom);
        let gone = entry.servers.iter().any(|s| !s.stopped && !s.process.is_some_and(Process::is_alive) && !entry.provider.is_container());
        let no_engine = entry.provider.is_container() && *engine != Ok(entry.provider);
        if gone || no_engine {
            say(service, "is not running any more; throwing its data away and starting anew");
            clear(book, service)?;
        } else {
            for n in 0..entry.servers.len() {
                if entry.servers.get(n).is_some_and(|s| s.stopped) {
                    say(service, &format!("starting {} again", service.server_name(n)));
                    entry.provider.start(&book.place, service, &mut entry.servers, n)?;
                }
            }
            book.state.services.insert(service, entry);
            return book.save();
        }
    }
    create(book, service, whom, engine)
}

fn create(book: &mut Book, service: Service, whom: For, engine: &Result<Provider, String>) -> Result<(), String> {
    let provider = provider::choose(&book.place, service, engine)?;
    let mut free = FreePorts::new(book.state.ports(), &book.place.root().to_string_lossy(), &ports::is_free);
    let server = |_| Ok(Server { ports: ports(service, &mut |wanted| free.next(wanted))?, process: None, stopped: false });
    let servers = (0..service.servers()).map(server).collect::<Result<Vec<_>, String>>()?;
    let mut entry = Entry { provider, servers, kept: false, users: Vec::new() };
    note(&mut entry, whom);
    say(service, &format!("starting at {} ({})", entry.address(service), provider.name()));
    // Written before the first process starts: whatever happens now, `down` will find it.
    book.state.services.insert(service, entry.clone());
    book.save()?;
    let started = provider.create(&book.place, service, &mut entry.servers);
    book.state.services.insert(service, entry);
    book.save()?;
    started
}

/// The ports that a server needs.
pub(super) fn ports(service: Service, free: &mut dyn FnMut(u16) -> Result<u16, String>) -> Result<Ports, String> {
    let client = free(0)?;
    let monitor = if matches!(service, Service::Nats | Service::NatsCluster) { free(0)? } else { 0 };
    let peer = if matches!(service, Service::NatsCluster | Service::Kafka) { free(0)? } else { 0 };
    Ok(Ports { client, monitor, peer })
}

/// Remembers who wants it.
fn note(entry: &mut Entry, whom: For) {
    match whom {
        For::Good => entry.kept = true,
        For::Run(user) => entry.users.extend(user),
    }
}

/// Waits for a service that was begun. When another program took its port meanwhile, it gets other ones.
fn finish(book: &mut Book, service: Service, whom: For, engine: &Result<Provider, String>) -> Result<String, String> {
    let mut again = true;
    loop {
        let Some(entry) = book.state.services.get(&service) else { return Err("it was not started".into()) };
        match wait(&book.place, service, entry) {
            Ok(()) => return Ok(entry.address(service)),
            Err(why) if again && why.to_lowercase().contains("address already in use") => {
                again = false;
                say(service, "another program took its port; trying others");
                clear(book, service)?;
                create(book, service, whom, engine)?;
            }
            Err(why) => return Err(why),
        }
    }
}

/// Waits until a service answers.
pub(super) fn wait(place: &Place, service: Service, entry: &Entry) -> Result<(), String> {
    let ticks = am_core::SystemTicks::default();
    let limit = service.patience();
    let mut tell = Duration::from_secs(5);
    loop {
        let why = match health::of_entry(service, entry) {
            Ok(()) => {
                say(service, &format!("ready after {:.1} s: {}", ticks.monotonic().as_secs_f64(), entry.address(service)));
                return Ok(());
            }
            Err(why) => why,
        };
        let ended = entry.servers.iter().any(|s| s.process.is_some_and(|p| !p.is_alive()));
        let waited = ticks.monotonic();
        if ended || waited > limit {
            let how = if ended { "it ended while starting".into() } else { format!("not ready within {} s", limit.as_secs()) };
            return Err(format!("{how}: {why}\n{}", last_words(place, service, entry)));
        }
        if waited > tell {
            tell += Duration::from_secs(5);
            say(service, &format!("waiting, {} of at most {} s: {why}", waited.as_secs(), limit.as_secs()));
        }
        exec::pause(Duration::from_millis(100))?;
    }
}

/// The end of what the servers wrote, for the person who has to find out.
fn last_words(place: &Place, service: Service, entry: &Entry) -> String {
    if entry.provider.is_container() {
        return container::log(entry, place, service);
    }
    let mut out = String::new();
    for n in 0..entry.servers.len() {
        let file = place.log(service, n);
        let text = std::fs::read(&file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last: Vec<String> = lines.iter().skip(lines.len().saturating_sub(5)).map(|l| format!("    {l}\n")).collect();
        out.push_str(&format!("  {} ends with:\n{}", file.display(), last.concat()));
    }
    out
}

/// Ends a service and removes what it left.
fn clear(book: &mut Book, service: Service) -> Result<(), String> {
    if let Some(mut entry) = book.state.services.remove(&service) {
        let engine = entry.provider;
        engine.discard(&book.place, service, &mut entry.servers)?;
        if engine.is_container() && !book.state.services.values().any(|e| e.provider == engine) {
            container::leave(engine, &book.place)?;
        }
    }
    book.save()
}

/// Ends services and removes their data; all of them, known or left over, when none is named.
pub(super) fn down(book: &mut Book, names: &[Service]) -> Result<(), String> {
    let mut failed = Vec::new();
    for service in Service::ALL.into_iter().filter(|s| names.is_empty() || names.contains(s)) {
        if book.state.services.contains_key(&service) {
            match clear(book, service) {
                Ok(()) => say(service, "down, data removed"),
                Err(why) => failed.push(format!("{}: {why}", service.name())),
            }
            continue;
        }
        // A state file that got lost must not keep a server alive.
        let provider = if service == Service::Kafka { Provider::Maven } else { Provider::Debian };
        if book.place.data(provider).join(service.name()).exists() {
            let stop = |n| native::stop(provider, &book.place, service, None, n, Stop::Discard);
            match (0..service.servers()).try_for_each(stop).and_then(|()| native::remove_data(provider, &book.place, service)) {
                Ok(()) => say(service, "was left over; down, data removed"),
                Err(why) => failed.push(format!("{}: {why}", service.name())),
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// Lets go of what a program used; what nobody else wants goes down.
pub(super) fn release(book: &mut Book, user: Option<Process>) -> Result<(), String> {
    for entry in book.state.services.values_mut() {
        entry.users.retain(|u| Some(*u) != user && u.is_alive());
    }
    let unwanted: Vec<Service> =
        book.state.services.iter().filter(|(_, e)| !e.kept && e.users.is_empty()).map(|(service, _)| *service).collect();
    book.save()?;
    if unwanted.is_empty() { Ok(()) } else { down(book, &unwanted) }
}

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
    let mut entry = known(book, target.service)?;
    for n in target.servers() {
        let runs = |s: &Server| !s.stopped && (entry.provider.is_container() || s.process.is_some_and(Process::is_alive));
        if entry.servers.get(n).is_some_and(|s| !runs(s)) {
            // Children of a server that died by itself may still hold its port or its data.
            if let Some(server) = entry.servers.get_mut(n) {
                entry.provider.stop(&book.place, target.service, server, n, Stop::Kill)?;
            }
            entry.provider.start(&book.place, target.service, &mut entry.servers, n)?;
        }
    }
    book.state.services.insert(target.service, entry.clone());
    book.save()?;
    // Servers that are stopped on purpose are not waited for.
    entry.servers.retain(|s| !s.stopped);
    wait(&book.place, target.service, &entry)
}

fn known(book: &Book, service: Service) -> Result<Entry, String> {
    let name = service.name();
    book.state.services.get(&service).cloned().ok_or_else(|| match environment::given(service, &book.state) {
        Some(_) => format!("{name} is the one that {} names; it was not started here", service.variable()),
        None => format!("{name} is not up; start it with `cargo xtask services up {name}`"),
    })
}

/// Tells what happens; on the error stream, so that the output of `run`'s command stays its own.
pub(super) fn say(service: Service, text: &str) {
    eprintln!("{:12}  {text}", service.name());
}
