//! Readings off a bus into a pipeline.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use am_core::{Code, Ctx, Error, Result, Timestamp};
use am_schema::{Catalogue, Decoder, Finding, Reading, Rejected};
use async_trait::async_trait;

use super::{Area, Consumer, Delivery, Parcel, Parcels, Tag};
use crate::{Arrival, Origin, Outcome, Polled, Settled, Source, Token};

/// How long a poll waits for a message before it looks around.
const WAIT: Duration = Duration::from_secs(1);
/// Messages asked for at a time.
const FETCH: usize = 64;
/// A message of which something is to be tried again comes again after this time.
const AGAIN: Duration = Duration::from_secs(1);
/// Messages that were sent back and are remembered, so that what is done of them is not handed over again.
const REMEMBERED: usize = 4_096;
/// Empty fetches after which a message that was sent back is another member's.
const PATIENCE: usize = 10;

/// What a message is recognised by when it comes again.
type Place = (Option<Area>, u64, String);
type Item = std::result::Result<Reading, Rejected>;
/// Which message, why it arrives now, and its items with their places in it.
type Unpacked = (u64, Origin, VecDeque<(usize, Item)>);

/// The readings of one person, from a member of a group. A message is acknowledged when everything in it is settled; if anything of it
/// is to be tried again, the whole message goes back, and of it only what is not done is handed over again – by this source; another
/// member of the group hands over all of it, as it does after a crash.
pub struct BusSource {
    consumer: Box<dyn Consumer>,
    decoder: Decoder,
    /// Items to hand over, by message.
    ready: VecDeque<Unpacked>,
    open: HashMap<u64, Open>,
    places: HashMap<Place, u64>,
    tokens: HashMap<Token, (u64, usize)>,
    next: u64,
    /// What the bus has not heard of yet.
    done: Vec<Tag>,
    back: Vec<Tag>,
    /// Messages that were sent back, with what is done of them.
    half: BTreeMap<Place, Vec<bool>>,
    until_empty: bool,
    idle: usize,
}

/// A message whose items are on their way.
struct Open {
    /// Of its newest delivery.
    tag: Tag,
    place: Place,
    left: usize,
    again: bool,
    done: Vec<bool>,
}

impl BusSource {
    /// From a consumer of a group that was joined for the pipeline's scope ([`super::GroupSpec::scope`]).
    pub fn new(consumer: Box<dyn Consumer>, catalogue: Catalogue) -> Self {
        BusSource {
            consumer,
            decoder: Decoder::new(catalogue).trusted(),
            ready: VecDeque::new(),
            open: HashMap::new(),
            places: HashMap::new(),
            tokens: HashMap::new(),
            next: 0,
            done: Vec::new(),
            back: Vec::new(),
            half: BTreeMap::new(),
            until_empty: false,
            idle: 0,
        }
    }

    /// Ends when everything that waits for the group is settled, instead of waiting for more.
    #[must_use]
    pub fn until_empty(mut self) -> Self {
        self.until_empty = true;
        self
    }

    /// Tells the bus what is settled. What it does not hear of comes again, and adds nothing then.
    async fn tell(&mut self) -> Result<()> {
        if !self.done.is_empty() {
            self.consumer.ack(&self.done).await?;
            self.done.clear();
        }
        if !self.back.is_empty() {
            self.consumer.again(&self.back, AGAIN).await?;
            self.back.clear();
        }
        Ok(())
    }

