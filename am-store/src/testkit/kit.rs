//! What the cases hold in their hands.

use std::fmt::{self, Debug};
use std::sync::Arc;

use am_core::{Clock, Code, Ctx, DeviceId, Error, ManualClock, ReadingId, Result, Scope, Timestamp};
use am_schema::{Catalogue, Inputs, Kind, ProcessorIdentity, Reading, Rejected, v1};
use async_trait::async_trait;

use crate::model::{Derived, FeedEntry, FeedQuery, FlowCommit, FlowCommitted, Ingest, IngestOutcome, PutOutcome, ScanQuery, Seq, Stored};
use crate::traits::Backend;

/// What a store under test is made with.
#[derive(Clone)]
#[non_exhaustive]
pub struct Setting {
    /// The clock that the case moves.
    pub clock: Arc<dyn Clock>,
    /// The kinds in use.
    pub catalogue: Catalogue,
}

/// A store under test, in a place of its own.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Opens it: empty the first time, with all it acknowledged after that.
    async fn open(&self) -> Result<Backend>;

    /// Whether it claims to keep things from one opening to the next.
    fn durable(&self) -> bool;
}

/// A store that ends with the process: cases about opening again do not apply.
pub struct Volatile(Backend);

impl Volatile {
    /// Of a fresh, empty backend.
    pub fn new(backend: Backend) -> Self {
        Volatile(backend)
    }
}

#[async_trait]
impl Subject for Volatile {
    async fn open(&self) -> Result<Backend> {
        Ok(self.0.clone())
    }

    fn durable(&self) -> bool {
        false
    }
}

/// Why a case does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(String);

/// How a case ends.
pub type Outcome = std::result::Result<(), Fault>;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Error> for Fault {
    fn from(e: Error) -> Self {
        Fault(format!("unexpected error: {e:?}"))
    }
}

impl From<Rejected> for Fault {
    fn from(r: Rejected) -> Self {
        Fault(format!("the kit built a reading that is not valid: {r}"))
    }
}

/// A fault with this text.
pub(super) fn fault(text: impl Into<String>) -> Fault {
    Fault(text.into())
}

