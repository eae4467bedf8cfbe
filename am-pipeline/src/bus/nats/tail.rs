//! Readers in order: a durable consumer each, made anew at every opening and after every disturbance.
//!
//! The consumer's name ends with a turn and a random part. Whoever opens takes a higher turn and removes the lower ones: a reader that was
//! cut off asks for a consumer that is not there any more, and can never take a message away from its successor.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use am_core::{Code, Error, Result};
use async_nats::jetstream::consumer::{AckPolicy, Config, DeliverPolicy, Info};
use async_trait::async_trait;
use bytes::Bytes;

use super::api::{Nothing, down};
use super::clear::Clear;
use super::group::{Create, create_subject, filter};
use super::options::is_name;
use super::pull::{Delivered, Heard, Pull};
use super::turn::Turn;
use super::{Shared, envelope, streams};
use crate::bus::subject::filters_in;
use crate::bus::{Area, Sequenced, Tail, TailSpec, Tails};

const OP: &str = "bus.tail";
/// A delivery of a tail is not repeated by the server: the tail itself begins again where it was.
const ACK_WAIT: Duration = Duration::from_secs(86_400);
/// Places that can be acknowledged are remembered up to here; beyond, every second one is.
const PLACES: usize = 8_192;
const REST: Duration = Duration::from_millis(500);
const NAP: Duration = Duration::from_millis(50);

#[async_trait]
impl Tails for Shared {
    async fn open(&self, spec: TailSpec) -> Result<Box<dyn Tail>> {
        if !is_name(&spec.name) {
            let text = format!("the tail {:?}: a name has 1 to 32 letters, digits, - and _", spec.name);
            return Err(Error::new(Code::BUS_MISMATCH, text).op(OP));
        }
        let shared = self.me()?;
        let base = format!("{}-tail-{}", self.options.prefix, spec.name);
        let stream = self.options.stream(spec.area);
        let clear = match Turn::highest(&self.api, &stream, &base).await? {
            Some(before) => Clear::of(&self.api, &stream, &before).await?.behind(spec.after),
            None => Clear::at(spec.after),
        };
        let turn = Turn::above(&self.api, &stream, &base, self.clock.now()).await?;
        let pull = start(&shared, &spec, &stream, &turn, clear).await?;
        let marked = self.clock.monotonic();
        Ok(Box::new(Reader {
            shared,
            spec,
            stream,
            turn,
            pull,
            heard: 0,
            seen: clear.seen,
            clear,
            head: None,
            marked,
            ready: VecDeque::new(),
            places: VecDeque::new(),
            broken: false,
        }))
    }

    async fn head(&self, area: Area) -> Result<u64> {
        let name = self.options.stream(area);
        let info = streams::info(&self.api, &name).await?;
        let gone = || Error::new(Code::BUS_MISMATCH, format!("the stream {name} is gone")).op(OP);
        info.map(|i| i.state.last_sequence).ok_or_else(gone)
    }

    async fn lag(&self, area: Area, name: &str) -> Result<Option<u64>> {
        let stream = self.options.stream(area);
        let base = format!("{}-tail-{name}", self.options.prefix);
        let Some(consumer) = Turn::highest(&self.api, &stream, &base).await? else { return Ok(None) };
        let info = self.api.ask::<Info>(OP, format!("CONSUMER.INFO.{stream}.{consumer}"), &Nothing {}).await?;
        // It may have been made anew a moment ago.
        Ok(info.ok().map(|i| i.num_pending + i.num_ack_pending as u64))
    }
}

/// Makes the consumer that reads behind a place, removes those of earlier turns, and listens.
async fn start(shared: &Arc<Shared>, spec: &TailSpec, stream: &str, turn: &Turn, clear: Clear) -> Result<Pull> {
    let info = streams::info(&shared.api, stream).await?;
    let state = info.ok_or_else(|| Error::new(Code::BUS_MISMATCH, format!("the stream {stream} is gone")).op(OP))?.state;
    clear.check(&spec.name, stream, state.first_sequence, state.last_sequence)?;
    let config = config(shared, spec, turn, clear);
    let create = Create { stream_name: stream, config: &config, action: "create" };
    shared.api.must::<Info>(OP, create_subject(stream, &config), &create).await?;
    if !turn.take_over(&shared.api, stream).await? {
        return Err(cut_off(&spec.name));
    }
    Pull::open(&shared.api, &shared.clock, stream, &turn.name()).await
}

