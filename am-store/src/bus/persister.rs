//! Messages off the bus into the store.

use std::sync::Arc;
use std::time::Duration;

use am_core::policy::Backoff;
use am_core::{CancelToken, Code, Ctx, Error, Result, Scope};
use am_pipeline::Jitter;
use am_pipeline::bus::{Area, Bus, Consumer, GroupSpec, Tag};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::lanes::{Job, Lane, Lanes};
use super::lease::Turn;
use crate::Store;
use crate::model::{Ingest, IngestOutcome, PutOutcome};

/// How often a persister asks how much waits for it.
const LOOK: Duration = Duration::from_millis(500);

/// How a persister works.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PersisterOptions {
    /// Names the group. Of several persisters of one name one works and the others stand by, so that the order is kept; on a bus without
    /// entries they share the partitions. `am-persister`.
    pub group: String,
    /// A persister that is silent for so long is taken over from, in milliseconds; 10 s.
    pub lease_ms: u64,
    /// Messages asked for at a time.
    pub fetch: usize,
    /// Messages that are held at a time: at work, or waiting for those of their stream before them.
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
            lease_ms: 10_000,
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
    /// Tries that failed.
    pub failures: u64,
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

/// How the storing of a group ended.
enum End {
    Stored(Vec<IngestOutcome>),
    /// To be tried again, in place.
    Again(Error),
}

