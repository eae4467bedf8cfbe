//! Every call passes here first: which service, who calls, and how much memory it may take.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use am_core::{BoxFuture, Code, Error};
use http::{Request, Response, Uri};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic_health::pb::health_server::HealthServer;

use super::metered::{Budget, Ledger, Metered};
use super::probe::Probe;
use super::service::{Call, Ingestion};
use super::status;
use crate::auth::Gate;
use crate::generated::data_ingestion_service_server::DataIngestionServiceServer;
use crate::metrics::{Metrics, Refusal};

/// The name of our service.
pub(crate) const SERVICE: &str = "am.v1.DataIngestionService";
const HEALTH: &str = "grpc.health.v1.Health";

#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) ingestion: DataIngestionServiceServer<Ingestion>,
    pub(crate) health: HealthServer<Probe>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) message_bytes: usize,
    /// Names besides our own.
    pub(crate) legacy: Arc<HashSet<String>>,
}

/// Where a call goes.
enum Route {
    /// To the ingestion service; the path, if it has to be another one.
    Ingestion(Option<String>),
    /// To the ingestion service, without a key.
    Open(Option<String>),
    Health,
    Nowhere,
}

impl Front {
    fn route(&self, path: &str) -> Route {
        let Some((service, method)) = path.strip_prefix('/').and_then(|p| p.split_once('/')) else { return Route::Nowhere };
        let renamed = match service {
            SERVICE => None,
            HEALTH => return Route::Health,
            other if self.legacy.contains(other) => Some(format!("/{SERVICE}/{method}")),
            _ => return Route::Nowhere,
        };
        if method == "HealthCheck" { Route::Open(renamed) } else { Route::Ingestion(renamed) }
    }
}

/// Says in our words why a unary message could not be read; the calls themselves always name a code.
fn in_our_words(response: Response<Body>, metrics: &Metrics, limit: usize) -> Response<Body> {
    let headers = response.headers();
    match Status::from_header_map(headers) {
        Some(s) if s.code() != tonic::Code::Ok && !headers.contains_key("am-code") => {
            metrics.refused(Refusal::Frame);
            status::of_transport(s, limit).into_http()
        }
        _ => response,
    }
}

fn rename(request: &mut Request<Body>, path: Option<String>) {
    if let Some(uri) = path.and_then(|p| Uri::try_from(p).ok()) {
        *request.uri_mut() = uri;
    }
}

impl Service<Request<Body>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.route(request.uri().path()) {
            Route::Health => self.health.call(request),
            Route::Open(path) => {
                rename(&mut request, path);
                self.ingestion.call(request)
            }
            Route::Ingestion(path) => {
                rename(&mut request, path);
                let (mut ingestion, gate) = (self.ingestion.clone(), self.gate.clone());
                let (budget, metrics, limit) = (self.budget.clone(), self.metrics.clone(), self.message_bytes);
                Box::pin(async move {
                    let grant = match gate.admit(request.headers()).await {
                        Ok(grant) => grant,
                        Err(e) => {
                            metrics.refused(Refusal::Unauthenticated);
                            return Ok(status::of(&e).into_http());
                        }
                    };
                    let ledger = Arc::new(Ledger::new(budget));
                    request.extensions_mut().insert(Call { grant, ledger: ledger.clone() });
                    let response = ingestion.call(request.map(|body| Body::new(Metered::new(body, ledger)))).await?;
                    Ok(in_our_words(response, &metrics, limit))
                })
            }
            Route::Nowhere => {
                let e = Error::new(Code::NOT_FOUND, "this server has no such service; see legacy_services in its configuration");
                let s = Status::unimplemented(e.to_string());
                Box::pin(async move { Ok(s.into_http()) })
            }
        }
    }
}