fn config(shared: &Shared, spec: &TailSpec, turn: &Turn, clear: Clear) -> Config {
    let mut config = Config {
        durable_name: Some(turn.name()),
        name: Some(turn.name()),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: clear.upto + 1 },
        // "All" acknowledges everything up to a place with one message.
        ack_policy: AckPolicy::All,
        ack_wait: ACK_WAIT,
        max_deliver: -1,
        max_ack_pending: -1,
        metadata: clear.metadata(),
        ..Config::default()
    };
    filter(&mut config, filters_in(&shared.options.prefix, spec.area, spec.scope.as_ref(), &spec.topics));
    config
}

fn cut_off(name: &str) -> Error {
    Error::new(Code::CLOSED, format!("another reader of {name} took over")).op(OP)
}

struct Reader {
    shared: Arc<Shared>,
    spec: TailSpec,
    stream: String,
    turn: Turn,
    pull: Pull,
    /// The consumer's own number of the last delivery: the next one must follow it.
    heard: u64,
    /// The place of the last message that was taken in.
    seen: u64,
    /// How far nothing that it wants is missing.
    clear: Clear,
    /// The end of the stream at an earlier idle moment, and when that was.
    head: Option<u64>,
    marked: Duration,
    ready: VecDeque<Sequenced>,
    /// Places that were handed over and not acknowledged, each with the subject that acknowledges everything up to it.
    places: VecDeque<(u64, String)>,
    /// Something was missed: the consumer must be made anew behind `seen`.
    broken: bool,
}

impl Reader {
    /// Takes a message in, or notices that some before it are missing.
    fn take(&mut self, d: Delivered) {
        let Delivered { message: m, reply, place, number, .. } = d;
        if self.broken || number != self.heard + 1 {
            self.broken = true;
            return;
        }
        self.heard = number;
        if place <= self.seen {
            return;
        }
        self.seen = place;
        let message = envelope::open(&self.shared.options.prefix, &m.subject, m.headers.as_ref(), m.payload, place);
        self.ready.push_back(Sequenced { sequence: place, message });
        self.places.push_back((place, reply.to_string()));
        if self.places.len() > PLACES {
            // Coarser, not longer: a place that is not remembered is acknowledged with the next one that is.
            let mut odd = false;
            self.places.retain(|_| {
                odd = !odd;
                !odd
            });
        }
    }

    fn note(&mut self, heard: Heard) {
        match heard {
            Heard::Message(m) => self.take(m),
            Heard::Over => {}
            Heard::Gone | Heard::Lost => self.broken = true,
        }
    }

    /// Takes in what is here already, without waiting.
    fn take_at_hand(&mut self, max: usize) {
        let mut cx = Context::from_waker(Waker::noop());
        while self.ready.len() < max && !self.broken {
            let Poll::Ready(heard) = self.pull.poll(&mut cx) else { break };
            self.note(heard);
        }
    }

    /// Begins again behind what was taken in. The places of the old consumer cannot be acknowledged any more; those that come later
    /// cover them.
    async fn restart(&mut self) -> Result<()> {
        if self.pull.is_closed() {
            return Err(Error::new(Code::CLOSED, "the bus was closed").op(OP));
        }
        if !self.shared.api.link.is_up() {
            return Err(down(OP));
        }
        if self.turn.is_over(&self.shared.api, &self.stream).await? {
            return Err(cut_off(&self.spec.name));
        }
        let (turn, clear) = (self.turn.again(), self.clear.behind(self.seen));
        let pull = start(&self.shared, &self.spec, &self.stream, &turn, clear).await?;
        (self.turn, self.pull, self.heard, self.broken, self.clear) = (turn, pull, 0, false, clear);
        self.places.clear();
        Ok(())
    }