fn short(v: &impl Debug) -> String {
    let mut text = format!("{v:?}");
    if let Some((cut, _)) = text.char_indices().nth(600) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

/// Holds when two values are equal.
pub(super) fn same<T: PartialEq + Debug>(what: &str, got: T, want: T) -> Outcome {
    match got == want {
        true => Ok(()),
        false => Err(Fault(format!("{what}:\n  got    {}\n  wanted {}", short(&got), short(&want)))),
    }
}

/// Holds when two lists are equal; shows the first difference.
pub(super) fn same_list<T: PartialEq + Debug>(what: &str, got: &[T], want: &[T]) -> Outcome {
    if got == want {
        return Ok(());
    }
    let at = got.iter().zip(want).position(|(g, w)| g != w).unwrap_or(got.len().min(want.len()));
    let one = |l: &[T]| l.get(at).map_or("nothing".into(), short);
    let text = format!("{what}: {} items, wanted {}; at {at}:\n  got    {}\n  wanted {}", got.len(), want.len(), one(got), one(want));
    Err(Fault(text))
}

/// Holds when it is true.
pub(super) fn holds(what: &str, yes: bool) -> Outcome {
    if yes { Ok(()) } else { Err(Fault(what.to_owned())) }
}

/// Holds when a call was refused with this code.
pub(super) fn refused<T: Debug>(what: &str, got: Result<T>, code: Code) -> Outcome {
    match got {
        Err(e) if e.code() == code => Ok(()),
        Err(e) => Err(Fault(format!("{what}: refused with {e}, wanted {}", code.info().name))),
        Ok(v) => Err(Fault(format!("{what}: answered {}, wanted {}", short(&v), code.info().name))),
    }
}

/// A fresh store, and what to fill it with.
pub struct Kit {
    subject: Box<dyn Subject>,
    backend: Backend,
    clock: ManualClock,
    catalogue: Catalogue,
}

impl Kit {
    /// What the clock shows when a case begins.
    pub fn now() -> Timestamp {
        Timestamp::from_second(1_772_409_600)
    }

    pub(super) async fn open(subject: Box<dyn Subject>, clock: ManualClock) -> Result<Kit> {
        let backend = subject.open().await?;
        Ok(Kit { subject, backend, clock, catalogue: Catalogue::builtin() })
    }

    /// The backend under test.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The clock that the store runs on.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// The kinds in use.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Closes the store and opens it again.
    pub(super) async fn reopen(&mut self) -> Result<()> {
        self.backend.maintenance.close().await?;
        self.backend = self.subject.open().await?;
        Ok(())
    }

    /// Of ada at acme, whose readings most cases use.
    pub fn ctx(&self) -> Ctx {
        self.ctx_of(scope("acme", "ada"))
    }

    /// Of somebody else.
    pub fn ctx_of(&self, scope: Scope) -> Ctx {
        Ctx::new(scope, Arc::new(self.clock.clone()))
    }

    pub(super) fn kind(&self, topic: &str) -> std::result::Result<Kind, Fault> {
        self.catalogue.get(topic).ok_or_else(|| fault(format!("the catalogue has no {topic}")))
    }

    /// A heart rate of the watch.
    pub(super) fn heart(&self, at: i64, bpm: i32) -> std::result::Result<Reading, Fault> {
        self.heart_of("watch", t(at), bpm, None)
    }

    pub(super) fn heart_of(&self, device: &str, at: Timestamp, bpm: i32, id: Option<u8>) -> std::result::Result<Reading, Fault> {
        let b = Reading::builder(self.kind(HEART)?, DeviceId::new(device)?, at).payload(&v1::HeartRate { bpm, ..Default::default() });
        Ok(match id {
            Some(n) => b.id(ReadingId::from_bytes([n; 16])).build()?,
            None => b.build()?,
        })
    }

    /// Steps counted over a span.
    pub(super) fn steps(&self, from: i64, to: i64, count: u32) -> std::result::Result<Reading, Fault> {
        let b = Reading::builder(self.kind(STEPS)?, DeviceId::new("phone")?, t(from)).ended_at(t(to));
        Ok(b.payload(&v1::Steps { count }).build()?)
    }

    /// A note with a text.
    pub(super) fn note(&self, at: i64, text: &str) -> std::result::Result<Reading, Fault> {
        let note = v1::Note { note_id: format!("n{at}"), text: text.into(), ..Default::default() };
        Ok(Reading::builder(self.kind(NOTE)?, DeviceId::new("phone")?, t(at)).payload(&note).build()?)
    }

    /// A derived reading with a number and a text, made from others by a version of a processor for a span.
    pub(super) fn derived(
        &self,
        version: &str,
        inputs: &[Reading],
        (from, to): (i64, i64),
        score: f64,
        label: &str,
    ) -> std::result::Result<Reading, Fault> {
        self.derived_in(version, Inputs::of(inputs).span(t(from), t(to)), from, score, label)
    }

    pub(super) fn derived_in(
        &self,
        version: &str,
        inputs: Inputs,
        at: i64,
        score: f64,
        label: &str,
    ) -> std::result::Result<Reading, Fault> {
        let processor = ProcessorIdentity::new("kit.predict", version, "{}");
        let payload = v1::Prediction { target: "sleep".into(), score, label: label.into(), ..Default::default() };
        let b = Reading::builder(self.kind(SCORE)?, DeviceId::new("watch")?, t(at)).payload(&payload);
        Ok(b.derived_from(&processor, inputs, 0).build()?)
    }

    pub(super) async fn put(&self, readings: &[Reading]) -> Result<IngestOutcome> {
        self.put_as(&self.ctx(), readings).await
    }

    pub(super) async fn put_as(&self, ctx: &Ctx, readings: &[Reading]) -> Result<IngestOutcome> {
        self.backend.readings.put(ctx, Ingest { readings: readings.to_vec(), ..Default::default() }).await
    }

    /// Puts readings that must all be new.
    pub(super) async fn put_new(&self, readings: &[Reading]) -> std::result::Result<Vec<Seq>, Fault> {
        let out = self.put(readings).await?;
        out.readings
            .iter()
            .map(|o| match o {
                PutOutcome::Stored(seq) => Ok(*seq),
                other => Err(fault(format!("a new reading was answered {other:?}"))),
            })
            .collect()
    }

    /// Every reading that a query finds, page by page.
    pub(super) async fn pages(&self, ctx: &Ctx, query: &ScanQuery) -> std::result::Result<Vec<Stored>, Fault> {
        let mut query = query.clone();
        let mut all = Vec::new();
        for _ in 0..10_000 {
            let page = self.backend.readings.scan(ctx, &query).await?;
            if page.items.len() > query.limit {
                return Err(fault(format!("a page of {} readings, asked for at most {}", page.items.len(), query.limit)));
            }
            if page.items.is_empty() && page.cursor.is_some() {
                return Err(fault("an empty page says that it goes on"));
            }
            all.extend(page.items);
            match page.cursor {
                Some(c) => query.cursor = Some(c),
                None => return Ok(all),
            }
        }
        Err(fault("the scan never ends"))
    }

    /// All readings of a scope in order.
    pub(super) async fn all(&self, ctx: &Ctx) -> std::result::Result<Vec<Reading>, Fault> {
        Ok(self.pages(ctx, &ScanQuery::default()).await?.into_iter().map(|s| s.reading).collect())
    }

    /// The feed from after a place to its head.
    pub(super) async fn feed(
        &self,
        scope: Option<&Scope>,
        after: Seq,
        kinds: Vec<Kind>,
        limit: usize,
    ) -> std::result::Result<Vec<FeedEntry>, Fault> {
        let mut query = FeedQuery { limit, ..FeedQuery::after(after, kinds) };
        let mut all: Vec<FeedEntry> = Vec::new();
        for _ in 0..10_000 {
            let page = self.backend.feed.read(scope, &query).await?;
            if page.entries.len() > limit {
                return Err(fault(format!("{} entries, asked for at most {limit}", page.entries.len())));
            }
            if page.entries.iter().any(|e| e.seq <= query.after || e.seq > page.next) {
                return Err(fault(format!("entries outside of ({}, {}]", query.after, page.next)));
            }
            all.extend(page.entries);
            if page.next >= page.head {
                return Ok(all);
            }
            if page.next <= query.after {
                return Err(fault(format!("the feed stands still at {} before its head {}", page.next, page.head)));
            }
            query.after = page.next;
        }
        Err(fault("the feed never ends"))
    }

    /// Commits derived readings of ada's for a flow at its present epoch.
    pub(super) async fn derive(&self, flow: &str, derived: &[Reading]) -> std::result::Result<FlowCommitted, Fault> {
        let at = self.backend.flows.load(flow).await?;
        let scope = self.ctx().scope().clone();
        let commit = FlowCommit {
            flow: flow.into(),
            epoch: at.epoch,
            cursor: at.cursor,
            derived: derived.iter().map(|r| Derived::live(scope.clone(), r.clone())).collect(),
            ..Default::default()
        };
        Ok(self.backend.flows.commit(commit).await?)
    }
}

pub(super) const HEART: &str = "device.health.heartrate.raw";
pub(super) const STEPS: &str = "device.health.steps.raw";
pub(super) const NOTE: &str = "external.memo.raw";
pub(super) const SCORE: &str = "prediction.sleep.scored";

/// A scope of plain ids.
pub(super) fn scope(tenant: &str, user: &str) -> Scope {
    Scope::new(tenant, user).unwrap_or_else(|_| Scope::local())
}

/// Seconds after a round day before the case began.
pub(super) fn t(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_772_323_200_i64.saturating_add(seconds))
}
