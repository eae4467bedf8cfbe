//! Where things lie: state, logs and data of these services, and the programs that all share.

use std::path::{Path, PathBuf};

use super::names::Service;
use super::provider::Provider;
use crate::exec;

/// The folder that holds state, logs and data instead of `~/.cache/am/services`.
pub(super) const FOLDER: &str = "AM_SERVICES_DIR";

/// One set of services.
#[derive(Debug, Clone)]
pub(super) struct Place {
    root: PathBuf,
    shared: PathBuf,
    instance: String,
}

impl Place {
    /// The place that the environment names, else the usual one.
    pub(super) fn of_environment() -> Self {
        let own = std::env::var_os(FOLDER).filter(|dir| !dir.is_empty());
        let own = own.map(|dir| std::path::absolute(&dir).unwrap_or_else(|_| dir.into()));
        Self::new(own, exec::cache_dir().join("services"))
    }

    fn new(own: Option<PathBuf>, shared: PathBuf) -> Self {
        let root = own.unwrap_or_else(|| shared.clone());
        // Sets of services share the programs' folder, so each needs a name of its own below it.
        let instance = if root == shared { "default".into() } else { format!("{:016x}", fnv(root.as_os_str().as_encoded_bytes())) };
        Place { root, shared, instance }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// A word that no other set of services on this machine has.
    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    pub(super) fn state_file(&self) -> PathBuf {
        self.root.join("state.json")
    }

    pub(super) fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// What the server writes to its output.
    pub(super) fn log(&self, service: Service, server: usize) -> PathBuf {
        self.log_named(&service.server_name(server).replace(':', "-"))
    }

    pub(super) fn log_named(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// The folder with Debian's programs, shared by all sets of services.
    pub(super) fn debian(&self) -> PathBuf {
        self.shared.join("debian")
    }

    /// The folder with what comes from Maven, shared by all sets of services.
    pub(super) fn maven(&self) -> PathBuf {
        self.shared.join("kafka")
    }

    /// All data of these services that programs of this provider keep.
    pub(super) fn data(&self, provider: Provider) -> PathBuf {
        match provider {
            Provider::Debian => self.debian().join("srv/am").join(&self.instance),
            _ => self.root.join("data"),
        }
    }

    /// The folder of one server, as this program sees it.
    pub(super) fn server(&self, provider: Provider, service: Service, server: usize) -> PathBuf {
        let dir = self.data(provider).join(service.name());
        if service.servers() == 1 { dir } else { dir.join((server + 1).to_string()) }
    }

    /// The same folder as the server sees it: Debian's programs run with another root.
    pub(super) fn seen_by_server(&self, provider: Provider, service: Service, server: usize) -> String {
        self.as_seen(&self.server(provider, service, server))
    }

    /// A path as programs see it that run in Debian's folder; others see it as it is.
    pub(super) fn as_seen(&self, full: &Path) -> String {
        match full.strip_prefix(self.debian()) {
            Ok(below) => format!("/{}", below.display()),
            Err(_) => full.display().to_string(),
        }
    }
}

/// FNV-1a: a name that stays the same from build to build.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_services_share_programs_but_no_data() {
        let usual = Place::new(None, "/c/services".into());
        let other = Place::new(Some("/tmp/a".into()), "/c/services".into());
        let third = Place::new(Some("/tmp/b".into()), "/c/services".into());
        assert_eq!((usual.instance(), usual.debian()), ("default", other.debian()));
        assert_eq!(usual.server(Provider::Debian, Service::Nats, 0), Path::new("/c/services/debian/srv/am/default/nats"));
        assert_eq!(usual.seen_by_server(Provider::Debian, Service::NatsCluster, 1), "/srv/am/default/nats-cluster/2");
        assert_eq!(other.seen_by_server(Provider::Maven, Service::Kafka, 0), "/tmp/a/data/kafka");
        assert_eq!(other.log(Service::NatsCluster, 0), Path::new("/tmp/a/logs/nats-cluster-1.log"));
        assert_ne!(other.data(Provider::Debian), usual.data(Provider::Debian));
        assert_ne!(other.data(Provider::Debian), third.data(Provider::Debian));
    }
}
