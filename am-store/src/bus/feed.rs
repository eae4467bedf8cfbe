//! The bus's stream of readings as a change feed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use am_core::{BoxFuture, Code, Ctx, Error, Result, Scope};
use am_pipeline::Origin;
use am_pipeline::bus::{Area, Parcel, Parcels, Sequenced, Tail, TailSpec, Tails};
use am_schema::{Catalogue, Decoder, Kind, Reading, ReadingRef};
use async_trait::async_trait;

use super::parcels;
use super::seen::Seen;
use crate::limits;
use crate::model::{
    AggregateQuery, Bucket, FeedEntry, FeedEvent, FeedPage, FeedQuery, Ingest, IngestOutcome, LatestQuery, Page, Provenance, ReadingKey,
    ScanQuery, Seq, Stored, StreamId,
};
use crate::traits::{Feed, Readings};

/// Bits of a place that count the readings within a message.
const WITHIN: u32 = 12;
/// The last place of a message: everything in it is done.
const LAST: u64 = (1 << WITHIN) - 1;
/// How long a question for entries waits for some to come: a bus has no "nothing is there" that is final.
const GLANCE: Duration = Duration::from_millis(100);
/// Places of the stream before the beginning that are read again.
const LOOK_BACK: u64 = 8_192;
/// Messages asked for at a time.
const FETCH: usize = 256;

/// The place of reading `n` (from 0) of a message.
fn place(sequence: u64, n: usize) -> Seq {
    sequence << WITHIN | (n as u64 + 1).min(LAST - 1)
}

/// The message that is fully done at a place.
fn message_done(place: Seq) -> u64 {
    if place & LAST == LAST { place >> WITHIN } else { (place >> WITHIN).saturating_sub(1) }
}

/// How far a flow has committed, told to the bus when the feed is read next.
#[derive(Default)]
pub(super) struct Progress(AtomicU64);

impl Progress {
    pub(super) fn committed(&self, place: Seq) {
        self.0.store(place, Ordering::SeqCst);
    }
}

/// Keeps a flow while it waits.
pub(super) struct Lease {
    pub(super) length: Duration,
    pub(super) renew: Arc<dyn Fn(String) -> BoxFuture<'static, Result<()>> + Send + Sync>,
}

/// A message that was read and not yet passed.
struct Waiting {
    sequence: u64,
    scope: Scope,
    origin: Origin,
    /// Each with its number within the message; those that were had before are left out.
    readings: Vec<(usize, Reading)>,
}

/// The tail and what it gave.
#[derive(Default)]
struct Reader {
    tail: Option<Box<dyn Tail>>,
    kinds: Vec<Kind>,
    /// Messages in order, at most what one fetch gives.
    waiting: VecDeque<Waiting>,
    /// Everything up to this message was read from the tail.
    read: u64,
    /// Messages up to this one were let go of; a question for an earlier place begins again there.
    floor: u64,
    /// What the bus was told is done.
    told: u64,
    /// Messages up to this one were read before, by this runner or an earlier one; they only tell what was had already.
    from: u64,
    seen: Seen,
}

impl Reader {
    /// Lets go of the messages up to this one.
    fn pass(&mut self, upto: u64) {
        while self.waiting.front().is_some_and(|w| w.sequence <= upto) {
            self.waiting.pop_front();
        }
        self.floor = self.floor.max(upto);
    }
}

/// The name under which a flow reads the bus: at most 32 letters, digits, `-` and `_`.
pub fn reader_of(flow: &str) -> String {
    let plain = flow.len() <= 24 && flow.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let name = if plain { flow.to_owned() } else { super::saved::digest(flow) };
    format!("flow-{name}")
}

/// A feed for one flow.
pub(super) struct BusFeed {
    tails: Arc<dyn Tails>,
    flow: String,
    lease: Lease,
    catalogue: Catalogue,
    progress: Arc<Progress>,
    reader: tokio::sync::Mutex<Reader>,
}

impl BusFeed {
    pub(super) fn new(tails: Arc<dyn Tails>, flow: String, lease: Lease, catalogue: Catalogue, progress: Arc<Progress>) -> Self {
        BusFeed { tails, flow, lease, catalogue, progress, reader: tokio::sync::Mutex::default() }
    }

    /// A reader that stands behind a place, with nothing skipped.
    async fn stand(&self, r: &mut Reader, after: Seq, kinds: &[Kind]) -> Result<()> {
        let from = message_done(after);
        if r.tail.is_some() && r.kinds == kinds && (r.floor..=r.read).contains(&from) {
            r.pass(from);
            return Ok(());
        }
        *r = Reader::default();
        let topics = kinds.iter().map(|k| k.topic().to_owned()).collect();
        let spec = TailSpec { name: reader_of(&self.flow), area: Area::Readings, scope: None, topics, after: from };
        // What lies a little before is read again, to know what a sender repeats; where that is gone, begin at the place itself.
        let back = TailSpec { after: from.saturating_sub(LOOK_BACK), ..spec.clone() };
        r.tail = Some(match self.tails.open(back).await {
            Ok(tail) => tail,
            Err(e) if e.code() == Code::BUS_TRIMMED => self.tails.open(spec).await?,
            Err(e) => return Err(e),
        });
        (r.kinds, r.read, r.floor, r.told, r.from) = (kinds.to_vec(), from, from, from, from);
        Ok(())
    }

