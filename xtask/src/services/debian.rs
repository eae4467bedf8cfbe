//! Debian's packages in a folder of their own, whose programs run with that folder as their root.
//!
//! The folder is made once, by debootstrap, and shared. Nothing outside of it is installed or changed.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::names::Service;
use super::native::{quiet, remove};
use super::place::Place;
use super::provider::Provider;
use crate::exec;

/// The release with all packages; its C library is its own, so it does not matter which one the machine has.
const RELEASE: &str = "trixie";
const PACKAGES: &str = "postgresql-17,postgresql-17-timescaledb,postgresql-17-pgvector,nats-server,redis-server,ca-certificates,iproute2";
/// Holds the list of packages once the folder is complete.
const MARKER: &str = "am-packages";
const KEYRING: &str = "usr/share/keyrings/debian-archive-keyring.gpg";
const POSTGRES: &str = "usr/lib/postgresql/17/bin";

/// What must be in the folder, and the user that runs it: PostgreSQL refuses root, the others do not need it.
fn programs(service: Service) -> (&'static [&'static str], &'static str) {
    match service {
        Service::Postgres => (
            &[
                "usr/lib/postgresql/17/bin/postgres",
                "usr/lib/postgresql/17/lib/timescaledb.so",
                "usr/lib/postgresql/17/lib/vector.so",
                "usr/share/zoneinfo/UTC",
            ],
            "postgres",
        ),
        Service::Nats | Service::NatsCluster => (&["usr/sbin/nats-server"], "nats"),
        Service::Redis => (&["usr/bin/redis-server"], "redis"),
        Service::Kafka => (&[], "root"),
    }
}

/// Makes sure that the programs of a service are there; the first time this takes about a minute.
pub(super) fn prepare(place: &Place, service: Service) -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Err("Debian's packages run on Linux only".into());
    }
    if !is_root() {
        return Err("running Debian's packages needs root, for chroot".into());
    }
    let folder = place.debian();
    let there = || programs(service).0.iter().all(|file| folder.join(file).exists());
    if there() {
        return Ok(());
    }
    let lock = std::fs::File::create(folder.with_extension("lock")).map_err(|e| format!("{}: {e}", folder.display()))?;
    lock.lock().map_err(|e| format!("{}: {e}", folder.display()))?;
    if there() {
        return Ok(());
    }
    if folder.exists() {
        return Err(format!("{} is not complete; delete it, and it will be made again", folder.display()));
    }
    make(place, &folder)?;
    if there() { Ok(()) } else { Err(format!("{} has no programs for {}", folder.display(), service.name())) }
}

fn make(place: &Place, folder: &Path) -> Result<(), String> {
    let log = place.log_named("debootstrap");
    let new = folder.with_extension("new");
    remove(&new)?;
    let (program, scripts, keyring) = debootstrap(folder, &log)?;
    eprintln!("making {} with debootstrap: Debian {RELEASE} with {PACKAGES}", folder.display());
    eprintln!("this is done once, takes about a minute and 0.7 GB, and touches nothing else; {} grows meanwhile", log.display());
    let mut c = Command::new(program);
    c.args(["--variant=minbase", "--force-check-gpg"]).arg(format!("--include={PACKAGES}")).arg("--keyring").arg(keyring);
    c.envs(scripts.map(|dir| ("DEBOOTSTRAP_DIR", dir)));
    exec::run_into(c.arg(RELEASE).arg(&new), &log)?;
    std::fs::write(new.join(MARKER), PACKAGES).map_err(|e| e.to_string())?;
    std::fs::rename(&new, folder).map_err(|e| format!("{}: {e}", folder.display()))
}

/// The program, its scripts where they are not at their usual place, and the keys that Debian signs with. What the
/// machine lacks is unpacked beside the folder, not installed.
fn debootstrap(folder: &Path, log: &Path) -> Result<(PathBuf, Option<PathBuf>, PathBuf), String> {
    let installed = exec::capture(Command::new("debootstrap").arg("--version")).is_ok();
    let keyring = Path::new("/").join(KEYRING);
    if installed && keyring.exists() {
        return Ok(("debootstrap".into(), None, keyring));
    }
    let own = folder.with_file_name("debootstrap");
    let fetch = |e: String| format!("debootstrap is not installed and cannot be fetched: {e}");
    if !own.join("usr/sbin/debootstrap").exists() || !own.join(KEYRING).exists() {
        eprintln!("debootstrap or Debian's keys are not installed; unpacking both into {}", own.display());
        let apt = own.join("apt");
        std::fs::create_dir_all(apt.join("lists/partial")).map_err(|e| fetch(e.to_string()))?;
        // Lists of its own: those of the system may be missing, and are not ours to change.
        let lists = format!("Dir::State::Lists={}/lists", apt.display());
        let cache = format!("Dir::Cache={}", apt.display());
        let options = ["-q", "-o", &lists, "-o", &cache, "-o", "APT::Sandbox::User=root"];
        exec::run_into(Command::new("apt-get").args(options).arg("update"), log).map_err(fetch)?;
        let mut download = Command::new("apt-get");
        download.args(options).args(["download", "debootstrap", "debian-archive-keyring"]).current_dir(&apt);
        exec::run_into(&mut download, log).map_err(fetch)?;
        for entry in std::fs::read_dir(&apt).map_err(|e| fetch(e.to_string()))?.flatten() {
            if entry.path().extension().is_some_and(|e| e == "deb") {
                exec::run_into(Command::new("dpkg-deb").arg("-x").arg(entry.path()).arg(&own), log).map_err(fetch)?;
            }
        }
        remove(&apt)?;
    }
    Ok((own.join("usr/sbin/debootstrap"), Some(own.join("usr/share/debootstrap")), own.join(KEYRING)))
}

/// The server of a service, on the data in `seen`.
pub(super) fn server(place: &Place, service: Service, seen: &str) -> Command {
    let mut c = inside(place, programs(service).1);
    match service {
        Service::Postgres => c.arg(format!("/{POSTGRES}/postgres")).arg("-D").arg(format!("{seen}/data")),
        Service::Redis => c.arg("/usr/bin/redis-server").arg(format!("{seen}/redis.conf")),
        _ => c.arg("/usr/sbin/nats-server").arg("-c").arg(format!("{seen}/server.conf")),
    };
    c
}

/// Makes a database cluster whose only way in is this machine.
pub(super) fn initdb(place: &Place, seen: &str) -> Command {
    let mut c = inside(place, "postgres");
    c.arg(format!("/{POSTGRES}/initdb")).arg("-D").arg(format!("{seen}/data"));
    c.args(["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]);
    c
}

/// Makes the user of a service the owner of its folder and lets it get there, whatever the umask was.
pub(super) fn open_to_users(place: &Place, service: Service) -> Result<(), String> {
    let data = place.data(Provider::Debian);
    quiet(Command::new("chmod").arg("755").args([&place.debian(), &place.debian().join("srv/am"), &data]))?;
    let user = programs(service).1;
    let seen = place.as_seen(&data.join(service.name()));
    quiet(inside(place, "root").arg("chown").arg("-R").arg(format!("{user}:{user}")).arg(seen))
}

fn inside(place: &Place, user: &str) -> Command {
    let mut c = Command::new("chroot");
    c.arg(format!("--userspec={user}:{user}")).arg(place.debian());
    c
}

#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}
