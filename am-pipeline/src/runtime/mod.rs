//! Runs a topology: credits, lanes, batches, graceful drain.
//!
//! Every source, and every lane of every other node, is one task. Queues between them are bounded, and a source polls only while
//! fewer than [`SourceOptions::in_flight`] of its items are on their way; so a sink that stalls costs back-pressure, not memory (P10).

mod builder;
mod inlet;
mod intake;
mod lane;
mod outlet;
mod parking;
mod settings;
mod status;
mod topology;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use am_core::{CancelToken, Code, Ctx, Error, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use builder::PipelineBuilder;
pub use intake::Totals;
pub use settings::{Batching, NodeOptions, SourceOptions};
pub use status::{Metric, NodeStatus, Status};

use builder::{Node, Part};
use inlet::Inlet;
use intake::Intake;
use lane::{Lane, Work};
use outlet::{Outlet, Way};
use parking::Parking;
use status::Counters;

use crate::{DeadLetters, Item, Jitter, Partition};

/// A checked topology, ready to run.
pub struct Pipeline {
    name: String,
    nodes: Vec<Node>,
    letters: Arc<dyn DeadLetters>,
    drain: Duration,
    status: Status,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What came of the sources' items.
    pub totals: Totals,
    /// Whether everything on its way ended in time; otherwise it was broken off and comes again.
    pub drained: bool,
}

/// What a task of the run gives back.
type Ended = (Totals, Result<()>);

impl Pipeline {
    /// Starts to put one together.
    pub fn builder(name: &str) -> PipelineBuilder {
        PipelineBuilder::new(name)
    }

