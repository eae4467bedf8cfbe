//! The five calls.

use std::sync::Arc;
use std::time::Duration;

use am_core::{CancelToken, Clock, Code, Ctx, DeviceId, Error};
use am_schema::{Catalogue, v1};
use am_store::traits::{DeviceRow, Devices};
use async_trait::async_trait;
use tonic::{Request, Response, Status, Streaming};

use super::codec::{RawBatch, RawReading};
use super::lane::{Answers, Lane};
use super::metered::{Ledger, Room};
use super::status;
use crate::auth::{Gate, Grant};
use crate::generated::data_ingestion_service_server::DataIngestionService;
use crate::health::Health;
use crate::intake::Intake;
use crate::metrics::{Metrics, OpenStream, Refusal};
use crate::net::link::Cutter;

/// What the front door found out about a call.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) grant: Arc<Grant>,
    pub(crate) ledger: Arc<Ledger>,
}

/// The settings that streams need.
#[derive(Debug, Clone)]
pub(crate) struct StreamLimits {
    pub(crate) streams: usize,
    pub(crate) batches: usize,
    pub(crate) group_items: usize,
    pub(crate) group: Duration,
    pub(crate) stall: Duration,
    pub(crate) message_bytes: usize,
}

/// Bytes that end a group before it has all its items.
const GROUP_BYTES: usize = 1 << 20;

/// The service behind every name it is served under.
pub(crate) struct Ingestion {
    pub(crate) intake: Arc<Intake>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) devices: Arc<dyn Devices>,
    pub(crate) catalogue: Catalogue,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stopping: CancelToken,
    pub(crate) limits: StreamLimits,
}

fn call<T>(r: &Request<T>) -> Result<Call, Status> {
    let found = r.extensions().get::<Call>().cloned();
    found.ok_or_else(|| status::of(&Error::new(Code::UNAUTHENTICATED, "the call came around the front door")))
}

fn stopping() -> Status {
    status::of(&Error::new(Code::SHUTTING_DOWN, "the server is stopping; what was answered is stored"))
}

/// One stream while it is served.
struct Stream<R> {
    call: Call,
    intake: Arc<Intake>,
    gate: Arc<Gate>,
    lane: Lane<R>,
    stopping: CancelToken,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    limits: StreamLimits,
    _open: OpenStream,
}

impl Ingestion {
    fn open<T, R: Send + 'static>(&self, r: &Request<T>) -> Result<(Stream<R>, Answers<R>), Status> {
        let call = call(r)?;
        if self.stopping.is_cancelled() {
            return Err(stopping());
        }
        if self.metrics.streams() >= self.limits.streams as u64 {
            self.metrics.refused(Refusal::Overloaded);
            return Err(status::of(&Error::new(Code::OVERLOADED, format!("{} streams are open already", self.limits.streams))));
        }
        let cutter = r.extensions().get::<Cutter>().cloned();
        let (lane, answers) = Lane::new(self.limits.batches, self.clock.clone(), self.limits.stall, self.metrics.clone(), cutter);
        let stream = Stream {
            call,
            intake: self.intake.clone(),
            gate: self.gate.clone(),
            lane,
            stopping: self.stopping.clone(),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            limits: self.limits.clone(),
            _open: self.metrics.open_stream(),
        };
        Ok((stream, answers))
    }
}

/// What a stream does next.
enum Step<R, M> {
    Answer(Result<R, Status>),
    Message(Result<Option<M>, Status>),
    GroupIsOld,
    Stop,
}

impl<R: Send + 'static> Stream<R> {
    fn refused(&self, s: Status) -> Status {
        self.metrics.refused(if s.code() == tonic::Code::ResourceExhausted { Refusal::Overloaded } else { Refusal::Frame });
        status::of_transport(s, self.limits.message_bytes)
    }
}

