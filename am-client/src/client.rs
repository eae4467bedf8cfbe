//! The client: a handle, and the task behind it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use am_core::{CancelToken, Clock, Code, Error, Result};
use am_schema::Reading;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::options::ClientOptions;
use crate::outbox::OutboxStore;
use crate::outbox::{FileOutbox, OutboxLimits, StdDisk};
use crate::planner::{Plan, Planner};
use crate::status::{MAX_REJECTED, RejectedItem, Status};
use crate::transport::{Transport, Upload, UploadAnswer};

/// Pushes readings into an outbox and uploads them behind the scenes. Cheap to clone; the last clone to go stops the upload.
#[derive(Clone)]
pub struct Client(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    outbox: Mutex<Box<dyn OutboxStore>>,
    scratch: Mutex<Vec<u8>>,
    pushed: Notify,
    hurry: AtomicU64,
    closed: AtomicBool,
    stop: CancelToken,
    status: watch::Sender<Status>,
    options: ClientOptions,
    clock: Arc<dyn Clock>,
    boot_id: String,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Client {
    /// Opens the outbox of `options.folder` and uploads over gRPC to `options.endpoint`. Needs a tokio runtime.
    ///
    /// # Errors
    /// `STORE_LOCKED` when another process uses the folder, `IO` when it cannot be used, `BAD_CONFIG` for an unusable endpoint.
    #[cfg(feature = "grpc")]
    pub fn open(options: ClientOptions) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(am_pipeline::TokioClock::default());
        let transport = crate::GrpcTransport::new(&options, clock.clone())?;
        Self::open_with(options, Arc::new(transport), clock)
    }

    /// The same over another transport and clock.
    ///
    /// # Errors
    /// As [`Client::open`].
    pub fn open_with(options: ClientOptions, transport: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Result<Self> {
        let disk = StdDisk::open(&options.folder)?;
        let outbox = FileOutbox::open(Arc::new(disk), OutboxLimits::max_bytes(options.max_bytes))?;
        Self::over(options, Box::new(outbox), transport, clock)
    }

    /// The same over another outbox.
    ///
    /// # Errors
    /// `INTERNAL` when the machine gives no randomness, or outside of a tokio runtime.
    pub fn over(
        options: ClientOptions,
        outbox: Box<dyn OutboxStore>,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|e| Error::new(Code::INTERNAL, e.to_string()).op("client.open"))?;
        let mut boot = [0u8; 8];
        getrandom::fill(&mut boot).map_err(|e| Error::new(Code::INTERNAL, format!("no randomness: {e}")))?;
        let shared = Arc::new(Shared {
            outbox: Mutex::new(outbox),
            scratch: Mutex::new(Vec::new()),
            pushed: Notify::new(),
            hurry: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            stop: CancelToken::new(),
            status: watch::Sender::new(Status::default()),
            options,
            clock,
            boot_id: format!("{:016x}", u64::from_le_bytes(boot)),
        });
        shared.publish(|_| {});
        let task = runtime.spawn(run(shared.clone(), transport, u64::from_le_bytes(boot)));
        Ok(Client(Arc::new(Handle { shared, task: Mutex::new(Some(task)) })))
    }

    /// Takes a reading in; gives its number. Returns after the write, in microseconds; the network is never waited for.
    ///
    /// # Errors
    /// `OUTBOX_FULL`, `OUTBOX_IO`, `CLOSED`: the reading was not taken in.
    pub fn push(&self, reading: &Reading) -> Result<u64> {
        let s = &self.0.shared;
        s.check_open()?;
        let mut buf = s.scratch.lock();
        buf.clear();
        reading.encode(&mut *buf);
        let seq = s.outbox.lock().append(&[&buf])?;
        if buf.capacity() > 1 << 20 {
            *buf = Vec::new();
        }
        drop(buf);
        s.pushed.notify_one();
        Ok(seq)
    }

    /// Takes readings in, all or none; gives the number of the last one.
    ///
    /// # Errors
    /// As [`Client::push`].
    pub fn push_all(&self, readings: &[Reading]) -> Result<u64> {
        let wires: Vec<Vec<u8>> = readings.iter().map(Reading::to_wire).collect();
        self.push_encoded(&wires.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// Takes encoded `am.v1.Reading` messages in as they are, all or none. The server validates them.
    ///
    /// # Errors
    /// As [`Client::push`].
    pub fn push_encoded(&self, items: &[&[u8]]) -> Result<u64> {
        let s = &self.0.shared;
        s.check_open()?;
        let seq = s.outbox.lock().append(items)?;
        s.pushed.notify_one();
        Ok(seq)
    }

    /// Waits until everything pushed before this call survives a power cut.
    ///
    /// # Errors
    /// `CLOSED` when the client stops first.
    pub async fn sync(&self) -> Result<()> {
        let last = self.0.shared.outbox.lock().stats().last;
        self.wait(move |s| s.durable_seq >= last).await
    }

    /// Sends everything pushed before this call without waiting for company, and waits until the server has answered for it.
    ///
    /// # Errors
    /// `CLOSED` when the client stops first. Wrap it in a timeout of yours: without a network it waits.
    pub async fn flush(&self) -> Result<()> {
        let last = self.0.shared.outbox.lock().stats().last;
        self.0.shared.hurry.fetch_max(last, Ordering::AcqRel);
        self.0.shared.pushed.notify_one();
        self.wait(move |s| s.settled_seq >= last).await
    }

    async fn wait(&self, done: impl Fn(&Status) -> bool) -> Result<()> {
        let mut watch = self.0.shared.status.subscribe();
        loop {
            if done(&watch.borrow_and_update()) {
                return Ok(());
            }
            self.0.shared.check_open()?;
            if watch.changed().await.is_err() {
                return Err(Error::new(Code::CLOSED, "the client has stopped").op("client.wait"));
            }
        }
    }

    /// A snapshot of the client.
    pub fn status(&self) -> Status {
        self.0.shared.publish(|_| {});
        self.0.shared.status.borrow().clone()
    }

    /// Snapshots as they change.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.0.shared.status.subscribe()
    }

    /// Stops the upload, syncs the outbox and lets go of it. What was not sent waits for the next start.
    ///
    /// # Errors
    /// `OUTBOX_IO` when the last sync fails.
    pub async fn close(&self) -> Result<()> {
        let s = &self.0.shared;
        s.stop.cancel();
        let task = self.0.task.lock().take();
        if let Some(t) = task {
            let _ = t.await;
        }
        s.closed.store(true, Ordering::Release);
        sync_now(s).await.map(|_| s.publish(|_| {}))
    }
}

impl Shared {
    fn check_open(&self) -> Result<()> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(Error::new(Code::CLOSED, "the client is closed").op("client")),
            false => Ok(()),
        }
    }

    fn publish(&self, change: impl FnOnce(&mut Status)) {
        let o = self.outbox.lock().stats();
        self.status.send_modify(|s| {
            s.last_seq = o.last;
            s.durable_seq = o.durable;
            s.bytes = o.bytes;
            s.damaged_bytes = o.damaged;
            s.settled_seq = o.settled;
            s.depth = o.last - o.settled.min(o.last);
            change(s);
        });
    }
}