    /// In an idle moment, now and then: notes durably that up to the end of the stream of a while ago there is nothing for this reader
    /// but what it has seen. Without that, a reader of a quiet topic could not tell from what was removed since that nothing was lost.
    async fn mark(&mut self) {
        let now = self.shared.clock.monotonic();
        if now.saturating_sub(self.marked) < self.shared.options.note_every || !self.shared.api.link.is_up() {
            return;
        }
        self.marked = now;
        if let Some(upto) = self.head.take().filter(|h| *h > self.seen.max(self.clear.upto)) {
            let clear = Clear { seen: self.seen, upto, start: self.clear.start };
            // The place where a consumer begins cannot be changed; only the note is.
            let mut update = config(&self.shared, &self.spec, &self.turn, self.clear);
            update.metadata = clear.metadata();
            update.deliver_policy = DeliverPolicy::ByStartSequence { start_sequence: self.clear.start + 1 };
            let request = Create { stream_name: &self.stream, config: &update, action: "update" };
            match self.shared.api.ask::<Info>(OP, create_subject(&self.stream, &update), &request).await {
                Ok(Ok(_)) => (self.clear.seen, self.clear.upto) = (clear.seen, clear.upto),
                Ok(Err(e)) => tracing::debug!(tail = self.spec.name, error = %e, "a place could not be noted"),
                Err(e) => tracing::debug!(tail = self.spec.name, error = %e, "a place could not be noted"),
            }
        }
        if let Ok(Some(info)) = streams::info(&self.shared.api, &self.stream).await {
            self.head = Some(info.state.last_sequence);
        }
    }

    fn hand_over(&mut self, max: usize) -> Vec<Sequenced> {
        let n = self.ready.len().min(max);
        self.ready.drain(..n).collect()
    }
}

#[async_trait]
impl Tail for Reader {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Sequenced>> {
        let clock = self.shared.clock.clone();
        let mut until = clock.monotonic().saturating_add(wait);
        let mut link = self.shared.api.link.watch();
        loop {
            self.take_at_hand(max);
            let now = clock.monotonic();
            let some = !self.ready.is_empty();
            if some && self.ready.len() < max && self.pull.is_begun() && !self.broken {
                until = until.min(now.saturating_add(REST));
            } else if some {
                return Ok(self.hand_over(max));
            }
            let left = until.saturating_sub(now);
            if left.is_zero() && !self.broken {
                self.mark().await;
                return Ok(Vec::new());
            }
            if self.broken {
                match self.restart().await {
                    Ok(()) => continue,
                    // What is lost for good, and a successor, are said at once; anything else as long as there is time may pass.
                    Err(e) if left.is_zero() || !e.advice().is_worthwhile() || !self.shared.api.link.is_up() => return Err(e),
                    Err(_) => {
                        clock.sleep(left.min(NAP)).await;
                        continue;
                    }
                }
            }
            if !some && self.pull.ask(max, left).await.is_err() {
                self.broken = true;
                continue;
            }
            let silent = self.pull.silent_at().map_or(NAP, |s| s.saturating_sub(now).max(NAP));
            let heard = tokio::select! {
                biased;
                heard = poll_fn(|cx| self.pull.poll(cx)) => Some(heard),
                _ = link.changed() => None,
                () = clock.sleep(left.min(silent)) => None,
            };
            if let Some(heard) = heard {
                self.note(heard);
            }
        }
    }

    async fn done(&mut self, sequence: u64) -> Result<()> {
        let upto = self.places.partition_point(|(place, _)| *place <= sequence);
        let Some((_, reply)) = upto.checked_sub(1).and_then(|i| self.places.get(i)) else { return Ok(()) };
        if !self.shared.api.link.is_up() {
            return Err(down(OP));
        }
        let client = self.shared.api.js.client();
        let said = client.publish(reply.clone(), Bytes::from_static(b"+ACK"));
        match self.shared.within(self.shared.options.answer_within, said).await {
            Some(Ok(())) => {
                self.places.drain(..upto);
                Ok(())
            }
            _ => Err(down(OP)),
        }
    }
}
