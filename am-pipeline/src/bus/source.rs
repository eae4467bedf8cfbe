//! Readings off a bus into a pipeline.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use am_core::{Ctx, Result, Timestamp};
use am_schema::{Catalogue, Decoder, Finding, Reading, Rejected};
use async_trait::async_trait;

use super::{Consumer, Delivery, Parcel, Parcels, Tag};
use crate::{Arrival, Origin, Outcome, Polled, Settled, Source, Token};

/// How long a poll waits for a message before it looks around.
const WAIT: Duration = Duration::from_secs(1);
/// Messages asked for at a time.
const FETCH: usize = 64;

/// The readings of one person, from a member of a group. A message is acknowledged when everything in it is settled; if anything of it
/// is to be tried again, the whole message comes again, and what was delivered already is a duplicate then.
pub struct BusSource {
    consumer: Box<dyn Consumer>,
    decoder: Decoder,
    ready: VecDeque<(Tag, Origin, Vec<std::result::Result<Reading, Rejected>>)>,
    open: HashMap<Tag, Open>,
    tokens: HashMap<Token, Tag>,
    next: u64,
}

/// A message whose items are on their way.
struct Open {
    left: usize,
    again: bool,
}

impl BusSource {
    /// From a consumer of a group that was joined for the pipeline's scope ([`super::GroupSpec::scope`]).
    pub fn new(consumer: Box<dyn Consumer>, catalogue: Catalogue) -> Self {
        let decoder = Decoder::new(catalogue).trusted();
        BusSource { consumer, decoder, ready: VecDeque::new(), open: HashMap::new(), tokens: HashMap::new(), next: 0 }
    }

    async fn fetch(&mut self, ctx: &Ctx) -> Result<()> {
        for d in self.consumer.fetch(FETCH, WAIT).await? {
            let tag = d.tag;
            let (origin, items) = open_up(&mut self.decoder, d, ctx);
            match items.is_empty() {
                true => self.consumer.ack(&[tag]).await?,
                false => self.ready.push_back((tag, origin, items)),
            }
        }
        Ok(())
    }
}

/// The items of a message. What AM did not write is one item that goes to the dead letters.
fn open_up(decoder: &mut Decoder, d: Delivery, ctx: &Ctx) -> (Origin, Vec<std::result::Result<Reading, Rejected>>) {
    let foreign = |why: String, body| {
        vec![Err(Rejected::new(am_core::Code::UNDECODABLE, vec![Finding::new("message", why, "a parcel of AM")], body))]
    };
    let message = match d.message {
        Ok(m) => m,
        Err(f) => return (Origin::Live, foreign(format!("{}: {}", f.subject, f.why), f.body)),
    };
    if message.scope != *ctx.scope() {
        return (Origin::Live, foreign(format!("a message of {}", message.scope), message.body));
    }
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
        if self.ready.is_empty() {
            self.fetch(ctx).await?;
        }
        let mut out = Polled::default();
        while let Some((_, origin, items)) = self.ready.front() {
            let fits = out.items.is_empty() || (*origin == out.origin && out.items.len() + items.len() <= room);
            if !fits {
                break;
            }
            let Some((tag, origin, mut items)) = self.ready.pop_front() else { break };
            out.origin = origin;
            let rest = items.split_off(items.len().min(room - out.items.len().min(room)));
            let left = items.len() + rest.len();
            self.open.entry(tag).or_insert(Open { left, again: false });
            for item in items {
                let token = Token(self.next);
                self.next += 1;
                self.tokens.insert(token, tag);
                out.items.push(Arrival { token, item });
            }
            if !rest.is_empty() {
                self.ready.push_front((tag, origin, rest));
                break;
            }
        }
        Ok(Some(out))
    }

    async fn settle(&mut self, _: &Ctx, outcomes: &[Settled]) -> Result<()> {
        let (mut done, mut again) = (Vec::new(), Vec::new());
        for s in outcomes {
            let Some(tag) = self.tokens.remove(&s.token) else { continue };
            let Some(open) = self.open.get_mut(&tag) else { continue };
            open.left -= 1;
            open.again |= matches!(s.outcome, Outcome::Retry(_));
            if open.left == 0 {
                if open.again {
                    again.push(tag)
                } else {
                    done.push(tag)
                }
                self.open.remove(&tag);
            }
        }
        // What the bus does not hear of comes again, and adds nothing then.
        if !done.is_empty() {
            self.consumer.ack(&done).await?;
        }
        if !again.is_empty() {
            self.consumer.again(&again, Duration::from_secs(1)).await?;
        }
        Ok(())
    }
}
