//! Pull requests to one consumer, one at a time, over a subscription that outlives them.
//!
//! A request says "so many, now, or the first that comes within so long": the server sends what there is and then ends the request. What
//! arrives waits in the subscription until it is read, so that dropping a future in the middle loses nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use am_core::{Clock, Code, Error, Result};
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::{Message, StatusCode, Subject, Subscriber, jetstream};
use bytes::Bytes;
use futures_core::Stream as _;

use super::api::{Api, down};

/// The server takes no shorter wait.
const SHORTEST: Duration = Duration::from_millis(10);
/// Requests that wait for longer are kept alive by heartbeats, so that a server that died is noticed.
const BEAT: Duration = Duration::from_secs(1);
/// How long an answer may be on its way.
const GRACE: Duration = Duration::from_secs(2);

/// What came.
#[allow(clippy::large_enum_variant, reason = "taken apart where it is made; a box for each message would cost more")]
#[derive(Debug)]
pub(super) enum Heard {
    /// A message of the consumer.
    Message(Delivered),
    /// The request is at its end; ask again.
    Over,
    /// There is no such consumer, or nobody who answers for it at the moment.
    Gone,
    /// The request is lost: another connection, another leader. What was on its way is lost with it.
    Lost,
}

/// A message, and what its reply subject says of it.
#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) message: Message,
    /// Settles it.
    pub(super) reply: Subject,
    /// Its place in the stream.
    pub(super) place: u64,
    /// The consumer's own number of the delivery.
    pub(super) number: u64,
    /// How often it was delivered, this time included.
    pub(super) times: u32,
    /// How many are to come after it.
    pub(super) pending: u64,
}

struct Request {
    inbox: String,
    generation: u64,
    left: usize,
    /// It has given something: its end is near.
    begun: bool,
    /// The server should have been heard by then.
    silent: Duration,
    beat: Duration,
}

pub(super) struct Pull {
    api: Api,
    clock: Arc<dyn Clock>,
    next: String,
    inbox: String,
    number: u64,
    subscriber: Subscriber,
    request: Option<Request>,
    closed: bool,
    /// Lent to each message to read its numbers: to clone it for each would cost more than the reading.
    lent: Option<jetstream::Context>,
}

impl Pull {
    pub(super) async fn open(api: &Api, clock: &Arc<dyn Clock>, stream: &str, consumer: &str) -> Result<Pull> {
        let client = api.js.client();
        let inbox = client.new_inbox();
        let failed = |e: String| Error::new(Code::BUS_UNAVAILABLE, e).op("bus.pull");
        let subscriber = client.subscribe(format!("{inbox}.*")).await.map_err(|e| failed(e.to_string()))?;
        let next = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        Ok(Pull {
            api: api.clone(),
            clock: clock.clone(),
            next,
            inbox,
            number: 0,
            subscriber,
            request: None,
            closed: false,
            lent: Some(api.js.clone()),
        })
    }

    /// Whether the connection was closed for good.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether the request has given something and is not at its end yet.
    pub(super) fn is_begun(&self) -> bool {
        self.request.as_ref().is_some_and(|r| r.begun)
    }

    /// When silence means that the request is lost.
    pub(super) fn silent_at(&self) -> Option<Duration> {
        self.request.as_ref().map(|r| r.silent)
    }

