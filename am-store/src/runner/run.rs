//! The loop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use am_core::{CancelToken, Code, Ctx, Error, Monotonic, Result, Scope};
use am_pipeline::{DeadLetter, Jitter, Origin};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::flow::Flow;
use super::forget;
use super::lane::{Env, Given, Lane, LaneKey, Made};
use super::status::StatusHandle;
use super::{FlowStatus, RunnerOptions};
use crate::Store;
use crate::model::{Derived, FeedEntry, FeedEvent, FeedQuery, FlowCommit, Predicate, PutOutcome, Seq, StateChange};

/// The cursor is committed on its own when so many entries of other kinds were passed.
const LONELY: u64 = 65_536;

/// Runs one flow over a store. Two runners of the same flow do no harm: one of them commits, the other begins again from there.
pub struct FlowRunner {
    env: Arc<Env>,
    version: String,
    options: RunnerOptions,
    place: Option<Place>,
    live: HashMap<LaneKey, (u64, Lane)>,
    /// Parts may be ahead of what was committed: a step was begun and not ended.
    ahead: bool,
    steps: u64,
    committed_at: Option<Monotonic>,
    jitter: Jitter,
    status: StatusHandle,
}

/// Where the flow stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// As committed.
    cursor: Seq,
    epoch: u64,
    /// Entries up to here were looked at; those after the cursor hold nothing for the flow.
    read: Seq,
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stepped {
    /// Nothing was there.
    Idle,
    /// Something was there; perhaps there is more.
    Some,
    /// A whole batch was there: a backlog.
    Full,
}

impl FlowRunner {
    /// A runner of a flow on a store.
    ///
    /// # Errors
    /// `BAD_FLOW` when the flow cannot run.
    pub fn new(store: &Store, flow: Flow, options: RunnerOptions) -> Result<FlowRunner> {
        flow.check()?;
        let status = StatusHandle::default();
        let version = flow.full_version();
        status.update(|s| *s = FlowStatus { flow: flow.name().to_owned(), version: version.clone(), ..Default::default() });
        let jitter = Jitter::named(flow.name());
        let env = Env {
            flow,
            backend: store.backend().clone(),
            catalogue: store.catalogue().clone(),
            clock: store.clock().clone(),
            saved: Arc::default(),
        };
        Ok(FlowRunner {
            env: Arc::new(env),
            version,
            options: options.bounded(),
            place: None,
            live: HashMap::new(),
            ahead: false,
            steps: 0,
            committed_at: None,
            jitter,
            status,
        })
    }

    /// Its status, to be read while it runs.
    pub fn status(&self) -> StatusHandle {
        self.status.clone()
    }

    /// Runs until `stop` is raised; a step that has begun is finished.
    ///
    /// # Cancel safety
    /// Dropping the future leaves a step committed or not at all; the next call begins at what was committed.
    ///
    /// # Errors
    /// What trying again does not help against: a store that was closed, a state that cannot be read.
    pub async fn run(&mut self, stop: &CancelToken) -> Result<()> {
        let mut failed = 0;
        while !stop.is_cancelled() {
            match self.step(stop).await {
                Ok(Stepped::Full) => failed = 0,
                Ok(Stepped::Some) => {
                    failed = 0;
                    self.pace(stop).await;
                }
                Ok(Stepped::Idle) => {
                    failed = 0;
                    let read = self.place.map_or(0, |p| p.read);
                    let waited = tokio::select! {
                        () = stop.cancelled() => Ok(()),
                        waited = self.env.backend.feed.wait(read) => waited,
                    };
                    match waited {
                        Ok(()) => self.pace(stop).await,
                        Err(e) => self.recover(&mut failed, e, stop).await?,
                    }
                }
                Err(e) => self.recover(&mut failed, e, stop).await?,
            }
        }
        self.save_cursor(stop).await
    }

    /// Waits before another try, when one is worthwhile.
    async fn recover(&mut self, failed: &mut u32, e: Error, stop: &CancelToken) -> Result<()> {
        self.note(&e);
        if !e.advice().is_worthwhile() {
            return Err(e);
        }
        if e.code() == Code::STALE_COMMIT {
            self.status.update(|s| s.reloads += 1);
            self.unload();
        }
        *failed += 1;
        self.back_off(*failed, &e, stop).await;
        Ok(())
    }