/// Syncs the outbox off the async threads.
async fn sync_now(shared: &Arc<Shared>) -> Result<u64> {
    let work = shared.outbox.lock().sync();
    let runtime = tokio::runtime::Handle::current();
    let result = match tokio::task::spawn_blocking(move || runtime.block_on(work)).await {
        Ok(r) => r,
        Err(e) => Err(Error::new(Code::INTERNAL, e.to_string()).op("client.sync")),
    };
    shared.outbox.lock().synced(result.as_ref().ok().copied());
    result
}

type Answer = (u64, Result<UploadAnswer>);

/// A small random sequence for jitter (Marsaglia, "Xorshift RNGs", 2003).
struct Jitter(u64);

impl Jitter {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

async fn run(shared: Arc<Shared>, transport: Arc<dyn Transport>, seed: u64) {
    let syncer = tokio::spawn(keep_synced(shared.clone()));
    let mut planner = Planner::new(&shared.options, shared.outbox.lock().stats().settled);
    let mut jitter = Jitter(seed | 1);
    let mut flying: JoinSet<Answer> = JoinSet::new();
    while !shared.stop.is_cancelled() {
        planner.hurry(shared.hurry.load(Ordering::Acquire));
        let last = shared.outbox.lock().stats().last;
        let mut until = None;
        match planner.plan(shared.clock.monotonic(), last) {
            Plan::Send { after } => match collect(&shared, &mut planner, after) {
                Ok(Some(upload)) => {
                    let batch = planner.begin(upload.items.iter().map(|i| i.0).collect());
                    send(&shared, &transport, &mut flying, batch, upload);
                    continue;
                }
                Ok(None) => {
                    let through = planner.settled();
                    settle(&shared, through);
                    until = Some(Duration::from_millis(50));
                }
                Err(e) => {
                    tracing::warn!(error = %e, "the outbox cannot be read");
                    shared.publish(|s| s.last_error = Some(e.to_string()));
                    until = Some(Duration::from_secs(1));
                }
            },
            Plan::WaitUntil(t) => until = Some(t.saturating_sub(shared.clock.monotonic())),
            Plan::Idle => {}
        }
        let nap = async {
            match until {
                Some(d) => shared.clock.sleep(d).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.stop.cancelled() => break,
            () = shared.pushed.notified() => {}
            () = nap => {}
            Some(done) = flying.join_next(), if !flying.is_empty() => {
                if let Ok((batch, answer)) = done {
                    note(&shared, &mut planner, &mut jitter, batch, answer);
                }
            }
        }
    }
    flying.abort_all();
    let _ = syncer.await;
}

/// The next batch, or `None` when the items it wanted are not there.
fn collect(shared: &Shared, planner: &mut Planner, after: u64) -> Result<Option<Upload>> {
    let o = &shared.options;
    let read = shared.outbox.lock().read(after, planner.read_limit(), o.batch_bytes.saturating_mul(2))?;
    let mut bytes = 0;
    let mut items = Vec::new();
    for (seq, b) in &read {
        if !planner.wanted(*seq) {
            continue;
        }
        if items.len() >= planner.batch_max() || (bytes + b.len() > o.batch_bytes && !items.is_empty()) {
            break;
        }
        bytes += b.len() + 8;
        items.push((*seq, b.clone()));
    }
    if items.is_empty() {
        let through = read.last().map_or(u64::MAX, |r| r.0);
        planner.skip_missing(|s| read.binary_search_by_key(&s, |r| r.0).is_ok(), through);
        return Ok(None);
    }
    Ok(Some(Upload {
        batch_id: format!("{}-{}", shared.boot_id, items.first().map_or(0, |i| i.0)),
        items,
        sent_at: shared.clock.now(),
        boot_id: shared.boot_id.clone(),
        monotonic_ns: u64::try_from(shared.clock.monotonic().as_nanos()).unwrap_or(u64::MAX),
    }))
}

fn send(shared: &Arc<Shared>, transport: &Arc<dyn Transport>, flying: &mut JoinSet<Answer>, batch: u64, upload: Upload) {
    let (transport, clock) = (transport.clone(), shared.clock.clone());
    let limit = Duration::from_millis(shared.options.timeout_ms);
    flying.spawn(async move {
        let answer = race(transport.upload(upload), clock.sleep(limit)).await;
        let answer = answer
            .unwrap_or_else(|| Err(Error::new(Code::TIMED_OUT, format!("no answer within {} ms", limit.as_millis())).op("client.upload")));
        (batch, answer)
    });
    let n = flying.len();
    shared.publish(|s| s.in_flight = n);
}

/// The first future's result, or `None` when the second is ready before it.
async fn race<T>(work: impl Future<Output = T>, limit: impl Future<Output = ()>) -> Option<T> {
    tokio::select! {
        biased;
        r = work => Some(r),
        () = limit => None,
    }
}

fn note(shared: &Shared, planner: &mut Planner, jitter: &mut Jitter, batch: u64, answer: Result<UploadAnswer>) {
    let now = shared.clock.monotonic();
    match answer {
        Ok(a) => {
            let done = planner.answered(batch, &a.outcomes, Duration::from_millis(a.retry_after_ms.into()), now, jitter.unit());
            settle(shared, done.through);
            let (at, in_flight, failures) = (shared.clock.now(), planner.in_flight(), planner.failures());
            shared.publish(|s| {
                s.last_success = Some(at);
                s.last_error = None;
                s.failures = failures;
                s.in_flight = in_flight;
                s.stored += done.stored;
                s.duplicate += done.duplicate;
                s.discarded += done.discarded;
                s.rejected += done.rejected.len() as u64;
                s.recent_rejected.extend(done.rejected.into_iter().map(|(seq, code, message)| RejectedItem { seq, code, message }));
                let excess = s.recent_rejected.len().saturating_sub(MAX_REJECTED);
                s.recent_rejected.drain(..excess);
            });
        }
        Err(e) => {
            tracing::debug!(error = %e, "upload failed");
            planner.failed(batch, e.advice().after(), now, jitter.unit());
            let (in_flight, failures) = (planner.in_flight(), planner.failures());
            shared.publish(|s| {
                s.last_error = Some(e.to_string());
                s.failures = failures;
                s.in_flight = in_flight;
            });
        }
    }
}

fn settle(shared: &Shared, through: u64) {
    let settled = shared.outbox.lock().settle(through);
    if let Err(e) = settled {
        tracing::warn!(error = %e, "the outbox could not let go of answered items; they will be sent again");
        shared.publish(|s| s.last_error = Some(e.to_string()));
    }
}

/// Syncs within `sync_ms` of a write.
async fn keep_synced(shared: Arc<Shared>) {
    let pause = Duration::from_millis(shared.options.sync_ms.max(1));
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.clock.sleep(pause) => {}
        }
        let o = shared.outbox.lock().stats();
        if o.durable >= o.last {
            continue;
        }
        if let Err(e) = sync_now(&shared).await {
            tracing::warn!(error = %e, "the outbox could not be synced");
            shared.publish(|s| s.last_error = Some(e.to_string()));
            continue;
        }
        shared.publish(|_| {});
    }
}