    /// Asks for at most `batch` messages, or the first that comes within `wait`, unless a request is on its way already.
    pub(super) async fn ask(&mut self, batch: usize, wait: Duration) -> Result<()> {
        if self.request.is_some() || batch == 0 {
            return Ok(());
        }
        if !self.api.link.is_up() {
            return Err(down("bus.pull"));
        }
        let wait = wait.max(SHORTEST);
        let beat = if wait >= BEAT * 2 { (wait / 3).min(BEAT * 5) } else { Duration::ZERO };
        let batch_config = BatchConfig { batch, expires: Some(wait), no_wait: true, idle_heartbeat: beat, ..BatchConfig::default() };
        let failed = |e: String| Error::new(Code::BUS_UNAVAILABLE, e).op("bus.pull");
        let body = serde_json::to_vec(&batch_config).map_err(|e| failed(e.to_string()))?;
        self.number += 1;
        let inbox = format!("{}.{}", self.inbox, self.number);
        let generation = self.api.link.generation();
        let silent = self.clock.monotonic() + if beat.is_zero() { wait } else { beat } + GRACE;
        // Before it is sent: a future dropped while sending leaves a request that ends by silence at the latest.
        self.request = Some(Request { inbox: inbox.clone(), generation, left: batch, begun: false, silent, beat });
        let client = self.api.js.client();
        client.publish_with_reply(self.next.clone(), inbox, Bytes::from(body)).await.map_err(|e| failed(e.to_string()))
    }

    /// What came, without waiting beyond the poll.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        loop {
            let message = match Pin::new(&mut self.subscriber).poll_next(cx) {
                Poll::Ready(Some(m)) => m,
                Poll::Ready(None) if self.closed => return Poll::Pending,
                Poll::Ready(None) => {
                    self.closed = true;
                    return Poll::Ready(self.end(Heard::Lost));
                }
                Poll::Pending => return self.overdue(),
            };
            let now = self.clock.monotonic();
            match message.status {
                None | Some(StatusCode::OK) => {
                    if let Some(r) = &mut self.request {
                        (r.begun, r.left, r.silent) = (true, r.left.saturating_sub(1), now + GRACE);
                    }
                    if self.request.as_ref().is_some_and(|r| r.left == 0) {
                        self.request = None;
                    }
                    // Without a reply subject of a consumer's it came from somewhere else.
                    let Some(delivered) = self.read(message) else { continue };
                    return Poll::Ready(Heard::Message(delivered));
                }
                // An earlier request's.
                _ if self.request.as_ref().is_none_or(|r| message.subject.as_str() != r.inbox) => {}
                Some(StatusCode::IDLE_HEARTBEAT) => {
                    if let Some(r) = &mut self.request {
                        r.silent = now + r.beat + GRACE;
                    }
                }
                Some(StatusCode::NO_RESPONDERS) => return Poll::Ready(self.end(Heard::Gone)),
                Some(StatusCode::REQUEST_TERMINATED) => {
                    let why = message.description.as_deref().unwrap_or_default();
                    let heard = match why {
                        _ if why.contains("Deleted") => Heard::Gone,
                        _ if why.contains("Leadership") || why.contains("Shutdown") => Heard::Lost,
                        _ => Heard::Over,
                    };
                    return Poll::Ready(self.end(heard));
                }
                Some(_) => return Poll::Ready(self.end(Heard::Over)),
            }
        }
    }

    fn read(&mut self, message: Message) -> Option<Delivered> {
        let context = self.lent.take().unwrap_or_else(|| self.api.js.clone());
        let lent = jetstream::Message { context, message };
        let numbers = lent.info().map(|i| (i.stream_sequence, i.consumer_sequence, i.delivered, i.pending));
        let jetstream::Message { context, message } = lent;
        self.lent = Some(context);
        let (place, number, times, pending) = numbers.ok()?;
        // A copy: the subject shares the memory of everything that arrived with it.
        let reply = Subject::from(message.reply.as_ref()?.as_str().to_owned());
        let times = u32::try_from(times.max(1)).unwrap_or(u32::MAX);
        Some(Delivered { message, reply, place, number, times, pending })
    }

    fn end(&mut self, heard: Heard) -> Heard {
        self.request = None;
        heard
    }

    /// Whether the request will never be answered any more.
    fn overdue(&mut self) -> Poll<Heard> {
        let lost = self
            .request
            .as_ref()
            .is_some_and(|r| r.generation != self.api.link.generation() || !self.api.link.is_up() || self.clock.monotonic() >= r.silent);
        if lost { Poll::Ready(self.end(Heard::Lost)) } else { Poll::Pending }
    }
}
