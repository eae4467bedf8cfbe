//! What the programs of a cluster have in common: where the store and the bus are, configuration, signals, the line they begin with.
#![allow(dead_code, reason = "each program takes what it needs")]

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use am_core::config::Loader;
use am_core::{CancelToken, Clock, Code, Error, Result, Scope};
use am_pipeline::TokioClock;
use am_pipeline::bus::{self, Bus, BusOptions};
use am_schema::Catalogue;
use am_store::bus::{GatewayOptions, PersisterOptions, WorkerOptions};
use am_store::{Store, StoreOptions};
use clap::Args;
use serde::Deserialize;

/// Where things are.
#[derive(Debug, Args)]
pub(crate) struct Places {
    /// The store: `postgres://USER@HOST/DATABASE`, `sqlite:PATH` or `memory:`. Secrets belong into the file or AM__ variables
    #[arg(long, value_name = "URL", env = "AM_STORE", hide_env_values = true)]
    pub(crate) store: String,

    /// The bus: `nats://HOST:PORT[,…]` or `kafka://HOST:PORT[,…]`
    #[arg(long, value_name = "URL", env = "AM_BUS", hide_env_values = true)]
    pub(crate) bus: Option<String>,

    /// A TOML file with [server], [store], [bus], [gateway], [persister] and [worker]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<String>,

    /// Set a value of the configuration, such as bus.nats.prefix=am
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,

    /// Says nothing but the first line and errors
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// The file's tables.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) server: am_server::ServerConfig,
    pub(crate) store: StoreOptions,
    pub(crate) bus: BusOptions,
    pub(crate) gateway: GatewayOptions,
    pub(crate) persister: PersisterOptions,
    pub(crate) worker: WorkerOptions,
}

/// A program of the cluster at work.
pub(crate) struct Member {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) bus: Option<Bus>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stop: CancelToken,
    pub(crate) quiet: bool,
}

impl Places {
    /// Reads the configuration: defaults, then the file, then `AM__…` variables, then `--set`.
    pub(crate) fn configuration(&self) -> Result<Config> {
        let mut loader = Loader::new();
        if let Some(path) = &self.config {
            loader = loader.file(path, |p| std::fs::read_to_string(p));
        }
        loader.variables(std::env::vars_os()).flags(&self.set).load()
    }

    /// Opens what it names. Signals are listened to before anything is open, so that none is missed.
    pub(crate) async fn open(&self) -> Result<Member> {
        let config = self.configuration()?;
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::default());
        let stop = CancelToken::new();
        let signal = stop_signal()?;
        let raised = stop.clone();
        tokio::spawn(async move {
            signal.await;
            raised.cancel();
        });
        let store = Store::open(&self.store, config.store.clone(), clock.clone(), Catalogue::builtin()).await?;
        let bus = match &self.bus {
            Some(url) => Some(bus::open(url, config.bus.clone(), clock.clone()).await?),
            None => None,
        };
        if let Some(bus) = bus.as_ref().filter(|b| !b.durability.is_custody()) {
            tracing::warn!(bus = bus.name, durability = ?bus.durability, "an acknowledgement of this bus does not outlast a power cut");
            eprintln!("warning: an acknowledgement of this bus does not outlast a power cut ({:?}); see docs/nats.md", bus.durability);
        }
        Ok(Member { config, store, bus, clock, stop, quiet: self.quiet })
    }
}

impl Member {
    /// The bus, for programs that cannot do without.
    pub(crate) fn the_bus(&self) -> Result<Bus> {
        let missing = || Error::new(Code::BAD_CONFIG, "this program needs a bus: give --bus nats://HOST:PORT").op("cluster");
        self.bus.clone().ok_or_else(missing)
    }

    /// The first line of output, by which other programs know that this one is ready.
    pub(crate) fn announce(&self, mut line: serde_json::Value) -> Result<()> {
        line["pid"] = std::process::id().into();
        println!("{line}");
        std::io::stdout().flush().map_err(|e| Error::io("cluster.announce", "standard output", e))
    }

    /// Says something every ten seconds until the program is to stop.
    pub(crate) async fn report(&self, mut line: impl FnMut() -> String) {
        let mut last = String::new();
        while !self.stop.is_cancelled() {
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.clock.sleep(Duration::from_secs(10)) => {}
            }
            let now = line();
            if !self.quiet && now != last {
                eprintln!("{now}");
                last = now;
            }
        }
    }

    /// Lets go of bus and store.
    pub(crate) async fn close(self) -> Result<()> {
        if let Some(bus) = self.bus {
            bus.publisher.close().await?;
        }
        self.store.close().await
    }
}

/// `TENANT/USER`.
pub(crate) fn scope(text: &str) -> Result<Scope> {
    let (tenant, user) = text.split_once('/').ok_or_else(|| Error::new(Code::BAD_ID, format!("{text:?} is not TENANT/USER")))?;
    Scope::new(tenant, user)
}

/// Runs a program to its end and says what went wrong and what to do.
pub(crate) fn main(name: &str, work: impl Future<Output = Result<()>>) -> std::process::ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(r) => r,
        Err(e) => {
            eprintln!("{name}: cannot start: {e}");
            return 1.into();
        }
    };
    match runtime.block_on(work) {
        Ok(()) => 0.into(),
        Err(e) => {
            eprintln!("{name}: {e}\n  {}", e.code().info().next_step);
            1.into()
        }
    }
}

#[cfg(unix)]
fn stop_signal() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|e| Error::io("cluster.signal", "signals", e));
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
