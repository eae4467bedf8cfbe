//! Messages off the bus into the store.

use std::sync::Arc;
use std::time::Duration;

use am_core::policy::Backoff;
use am_core::{CancelToken, Code, Ctx, Error, Result, Scope};
use am_pipeline::Jitter;
use am_pipeline::bus::{Area, Bus, Consumer, Delivery, GroupSpec, Message, Parcel, Parcels, Tag};
use am_schema::Decoder;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::parcels;
use crate::Store;
use crate::model::{Ingest, IngestOutcome, PutOutcome};

/// How often a persister asks how much waits for it.
const LOOK: Duration = Duration::from_millis(500);

/// How a persister works.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PersisterOptions {
    /// Names the group; several persisters of one name share the work. `am-persister`.
    pub group: String,
    /// Messages asked for at a time.
    pub fetch: usize,
    /// Messages that are being stored at a time; the store makes few transactions of them.
    pub in_flight: usize,
    /// Whose dead letters those are that do not say whose they are.
    pub operator: Scope,
    /// The waits while the store or the bus does not answer.
    pub backoff: Backoff,
}

impl Default for PersisterOptions {
    fn default() -> Self {
        PersisterOptions {
            group: "am-persister".into(),
            fetch: 256,
            in_flight: 512,
            operator: Scope::local(),
            backoff: Backoff::new(100, 5_000),
        }
    }
}

/// A persister in numbers, since it was made.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct PersisterStatus {
    /// Messages that are stored and acknowledged.
    pub messages: u64,
    /// Readings that are stored.
    pub stored: u64,
    /// Readings that were stored before.
    pub duplicate: u64,
    /// Dead letters, those of gateways and workers included.
    pub dead_lettered: u64,
    /// Messages that were left to come again.
    pub again: u64,
    /// Messages that wait on the bus or are being stored, when that was last looked at.
    pub waiting: u64,
    /// How often it was looked at.
    pub looks: u64,
    /// What last went wrong.
    pub last_error: Option<String>,
}

/// Moves messages off the bus into a store, and acknowledges them when the store has committed (P01). It is the only one that writes
/// readings there.
pub struct Persister {
    store: Store,
    bus: Bus,
    options: PersisterOptions,
    status: Arc<Mutex<PersisterStatus>>,
    jitter: Jitter,
}

/// How the storing of a message ended.
enum End {
    Stored(IngestOutcome),
    /// Tried again later.
    Again(Error),
    /// Trying again does not help.
    Refused(Message, Error),
}

impl Persister {
    /// From a bus into a store.
    pub fn new(store: &Store, bus: &Bus, options: PersisterOptions) -> Self {
        let jitter = Jitter::named(&options.group);
        Persister { store: store.clone(), bus: bus.clone(), options, status: Arc::default(), jitter }
    }

    /// Its numbers, to be read while it runs.
    pub fn status(&self) -> Arc<Mutex<PersisterStatus>> {
        self.status.clone()
    }

