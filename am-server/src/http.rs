//! The side port: health and metrics over HTTP/1.1.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use am_core::{CancelToken, Clock};
use am_store::traits::Maintenance;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;

use crate::grpc::metered::Budget;
use crate::health::Health;
use crate::metrics::{Gauges, Metrics};
use crate::net::link::{Io, Link, Links};

/// Connections of the side port.
pub(crate) const CONNECTIONS: usize = 256;

/// How long one connection of the side port may live: nobody needs one for longer, and a slow sender must not keep it.
const LIFE: Duration = Duration::from_secs(60);

/// What the pages show.
pub(crate) struct Side {
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) store: Arc<dyn Maintenance>,
    pub(crate) links: Arc<Links>,
}

/// The routes of the side port; an embedder can merge them into its own.
pub(crate) fn routes(side: Arc<Side>) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).route("/metrics", get(metrics)).with_state(side)
}

async fn healthz(Shared(side): Shared<Arc<Side>>) -> Response {
    let s = side.health.now().await;
    let code = if s.alive { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let problems = if s.alive { Vec::new() } else { s.problems };
    (code, Json(json!({ "status": if s.alive { "ok" } else { "stuck" }, "problems": problems }))).into_response()
}

async fn readyz(Shared(side): Shared<Arc<Side>>) -> Response {
    let s = side.health.now().await;
    let (code, status) = match (s.ready(), s.stopping) {
        (true, _) => (StatusCode::OK, "ready"),
        (false, true) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    (code, Json(json!({ "status": status, "problems": s.problems }))).into_response()
}

async fn metrics(Shared(side): Shared<Arc<Side>>) -> Response {
    let ready = side.health.now().await.ready();
    let stats = if ready { side.store.stats().await.ok() } else { None };
    let text = side.metrics.render(&Gauges {
        in_flight_bytes: side.budget.used(),
        connections: side.links.count(),
        ready,
        head: stats.map(|s| s.head),
        rolled_up_to: stats.map(|s| s.rolled_up_to),
        bytes_on_disk: stats.map(|s| s.bytes_on_disk),
    });
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// Accepts a bounded number of short-lived connections.
pub(crate) struct SideListener {
    pub(crate) listener: TcpListener,
    pub(crate) links: Arc<Links>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl axum::serve::Listener for SideListener {
    type Io = Link;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Link, SocketAddr) {
        loop {
            let Some(permit) = self.links.room().await else { return std::future::pending().await };
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    let link = self.links.link(Io::Plain(stream), permit);
                    let (cutter, clock) = (link.cutter(), self.clock.clone());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = clock.sleep(LIFE) => cutter.cut(),
                            () = cutter.closed() => {}
                        }
                    });
                    return (link, from);
                }
                Err(e) => {
                    tracing::warn!(error = %e, "a connection of the side port could not be accepted");
                    self.clock.sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Serves the side port until `stop`, then cuts what is left.
pub(crate) fn serve(listener: SideListener, side: Arc<Side>, stop: CancelToken) -> impl Future<Output = ()> + Send {
    let links = listener.links.clone();
    async move {
        let server = axum::serve(listener, routes(side)).with_graceful_shutdown(stop.cancelled());
        let cut = async {
            stop.cancelled().await;
            links.cut_all();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            done = server => {
                if let Err(e) = done {
                    tracing::warn!(error = %e, "the side port ended");
                }
            }
            () = cut => {}
        }
    }
}
