//! The front door of a cluster: takes readings in over gRPC and answers when the bus has them.
//!
//! ```text
//! cargo run --release --example ingest_gateway -- --store postgres://am@db/am --bus nats://nats:4222 --grpc 0.0.0.0:50051
//! ```
//! It keeps nothing, so any number of them may stand behind a load balancer. The store is asked for the devices' keys alone. Its first
//! line of output is one JSON object with the bound addresses; SIGTERM or Ctrl-C drains it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to a person")]

mod cluster;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use am_core::{Error, Result};
use am_server::{Auth, KeyGrant, Server, create_key};
use am_store::Store;
use am_store::bus::gateway;
use clap::Parser;
use cluster::Places;

/// Takes readings in over gRPC and puts them onto the bus
#[derive(Debug, Parser)]
#[command(name = "ingest_gateway", version, max_term_width = 110)]
struct Args {
    #[command(flatten)]
    places: Places,
    /// Where gRPC listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    grpc: Option<SocketAddr>,
    /// Where health and metrics listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Take readings from everybody on this machine into TENANT/USER, without keys
    #[arg(long, value_name = "TENANT/USER")]
    open: Option<String>,
    /// Make a device key for TENANT/USER and write it to --key-file
    #[arg(long, value_name = "TENANT/USER", requires = "key_file")]
    new_key: Option<String>,
    /// Where a new key goes; the file must not exist
    #[arg(long, value_name = "FILE", requires = "new_key")]
    key_file: Option<PathBuf>,
}

fn main() -> std::process::ExitCode {
    cluster::main("ingest_gateway", run(Args::parse()))
}

async fn run(args: Args) -> Result<()> {
    let mut me = args.places.open().await?;
    let mut config = std::mem::take(&mut me.config.server);
    config.grpc = args.grpc.unwrap_or(config.grpc);
    config.http = args.http.or(config.http);
    if let Some(whose) = &args.open {
        config.auth = Auth::Open(cluster::scope(whose)?);
    }
    if let (Some(whose), Some(path)) = (&args.new_key, &args.key_file) {
        let grant = KeyGrant::new(cluster::scope(whose)?);
        let made = create_key(me.store.backend().devices.as_ref(), me.clock.as_ref(), grant).await?;
        write_private(path, made.key.expose())?;
    }
    let backend = gateway(me.store.backend().clone(), &me.the_bus()?, me.config.gateway.clone());
    let front = Store::of(backend, me.clock.clone(), me.store.catalogue().clone());
    let server = Server::builder(&front).config(config).bind().await?;
    me.announce(serde_json::json!({ "program": "ingest_gateway", "grpc": server.grpc_addr(), "http": server.http_addr() }))?;
    me.stop.cancelled().await;
    let drained = server.shutdown().await;
    me.close().await?;
    drained
}

/// Writes a file that only its owner can read.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut f| std::io::Write::write_all(&mut f, text.as_bytes()));
    written.map_err(|e| Error::io("ingest_gateway.key_file", path.display(), e))
}
