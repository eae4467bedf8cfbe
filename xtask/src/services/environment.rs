//! Variables: those that name services, and those that tests get.

use std::path::Path;

use super::lifecycle::Report;
use super::names::Service;
use super::place::{FOLDER, Place};
use super::provider::Provider;
use super::state::State;

/// A command line that tests can run, behind which they write `restart postgres --kill` and the like.
const CONTROL: &str = "AM_TEST_SERVICES_CTL";
/// The services whose tests must not be skipped.
const REQUIRE: &str = "AM_TEST_REQUIRE";
/// The folder with PostgreSQL's Unix socket, where there is one.
const SOCKET: &str = "AM_TEST_POSTGRES_SOCKET";

/// The value of the variable that names a service which was not started here. A program that `run` started has the
/// variables of our own services, and these are not somebody else's.
pub(super) fn given(service: Service, state: &State) -> Option<String> {
    foreign(service, state, std::env::var(service.variable()).ok())
}

fn foreign(service: Service, state: &State, value: Option<String>) -> Option<String> {
    let own = state.services.get(&service).map(|e| e.address(service));
    value.filter(|v| !v.trim().is_empty() && Some(v) != own.as_ref())
}

/// What a program that uses the services finds in its environment; `None` where a variable must not be set.
pub(super) fn variables(report: &Report, place: &Place, state: &State) -> Vec<(&'static str, Option<String>)> {
    let up = |service: Service| report.up.iter().find(|(s, _)| *s == service).map(|(_, address)| address.clone());
    let mut out: Vec<_> = Service::ALL.into_iter().map(|s| (s.variable(), up(s))).collect();
    let names: Vec<&str> = report.up.iter().map(|(s, _)| s.name()).collect();
    out.push((REQUIRE, Some(names.join(",")).filter(|n| !n.is_empty())));
    let postgres = state.services.get(&Service::Postgres).filter(|e| e.provider == Provider::Debian && up(Service::Postgres).is_some());
    let socket = postgres.map(|e| place.server(e.provider, Service::Postgres, 0).join("socket").display().to_string());
    out.push((SOCKET, socket));
    out.push((CONTROL, std::env::current_exe().ok().map(|exe| control(&exe))));
    // The program may work in another folder, so this must not be relative any more.
    out.push((FOLDER, Some(place.root().display().to_string())));
    out
}

/// The path of this program as a shell reads it, and the command.
fn control(exe: &Path) -> String {
    let path = exe.display().to_string();
    let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@:\\".contains(c));
    let path = if plain { path } else { format!("'{}'", path.replace('\'', "'\\''")) };
    format!("{path} services")
}

#[cfg(test)]
mod tests {
    use super::super::state::{Entry, Ports, Server};
    use super::*;

    fn running(port: u16) -> State {
        let ports = Ports { client: port, ..Ports::default() };
        let servers = vec![Server { ports, process: None, stopped: false }];
        let entry = Entry { provider: Provider::Debian, servers, kept: true, users: Vec::new() };
        State { boot: String::new(), services: [(Service::Redis, entry)].into() }
    }

    #[test]
    fn a_variable_that_names_our_own_service_is_not_a_foreign_one() {
        let of = |value: &str| foreign(Service::Redis, &running(7000), Some(value.into()));
        assert_eq!(of("redis://127.0.0.1:7000"), None);
        assert_eq!(of("redis://10.0.0.1:7000").as_deref(), Some("redis://10.0.0.1:7000"));
        assert_eq!(of(" "), None);
        assert_eq!(foreign(Service::Redis, &running(7000), None), None);
    }

    #[test]
    fn what_is_up_is_named_and_required_and_what_is_not_is_unset() {
        let report = Report {
            up: vec![(Service::Nats, "nats://x:1".into()), (Service::Redis, "redis://x:2".into())],
            missing: vec![(Service::Kafka, "no java".into())],
        };
        let all = variables(&report, &Place::of_environment(), &State::default());
        let of = |name: &str| all.iter().find(|(n, _)| *n == name).and_then(|(_, v)| v.as_deref());
        assert_eq!(of("AM_TEST_NATS"), Some("nats://x:1"));
        assert!(all.contains(&("AM_TEST_KAFKA", None)) && all.contains(&("AM_TEST_POSTGRES_SOCKET", None)));
        assert_eq!(of("AM_TEST_REQUIRE"), Some("nats,redis"));
        assert!(of("AM_TEST_SERVICES_CTL").is_some_and(|c| c.ends_with(" services")) && of("AM_SERVICES_DIR").is_some());
        let none = variables(&Report::default(), &Place::of_environment(), &State::default());
        assert!(none.contains(&("AM_TEST_REQUIRE", None)));
    }

    #[test]
    fn the_control_command_survives_a_shell() {
        assert_eq!(control(Path::new("/t/debug/xtask")), "/t/debug/xtask services");
        assert_eq!(control(Path::new("/my t/it's")), "'/my t/it'\\''s' services");
    }
}
