//! Bringing services up and down.

use am_core::SystemTicks;

use super::environment;
use super::names::Service;
use super::ports::{self, Ports as FreePorts};
use super::process::Process;
use super::provider::{self, Provider, Stop};
use super::state::{Book, Entry, Ports, Server};
use super::waiting::wait;
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
        let ticks = SystemTicks::default();
        match begin(book, service, whom, &engine) {
            Ok(()) => waiting.push((service, ticks)),
            Err(why) => {
                clear(book, service)?;
                report.missing.push((service, why));
            }
        }
    }
    for (service, ticks) in waiting {
        match finish(book, service, whom, &engine, ticks) {
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
fn finish(book: &mut Book, service: Service, whom: For, engine: &Result<Provider, String>, ticks: SystemTicks) -> Result<String, String> {
    let mut again = true;
    loop {
        let Some(entry) = book.state.services.get(&service) else { return Err("it was not started".into()) };
        match wait(&book.place, service, entry, ticks) {
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

/// Tells what happens; on the error stream, so that the output of `run`'s command stays its own.
pub(super) fn say(service: Service, text: &str) {
    eprintln!("{:12}  {text}", service.name());
}
