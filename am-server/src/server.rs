//! Putting the parts together, and taking them down again.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use am_core::{CancelToken, Clock, Code, Error, Result};
use am_store::Store;
use tokio::task::JoinHandle;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic_health::pb::health_server::HealthServer;

use crate::auth::Gate;
use crate::config::{ServerConfig, ms};
use crate::generated::data_ingestion_service_server::DataIngestionServiceServer;
use crate::grpc::front::{Front, SERVICE};
use crate::grpc::metered::Budget;
use crate::grpc::probe::Probe;
use crate::grpc::service::{Ingestion, StreamLimits};
use crate::health::Health;
use crate::http::{self, Side, SideListener};
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::net::link::Links;
use crate::net::{listener, tls};

/// Collects what a server needs.
#[must_use = "call bind"]
pub struct ServerBuilder {
    store: Store,
    config: ServerConfig,
}

impl ServerBuilder {
    /// Other settings than the defaults.
    pub fn config(mut self, config: ServerConfig) -> Self {
        self.config = config;
        self
    }

    /// Binds the ports and starts to serve on the current tokio runtime.
    ///
    /// # Errors
    /// `BAD_CONFIG` for settings that do not fit together or a certificate that cannot be read; `IO` when a port is taken.
    pub async fn bind(self) -> Result<Server> {
        let ServerBuilder { store, config } = self;
        let (clock, catalogue) = (store.clock().clone(), store.catalogue().clone());
        let store = store.backend();
        config.check()?;
        let acceptor = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let (grpc, grpc_addr) = listener::bind(config.grpc).await?;
        let side = match config.http {
            Some(addr) => Some(listener::bind(addr).await?),
            None => None,
        };
        let http_addr = side.as_ref().map(|s| s.1);

        let (l, t) = (&config.limits, &config.times);
        let (stopping, closed) = (CancelToken::new(), CancelToken::new());
        let metrics = Arc::new(Metrics::default());
        let budget = Arc::new(Budget::new(l.in_flight_bytes, l.message_bytes, ms(t.overload_ms), ms(t.stall_ms), clock.clone()));
        let health = Arc::new(Health::new(store.maintenance.clone(), clock.clone(), stopping.clone(), budget.clone()));
        let gate = Arc::new(Gate::new(config.auth.clone(), store.devices.clone(), clock.clone(), ms(t.key_cache_ms), ms(t.key_stale_ms)));
        let links = Links::new(l.connections);
        let intake = Arc::new(Intake {
            readings: store.readings.clone(),
            catalogue: catalogue.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            batch_items: l.batch_items,
            accept: ms(t.accept_ms),
        });
        let ingestion = Ingestion {
            intake,
            gate: gate.clone(),
            devices: store.devices.clone(),
            catalogue,
            health: health.clone(),
            metrics: metrics.clone(),
            clock: clock.clone(),
            stopping: stopping.clone(),
            limits: StreamLimits {
                streams: l.streams,
                batches: l.batches_per_stream,
                group_items: l.group_items,
                group: ms(t.group_ms),
                stall: ms(t.stall_ms),
                message_bytes: l.message_bytes,
            },
        };
        let ingestion = DataIngestionServiceServer::new(ingestion)
            .accept_compressed(Gzip)
            .accept_compressed(Zstd)
            .send_compressed(Gzip)
            .send_compressed(Zstd)
            .max_decoding_message_size(l.message_bytes);
        let legacy: HashSet<String> = config.legacy_services.iter().cloned().collect();
        let probe = Probe {
            health: health.clone(),
            services: legacy.iter().cloned().chain([SERVICE.to_owned()]).collect(),
            clock: clock.clone(),
            stopping: stopping.clone(),
            metrics: metrics.clone(),
            watches: Arc::new(Metrics::default()),
            stall: ms(t.stall_ms),
        };
        let front = Front {
            ingestion,
            health: HealthServer::new(probe).max_decoding_message_size(4 << 10),
            gate,
            budget: budget.clone(),
            metrics: metrics.clone(),
            message_bytes: l.message_bytes,
            legacy: Arc::new(legacy),
        };
        let door = listener::Door {
            listener: grpc,
            links: links.clone(),
            tls: acceptor,
            handshake: ms(t.handshake_ms),
            clock: clock.clone(),
            stopping: stopping.clone(),
        };
        let serving = tonic::transport::Server::builder()
            .max_concurrent_streams(l.streams_per_connection)
            .initial_stream_window_size(l.stream_window_bytes)
            .initial_connection_window_size(l.connection_window_bytes)
            .http2_max_header_list_size(l.header_bytes)
            .http2_keepalive_interval(Some(ms(t.ping_ms)))
            .http2_keepalive_timeout(Some(ms(t.ping_timeout_ms)))
            .serve_with_incoming_shutdown(front, door.open(), stopping.cancelled());
        let serving = tokio::spawn(async move {
            if let Err(e) = serving.await {
                tracing::error!(error = %e, "the gRPC port ended");
            }
        });
        let pages = side.map(|(listener, _)| {
            let side_links = Links::new(http::CONNECTIONS);
            let side = Arc::new(Side { health, metrics, budget, store: store.maintenance.clone(), links: links.clone() });
            tokio::spawn(http::serve(SideListener { listener, links: side_links, clock: clock.clone() }, side, closed.clone()))
        });
        tracing::info!(grpc = %grpc_addr, http = ?http_addr, "listening");
        Ok(Server { grpc_addr, http_addr, stopping, closed, links, clock, drain: ms(t.drain_ms), serving: Some(serving), pages })
    }
}

/// A running server. Dropping it stops it without waiting; [`Server::shutdown`] settles first.
pub struct Server {
    grpc_addr: SocketAddr,
    http_addr: Option<SocketAddr>,
    stopping: CancelToken,
    closed: CancelToken,
    links: Arc<Links>,
    clock: Arc<dyn Clock>,
    drain: std::time::Duration,
    serving: Option<JoinHandle<()>>,
    pages: Option<JoinHandle<()>>,
}

impl Server {
    /// A server in front of a store, with its clock and its kinds. The store stays the caller's: it outlives the server and is
    /// closed by the caller.
    pub fn builder(store: &Store) -> ServerBuilder {
        ServerBuilder { store: store.clone(), config: ServerConfig::default() }
    }

    /// Where gRPC listens.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where health and metrics listen.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http_addr
    }

    /// Accepts nothing new, answers what is in flight, then closes. `readyz` says so meanwhile.
    ///
    /// # Errors
    /// `TIMED_OUT` when some connections had to be cut at the end of `drain_ms`; nothing that was answered is lost by it.
    pub async fn shutdown(mut self) -> Result<()> {
        self.stopping.cancel();
        let mut done = Ok(());
        if let Some(mut serving) = self.serving.take() {
            let late = tokio::select! {
                _ = &mut serving => false,
                () = self.clock.sleep(self.drain) => true,
            };
            if late {
                let left = self.links.count();
                self.links.cut_all();
                let _ = serving.await;
                let why = format!("{left} connections did not close within {} ms and were cut", self.drain.as_millis());
                done = Err(Error::new(Code::TIMED_OUT, why).op("server.shutdown"));
            }
        }
        self.closed.cancel();
        if let Some(pages) = self.pages.take() {
            let _ = pages.await;
        }
        done
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.cancel();
        self.closed.cancel();
        if self.serving.is_some() {
            self.links.cut_all();
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("grpc", &self.grpc_addr).field("http", &self.http_addr).finish_non_exhaustive()
    }
}
