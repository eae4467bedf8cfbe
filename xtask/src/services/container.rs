//! Servers as containers of `deploy/compose.yaml`.

use std::process::Command;

use super::names::Service;
use super::native::quiet;
use super::place::Place;
use super::provider::{Provider, Stop};
use super::state::{Entry, Server};
use crate::{exec, project_root};

/// The engine whose daemon answers and which understands compose files.
pub(super) fn engine() -> Result<Provider, String> {
    let mut reasons = Vec::new();
    for provider in [Provider::Docker, Provider::Podman] {
        let name = provider.name();
        let works = exec::capture(Command::new(name).arg("info"))
            .and_then(|_| exec::capture(Command::new(name).args(["compose", "version"])).map_err(|e| format!("no compose: {e}")));
        match works {
            Ok(_) => return Ok(provider),
            Err(why) if why.contains("No such file") => reasons.push(format!("{name} is not installed")),
            Err(why) if why.starts_with(name) => reasons.push(why),
            Err(why) => reasons.push(format!("{name}: {why}")),
        }
    }
    Err(reasons.join("; "))
}

/// Starts new containers; fetches their images first.
pub(super) fn create(engine: Provider, place: &Place, service: Service, servers: &[Server]) -> Result<(), String> {
    let mut c = compose(engine, place);
    for (n, server) in servers.iter().enumerate() {
        c.envs(variables(service, n, server));
    }
    exec::run(c.args(["up", "--detach", "--no-deps"]).args(names(service)))
}

pub(super) fn start(engine: Provider, place: &Place, service: Service, index: usize) -> Result<(), String> {
    quiet(compose(engine, place).arg("start").args(names(service).get(index)))
}

pub(super) fn stop(engine: Provider, place: &Place, service: Service, index: usize, how: Stop) -> Result<(), String> {
    let mut c = compose(engine, place);
    match how {
        Stop::Gently => c.args(["stop", "--timeout", "15"]),
        Stop::Kill | Stop::Discard => c.args(["kill", "--signal", "SIGKILL"]),
    };
    quiet(c.args(names(service).get(index)))
}

/// Removes the containers with their volumes.
pub(super) fn discard(engine: Provider, place: &Place, service: Service) -> Result<(), String> {
    quiet(compose(engine, place).args(["rm", "--stop", "--force", "--volumes"]).args(names(service)))
}

/// Removes the network as well, once no service is left.
pub(super) fn leave(engine: Provider, place: &Place) -> Result<(), String> {
    quiet(compose(engine, place).args(["down", "--volumes", "--remove-orphans"]))
}

/// The last lines that its containers wrote.
pub(super) fn log(entry: &Entry, place: &Place, service: Service) -> String {
    let mut c = compose(entry.provider, place);
    let out = c.args(["logs", "--no-color", "--tail", "5"]).args(names(service)).output();
    out.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default()
}

fn compose(engine: Provider, place: &Place) -> Command {
    let mut c = Command::new(engine.name());
    c.args(["compose", "--project-name"]).arg(format!("am-{}", place.instance()));
    c.arg("--file").arg(project_root().join("deploy/compose.yaml")).args(["--profile", "cluster"]);
    c
}

/// What the file calls the servers.
fn names(service: Service) -> Vec<String> {
    match service.servers() {
        1 => vec![service.name().into()],
        n => (1..=n).map(|n| format!("nats-{n}")).collect(),
    }
}

/// The variables of the file that say which ports a server gets.
fn variables(service: Service, index: usize, server: &Server) -> Vec<(String, String)> {
    let name = match service {
        Service::NatsCluster => format!("NATS_{}", index + 1),
        other => other.name().to_uppercase(),
    };
    let mut out = vec![(format!("AM_{name}_PORT"), server.ports.client.to_string())];
    if server.ports.monitor != 0 {
        out.push((format!("AM_{name}_MONITOR_PORT"), server.ports.monitor.to_string()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compose_file_has_every_server_and_every_port() {
        let text = std::fs::read_to_string(project_root().join("deploy/compose.yaml")).unwrap();
        for service in Service::ALL {
            for (n, name) in names(service).iter().enumerate() {
                assert!(text.contains(&format!("\n  {name}:")), "{name}");
                let ports = super::super::lifecycle::ports(service, &mut |_| Ok(7)).unwrap();
                let server = Server { ports, process: None, stopped: false };
                for (variable, _) in variables(service, n, &server) {
                    assert!(text.contains(&format!("127.0.0.1:${{{variable}:-")), "{variable}");
                }
            }
        }
    }

    #[test]
    fn the_compose_file_listens_on_loopback_only_and_holds_no_secret() {
        let text = std::fs::read_to_string(project_root().join("deploy/compose.yaml")).unwrap();
        let ports: Vec<&str> = text.lines().map(str::trim).filter(|l| l.starts_with("- \"") && l.contains("_PORT")).collect();
        assert!(ports.len() >= 11 && ports.iter().all(|l| l.starts_with("- \"127.0.0.1:$")), "{ports:?}");
        assert!(!text.to_lowercase().contains("password"));
    }
}