    /// Runs until everything that is there now, and what is derived of it, was looked at.
    ///
    /// # Errors
    /// As [`FlowRunner::run`], and what trying again may help against.
    pub async fn drain(&mut self) -> Result<()> {
        let stop = CancelToken::new();
        while self.step(&stop).await? != Stepped::Idle {}
        self.save_cursor(&stop).await
    }

    /// Forgets the state and begins again at the start of the feed. Derived readings stay; what comes out the same is not stored again.
    ///
    /// # Errors
    /// What keeps the store from it.
    pub async fn reset(&mut self) -> Result<()> {
        self.env.backend.flows.reset(self.env.flow.name(), &self.version, 0).await?;
        self.unload();
        Ok(())
    }

    fn unload(&mut self) {
        self.place = None;
        self.live.clear();
        self.ahead = false;
    }

    async fn load(&mut self) -> Result<Place> {
        if let Some(p) = self.place {
            return Ok(p);
        }
        let flows = &self.env.backend.flows;
        let mut state = flows.load(self.env.flow.name()).await?;
        if state.version != self.version {
            tracing::info!(flow = self.env.flow.name(), from = state.version, to = self.version, "a flow begins again under a new version");
            state = flows.reset(self.env.flow.name(), &self.version, 0).await?;
        }
        self.live.clear();
        *self.env.saved.write() = state.state.into_iter().map(|(k, v)| (k, v.into())).collect();
        let place = Place { cursor: state.cursor, epoch: state.epoch, read: state.cursor };
        self.place = Some(place);
        Ok(place)
    }

    async fn step(&mut self, stop: &CancelToken) -> Result<Stepped> {
        if self.ahead {
            self.unload();
        }
        let place = self.load().await?;
        let started = self.env.clock.monotonic();
        let query = FeedQuery { limit: self.options.batch, ..FeedQuery::after(place.read, self.env.flow.inputs().to_vec()) };
        let page = self.env.backend.feed.read(None, &query).await?;
        self.status.update(|s| (s.cursor, s.head) = (place.read, page.head));
        let mut entries = page.entries;
        if entries.is_empty() {
            let moved = page.next > place.read;
            self.place = Some(Place { read: page.next, ..place });
            self.status.update(|s| s.cursor = page.next);
            if page.next - place.cursor >= LONELY {
                self.save_cursor(stop).await?;
            }
            return Ok(if moved { Stepped::Some } else { Stepped::Idle });
        }
        let full = entries.len() >= self.options.batch;
        let mut upto = page.next;
        match entries.iter().position(|e| matches!(e.event, FeedEvent::Erased(_))) {
            Some(0) => {
                let first = entries.swap_remove(0);
                if let FeedEvent::Erased(p) = first.event {
                    self.forget(&first.scope, &p, first.seq, place, stop).await?;
                }
                return Ok(Stepped::Full);
            }
            Some(n) => {
                upto = entries.get(n).map_or(upto, |e| e.seq.saturating_sub(1));
                entries.truncate(n);
            }
            None => {}
        }
        let mut commit = FlowCommit { flow: self.env.flow.name().to_owned(), epoch: place.epoch, cursor: upto, ..Default::default() };
        let oldest = oldest_batch(&entries);
        let (taken, backfilled) = self.process(entries, &mut commit).await?;
        if self.commit(commit, stop).await? {
            let now = self.env.clock.monotonic();
            let latency = self.latency(oldest).await;
            self.status.update(|s| {
                s.taken += taken;
                s.backfilled += backfilled;
                s.step_time = now.saturating_sub(started);
                s.latency = latency;
                s.worst_latency = s.worst_latency.max(latency);
            });
        }
        Ok(if full { Stepped::Full } else { Stepped::Some })
    }

