//! Whether services answer as their clients need them to.

use super::address::Address;
use super::names::Service;
use super::state::{Entry, Server};
use super::wire;

/// Asks one server that was started here.
pub(super) fn of_server(service: Service, server: &Server) -> Result<(), String> {
    if server.stopped {
        return Err("stopped".into());
    }
    if let Some(process) = server.process.filter(|p| !p.is_alive()) {
        return Err(format!("process {} is gone", process.pid));
    }
    if matches!(service, Service::Nats | Service::NatsCluster) && server.ports.monitor != 0 {
        // After a restart the streams are there only when this says so.
        wire::get(server.ports.monitor, "/healthz")?;
    }
    if service == Service::NatsCluster {
        let told = wire::get(server.ports.monitor, "/jsz")?;
        let leader = told["meta_cluster"]["leader"].as_str().unwrap_or_default();
        let size = told["meta_cluster"]["cluster_size"].as_u64().unwrap_or_default();
        if leader.is_empty() || size < 3 {
            return Err(format!("the cluster of {size} servers has no leader"));
        }
    }
    // Last: without a leader JetStream would not refuse, but keep silent.
    ask(service, &Address::parse(&service.url(server.ports.client), service.usual_port())?)
}

/// Asks all servers of a service that was started here.
pub(super) fn of_entry(service: Service, entry: &Entry) -> Result<(), String> {
    entry.servers.iter().enumerate().try_for_each(|(n, server)| {
        let named = |why: String| if entry.servers.len() == 1 { why } else { format!("{}: {why}", service.server_name(n)) };
        of_server(service, server).map_err(named)
    })
}

/// Asks a service that the environment names.
pub(super) fn of_given(service: Service, value: &str) -> Result<(), String> {
    let all = Address::parse_all(value, service.usual_port())?;
    if all.is_empty() {
        return Err("no address".into());
    }
    all.iter().try_for_each(|address| ask(service, address))
}

fn ask(service: Service, address: &Address) -> Result<(), String> {
    match (service, address.scheme.as_str()) {
        (_, "tls" | "rediss" | "ws" | "wss") => wire::listens(address),
        (Service::Postgres, _) => wire::postgres(address),
        (Service::Nats | Service::NatsCluster, _) => wire::nats(address),
        (Service::Kafka, _) => wire::kafka(address),
        (Service::Redis, _) => wire::redis(address),
    }
}
