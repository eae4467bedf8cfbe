//! Onto the streams.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::time::Duration;

use am_core::{Code, Ctx, Error, Result, Retry};
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_trait::async_trait;
use tokio::sync::OwnedSemaphorePermit;

use super::api::{Refusal, down, refusal};
use super::envelope::{HEAD, seal};
use super::{Shared, streams};
use crate::bus::{Area, Message, Pressure, Published, Publisher};

const OP: &str = "bus.publish";
/// A permit stands for so many bytes.
pub(super) const UNIT: usize = 1 << 10;

/// A message that was sent and not acknowledged yet.
struct Sent {
    at: usize,
    subject: String,
    ack: PublishAckFuture,
    _room: OwnedSemaphorePermit,
}

#[async_trait]
impl Publisher for Shared {
    async fn publish(&self, ctx: &Ctx, messages: Vec<Message>) -> Vec<Result<Published>> {
        let within = ctx.time_left().map_or(self.options.publish_within, |left| left.min(self.options.publish_within));
        let mut call = Call {
            shared: self,
            ctx,
            until: self.clock.monotonic().saturating_add(within),
            refusals: self.api.link.state().mark(),
            out: messages.iter().map(|_| Err(unheard())).collect(),
            sent: VecDeque::new(),
        };
        for (at, m) in messages.into_iter().enumerate() {
            let result = call.send(at, m).await;
            if let Err(e) = result {
                call.tell(at, Err(e));
            }
        }
        while call.settle_oldest().await {}
        let out = call.out;
        if out.iter().any(|r| r.as_ref().is_err_and(|e| e.code() == Code::OVERLOADED)) {
            self.pressure.relieve(self).await;
        }
        out
    }

    async fn pressure(&self) -> Result<Pressure> {
        self.pressure.get(self).await
    }

    fn body_limit(&self) -> usize {
        self.api.js.client().max_payload().min(self.largest).saturating_sub(HEAD)
    }

    async fn ready(&self) -> Result<()> {
        if !self.api.link.is_up() {
            return Err(down("nats.ready"));
        }
        for area in Area::ALL {
            let want = streams::wanted(&self.options, area, self.cluster);
            let Some(info) = streams::info(&self.api, &want.name).await? else {
                let text = format!("the stream {} is gone; open the bus again to make it", want.name);
                return Err(Error::new(Code::BUS_MISMATCH, text).op("nats.ready"));
            };
            streams::compare(&info.config, &want)?;
            streams::healthy(&info)?;
        }
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        // Bounded: a connection that is down has nothing to send that anyone waits for.
        let client = self.api.js.client();
        let flushed = async { client.flush().await.is_ok() };
        if self.api.link.is_up() && self.within(self.options.answer_within, flushed).await.is_none() {
            tracing::warn!("what was buffered for the bus may not have been sent before it was closed");
        }
        client.drain().await.map_err(|e| Error::new(Code::BUS_UNAVAILABLE, e.to_string()).op("nats.close").source(e))
    }
}

/// One call of `publish`.
struct Call<'a> {
    shared: &'a Shared,
    ctx: &'a Ctx,
    until: Duration,
    refusals: u64,
    out: Vec<Result<Published>>,
    sent: VecDeque<Sent>,
}

