//! Where a service comes from, and how each source starts and ends its servers.

use serde::{Deserialize, Serialize};

use super::names::Service;
use super::place::Place;
use super::state::Server;
use super::{container, debian, maven, native};

/// A source of services. One that the environment names comes from none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Provider {
    /// Containers of `deploy/compose.yaml`.
    Docker,
    /// The same with another engine.
    Podman,
    /// Debian's packages in a folder of their own.
    Debian,
    /// The jars that Maven fetches.
    Maven,
}

/// How to end a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// As an operator does, its data written.
    Gently,
    /// As a crash does: the server and all its children at once.
    Kill,
    /// As fast as it goes without leaving something behind; its data is thrown away next.
    Discard,
}

impl Provider {
    /// What `status` calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Provider::Docker => "docker",
            Provider::Podman => "podman",
            Provider::Debian => "debian",
            Provider::Maven => "maven",
        }
    }

    pub(super) const fn is_container(self) -> bool {
        matches!(self, Provider::Docker | Provider::Podman)
    }

    /// Makes new data and starts all servers, which then hold their process.
    pub(super) fn create(self, place: &Place, service: Service, servers: &mut [Server]) -> Result<(), String> {
        if self.is_container() {
            return container::create(self, place, service, servers);
        }
        native::create(self, place, service, servers)?;
        (0..servers.len()).try_for_each(|n| self.start(place, service, servers, n))
    }

    /// Starts a server whose data is there.
    pub(super) fn start(self, place: &Place, service: Service, servers: &mut [Server], index: usize) -> Result<(), String> {
        let Some(server) = servers.get_mut(index) else { return Err(format!("{} has no server {index}", service.name())) };
        if self.is_container() {
            container::start(self, place, service, index)?;
        } else {
            server.process = Some(native::start(self, place, service, index, server.ports)?);
        }
        server.stopped = false;
        Ok(())
    }

    /// Ends a server; its data stays.
    pub(super) fn stop(self, place: &Place, service: Service, server: &mut Server, index: usize, how: Stop) -> Result<(), String> {
        if self.is_container() {
            container::stop(self, place, service, index, how)?;
        } else {
            native::stop(self, place, service, server.process, index, how)?;
        }
        server.process = None;
        server.stopped = true;
        Ok(())
    }

    /// Ends all servers and removes their data.
    pub(super) fn discard(self, place: &Place, service: Service, servers: &mut [Server]) -> Result<(), String> {
        if self.is_container() {
            return container::discard(self, place, service);
        }
        for (n, server) in servers.iter_mut().enumerate() {
            self.stop(place, service, server, n, Stop::Discard)?;
        }
        native::remove_data(self, place, service)
    }
}

/// The first source that works: a container engine, then packages, which are fetched when they are not there yet.
pub(super) fn choose(place: &Place, service: Service, engine: &Result<Provider, String>) -> Result<Provider, String> {
    first_that_works(service, engine, || match service {
        Service::Kafka => maven::prepare(place).map(|()| Provider::Maven),
        _ => debian::prepare(place, service).map(|()| Provider::Debian),
    })
}

fn first_that_works(
    service: Service,
    engine: &Result<Provider, String>,
    packages: impl FnOnce() -> Result<Provider, String>,
) -> Result<Provider, String> {
    let no_engine = match engine {
        Ok(engine) => return Ok(*engine),
        Err(why) => why,
    };
    packages().map_err(|why| format!("{} is not set; no container engine ({no_engine}); no packages ({why})", service.variable()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_engine_comes_first_and_packages_are_not_fetched_then() {
        let packages = || panic!("asked for packages");
        assert_eq!(first_that_works(Service::Redis, &Ok(Provider::Podman), packages), Ok(Provider::Podman));
    }

    #[test]
    fn packages_come_second_and_without_them_each_reason_is_named() {
        let no_engine = Err("docker: no daemon".to_owned());
        assert_eq!(first_that_works(Service::Kafka, &no_engine, || Ok(Provider::Maven)), Ok(Provider::Maven));
        let why = first_that_works(Service::Kafka, &no_engine, || Err("there is no java".into())).unwrap_err();
        assert_eq!(why, "AM_TEST_KAFKA is not set; no container engine (docker: no daemon); no packages (there is no java)");
    }
}