    /// Processes entries by part and puts what comes of it into the commit, in the order of the parts' first entries. Returns how many
    /// readings there were, and how many of them as backfill.
    async fn process(&mut self, entries: Vec<FeedEntry>, commit: &mut FlowCommit) -> Result<(u64, u64)> {
        let (mut taken, mut backfilled) = (0, 0);
        let mut order: Vec<(LaneKey, Vec<Given>)> = Vec::new();
        let mut places: HashMap<LaneKey, usize> = HashMap::new();
        for e in entries {
            let FeedEvent::Put(stored) = e.event else { continue };
            let device = (!self.env.flow.is_by_scope()).then(|| stored.reading.device().clone());
            let key = LaneKey { scope: e.scope, device };
            let at = *places.entry(key.clone()).or_insert_with(|| {
                order.push((key, Vec::new()));
                order.len() - 1
            });
            let origin = Origin::from_u8(stored.origin as u8);
            taken += 1;
            backfilled += u64::from(origin == Origin::Backfill);
            if let Some((_, work)) = order.get_mut(at) {
                work.push(Given { seq: e.seq, origin, reading: stored.reading });
            }
        }
        let room = Arc::new(Semaphore::new(self.options.parallelism));
        let mut tasks: JoinSet<(usize, LaneKey, Lane, Result<Made>)> = JoinSet::new();
        let mut results: Vec<Option<(Scope, Made)>> = order.iter().map(|_| None).collect();
        for (i, (key, work)) in order.into_iter().enumerate() {
            let mut lane = self.live.remove(&key).map_or_else(|| Lane::new(key.clone()), |(_, lane)| lane);
            let (env, room) = (self.env.clone(), room.clone());
            tasks.spawn(async move {
                let _turn = room.acquire_owned().await;
                let made = lane.process(&env, &work).await;
                (i, key, lane, made)
            });
        }
        self.steps += 1;
        self.ahead = true;
        while let Some(done) = tasks.join_next().await {
            let (i, key, lane, made) = done.map_err(|e| self.broken(Error::new(Code::INTERNAL, e.to_string()).op("store.flow")))?;
            let made = made.map_err(|e| self.broken(e))?;
            if let Some(slot) = results.get_mut(i) {
                *slot = Some((key.scope.clone(), made));
            }
            self.live.insert(key, (self.steps, lane));
        }
        for (scope, made) in results.into_iter().flatten() {
            self.status.update(|s| {
                s.failures += made.failures;
                s.discarded += made.discarded;
            });
            commit.derived.extend(made.derived.into_iter().map(|(origin, reading)| Derived { scope: scope.clone(), reading, origin }));
            commit.dead_letters.extend(made.letters);
            commit.state.extend(made.state);
        }
        self.evict();
        Ok((taken, backfilled))
    }

    /// The parts are ahead of what was committed: they begin again from there.
    fn broken(&mut self, e: Error) -> Error {
        self.unload();
        e
    }

    /// Lets go of the parts that were used longest ago; their state is in the commits.
    fn evict(&mut self) {
        let over = self.live.len().saturating_sub(self.options.live);
        if over > 0 {
            let mut ages: Vec<(u64, LaneKey)> = self.live.iter().map(|(k, (used, _))| (*used, k.clone())).collect();
            ages.sort_by_key(|(used, _)| *used);
            for (_, key) in ages.into_iter().take(over) {
                self.live.remove(&key);
            }
        }
    }

    /// Lets go of all state that may hold something of what was erased.
    async fn forget(&mut self, scope: &Scope, erased: &Predicate, at: Seq, place: Place, stop: &CancelToken) -> Result<()> {
        let keys = forget::reached(self.env.saved.read().keys(), scope, erased, self.env.flow.inputs());
        self.live.retain(|k, _| k.scope != *scope);
        let state = keys.into_iter().map(|key| StateChange { key, value: None }).collect();
        let flow = self.env.flow.name().to_owned();
        self.commit(FlowCommit { flow, epoch: place.epoch, cursor: at, state, ..Default::default() }, stop).await?;
        Ok(())
    }