    fn assemble(b: PipelineBuilder) -> Result<Pipeline> {
        let letters = b.letters.ok_or_else(|| Error::new(Code::BAD_FLOW, "no dead letters"))?;
        let role = |part: &Part| match part {
            Part::Source(..) => "source",
            Part::One(_) | Part::Many(_) => "processor",
            Part::Sink(_) | Part::Sinks(_) => "sink",
        };
        let nodes = b.nodes.iter().map(|n| (n.name.clone(), role(&n.part), Arc::new(Counters::default()))).collect();
        let status = Status { pipeline: Arc::from(b.name.as_str()), nodes };
        Ok(Pipeline { name: b.name, nodes: b.nodes, letters, drain: b.drain, status })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads its counters, while it runs and after.
    pub fn status(&self) -> Status {
        self.status.clone()
    }

    /// Runs until all sources are at their end, or until `shutdown` is raised and everything on its way has ended.
    ///
    /// # Errors
    /// The first failure that trying again cannot help: of a source, of a flush, of the dead letters. What is on its way ends before.
    ///
    /// # Cancel safety
    /// When the future is dropped all work is broken off; the sources hear nothing of items on their way, which come again.
    pub async fn run(self, ctx: &Ctx, shutdown: CancelToken) -> Result<Report> {
        let stop = shutdown.child();
        let broken_off = ctx.cancel().child();
        let (drain, clock) = (self.drain, ctx.clock().clone());
        let mut tasks = self.start(ctx, &stop, &broken_off)?;
        let mut report = Report { totals: Totals::default(), drained: true };
        let mut failure = None;
        let mut deadline = None;
        loop {
            let ended = tokio::select! {
                ended = tasks.join_next() => ended,
                () = stop.cancelled(), if deadline.is_none() => {
                    deadline = Some(clock.sleep(drain));
                    continue;
                }
                () = async { match deadline.as_mut() { Some(d) => d.await, None => std::future::pending().await } },
                    if !broken_off.is_cancelled() => {
                    tracing::warn!("the pipeline did not drain in time; what is on its way comes again");
                    broken_off.cancel();
                    continue;
                }
            };
            let Some(ended) = ended else { break };
            let (totals, result) = ended.unwrap_or_else(|e| (Totals::default(), Err(Error::new(Code::INTERNAL, e.to_string()))));
            report.totals.add(&totals);
            if let Err(e) = result {
                stop.cancel();
                failure.get_or_insert(e);
            }
        }
        report.drained = !broken_off.is_cancelled();
        match failure {
            Some(e) => Err(e.op("pipeline.run")),
            None => Ok(report),
        }
    }

    fn start(self, ctx: &Ctx, stop: &CancelToken, broken_off: &CancelToken) -> Result<JoinSet<Ended>> {
        let ctx = ctx.with_cancel(broken_off.clone());
        let counters: HashMap<String, Arc<Counters>> = self.status.nodes.iter().map(|(n, _, c)| (n.clone(), c.clone())).collect();
        let of = |name: &str| counters.get(name).cloned().unwrap_or_default();
        // A source must never wait in its queue: it has settled items to tell of. Its credits bound what is in it.
        let credits: HashMap<String, usize> = self
            .nodes
            .iter()
            .filter_map(|n| if let Part::Source(_, o) = &n.part { Some((n.name.clone(), o.in_flight)) } else { None })
            .collect();
        let mut outlets: HashMap<String, Outlet> = HashMap::new();
        let ports: HashMap<String, Vec<String>> = self.nodes.iter().map(|n| (n.name.clone(), n.ports.clone())).collect();
        let mut inlets: HashMap<String, Vec<mpsc::Receiver<Vec<Item>>>> = HashMap::new();
        for n in self.nodes.iter().filter(|n| !matches!(n.part, Part::Source(..))) {
            let room = n.options.queue + n.inputs.iter().filter_map(|(f, _)| credits.get(f)).sum::<usize>();
            let (senders, receivers): (Vec<_>, Vec<_>) = (0..n.options.lanes).map(|_| mpsc::channel(room)).unzip();
            inlets.insert(n.name.clone(), receivers);
            for (from, port) in &n.inputs {
                let port = ports.get(from).and_then(|p| p.iter().position(|x| x == port)).unwrap_or_default() as u16;
                let way = Way { port, lanes: senders.clone(), key: n.options.key, counters: of(&n.name), turn: 0 };
                outlets.entry(from.clone()).or_default().ways.push(way);
            }
        }
        let mut tasks = JoinSet::new();
        for n in self.nodes {
            let outlet = outlets.remove(&n.name).unwrap_or_default();
            let parking = Parking::new(self.letters.clone(), &n.name);
            let jitter = Jitter::named(&n.name);
            let receivers = inlets.remove(&n.name).unwrap_or_default();
            let (options, node_counters) = (n.options.clone(), of(&n.name));
            let mut works = works(n.part, &options)?;
            if let Works::Source(source, options) = works {
                let intake = Intake {
                    ctx: ctx.clone(),
                    source,
                    options,
                    outlet,
                    parking,
                    counters: node_counters,
                    stop: stop.clone(),
                    broken_off: broken_off.clone(),
                    jitter,
                };
                tasks.spawn(intake.run());
                continue;
            }
            for queue in receivers {
                let lane = Lane {
                    ctx: ctx.clone(),
                    inlet: Inlet::new(queue, options.batching.clone(), node_counters.clone()),
                    work: works.next()?,
                    outlet: outlet.clone(),
                    parking: parking.clone(),
                    counters: node_counters.clone(),
                    attempts: options.attempts.clone(),
                    jitter: jitter.clone(),
                };
                let broken_off = broken_off.clone();
                tasks.spawn(async move {
                    tokio::select! {
                        biased;
                        // Dropping the lane drops its items undecided: they come again.
                        () = broken_off.cancelled() => (Totals::default(), Ok(())),
                        result = lane.run() => (Totals::default(), result),
                    }
                });
            }
        }
        Ok(tasks)
    }
}

/// What the lanes of a node run.
enum Works {
    Source(Box<dyn crate::Source>, SourceOptions),
    One(Option<Work>),
    PerLane(Box<dyn Fn() -> Result<Work> + Send>),
}

impl Works {
    fn next(&mut self) -> Result<Work> {
        let none = || Error::new(Code::INTERNAL, "a node has more lanes than things to run in them");
        match self {
            Works::Source(..) => Err(none()),
            Works::One(work) => work.take().ok_or_else(none),
            Works::PerLane(make) => make(),
        }
    }
}

fn works(part: Part, options: &NodeOptions) -> Result<Works> {
    let (key, max) = (options.key, options.max_keys);
    Ok(match part {
        Part::Source(s, o) => Works::Source(s, o),
        Part::One(p) => Works::One(Some(Work::One(p))),
        Part::Sink(s) => Works::One(Some(Work::Sink(s))),
        Part::Sinks(make) => Works::PerLane(Box::new(move || Ok(Work::Sink(make()?)))),
        Part::Many(make) => Works::PerLane(Box::new(move || {
            Ok(match key {
                Partition::Device => Work::PerDevice { make: make.clone(), live: HashMap::new(), max, turn: 0 },
                Partition::Scope | Partition::None => Work::One(make()?),
            })
        })),
    })
}
