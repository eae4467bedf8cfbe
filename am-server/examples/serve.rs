//! The ingestion server alone, in front of a store.
//!
//! ```text
//! cargo run -p am-server --example serve -- --store sqlite:am.db --open acme/ada
//! ```
//! Its first line of output is one JSON object with the bound addresses. SIGTERM or Ctrl-C drains it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to a person")]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use am_core::config::Loader;
use am_core::{Clock, Code, Error, Result, Scope};
use am_pipeline::TokioClock;
use am_schema::Catalogue;
use am_server::{Auth, KeyGrant, Server, ServerConfig, create_key};
use am_store::{Store, StoreOptions};
use clap::Parser;
use serde::Deserialize;

#[derive(Parser)]
#[command(about = "Takes readings in over gRPC and stores them")]
struct Args {
    /// Where readings are kept: `memory:` or `sqlite:PATH`
    #[arg(long, default_value = "sqlite:am.db")]
    store: String,
    /// Where gRPC listens; port 0 takes a free one
    #[arg(long)]
    grpc: Option<std::net::SocketAddr>,
    /// Where health and metrics listen; port 0 takes a free one
    #[arg(long)]
    http: Option<std::net::SocketAddr>,
    /// A TOML file with [server] and [store]
    #[arg(long)]
    config: Option<String>,
    /// Take readings from everybody on this machine into TENANT/USER
    #[arg(long, value_name = "TENANT/USER")]
    open: Option<String>,
    /// Make a device key for TENANT/USER and write it to --key-file
    #[arg(long, value_name = "TENANT/USER", requires = "key_file")]
    new_key: Option<String>,
    /// Where a new key goes; the file must not exist
    #[arg(long, requires = "new_key")]
    key_file: Option<PathBuf>,
    /// Set a value of the configuration, such as server.limits.batch_items=500
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    server: ServerConfig,
    store: StoreOptions,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}. {}", e.code().info().next_step);
            ExitCode::FAILURE
        }
    }
}

fn scope(text: &str) -> Result<Scope> {
    let (tenant, user) = text.split_once('/').ok_or_else(|| Error::new(Code::BAD_ID, format!("{text:?} is not TENANT/USER")))?;
    Scope::new(tenant, user)
}

fn configuration(args: &Args) -> Result<Config> {
    let mut loader = Loader::new();
    if let Some(path) = &args.config {
        loader = loader.file(path, |p| std::fs::read_to_string(p));
    }
    let mut config: Config = loader.variables(std::env::vars_os()).flags(&args.set).load()?;
    config.server.grpc = args.grpc.unwrap_or(config.server.grpc);
    config.server.http = args.http.or(config.server.http);
    if let Some(open) = &args.open {
        config.server.auth = Auth::Open(scope(open)?);
    }
    Ok(config)
}

async fn run(args: Args) -> Result<()> {
    let config = configuration(&args)?;
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::default());
    // Before the ports are open, so that a signal is never missed.
    let stop = stop_signal()?;
    let store = Store::open(&args.store, config.store, clock, Catalogue::builtin()).await?;
    if let (Some(for_whom), Some(path)) = (&args.new_key, &args.key_file) {
        let made = create_key(store.backend().devices.as_ref(), store.clock().as_ref(), KeyGrant::new(scope(for_whom)?)).await?;
        write_private(path, made.key.expose())?;
    }
    let server = Server::builder(&store).config(config.server).bind().await?;
    let line = serde_json::json!({ "grpc": server.grpc_addr(), "http": server.http_addr(), "pid": std::process::id() });
    println!("{line}");
    std::io::stdout().flush().map_err(|e| Error::io("serve.print", "standard output", e))?;
    stop.await;
    let drained = server.shutdown().await;
    store.close().await?;
    drained
}

/// Writes a file that only its owner can read.
fn write_private(path: &std::path::Path, text: &str) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut f| f.write_all(text.as_bytes()));
    written.map_err(|e| Error::io("serve.key_file", path.display(), e))
}

#[cfg(unix)]
fn stop_signal() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|e| Error::io("serve.signal", "signals", e));
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