    /// Commits; false when someone else had committed first, and the step must be done again.
    async fn commit(&mut self, commit: FlowCommit, stop: &CancelToken) -> Result<bool> {
        let mut attempt = 0;
        let done = loop {
            match self.env.backend.flows.commit(commit.clone()).await {
                Ok(done) => break done,
                Err(e) if e.code() == Code::STALE_COMMIT => {
                    self.status.update(|s| s.reloads += 1);
                    self.unload();
                    return Ok(false);
                }
                // It may have been committed: then the next try is stale, and what was committed is loaded.
                Err(e) if e.advice().is_worthwhile() && !stop.is_cancelled() => {
                    self.note(&e);
                    attempt += 1;
                    self.back_off(attempt, &e, stop).await;
                }
                Err(e) => return Err(self.broken(e)),
            }
        };
        {
            let mut saved = self.env.saved.write();
            for c in commit.state {
                match c.value {
                    Some(v) => saved.insert(c.key, v.into()),
                    None => saved.remove(&c.key),
                };
            }
        }
        self.place = Some(Place { cursor: commit.cursor, epoch: done.epoch, read: commit.cursor });
        self.ahead = false;
        self.committed_at = Some(self.env.clock.monotonic());
        let (mut stored, mut duplicates, mut conflicts) = (0, 0, 0);
        for o in &done.derived {
            match o {
                PutOutcome::Stored(_) => stored += 1,
                PutOutcome::Conflict(_) => conflicts += 1,
                PutOutcome::Duplicate | PutOutcome::Discarded(_) => duplicates += 1,
            }
        }
        let why = commit.dead_letters.last().map(|l: &DeadLetter| (l.at, format!("{}: {}", l.stage, l.message)));
        self.status.update(|s| {
            s.cursor = commit.cursor;
            s.commits += 1;
            s.derived += stored;
            s.duplicates += duplicates;
            s.superseded += done.superseded.len() as u64;
            s.parked += commit.dead_letters.len() as u64 + conflicts;
            s.last_error = why.or(s.last_error.take());
        });
        Ok(true)
    }

    /// Commits the cursor alone when it is behind what was looked at.
    async fn save_cursor(&mut self, stop: &CancelToken) -> Result<()> {
        match self.place {
            Some(p) if p.read > p.cursor => {
                let flow = self.env.flow.name().to_owned();
                self.commit(FlowCommit { flow, epoch: p.epoch, cursor: p.read, ..Default::default() }, stop).await.map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// Waits until the last commit is long enough ago, so that a trickle is not committed one by one.
    async fn pace(&mut self, stop: &CancelToken) {
        let since = self.committed_at.map(|at| self.env.clock.monotonic().saturating_sub(at));
        let left = since.map_or(Duration::ZERO, |since| self.options.linger.saturating_sub(since));
        self.pause(left, stop).await;
    }

    async fn back_off(&mut self, attempt: u32, e: &Error, stop: &CancelToken) {
        let wait = self.options.backoff.wait(attempt, self.jitter.unit(), e.advice().after());
        self.pause(wait, stop).await;
    }

    async fn pause(&mut self, d: Duration, stop: &CancelToken) {
        if !d.is_zero() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.env.clock.sleep(d) => {}
            }
        }
    }

    /// From the arrival of an ingest batch to now.
    async fn latency(&mut self, oldest: Option<(Scope, u64)>) -> Option<Duration> {
        let (scope, batch) = oldest?;
        let ctx = Ctx::new(scope, self.env.clock.clone());
        let p = self.env.backend.readings.provenance(&ctx, batch).await.ok()??;
        Some(self.env.clock.now().since(p.received_at))
    }

    fn note(&self, e: &Error) {
        let at = self.env.clock.now();
        tracing::warn!(flow = self.env.flow.name(), error = %e, "a flow's step failed");
        self.status.update(|s| s.last_error = Some((at, e.to_string())));
    }
}

/// The first raw reading's ingest batch.
fn oldest_batch(entries: &[FeedEntry]) -> Option<(Scope, u64)> {
    entries.iter().find_map(|e| match &e.event {
        FeedEvent::Put(s) if s.batch > 0 => Some((e.scope.clone(), s.batch)),
        _ => None,
    })
}
