//! One member of a group: what it holds, and how it fetches, settles and leaves.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use am_core::{Code, Error, Result};
use async_nats::Subject;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::Info;
use async_trait::async_trait;
use bytes::Bytes;

use super::api::{Nothing, down};
use super::pull::{Delivered, Heard, Pull};
use super::{Shared, envelope, group};
use crate::bus::{Consumer, Delivery, GroupSpec, Tag};

const OP: &str = "bus.fetch";
/// How long the rest of what there is may take to arrive, once the first of it is here.
const REST: Duration = Duration::from_millis(500);
/// Between two looks at a consumer that does not answer.
const NAP: Duration = Duration::from_millis(50);
/// Before the next request, when the server ended one early.
const PAUSE: Duration = Duration::from_millis(5);
/// A delivery that is not settled is forgotten after so many times the time it had.
const FORGET: u32 = 4;

/// What follows from something that was heard.
enum Then {
    GoOn,
    /// The server ended a request early, as others wait too: not again at once.
    Pause,
    Remake,
}

/// A delivery that is not settled.
struct Held {
    reply: Subject,
    /// Until then it is this member's.
    until: Duration,
}

pub(super) struct Member {
    shared: Arc<Shared>,
    spec: GroupSpec,
    pulls: Vec<Pull>,
    /// Whose turn it is first, so that no stream starves another one.
    turn: usize,
    ready: VecDeque<Delivery>,
    held: HashMap<u64, Held>,
    tags: u64,
}

impl Member {
    pub(super) fn new(shared: Arc<Shared>, spec: GroupSpec, pulls: Vec<Pull>) -> Self {
        Member { shared, spec, pulls, turn: 0, ready: VecDeque::new(), held: HashMap::new(), tags: 0 }
    }

    /// Takes a message in.
    fn take(&mut self, d: Delivered) {
        let m = d.message;
        let message = envelope::open(&self.shared.options.prefix, &m.subject, m.headers.as_ref(), m.payload, d.place);
        self.tags += 1;
        self.held.insert(self.tags, Held { reply: d.reply, until: self.shared.clock.monotonic() + self.spec.settle_within });
        let last = self.spec.deliveries > 0 && d.times >= self.spec.deliveries;
        self.ready.push_back(Delivery { tag: Tag(self.tags), sequence: d.place, attempt: d.times, last, message });
    }

    /// How many more this member may hold.
    fn room(&mut self) -> usize {
        let now = self.shared.clock.monotonic();
        let forget = self.spec.settle_within * FORGET;
        self.held.retain(|_, h| h.until + forget > now);
        let here = self.held.values().filter(|h| h.until > now).count();
        self.spec.in_flight.saturating_sub(here)
    }

    /// What some pull heard first, beginning with the one whose turn it is.
    fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<(usize, Heard)> {
        let n = self.pulls.len();
        for i in (self.turn..n).chain(0..self.turn) {
            if let Some(Poll::Ready(heard)) = self.pulls.get_mut(i).map(|p| p.poll(cx)) {
                return Poll::Ready((i, heard));
            }
        }
        Poll::Pending
    }

    /// What is here already, without waiting.
    fn at_hand(&mut self) -> Option<(usize, Heard)> {
        match self.poll_any(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(heard) => Some(heard),
            Poll::Pending => None,
        }
    }

    /// Asks the streams that are not asked yet, each for its share.
    async fn ask(&mut self, want: usize, wait: Duration) -> Result<()> {
        let n = self.pulls.len().max(1);
        let first = self.turn;
        for (i, pull) in self.pulls.iter_mut().enumerate() {
            let extra = usize::from((i + n - first) % n < want % n);
            pull.ask(want / n + extra, wait).await?;
        }
        self.turn = (self.turn + 1) % n;
        Ok(())
    }