impl Call<'_> {
    fn tell(&mut self, at: usize, result: Result<Published>) {
        if let Some(slot) = self.out.get_mut(at) {
            *slot = result;
        }
    }

    fn left(&self) -> Duration {
        self.until.saturating_sub(self.shared.clock.monotonic())
    }

    /// Why nothing more is sent, if that is so.
    fn over(&self) -> Result<()> {
        self.ctx.check()?;
        if !self.shared.api.link.is_up() {
            return Err(down(OP));
        }
        if self.left().is_zero() { Err(unheard()) } else { Ok(()) }
    }

    async fn send(&mut self, at: usize, m: Message) -> Result<()> {
        self.over()?;
        let limit = self.shared.body_limit();
        if m.body.len() > limit {
            let text = format!("a body has {} bytes, and the bus takes {limit}", m.body.len());
            return Err(Error::new(Code::TOO_LARGE, text).op(OP));
        }
        let stream = self.shared.options.stream(m.area);
        let (subject, headers) = seal(&self.shared.options.prefix, &stream, &m)?;
        let room = self.room(m.body.len()).await?;
        let out = PublishMessage::build().payload(m.body).headers(headers);
        let sending = self.shared.api.js.send_publish(subject.clone(), out);
        let ack = self.shared.within(self.left(), sending).await.ok_or_else(unheard)?.map_err(|e| failed(&e))?;
        self.sent.push_back(Sent { at, subject, ack, _room: room });
        Ok(())
    }

    /// Waits for room among what is in flight. What this call has in flight itself is settled first: two calls that both hold room and
    /// wait for more would otherwise wait for each other.
    async fn room(&mut self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT) + 1).unwrap_or(u32::MAX).min(self.shared.units);
        loop {
            if let Ok(room) = self.shared.room.clone().try_acquire_many_owned(units) {
                return Ok(room);
            }
            if self.settle_oldest().await {
                continue;
            }
            let free = self.shared.room.clone().acquire_many_owned(units);
            return match self.shared.within(self.left(), free).await {
                Some(Ok(room)) => Ok(room),
                _ => Err(Error::new(Code::OVERLOADED, "too much is on its way to the bus already").op(OP)),
            };
        }
    }

    /// Waits for the acknowledgement of the oldest message; false when there is none.
    async fn settle_oldest(&mut self) -> bool {
        let Some(Sent { at, subject, ack, _room }) = self.sent.pop_front() else { return false };
        let mut ack = ack.into_future();
        let mut link = self.shared.api.link.watch();
        let generation = link.borrow().generation;
        let mut timer = self.shared.clock.sleep(self.left());
        let result = loop {
            // A refused subject is never acknowledged; the server says so beside it, maybe already.
            if link.borrow_and_update().refused_since(self.refusals, |s| s == subject).is_some() {
                break Err(Error::new(Code::BUS_REFUSED, format!("this user may not publish to {subject}")).op(OP));
            }
            tokio::select! {
                biased;
                answer = &mut ack => break match answer {
                    Ok(a) => Ok(Published { sequence: a.sequence, duplicate: a.duplicate }),
                    Err(e) => Err(failed(&e)),
                },
                () = self.ctx.cancel().cancelled() => break Err(self.late()),
                () = &mut timer => break Err(self.late()),
                _ = link.changed() => {
                    let state = link.borrow();
                    // Its acknowledgement would have come over the connection that is lost.
                    if !state.up || state.generation != generation {
                        break Err(unheard());
                    }
                }
            }
        };
        self.tell(at, result);
        true
    }

    fn late(&self) -> Error {
        match self.ctx.check() {
            Err(e) => e.op(OP),
            Ok(()) => unheard(),
        }
    }
}

/// No acknowledgement: it may be there or not, and the same id again settles which.
fn unheard() -> Error {
    Error::new(Code::BUS_UNAVAILABLE, "the bus did not acknowledge in time; the message may be there or not")
        .op(OP)
        .retry(Retry::IfIdempotent)
}

/// Why a message was not taken.
pub(super) fn failed(e: &PublishError) -> Error {
    match e.kind() {
        PublishErrorKind::MaxPayloadExceeded => Error::new(Code::TOO_LARGE, e.to_string()).op(OP),
        PublishErrorKind::StreamNotFound => {
            Error::new(Code::BUS_UNAVAILABLE, "no stream takes the message at the moment: it is gone, or has no leader").op(OP)
        }
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => unheard(),
        _ => match std::error::Error::source(e).and_then(|s| s.downcast_ref::<Refusal>()) {
            Some(said) => refusal(OP, said),
            None => Error::new(Code::BUS_UNAVAILABLE, e.to_string()).op(OP).retry(Retry::IfIdempotent),
        },
    }
}
