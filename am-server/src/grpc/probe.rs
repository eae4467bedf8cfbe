//! `grpc.health.v1`, answered from the same state as the other health pages.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use am_core::{CancelToken, Clock};
use async_trait::async_trait;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health as HealthV1;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::lane::{Answers, Lane};
use crate::health::Health;
use crate::metrics::{Metrics, Refusal};
use crate::net::link::Cutter;

/// How often a watched state is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Watches that may be open at once.
const WATCHES: u64 = 256;

pub(crate) struct Probe {
    pub(crate) health: Arc<Health>,
    pub(crate) services: HashSet<String>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stopping: CancelToken,
    pub(crate) metrics: Arc<Metrics>,
    /// Counts the watches.
    pub(crate) watches: Arc<Metrics>,
    pub(crate) stall: Duration,
}

async fn status(health: &Health) -> ServingStatus {
    if health.now().await.ready() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn answer(s: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: s as i32 }
}

impl Probe {
    fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.services.contains(service)
    }
}

#[async_trait]
impl HealthV1 for Probe {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        match self.knows(&request.get_ref().service) {
            true => Ok(Response::new(answer(status(&self.health).await))),
            false => Err(Status::not_found("this server has no such service")),
        }
    }

    type WatchStream = Answers<HealthCheckResponse>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        if self.watches.streams() >= WATCHES {
            self.metrics.refused(Refusal::Overloaded);
            return Err(Status::resource_exhausted("too many watches are open"));
        }
        let cutter = request.extensions().get::<Cutter>().cloned();
        let (lane, answers) = Lane::<HealthCheckResponse>::new(1, self.clock.clone(), self.stall, self.metrics.clone(), cutter);
        let (known, open) = (self.knows(&request.get_ref().service), self.watches.open_stream());
        let (health, clock, stopping) = (self.health.clone(), self.clock.clone(), self.stopping.clone());
        tokio::spawn(async move {
            let _open = open;
            let mut told = None;
            loop {
                let now = if known { status(&health).await } else { ServingStatus::ServiceUnknown };
                if told != Some(now) && lane.send(Ok(answer(now))).await.is_err() {
                    return;
                }
                told = Some(now);
                if stopping.is_cancelled() {
                    return;
                }
                tokio::select! {
                    () = clock.sleep(EVERY) => {}
                    () = stopping.cancelled() => {}
                    () = lane.gone() => return,
                }
            }
        });
        Ok(Response::new(answers))
    }
}
