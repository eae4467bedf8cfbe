//! What can be asked of the program.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// AM on one machine: a store, a gRPC server, the motion flow, and simulated devices as real clients over real sockets.
///
/// Simulates 24 hours of a phone, a watch and a laptop with planted faults, or takes in a folder of your own files, then reports what
/// arrived, what was refused and why, and what was found. The same seed over the same store adds nothing the second time.
#[derive(Debug, Parser)]
#[command(name = "full_stack", version, max_term_width = 120)]
pub(crate) struct Args {
    /// The store: `sqlite:PATH`, `memory:` or `postgres://USER@HOST/DATABASE`.
    #[arg(long, default_value = "sqlite:am-data/am.db", value_name = "URL")]
    pub(crate) store: String,

    /// Puts a bus between the devices and the store, with gateway, flow worker and persister: `nats://HOST:PORT` or `memory:`.
    #[arg(long, value_name = "URL")]
    pub(crate) bus: Option<String>,

    /// Keeps this run's streams apart from others on the same bus.
    #[arg(long, default_value = "am", value_name = "NAME", requires = "bus")]
    pub(crate) bus_prefix: String,

    /// Where gRPC listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    pub(crate) grpc: SocketAddr,

    /// Where health and metrics listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    pub(crate) http: SocketAddr,

    /// Takes in the GPX and FIT files of a folder instead of simulating devices.
    #[arg(long, value_name = "DIR")]
    pub(crate) input: Option<PathBuf>,

    /// Simulated hours.
    #[arg(long, default_value_t = 24.0, value_name = "H")]
    pub(crate) hours: f64,

    /// Simulated seconds per second: 2880 plays a day in half a minute, on a machine that can keep up.
    #[arg(long, default_value_t = 2_880.0, value_name = "X")]
    pub(crate) speed: f64,

    /// Decides everything that is random.
    #[arg(long, default_value_t = 7, value_name = "N")]
    pub(crate) seed: u64,

    /// Writes the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Ends after the report instead of going on to serve.
    #[arg(long)]
    pub(crate) once: bool,

    /// No progress bar.
    #[arg(long)]
    pub(crate) quiet: bool,
}

impl Args {
    /// What is wrong with the values, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(self.hours > 0.0 && self.hours <= 24.0 * 7.0) {
            return Err(format!("--hours {}: expected more than 0, at most 168", self.hours));
        }
        if !(self.speed >= 1.0 && self.speed <= 1e6) {
            return Err(format!("--speed {}: expected 1 to 1000000", self.speed));
        }
        if !self.grpc.ip().is_loopback() || !self.http.ip().is_loopback() {
            return Err("this example serves the loopback address only".into());
        }
        Ok(())
    }
}