impl Stream<v1::BatchResponse> {
    async fn batches(mut self, mut inbound: Streaming<RawBatch>) {
        let mut stop = self.stopping.cancelled();
        let last = loop {
            let step = tokio::select! {
                biased;
                a = self.lane.next() => Step::Answer(a),
                () = &mut stop => Step::Stop,
                m = inbound.message(), if self.lane.has_room() => Step::Message(m),
            };
            match step {
                Step::Answer(a) => {
                    if self.lane.send(a).await.is_err() {
                        return;
                    }
                }
                Step::Message(Ok(Some(frame))) => {
                    let room = self.call.ledger.take(frame.0.len());
                    if let Err(e) = self.gate.still(&self.call.grant).await {
                        break Some(status::of(&e));
                    }
                    let (intake, grant) = (self.intake.clone(), self.call.grant.clone());
                    self.lane.push(async move {
                        let (id, answer) = intake.take_frame(&grant, frame).await;
                        drop(room);
                        answer.batch(id)
                    });
                }
                Step::Message(Ok(None)) => break None,
                Step::Message(Err(s)) => break Some(self.refused(s)),
                Step::Stop | Step::GroupIsOld => break Some(stopping()),
            }
        };
        self.lane.finish(last).await;
    }
}

/// Readings that will be one group.
#[derive(Default)]
struct Group {
    items: Vec<bytes::Bytes>,
    bytes: usize,
    room: Room,
    old: Option<am_core::BoxFuture<'static, ()>>,
}

impl Group {
    async fn grows_old(&mut self) {
        match &mut self.old {
            Some(timer) => timer.await,
            None => std::future::pending().await,
        }
    }
}

impl Stream<v1::DataResponse> {
    async fn readings(mut self, mut inbound: Streaming<RawReading>) {
        let mut stop = self.stopping.cancelled();
        let (mut group, mut first, mut due) = (Group::default(), 0u64, false);
        let last = loop {
            if due && self.lane.has_room() {
                self.send_off(&mut group, &mut first);
                due = false;
            }
            let step = tokio::select! {
                biased;
                a = self.lane.next() => Step::Answer(a),
                () = &mut stop => Step::Stop,
                m = inbound.message(), if !due => Step::Message(m),
                () = group.grows_old(), if !due => Step::GroupIsOld,
            };
            match step {
                Step::Answer(a) => {
                    if self.lane.send(a).await.is_err() {
                        return;
                    }
                }
                Step::Message(Ok(Some(reading))) => {
                    if group.items.is_empty() {
                        if let Err(e) = self.gate.still(&self.call.grant).await {
                            break Some(status::of(&e));
                        }
                        group.old = Some(self.clock.sleep(self.limits.group));
                    }
                    group.room.join(self.call.ledger.take(reading.0.len()));
                    group.bytes += reading.0.len();
                    group.items.push(reading.0);
                    due = group.items.len() >= self.limits.group_items || group.bytes >= GROUP_BYTES;
                }
                Step::GroupIsOld => (due, group.old) = (true, None),
                Step::Message(Ok(None)) => break None,
                Step::Message(Err(s)) => break Some(self.refused(s)),
                Step::Stop => break Some(stopping()),
            }
        };
        // What was received whole is taken in, also when the stream broke after it.
        if !group.items.is_empty() {
            self.send_off(&mut group, &mut first);
        }
        self.lane.finish(last).await;
    }

    fn send_off(&mut self, group: &mut Group, first: &mut u64) {
        let Group { items, room, .. } = std::mem::take(group);
        let begin = *first;
        *first += items.len() as u64;
        let (intake, grant) = (self.intake.clone(), self.call.grant.clone());
        self.lane.push(async move {
            let answer = intake.take_group(&grant, items).await;
            drop(room);
            answer.group(begin)
        });
    }
}

#[async_trait]
impl DataIngestionService for Ingestion {
    type StreamDataStream = Answers<v1::DataResponse>;
    type StreamBatchesStream = Answers<v1::BatchResponse>;

    async fn stream_data(&self, request: Request<Streaming<RawReading>>) -> Result<Response<Self::StreamDataStream>, Status> {
        let (stream, answers) = self.open(&request)?;
        tokio::spawn(stream.readings(request.into_inner()));
        Ok(Response::new(answers))
    }