    /// Runs until `stop` is raised; what was begun is finished.
    ///
    /// # Cancel safety
    /// Dropping the future leaves each message stored or not; what is not acknowledged comes again and adds nothing.
    ///
    /// # Errors
    /// What trying again does not help against, such as a group that reads something else.
    pub async fn run(&mut self, stop: &CancelToken) -> Result<()> {
        let mut failed = 0;
        while !stop.is_cancelled() {
            match self.serve(stop, &mut failed).await {
                Ok(()) => return Ok(()),
                Err(e) if e.advice().is_worthwhile() => {
                    failed += 1;
                    self.note(&e);
                    self.pause(failed, &e, stop).await;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    async fn serve(&mut self, stop: &CancelToken, failed: &mut u32) -> Result<()> {
        let spec = GroupSpec::new(self.options.group.clone(), [Area::Readings, Area::Errors]).in_flight(self.options.in_flight.max(1));
        let mut consumer = self.bus.groups.join(spec).await?;
        let mut work: JoinSet<(Tag, End)> = JoinSet::new();
        let mut look_at = self.store.clock().monotonic();
        loop {
            let now = self.store.clock().monotonic();
            if now >= look_at {
                look_at = now.saturating_add(LOOK);
                let waiting = consumer.lag().await? + work.len() as u64;
                let mut s = self.status.lock();
                (s.waiting, s.looks) = (waiting, s.looks + 1);
            }
            // A store that does not answer gets no more work until it does; the messages stay on the bus.
            while *failed > 0 && !stop.is_cancelled() {
                match self.store.backend().maintenance.ready().await {
                    Ok(()) => *failed = 0,
                    Err(e) => {
                        *failed += 1;
                        self.note(&e);
                        self.pause(*failed, &e, stop).await;
                    }
                }
            }
            let room = self.options.in_flight.saturating_sub(work.len());
            let stopping = stop.is_cancelled();
            if stopping && work.is_empty() {
                return Ok(());
            }
            let want = if stopping { 0 } else { room.min(self.options.fetch) };
            // While work is under way, look for more only briefly.
            let wait = if work.is_empty() { Duration::from_millis(500) } else { Duration::from_millis(2) };
            if want > 0 {
                let fetched = tokio::select! {
                    fetched = consumer.fetch(want, wait) => fetched?,
                    () = stop.cancelled() => Vec::new(),
                };
                fetched.into_iter().for_each(|d| self.begin(d, &mut work));
            }
            let full = work.len() >= self.options.in_flight;
            let mut ended = Vec::new();
            if full || stopping {
                ended.extend(work.join_next().await);
            }
            while let Some(end) = work.try_join_next() {
                ended.push(end);
            }
            *failed += u32::from(self.settle(ended, consumer.as_mut()).await?);
        }
    }

    fn begin(&self, d: Delivery, work: &mut JoinSet<(Tag, End)>) {
        let (store, operator) = (self.store.clone(), self.options.operator.clone());
        work.spawn(async move {
            let now = store.clock().now();
            let message = match d.message {
                Ok(m) => m,
                // Nobody's, so it is parked among the operator's own.
                Err(f) => {
                    let letter = parcels::foreign(&operator, now, format!("{}: {}", f.subject, f.why), f.body.clone());
                    let batch = Ingest { rejected: vec![letter], ..Default::default() };
                    let empty = Message {
                        area: Area::Errors,
                        scope: operator,
                        topic: "processing.errors.ingest".into(),
                        device: None,
                        id: String::new(),
                        trace: Default::default(),
                        body: f.body,
                    };
                    return (d.tag, put(&store, empty, batch).await);
                }
            };
            let batch = match Parcel::from_body(message.body.clone()) {
                Ok(parcel) => {
                    let mut decoder = Decoder::new(store.catalogue().clone()).trusted();
                    parcels::ingest(&mut decoder, &message.scope, parcel, now)
                }
                Err(e) => Ingest {
                    rejected: vec![parcels::foreign(&message.scope, now, e.message(), message.body.clone())],
                    ..Default::default()
                },
            };
            (d.tag, put(&store, message, batch).await)
        });
    }

    /// Acknowledges what is stored, leaves the rest to come again; true when the store seems to be away.
    async fn settle(
        &mut self,
        ended: Vec<std::result::Result<(Tag, End), tokio::task::JoinError>>,
        consumer: &mut dyn Consumer,
    ) -> Result<bool> {
        let (mut done, mut again, mut away) = (Vec::new(), Vec::new(), false);
        for end in ended {
            let (tag, end) = end.map_err(|e| Error::new(Code::INTERNAL, format!("storing a message broke off: {e}")).op("persister"))?;
            match end {
                End::Stored(outcome) => {
                    self.count(&outcome);
                    done.push(tag);
                }
                End::Again(e) => {
                    self.note(&e);
                    away = true;
                    again.push(tag);
                }
                End::Refused(message, e) => {
                    self.note(&e);
                    match self.park(message, &e).await {
                        Ok(()) => done.push(tag),
                        Err(e) => {
                            self.note(&e);
                            again.push(tag);
                        }
                    }
                }
            }
        }
        if !done.is_empty() {
            consumer.ack(&done).await?;
        }
        if !again.is_empty() {
            self.status.lock().again += again.len() as u64;
            consumer.again(&again, Duration::from_secs(1)).await?;
        }
        Ok(away)
    }

    /// What the store refuses for good is one dead letter with the whole message.
    async fn park(&self, message: Message, why: &Error) -> Result<()> {
        let letter = parcels::foreign(&message.scope, self.store.clock().now(), format!("refused by the store: {why}"), message.body);
        let ctx = Ctx::new(message.scope, self.store.clock().clone());
        self.store.backend().dead_letters.park(&ctx, vec![letter]).await?;
        self.status.lock().dead_lettered += 1;
        Ok(())
    }

    fn count(&self, o: &IngestOutcome) {
        let mut s = self.status.lock();
        s.messages += 1;
        s.dead_lettered += o.parked.len() as u64;
        for r in &o.readings {
            match r {
                PutOutcome::Stored(_) => s.stored += 1,
                PutOutcome::Duplicate | PutOutcome::Discarded(_) => s.duplicate += 1,
                PutOutcome::Conflict(_) => s.dead_lettered += 1,
            }
        }
    }

    fn note(&self, e: &Error) {
        tracing::warn!(group = self.options.group, error = %e, "a message was not stored");
        self.status.lock().last_error = Some(e.to_string());
    }

    async fn pause(&mut self, failed: u32, e: &Error, stop: &CancelToken) {
        let wait = self.options.backoff.wait(failed, self.jitter.unit(), e.advice().after());
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.store.clock().sleep(wait) => {}
        }
    }
}

/// Commits a message.
async fn put(store: &Store, message: Message, batch: Ingest) -> End {
    let ctx = Ctx::new(message.scope.clone(), store.clock().clone()).with_trace(message.trace);
    match store.backend().readings.put(&ctx, batch).await {
        Ok(outcome) => End::Stored(outcome),
        Err(e) if e.advice().is_worthwhile() => End::Again(e),
        Err(e) => End::Refused(message, e),
    }
}
