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
        let begun = begin(book, service, whom, &engine).or_else(|why| again_if_port_taken(book, service, whom, &engine, why));
        match begun {
            Ok(()) => waiting.push((service, SystemTicks::default())),
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
            if entry.provider.is_container() && health::of_entry(service, &entry).is_err() {
                // Containers that were removed are made again, the others stay.
                entry.provider.create(&book.place, service, &mut entry.servers)?;
            }
            book.state.services.insert(service, entry);
            return book.save();
        }
    }
    let created = create(book, service, whom, engine);
    match (created, engine) {
        // Such as an image that cannot be fetched.
        (Err(why), Ok(_)) if !exec::stopping() => {
            say(service, &format!("cannot be had as a container ({why}); trying packages"));
            clear(book, service)?;
            create(book, service, whom, &Err(why))
        }
        (created, _) => created,
    }
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

/// When another program took a port between the choice and the start, others are tried.
fn again_if_port_taken(book: &mut Book, service: Service, whom: For, engine: &Result<Provider, String>, why: String) -> Result<(), String> {
    let taken = ["address already in use", native::PORT_TAKEN].iter().any(|phrase| why.to_lowercase().contains(phrase));
    if !taken {
        return Err(why);
    }
    say(service, "another program took its port; trying others");
    clear(book, service)?;
    create(book, service, whom, engine)
}

/// Waits for a service that was started at `ticks`.
fn finish(book: &mut Book, service: Service, whom: For, engine: &Result<Provider, String>, ticks: SystemTicks) -> Result<String, String> {
    let answer = |book: &Book| match book.state.services.get(&service) {
        Some(entry) => wait(&book.place, service, entry, ticks).map(|()| entry.address(service)),
        None => Err("it was not started".into()),
    };
    answer(book).or_else(|why| {
        again_if_port_taken(book, service, whom, engine, why)?;
        answer(book)
    })
}

/// Ends a service and removes what it left.
fn clear(book: &mut Book, service: Service) -> Result<(), String> {
    if let Some(mut entry) = book.state.services.remove(&service) {
        let engine = entry.provider;
        match engine.discard(&book.place, service, &mut entry.servers) {
            // An engine that does not answer runs no containers.
            Err(why) if engine.is_container() => say(service, &format!("its containers cannot be removed: {why}")),
            discarded => discarded?,
        }
        if engine.is_container() && !book.state.services.values().any(|e| e.provider == engine) {
            // Only a network may stay behind.
            let _ = container::leave(engine, &book.place);
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