    async fn stream_batches(&self, request: Request<Streaming<RawBatch>>) -> Result<Response<Self::StreamBatchesStream>, Status> {
        let (stream, answers) = self.open(&request)?;
        tokio::spawn(stream.batches(request.into_inner()));
        Ok(Response::new(answers))
    }

    async fn batch_upload(&self, request: Request<RawBatch>) -> Result<Response<v1::BatchResponse>, Status> {
        let Call { grant, ledger } = call(&request)?;
        if self.stopping.is_cancelled() {
            return Err(stopping());
        }
        let frame = request.into_inner();
        let room = ledger.take(frame.0.len());
        let intake = self.intake.clone();
        // On its own task: a cancelled call must not leave the answer of a commit uncounted.
        let work = tokio::spawn(async move {
            let (id, answer) = intake.take_frame(&grant, frame).await;
            drop(room);
            answer.batch(id)
        });
        let failed = |e: tokio::task::JoinError| status::of(&Error::new(Code::INTERNAL, format!("taking a batch in failed: {e}")));
        work.await.map(Response::new).map_err(failed)
    }

    async fn register_device(&self, request: Request<v1::DeviceInfo>) -> Result<Response<v1::RegistrationResponse>, Status> {
        let Call { grant, ledger } = call(&request)?;
        let _room = ledger.take(0);
        let (row, unknown_kinds) = self.device(&grant, request.into_inner()).map_err(|e| status::of(&e))?;
        let device_id = row.device.to_string();
        let ctx = Ctx::new(grant.scope.clone(), self.clock.clone());
        let now = row.registered_at;
        let created = self.devices.register(&ctx, row).await.map_err(|e| status::of(&e))?;
        let server_time = Some(v1_timestamp(now));
        Ok(Response::new(v1::RegistrationResponse { device_id, created, unknown_kinds, server_time }))
    }

    async fn health_check(&self, _: Request<v1::HealthRequest>) -> Result<Response<v1::HealthResponse>, Status> {
        let h = self.health.now().await;
        use v1::health_response::Status as S;
        let status = match (h.stopping, h.problems.is_empty()) {
            (true, _) => S::Stopping,
            (_, true) => S::Ready,
            (_, false) => S::Degraded,
        };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Response::new(v1::HealthResponse { status: status as i32, version, problems: h.problems }))
    }
}

fn v1_timestamp(t: am_core::Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: t.as_second(), nanos: t.subsec_nanos() }
}

/// Kinds that one device may declare, and bytes of each of its texts.
const DECLARED: usize = 1_024;
const TEXT: usize = 256;

impl Ingestion {
    /// Checks a registration; unknown kinds are told, not stored.
    fn device(&self, grant: &Grant, d: v1::DeviceInfo) -> am_core::Result<(DeviceRow, Vec<String>)> {
        let bad = |field: &str, rule: String| Err(Error::new(Code::INVALID_ITEM, format!("{field}: {rule}")).op("server.register"));
        let device = DeviceId::new(&d.device_id)?;
        if grant.device.as_ref().is_some_and(|own| *own != device) {
            return Err(Error::new(Code::FORBIDDEN, "the key is for another device").op("server.register"));
        }
        for (field, text) in [("name", &d.name), ("model", &d.model), ("os", &d.os), ("app_version", &d.app_version)] {
            if text.len() > TEXT || text.chars().any(char::is_control) {
                return bad(field, format!("expected at most {TEXT} bytes without control characters"));
            }
        }
        if d.kinds.len() > DECLARED {
            return bad("kinds", format!("expected at most {DECLARED}"));
        }
        let (mut kinds, mut unknown) = (Vec::new(), Vec::new());
        for k in d.kinds {
            match self.catalogue.find(&k.kind) {
                Some(kind) => kinds.push((kind.topic().to_owned(), k.period_ns)),
                None => unknown.push(k.kind.chars().take(TEXT).collect()),
            }
        }
        let registered_at = self.clock.now();
        let (name, model, os, app_version) = (d.name, d.model, d.os, d.app_version);
        Ok((DeviceRow { device, name, model, os, app_version, kinds, registered_at }, unknown))
    }
}