/// A group that came back from the store.
type Ended = (Lane, Vec<Job>, End);

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
        let clock = self.store.clock().clone();
        let me = am_core::ReadingId::v7(clock.now()).map_or_else(|_| format!("{:?}", clock.now()), |id| id.to_string());
        let lease = Duration::from_millis(self.options.lease_ms);
        let mut turn = self.bus.entries.clone().map(|e| Turn::new(e, clock, &self.options.group, me, lease));
        while !stop.is_cancelled() {
            match self.serve(stop, &mut failed, &mut turn).await {
                Ok(()) => break,
                Err(e) if e.advice().is_worthwhile() => {
                    failed += 1;
                    // Standing by is no fault.
                    match e.code() {
                        Code::STORE_LOCKED => tracing::debug!(error = %e, "standing by"),
                        _ => self.note(&e),
                    }
                    self.pause(if e.code() == Code::STORE_LOCKED { 1 } else { failed }, &e, stop).await;
                }
                Err(e) => return Err(e),
            }
        }
        if let Some(turn) = &mut turn {
            turn.leave().await;
        }
        Ok(())
    }

    async fn serve(&mut self, stop: &CancelToken, failed: &mut u32, turn: &mut Option<Turn>) -> Result<()> {
        if let Some(turn) = turn {
            turn.hold().await?;
        }
        let in_flight = self.options.in_flight.max(1);
        let spec = GroupSpec::new(self.options.group.clone(), [Area::Readings, Area::Errors]).in_flight(in_flight);
        let mut consumer = self.bus.groups.join(spec).await?;
        *failed = 0;
        let (mut lanes, mut work) = (Lanes::default(), JoinSet::new());
        let mut look_at = self.store.clock().monotonic();
        loop {
            if let Some(turn) = turn {
                turn.hold().await?;
            }
            self.look(&mut look_at, consumer.as_mut(), &lanes).await?;
            let stopping = stop.is_cancelled();
            if stopping && work.is_empty() {
                return Ok(());
            }
            if *failed > 0 && work.is_empty() && !stopping {
                self.await_store(failed, stop).await;
                // Perhaps the lease ran out meanwhile.
                continue;
            }
            // A store that does not answer gets no more work until it does; the messages stay where they are.
            if *failed == 0 && !stopping {
                lanes.next().into_iter().for_each(|(lane, jobs)| self.begin(lane, jobs, &mut work));
                let room = in_flight.saturating_sub(lanes.held());
                if room > 0 {
                    // While work is under way, look for more only briefly.
                    let wait = if work.is_empty() { Duration::from_millis(500) } else { Duration::from_millis(1) };
                    let fetched = tokio::select! {
                        fetched = consumer.fetch(room.min(self.options.fetch), wait) => fetched?,
                        () = stop.cancelled() => Vec::new(),
                    };
                    for d in fetched {
                        let (lane, job) = Job::new(d, &self.options.operator);
                        lanes.add(lane, job);
                    }
                }
                lanes.next().into_iter().for_each(|(lane, jobs)| self.begin(lane, jobs, &mut work));
            }
            let mut ended = Vec::new();
            if stopping || *failed > 0 || lanes.held() >= in_flight {
                ended.extend(work.join_next().await);
            }
            while let Some(end) = work.try_join_next() {
                ended.push(end);
            }
            self.settle(ended, &mut lanes, consumer.as_mut(), failed).await?;
        }
    }

    /// Asks from time to time how much waits.
    async fn look(&self, at: &mut Duration, consumer: &mut dyn Consumer, lanes: &Lanes) -> Result<()> {
        let now = self.store.clock().monotonic();
        if now >= *at {
            *at = now.saturating_add(LOOK);
            let waiting = consumer.lag().await? + lanes.held() as u64;
            let mut s = self.status.lock();
            (s.waiting, s.looks) = (waiting, s.looks + 1);
        }
        Ok(())
    }

    /// Until the store answers again.
    async fn await_store(&mut self, failed: &mut u32, stop: &CancelToken) {
        match self.store.backend().maintenance.ready().await {
            Ok(()) => *failed = 0,
            Err(e) => {
                *failed += 1;
                self.note(&e);
                self.pause(*failed, &e, stop).await;
            }
        }
    }

    fn begin(&self, lane: Lane, jobs: Vec<Job>, work: &mut JoinSet<Ended>) {
        let store = self.store.clone();
        work.spawn(async move {
            let end = match store_all(&store, &jobs).await {
                Ok(outcomes) => End::Stored(outcomes),
                Err(e) => End::Again(e),
            };
            (lane, jobs, end)
        });
    }

    /// Acknowledges what is stored; the rest stays in front of its lane.
    async fn settle(
        &mut self,
        ended: Vec<std::result::Result<Ended, tokio::task::JoinError>>,
        lanes: &mut Lanes,
        consumer: &mut dyn Consumer,
        failed: &mut u32,
    ) -> Result<()> {
        let mut done: Vec<Tag> = Vec::new();
        for end in ended {
            let (lane, jobs, end) =
                end.map_err(|e| Error::new(Code::INTERNAL, format!("storing a message broke off: {e}")).op("persister"))?;
            match end {
                End::Stored(outcomes) => {
                    self.status.lock().messages += jobs.len() as u64;
                    outcomes.iter().for_each(|o| self.count(o));
                    done.extend(jobs.iter().map(|j| j.tag));
                    lanes.done(&lane, jobs.len());
                }
                End::Again(e) => {
                    self.note(&e);
                    self.status.lock().failures += 1;
                    *failed += 1;
                    lanes.back(&lane, jobs);
                }
            }
        }
        match done.is_empty() {
            true => Ok(()),
            false => consumer.ack(&done).await,
        }
    }

    fn count(&self, o: &IngestOutcome) {
        let mut s = self.status.lock();
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
        tracing::warn!(group = self.options.group, error = %e, "not stored yet");
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

/// Commits a group: together, or one by one when the store refuses them together. What it refuses for good is parked as a whole.
async fn store_all(store: &Store, jobs: &[Job]) -> Result<Vec<IngestOutcome>> {
    let (clock, catalogue) = (store.clock(), store.catalogue());
    let Some(first) = jobs.first() else { return Ok(Vec::new()) };
    let put = |batch: Ingest, of: &Job| {
        let ctx = Ctx::new(of.scope.clone(), clock.clone()).with_trace(of.trace);
        async move { store.backend().readings.put(&ctx, batch).await }
    };
    if jobs.len() > 1 {
        let mut all = first.batch(catalogue, clock.now());
        for job in jobs.iter().skip(1) {
            let more = job.batch(catalogue, clock.now());
            all.readings.extend(more.readings);
            all.rejected.extend(more.rejected);
        }
        match put(all, first).await {
            Ok(outcome) => return Ok(vec![outcome]),
            Err(e) if e.advice().is_worthwhile() => return Err(e),
            Err(_) => {}
        }
    }
    let mut out = Vec::with_capacity(jobs.len());
    for job in jobs {
        out.push(match put(job.batch(catalogue, clock.now()), job).await {
            Ok(outcome) => outcome,
            Err(e) if e.advice().is_worthwhile() => return Err(e),
            Err(e) => put(job.refused(&e, clock.now()), job).await?,
        });
    }
    Ok(out)
}