    /// Reads on when nothing waits.
    async fn fill(&self, r: &mut Reader, wait: Duration) -> Result<()> {
        if !r.waiting.is_empty() {
            return Ok(());
        }
        let Some(tail) = r.tail.as_mut() else { return Ok(()) };
        let done = message_done(self.progress.0.load(Ordering::SeqCst));
        if done > r.told {
            tail.done(done).await?;
            r.told = done;
        }
        let got = match tail.next(FETCH, wait).await {
            Ok(got) => got,
            Err(e) => {
                *r = Reader::default();
                // Another runner of the flow reads now; who may commit is decided by the root.
                return Err(if e.code() == Code::CLOSED { Error::new(Code::STALE_COMMIT, e.to_string()).op("bus.feed") } else { e });
            }
        };
        let mut decoder = Decoder::new(self.catalogue.clone()).trusted();
        for s in got {
            r.read = r.read.max(s.sequence);
            let Some(mut w) = open_up(&mut decoder, s) else { continue };
            w.readings.retain(|(_, reading)| r.seen.is_new(&w.scope, reading));
            if w.sequence > r.from {
                r.waiting.push_back(w);
            }
        }
        Ok(())
    }
}

/// The readings of a message. What is not a parcel is passed over here: the persister parks it, once.
fn open_up(decoder: &mut Decoder, s: Sequenced) -> Option<Waiting> {
    let message = s.message.ok()?;
    let parcel = Parcel::from_body(message.body).ok()?;
    let origin = Origin::from_wire(parcel.origin);
    let now = am_core::Timestamp::from_nanos(parcel.received_at);
    let batch = parcels::ingest(decoder, &message.scope, parcel, now);
    Some(Waiting { sequence: s.sequence, scope: message.scope, origin, readings: batch.readings.into_iter().enumerate().collect() })
}

#[async_trait]
impl Feed for BusFeed {
    async fn read(&self, scope: Option<&Scope>, query: &FeedQuery) -> Result<FeedPage> {
        limits::feed(query)?;
        let mut r = self.reader.lock().await;
        self.stand(&mut r, query.after, &query.kinds).await?;
        self.fill(&mut r, GLANCE).await?;
        let mut page = FeedPage { next: query.after, head: r.read << WITHIN | LAST, entries: Vec::new() };
        'all: for w in &r.waiting {
            for (n, reading) in &w.readings {
                let at = place(w.sequence, *n);
                if at <= query.after {
                    continue;
                }
                if page.entries.len() == query.limit {
                    break 'all;
                }
                page.next = at;
                if scope.is_none_or(|s| *s == w.scope) && (query.kinds.is_empty() || query.kinds.contains(&reading.kind())) {
                    let key = ReadingKey { stream: StreamId(0), recorded_at: reading.recorded_at(), id: reading.id() };
                    let stored = Stored::new(at, key, w.origin, 0, 0, reading.clone());
                    page.entries.push(FeedEntry { seq: at, scope: w.scope.clone(), event: FeedEvent::Put(Box::new(stored)) });
                }
            }
            page.next = w.sequence << WITHIN | LAST;
        }
        // Everything that was read is in the page: the next one goes on behind it. What was handed over stays until the flow asks for
        // what lies behind it, because a step that failed asks again.
        if page.entries.len() < query.limit && r.read > 0 {
            page.next = page.next.max(r.read << WITHIN | LAST);
        }
        Ok(page)
    }

    async fn head(&self) -> Result<Seq> {
        Ok(self.tails.head(Area::Readings).await? << WITHIN | LAST)
    }

    async fn wait(&self, after: Seq) -> Result<()> {
        let nap = self.lease.length / 3;
        loop {
            {
                let mut r = self.reader.lock().await;
                if r.tail.is_none() {
                    // Not read yet, or broken off: reading says how it stands.
                    return Ok(());
                }
                let upto = message_done(after).min(r.read);
                r.pass(upto);
                if !r.waiting.is_empty() {
                    return Ok(());
                }
                self.fill(&mut r, nap).await?;
                if !r.waiting.is_empty() {
                    return Ok(());
                }
            }
            (self.lease.renew)(self.flow.clone()).await?;
        }
    }
}

/// Readings whose places are not those of the flow's feed: 0, which lies before every place, so that history takes them.
pub(super) struct Unplaced(pub(super) Arc<dyn Readings>);

fn unplaced(s: Stored) -> Stored {
    Stored { seq: 0, ..s }
}

#[async_trait]
impl Readings for Unplaced {
    async fn put(&self, _: &Ctx, _: Ingest) -> Result<IngestOutcome> {
        Err(Error::new(Code::STORE_READ_ONLY, "a worker stores nothing by itself: what it derives goes onto the bus").op("bus.put"))
    }

    async fn get(&self, ctx: &Ctx, names: &[ReadingRef]) -> Result<Vec<Option<Stored>>> {
        Ok(self.0.get(ctx, names).await?.into_iter().map(|s| s.map(unplaced)).collect())
    }

    async fn scan(&self, ctx: &Ctx, query: &ScanQuery) -> Result<Page<Stored>> {
        let page = self.0.scan(ctx, query).await?;
        Ok(Page { items: page.items.into_iter().map(unplaced).collect(), cursor: page.cursor })
    }

    async fn latest(&self, ctx: &Ctx, query: &LatestQuery) -> Result<Vec<Stored>> {
        Ok(self.0.latest(ctx, query).await?.into_iter().map(unplaced).collect())
    }

    async fn aggregate(&self, ctx: &Ctx, query: &AggregateQuery) -> Result<Vec<Bucket>> {
        self.0.aggregate(ctx, query).await
    }

    async fn provenance(&self, ctx: &Ctx, batch: u64) -> Result<Option<Provenance>> {
        self.0.provenance(ctx, batch).await
    }
}