    /// Takes in what a pull heard, before any await: a dropped future loses no message. A consumer that is gone is made again; nothing is
    /// lost then, as a new one begins with the oldest message.
    async fn follow(&mut self, i: usize, heard: Heard, trouble: &mut Option<Error>) -> Result<()> {
        match self.note(heard, trouble) {
            Then::GoOn => {}
            Then::Pause if !self.ready.is_empty() => {}
            Then::Pause => self.shared.clock.sleep(PAUSE).await,
            Then::Remake => {
                self.shared.clock.sleep(NAP).await;
                if let Some(area) = self.spec.areas.get(i) {
                    group::ensure(&self.shared, &self.spec, *area).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes in what a pull heard.
    fn note(&mut self, heard: Heard, trouble: &mut Option<Error>) -> Then {
        match heard {
            Heard::Message(m) => {
                *trouble = None;
                self.take(m);
                Then::GoOn
            }
            Heard::Over => {
                *trouble = None;
                Then::Pause
            }
            Heard::Lost => {
                *trouble = Some(down(OP));
                Then::GoOn
            }
            Heard::Gone => {
                *trouble = Some(Error::new(Code::BUS_UNAVAILABLE, "the group's consumer does not answer at the moment").op(OP));
                Then::Remake
            }
        }
    }

    fn hand_over(&mut self, max: usize) -> Vec<Delivery> {
        let n = self.ready.len().min(max);
        self.ready.drain(..n).collect()
    }

    /// Says the same of some deliveries; those that it was said of are settled, also when it fails in the middle.
    async fn settle(&mut self, op: &'static str, tags: &[Tag], kind: AckKind) -> Result<()> {
        let (client, body, mut said) = (self.shared.api.js.client(), Bytes::from(kind), 0);
        let held: Vec<(u64, Subject)> = tags.iter().filter_map(|t| Some((t.0, self.held.get(&t.0)?.reply.clone()))).collect();
        if !held.is_empty() && !self.shared.api.link.is_up() {
            return Err(down(op));
        }
        // One time for all of them: a timer for each would cost more than the messages.
        let saying = async {
            for (_, reply) in &held {
                if client.publish(reply.clone(), body.clone()).await.is_err() {
                    return false;
                }
                said += 1;
            }
            true
        };
        let all = self.shared.within(self.shared.options.answer_within, saying).await == Some(true);
        held.iter().take(said).for_each(|(tag, _)| drop(self.held.remove(tag)));
        if all { Ok(()) } else { Err(down(op)) }
    }
}

#[async_trait]
impl Consumer for Member {
    async fn fetch(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let clock = self.shared.clock.clone();
        let mut until = clock.monotonic().saturating_add(wait);
        let mut trouble: Option<Error> = None;
        let mut link = self.shared.api.link.watch();
        loop {
            while self.ready.len() < max {
                let Some((i, heard)) = self.at_hand() else { break };
                self.follow(i, heard, &mut trouble).await?;
            }
            let now = clock.monotonic();
            let some = !self.ready.is_empty();
            if some && self.ready.len() < max && self.pulls.iter().any(Pull::is_begun) {
                until = until.min(now.saturating_add(REST));
            } else if some {
                return Ok(self.hand_over(max));
            }
            if self.pulls.iter().any(Pull::is_closed) {
                return Err(Error::new(Code::CLOSED, "the bus was closed").op(OP));
            }
            let left = until.saturating_sub(now);
            if left.is_zero() {
                return match (some, trouble) {
                    (false, Some(e)) => Err(e),
                    _ => Ok(self.hand_over(max)),
                };
            }
            let room = self.room().min(max);
            if !some
                && room > 0
                && let Err(e) = self.ask(room, left).await
            {
                trouble = Some(e);
            }
            if trouble.is_some() && !some && !self.shared.api.link.is_up() {
                return Err(down(OP));
            }
            // Wakes for what comes, for a change of the connection, and to see requests that will never be answered.
            let silent = self.pulls.iter().filter_map(Pull::silent_at).min().map_or(NAP, |s| s.saturating_sub(now).max(NAP));
            let heard = tokio::select! {
                biased;
                heard = poll_fn(|cx| self.poll_any(cx)) => Some(heard),
                _ = link.changed() => None,
                () = clock.sleep(left.min(silent)) => None,
            };
            if let Some((i, heard)) = heard {
                self.follow(i, heard, &mut trouble).await?;
            }
        }
    }

    async fn ack(&mut self, tags: &[Tag]) -> Result<()> {
        self.settle("bus.ack", tags, AckKind::Ack).await
    }

    async fn again(&mut self, tags: &[Tag], after: Duration) -> Result<()> {
        self.settle("bus.again", tags, AckKind::Nak(Some(after).filter(|d| !d.is_zero()))).await
    }

    async fn lag(&mut self) -> Result<u64> {
        let mut sum = 0;
        for area in &self.spec.areas {
            let (stream, name) = (self.shared.options.stream(*area), &self.spec.name);
            let subject = format!("CONSUMER.INFO.{stream}.{}-group-{name}", self.shared.options.prefix);
            sum += self.shared.api.must::<Info>("bus.lag", subject, &Nothing {}).await?.num_pending;
        }
        Ok(sum)
    }
}

impl Drop for Member {
    /// What arrived and was never handed over goes to the other members at once, instead of after `settle_within`. As far as possible:
    /// without a runtime or a connection it comes after that.
    fn drop(&mut self) {
        while let Some((_, heard)) = self.at_hand() {
            if let Heard::Message(m) = heard {
                self.take(m);
            }
        }
        let replies: Vec<Subject> = self.ready.iter().filter_map(|d| Some(self.held.get(&d.tag.0)?.reply.clone())).collect();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if replies.is_empty() || !self.shared.api.link.is_up() {
            return;
        }
        let client = self.shared.api.js.client();
        runtime.spawn(async move {
            for reply in replies {
                let _ = client.publish(reply, Bytes::from(AckKind::Nak(None))).await;
            }
        });
    }
}