    /// Takes a message in.
    fn take(&mut self, ctx: &Ctx, d: Delivery) -> Result<()> {
        let place = match &d.message {
            Ok(m) if m.scope != *ctx.scope() => {
                // Never into the dead letters of this person: it is another one's.
                let text = "a message of another person arrived; join the group for the pipeline's scope";
                return Err(Error::new(Code::BUS_MISMATCH, text).op("bus.source"));
            }
            Ok(m) => (Some(m.area), d.sequence, m.id.clone()),
            Err(f) => (None, d.sequence, f.subject.clone()),
        };
        // It took longer than the group allows, and came again meanwhile: it is settled by its newest tag.
        if let Some(open) = self.places.get(&place).and_then(|id| self.open.get_mut(id)) {
            open.tag = d.tag;
            return Ok(());
        }
        let (origin, items) = unpack(&mut self.decoder, d.message);
        let mut done = self.half.remove(&place).filter(|done| done.len() == items.len()).unwrap_or_else(|| vec![false; items.len()]);
        let items: VecDeque<(usize, Item)> =
            items.into_iter().enumerate().filter(|(i, _)| !done.get(*i).copied().unwrap_or_default()).collect();
        if items.is_empty() {
            self.done.push(d.tag);
            return Ok(());
        }
        done.shrink_to_fit();
        let id = self.number();
        self.places.insert(place.clone(), id);
        self.open.insert(id, Open { tag: d.tag, place, left: items.len(), again: false, done });
        self.ready.push_back((id, origin, items));
        Ok(())
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Notes how an item ended; the message when it was the last of it.
    fn note(&mut self, s: &Settled) {
        let Some((id, i)) = self.tokens.remove(&s.token) else { return };
        let Some(open) = self.open.get_mut(&id) else { return };
        open.left -= 1;
        match s.outcome {
            Outcome::Retry(_) => open.again = true,
            _ => open.done.iter_mut().skip(i).take(1).for_each(|d| *d = true),
        }
        if open.left > 0 {
            return;
        }
        let Some(open) = self.open.remove(&id) else { return };
        self.places.remove(&open.place);
        if !open.again {
            self.done.push(open.tag);
            return;
        }
        self.back.push(open.tag);
        self.half.insert(open.place, open.done);
        if self.half.len() > REMEMBERED {
            self.half.pop_first();
        }
    }

    /// Whether nothing is there, on its way or expected back.
    async fn is_empty(&mut self) -> Result<bool> {
        let here = !self.open.is_empty() || (!self.half.is_empty() && self.idle < PATIENCE);
        Ok(!here && self.consumer.lag().await? == 0)
    }

    fn hand_over(&mut self, room: usize) -> Polled {
        let mut out = Polled::default();
        while out.items.len() < room {
            let Some((id, origin, items)) = self.ready.front_mut() else { break };
            if !out.items.is_empty() && *origin != out.origin {
                break;
            }
            let (id, origin) = (*id, *origin);
            let Some((i, item)) = items.pop_front() else {
                self.ready.pop_front();
                continue;
            };
            out.origin = origin;
            let token = Token(self.number());
            self.tokens.insert(token, (id, i));
            out.items.push(Arrival { token, item });
        }
        out
    }
}

/// The items of a message. What AM did not write is one item that goes to the dead letters.
fn unpack(decoder: &mut Decoder, message: std::result::Result<super::Message, super::Foreign>) -> (Origin, Vec<Item>) {
    let foreign =
        |why: String, body| vec![Err(Rejected::new(Code::UNDECODABLE, vec![Finding::new("message", why, "a parcel of AM")], body))];
    let message = match message {
        Ok(m) => m,
        Err(f) => return (Origin::Live, foreign(format!("{}: {}", f.subject, f.why), f.body)),
    };
    let body = message.body.clone();
    match Parcel::from_body(message.body) {
        Ok(parcel) => {
            let at = Timestamp::from_nanos(parcel.received_at);
            let origin = Origin::from_wire(parcel.origin);
            (origin, parcel.readings.into_iter().map(|wire| decoder.decode(wire, at)).collect())
        }
        Err(e) => (Origin::Live, foreign(e.message().to_owned(), body)),
    }
}

#[async_trait]
impl Source for BusSource {
    async fn poll(&mut self, ctx: &Ctx, room: usize) -> Result<Option<Polled>> {
        self.tell().await?;
        if self.ready.is_empty() {
            let got = self.consumer.fetch(FETCH, WAIT).await?;
            self.idle = if got.is_empty() { self.idle.saturating_add(1) } else { 0 };
            // All of them before the next await: a dropped poll loses none.
            for d in got {
                self.take(ctx, d)?;
            }
            self.tell().await?;
            if self.until_empty && self.idle > 0 && self.is_empty().await? {
                return Ok(None);
            }
        }
        Ok(Some(self.hand_over(room)))
    }

    async fn settle(&mut self, _: &Ctx, outcomes: &[Settled]) -> Result<()> {
        outcomes.iter().for_each(|s| self.note(s));
        self.tell().await
    }
}
