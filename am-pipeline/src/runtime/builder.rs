//! Puts a topology together.

use std::sync::Arc;
use std::time::Duration;

use am_core::{Code, Error, Result};

use super::lane::MakeProcessor;
use super::settings::{NodeOptions, SourceOptions};
use super::topology;
use crate::nodes::Router;
use crate::{DeadLetters, Pipeline, Processor, Sink, Source};

/// Makes a sink for one lane.
pub(super) type MakeSink = Arc<dyn Fn() -> Result<Box<dyn Sink>> + Send + Sync>;

/// What a node is made of.
pub(super) enum Part {
    Source(Box<dyn Source>, SourceOptions),
    One(Box<dyn Processor>),
    Many(MakeProcessor),
    Sink(Box<dyn Sink>),
    Sinks(MakeSink),
}

/// One node of a topology.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) part: Part,
    pub(super) options: NodeOptions,
    /// Names of its ways out; one without a name where there is no choice.
    pub(super) ports: Vec<String>,
    /// Where its items come from: a node and one of its ways out. The node before it, when none is named.
    pub(super) inputs: Vec<(String, String)>,
}

/// Puts a pipeline together: sources, processors and sinks in the order of the data; each takes from the one before it unless
/// [`PipelineBuilder::after`] says otherwise.
#[must_use = "call build"]
pub struct PipelineBuilder {
    pub(super) name: String,
    pub(super) nodes: Vec<Node>,
    pub(super) letters: Option<Arc<dyn DeadLetters>>,
    pub(super) drain: Duration,
}

impl PipelineBuilder {
    pub(super) fn new(name: &str) -> Self {
        PipelineBuilder { name: name.to_owned(), nodes: Vec::new(), letters: None, drain: Duration::from_secs(30) }
    }

    fn node(mut self, name: &str, part: Part) -> Self {
        let before = match part {
            Part::Source(..) => None,
            _ => self.nodes.last().map(|n| (n.name.clone(), String::new())),
        };
        self.nodes.push(Node {
            name: name.to_owned(),
            part,
            options: NodeOptions::default(),
            ports: vec![String::new()],
            inputs: before.into_iter().collect(),
        });
        self
    }

    /// Adds a source.
    pub fn source(self, name: &str, source: impl Source + 'static) -> Self {
        self.source_with(name, source, SourceOptions::default())
    }

    /// Adds a source with options of its own.
    pub fn source_with(self, name: &str, source: impl Source + 'static, options: SourceOptions) -> Self {
        self.node(name, Part::Source(Box::new(source), options))
    }

    /// Adds a processor: one value for all keys, in one lane.
    pub fn processor(self, name: &str, processor: impl Processor + 'static) -> Self {
        self.node(name, Part::One(Box::new(processor)))
    }

    /// Adds a processor made by a factory: one per device, or one per lane where the options' key is not the device.
    pub fn processors<P: Processor + 'static>(
        self,
        name: &str,
        make: impl Fn() -> Result<P> + Send + Sync + 'static,
        options: NodeOptions,
    ) -> Self {
        self.node(name, Part::Many(Arc::new(move || Ok(Box::new(make()?) as Box<dyn Processor>)))).options(options)
    }

    /// Adds a router. Each of its ways out is then named by [`PipelineBuilder::after_port`].
    pub fn route(self, name: &str, router: Router) -> Self {
        let ports = router.ports();
        let mut b = self.node(name, Part::One(Box::new(router)));
        if let Some(n) = b.nodes.last_mut() {
            n.ports = ports;
        }
        b
    }

    /// Adds a sink.
    pub fn sink(self, name: &str, sink: impl Sink + 'static) -> Self {
        self.node(name, Part::Sink(Box::new(sink)))
    }

    /// Adds a sink with several lanes, each with one made by the factory.
    pub fn sinks<S: Sink + 'static>(self, name: &str, make: impl Fn() -> Result<S> + Send + Sync + 'static, options: NodeOptions) -> Self {
        self.node(name, Part::Sinks(Arc::new(move || Ok(Box::new(make()?) as Box<dyn Sink>)))).options(options)
    }

    /// The last node's options.
    pub fn options(mut self, options: NodeOptions) -> Self {
        if let Some(n) = self.nodes.last_mut() {
            n.options = options;
        }
        self
    }

    /// The last node takes from these nodes, not from the one before it. Where several nodes name the same one, each gets every item.
    pub fn after(mut self, nodes: &[&str]) -> Self {
        if let Some(n) = self.nodes.last_mut() {
            n.inputs = nodes.iter().map(|name| ((*name).to_owned(), String::new())).collect();
        }
        self
    }

    /// The last node takes from one way out of a router, not from the node before it.
    pub fn after_port(mut self, router: &str, port: &str) -> Self {
        if let Some(n) = self.nodes.last_mut() {
            n.inputs = vec![(router.to_owned(), port.to_owned())];
        }
        self
    }

    /// Where items go that cannot be processed. There is no pipeline without.
    pub fn dead_letters(mut self, letters: impl DeadLetters + 'static) -> Self {
        self.letters = Some(Arc::new(letters));
        self
    }

    /// The same, shared with others.
    pub fn dead_letters_shared(mut self, letters: Arc<dyn DeadLetters>) -> Self {
        self.letters = Some(letters);
        self
    }

    /// How long what is on its way may take to end after the pipeline was told to stop; 30 s without.
    pub fn drain_within(mut self, d: Duration) -> Self {
        self.drain = d;
        self
    }

    /// Checks the topology. Pure: nothing is opened, made or started.
    ///
    /// # Errors
    /// `BAD_FLOW` with all problems, one a line.
    pub fn validate(&self) -> Result<()> {
        let problems = topology::problems(self);
        match problems.is_empty() {
            true => Ok(()),
            false => Err(Error::new(Code::BAD_FLOW, problems.join("\n")).op("pipeline.validate")),
        }
    }

    /// Checks the topology and puts it together. Starts nothing.
    ///
    /// # Errors
    /// As [`PipelineBuilder::validate`].
    pub fn build(self) -> Result<Pipeline> {
        self.validate()?;
        Pipeline::assemble(self)
    }
}
