//! A flow's steps as one processor.

use am_core::{Code, Ctx, Error, Result};
use async_trait::async_trait;

use super::model::{Flow, OnError};
use crate::registry::ProcessorSpec;
use crate::{Attempts, Batch, Decided, Item, Jitter, Output, Processor, Reason, exec};

const VERSION: u8 = 1;

/// The steps of a flow, run one after another on each batch; made by [`chain`].
///
/// Every item is offered to each step that takes its topic, whatever step made it; items of the flow's output topics come out at the
/// end. A step that gives what it takes, such as a filter, stands in the way of its items; the others leave them to later steps.
pub struct Chain {
    links: Vec<Link>,
    output: Vec<String>,
    jitter: Jitter,
}

struct Link {
    name: String,
    spec: std::sync::Arc<ProcessorSpec>,
    processor: Box<dyn Processor>,
    attempts: Attempts,
    on_error: OnError,
    out: Output,
}

/// Makes one processor of a flow's steps, for one partition.
///
/// # Errors
/// What a step's factory says.
pub fn chain(flow: &Flow, attempts: &Attempts) -> Result<Chain> {
    let link = |step: &super::Step| {
        let attempts = Attempts { timeout: step.timeout.or(attempts.timeout), ..attempts.clone() };
        Ok(Link {
            name: step.name.clone(),
            spec: step.spec.clone(),
            processor: step.spec.make(&step.setup)?,
            attempts,
            on_error: step.on_error,
            out: Output::new(),
        })
    };
    Ok(Chain {
        links: flow.steps.iter().map(link).collect::<Result<_>>()?,
        output: flow.output.iter().map(|t| t.as_str().to_owned()).collect(),
        jitter: Jitter::named(&flow.name),
    })
}

impl Chain {
    /// Whether a topic is needed by steps from `from` on, or given by the flow.
    fn needed(&self, topic: &str, from: usize) -> bool {
        self.output.iter().any(|t| t == topic) || self.links.iter().skip(from).any(|l| l.spec.takes(topic))
    }

    /// The items that a step takes, and those that go past it.
    fn share(&self, pool: Vec<Item>, at: usize) -> (Vec<Item>, Vec<Item>) {
        let Some(link) = self.links.get(at) else { return (Vec::new(), pool) };
        let passes = link.spec.outputs.is_empty();
        let (mut mine, mut past) = (Vec::new(), Vec::new());
        for item in pool {
            let topic = item.kind().topic();
            match (link.spec.takes(topic), !passes && self.needed(topic, at + 1)) {
                (false, _) => past.push(item),
                (true, false) => mine.push(item),
                (true, true) => {
                    mine.push(item.split(item.reading().clone()));
                    past.push(item);
                }
            }
        }
        (mine, past)
    }

    /// Runs the pool through the steps from `from` on; `flush` ends the step `from - 1` first.
    async fn run(&mut self, ctx: &Ctx, mut pool: Vec<Item>, from: usize, out: &mut Output) {
        for at in from..self.links.len() {
            let (mine, mut past) = self.share(pool, at);
            if let (false, Some(link)) = (mine.is_empty(), self.links.get_mut(at)) {
                let batch = Batch::from(mine);
                let decided = exec::process(link.processor.as_mut(), ctx, batch, &mut link.out, &link.attempts, &mut self.jitter).await;
                past.extend(link.keep(decided, out));
            }
            pool = past;
        }
        for item in pool {
            if self.output.iter().any(|t| t == item.kind().topic()) {
                out.emit(item);
            } else {
                out.absorb(item);
            }
        }
    }
}

impl Link {
    /// Hands a step's decisions on and returns what it emitted.
    fn keep(&self, decided: Decided, out: &mut Output) -> Vec<Item> {
        let Decided { emitted, absorbed, parked, retry, discarded, .. } = decided;
        out.count(discarded, absorbed);
        for (item, e) in parked.into_iter().chain(retry) {
            match self.on_error {
                OnError::Park => out.park(item, e.with("step", &self.name)),
                OnError::Discard => out.discard(item, Reason::new("on_error")),
            }
        }
        emitted
    }
}

#[async_trait]
impl Processor for Chain {
    async fn process(&mut self, ctx: &Ctx, batch: Batch, out: &mut Output) -> Result<()> {
        self.run(ctx, batch.into_vec(), 0, out).await;
        Ok(())
    }

    async fn flush(&mut self, ctx: &Ctx, out: &mut Output) -> Result<()> {
        for at in 0..self.links.len() {
            let Some(link) = self.links.get_mut(at) else { continue };
            link.processor.flush(ctx, &mut link.out).await?;
            let decided = link.out.take();
            let emitted = link.keep(decided, out);
            self.run(ctx, emitted, at + 1, out).await;
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let states: Vec<Vec<u8>> = self.links.iter().map(|l| l.processor.snapshot()).collect::<Result<_>>()?;
        if states.iter().all(Vec::is_empty) {
            return Ok(Vec::new());
        }
        let mut out = vec![VERSION];
        for (link, state) in self.links.iter().zip(states) {
            for part in [link.name.as_bytes(), &state] {
                out.extend_from_slice(&(part.len() as u64).to_le_bytes());
                out.extend_from_slice(part);
            }
        }
        Ok(out)
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        let bad = || Error::new(Code::UNDECODABLE, "the state is not one of this flow").op("flow.restore");
        let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
        if let Some((version, mut rest)) = state.split_first() {
            if *version != VERSION {
                return Err(bad().with("version", version));
            }
            while !rest.is_empty() {
                let (name, state) = (part(&mut rest).ok_or_else(bad)?, part(&mut rest).ok_or_else(bad)?);
                parts.push((String::from_utf8(name).map_err(|_| bad())?, state));
            }
        }
        for link in &mut self.links {
            let of_step = parts.iter().find(|(name, _)| *name == link.name).map(|(_, s)| s.as_slice());
            link.processor.restore(of_step.unwrap_or_default())?;
        }
        Ok(())
    }
}

/// Takes one length-prefixed part off the front.
fn part(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let (head, tail) = rest.split_first_chunk::<8>()?;
    let (body, tail) = tail.split_at_checked(usize::try_from(u64::from_le_bytes(*head)).ok()?)?;
    *rest = tail;
    Some(body.to_vec())
}
