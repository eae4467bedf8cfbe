//! What is remembered between commands: which servers were started, where they listen, who uses them.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::Service;
use super::place::Place;
use super::process::Process;
use super::provider::Provider;
use crate::exec;

/// The services of one place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// The boot of the machine that the processes belong to; another one means that none of them lives.
    pub(super) boot: String,
    pub(super) services: BTreeMap<Service, Entry>,
}

/// A service that was started here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) provider: Provider,
    pub(super) servers: Vec<Server>,
    /// Somebody asked for it with `up`: it stays when those who use it have ended.
    #[serde(default)]
    pub(super) kept: bool,
    /// The `run`s and `test`s that use it.
    #[serde(default)]
    pub(super) users: Vec<Process>,
}

/// One server of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Server {
    pub(super) ports: Ports,
    /// None for a container, whose engine knows its processes.
    #[serde(default)]
    pub(super) process: Option<Process>,
    /// `stop` ended it, its data is there.
    #[serde(default)]
    pub(super) stopped: bool,
}

/// The ports of a server on 127.0.0.1; 0 where it has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Ports {
    pub(super) client: u16,
    /// NATS: where it tells about itself over HTTP.
    pub(super) monitor: u16,
    /// NATS: where the other servers of the cluster connect. Kafka: the controller.
    pub(super) peer: u16,
}

impl Entry {
    /// Where clients find it; several servers are separated by commas.
    pub(super) fn address(&self, service: Service) -> String {
        let urls: Vec<String> = self.servers.iter().map(|s| service.url(s.ports.client)).collect();
        urls.join(",")
    }
}

impl State {
    /// Reads the file; a missing one means that nothing was started.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        match std::fs::read_to_string(file) {
            Ok(text) => serde_json::from_str(&text).map_err(|e| {
                let file = file.display();
                format!("{file} cannot be read: {e}; delete it and run `cargo xtask services down`, which ends what still runs")
            }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(State::default()),
            Err(e) => Err(format!("{}: {e}", file.display())),
        }
    }

    /// All ports that are spoken for.
    pub(super) fn ports(&self) -> Vec<u16> {
        let servers = self.services.values().flat_map(|e| &e.servers);
        servers.flat_map(|s| [s.ports.client, s.ports.monitor, s.ports.peer]).filter(|p| *p != 0).collect()
    }

    /// After another boot no process of before lives, even if one now has its number.
    fn forget_other_boots(&mut self, boot: String) {
        if self.boot != boot {
            for entry in self.services.values_mut() {
                entry.users.clear();
                entry.servers.iter_mut().for_each(|s| s.process = None);
            }
            self.boot = boot;
        }
    }
}

/// The state, held by one command at a time.
pub(super) struct Book {
    pub(super) place: Place,
    pub(super) state: State,
    _lock: File,
}

impl Book {
    /// Waits until no other command holds the state, then reads it.
    pub(super) fn open(place: Place) -> Result<Self, String> {
        Self::open_unless(place, exec::stopping)
    }

    /// The same when the user may have asked to stop, since cleaning up comes after that.
    pub(super) fn open_to_clean_up(place: Place) -> Result<Self, String> {
        Self::open_unless(place, || false)
    }

    fn open_unless(place: Place, give_up: impl Fn() -> bool) -> Result<Self, String> {
        let file = place.lock_file();
        let shown = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
        std::fs::create_dir_all(place.root().join("logs")).map_err(|e| shown(&e))?;
        let lock = File::create(&file).map_err(|e| shown(&e))?;
        let mut told = false;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(e)) => return Err(shown(&e)),
                Err(TryLockError::WouldBlock) => {
                    if !std::mem::replace(&mut told, true) {
                        eprintln!("another `services` command is at work here; waiting for it");
                    }
                    let _ = exec::pause(Duration::from_millis(50));
                    if give_up() {
                        return Err("stopped".into());
                    }
                }
            }
        }
        let mut state = State::read(&place.state_file())?;
        state.forget_other_boots(super::process::boot());
        Ok(Book { place, state, _lock: lock })
    }

    /// Writes the state, as a whole or not at all.
    pub(super) fn save(&self) -> Result<(), String> {
        let file = self.place.state_file();
        let new = file.with_extension("json.new");
        let text = serde_json::to_string_pretty(&self.state).map_err(|e| e.to_string())?;
        std::fs::write(&new, text + "\n").and_then(|()| std::fs::rename(&new, &file)).map_err(|e| format!("{}: {e}", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> State {
        let server = |n: u16| Server {
            ports: Ports { client: n, monitor: n + 1, peer: n + 2 },
            process: Some(Process { pid: u32::from(n), started: 7 }),
            stopped: false,
        };
        let servers = vec![server(100), server(200), server(300)];
        let entry = Entry { provider: Provider::Debian, servers, kept: true, users: vec![Process { pid: 9, started: 9 }] };
        State { boot: "b".into(), services: [(Service::NatsCluster, entry)].into() }
    }

    #[test]
    fn what_is_written_is_read_again_and_later_fields_may_be_missing() {
        let state = cluster();
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
        let old = r#"{"services":{"redis":{"provider":"docker","servers":[{"ports":{"client":5}}]}}}"#;
        let old: State = serde_json::from_str(old).unwrap();
        assert_eq!(old.services[&Service::Redis].address(Service::Redis), "redis://127.0.0.1:5");
        assert!(!old.services[&Service::Redis].kept);
    }

    #[test]
    fn a_cluster_has_one_address_with_all_its_servers() {
        let state = cluster();
        let address = state.services[&Service::NatsCluster].address(Service::NatsCluster);
        assert_eq!(address, "nats://127.0.0.1:100,nats://127.0.0.1:200,nats://127.0.0.1:300");
        assert_eq!(state.ports(), [100, 101, 102, 200, 201, 202, 300, 301, 302]);
    }

    #[test]
    fn after_another_boot_no_process_is_believed() {
        let mut state = cluster();
        state.forget_other_boots("b".into());
        assert_eq!(state, cluster());
        state.forget_other_boots("c".into());
        let entry = &state.services[&Service::NatsCluster];
        assert!(entry.users.is_empty() && entry.servers.iter().all(|s| s.process.is_none()));
        assert_eq!(entry.servers[0].ports.client, 100);
    }

    #[test]
    fn a_broken_state_file_says_what_to_do_and_a_missing_one_is_empty() {
        let dir = std::env::temp_dir().join(format!("am-xtask-state-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        assert_eq!(State::read(&dir.join("none.json")), Ok(State::default()));
        std::fs::write(dir.join("bad.json"), "{").unwrap();
        assert!(State::read(&dir.join("bad.json")).unwrap_err().contains("services down"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
