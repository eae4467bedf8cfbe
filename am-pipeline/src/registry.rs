//! The processors that flow files can name.

use std::collections::BTreeMap;
use std::sync::Arc;

use am_core::{Code, Error, Result, TopicFilter};
use am_schema::{Catalogue, ProcessorIdentity};
use serde_json::{Map, Value};

use crate::Processor;
use crate::options::{self, Config, OptionProblem, OptionSpec};

/// By what items are kept apart: each part has a processor of its own, and its items stay in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Partition {
    /// By device.
    #[default]
    Device,
    /// All of a person's items together.
    Scope,
    /// Not at all: items are independent of each other, and any processor may take any of them.
    None,
}

impl Partition {
    /// The words of flow files.
    pub const WORDS: &'static [&'static str] = &["device", "scope", "none"];

    /// From its word.
    pub fn parse(word: &str) -> Option<Partition> {
        match word {
            "device" => Some(Partition::Device),
            "scope" => Some(Partition::Scope),
            "none" => Some(Partition::None),
            _ => None,
        }
    }
}

/// What a factory gets.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Setup {
    /// The checked options.
    pub config: Config,
    /// Goes into the lineage of what is derived.
    pub identity: ProcessorIdentity,
    /// The kinds that there are.
    pub catalogue: Catalogue,
}

/// Makes a processor for one partition.
pub type Factory = Arc<dyn Fn(&Setup) -> Result<Box<dyn Processor>> + Send + Sync>;

/// A processor as flow files see it.
#[derive(Clone)]
#[non_exhaustive]
pub struct ProcessorSpec {
    /// Its name, such as `motion.window`.
    pub name: &'static str,
    /// Its version; a change derives anew.
    pub version: &'static str,
    /// What it does, in one sentence.
    pub title: &'static str,
    /// The topics it takes.
    pub inputs: Vec<TopicFilter>,
    /// The topics it gives; empty when it passes on what it takes.
    pub outputs: Vec<String>,
    /// Its options.
    pub options: Vec<OptionSpec>,
    /// By what its state is kept apart.
    pub key: Partition,
    factory: Factory,
}

impl ProcessorSpec {
    /// A processor that takes any topic, gives what it takes, and keeps devices apart.
    pub fn new(
        name: &'static str,
        version: &'static str,
        title: &'static str,
        factory: impl Fn(&Setup) -> Result<Box<dyn Processor>> + Send + Sync + 'static,
    ) -> Self {
        ProcessorSpec {
            name,
            version,
            title,
            inputs: Vec::new(),
            outputs: Vec::new(),
            options: Vec::new(),
            key: Partition::Device,
            factory: Arc::new(factory),
        }
    }

    /// The topics it takes, as patterns.
    ///
    /// # Errors
    /// `BAD_TOPIC` when one is no pattern.
    pub fn inputs(mut self, patterns: &[&str]) -> Result<Self> {
        self.inputs = patterns.iter().map(|p| TopicFilter::parse(p)).collect::<Result<_>>()?;
        Ok(self)
    }

    /// The topics it gives.
    #[must_use]
    pub fn outputs(mut self, topics: &[&str]) -> Self {
        self.outputs = topics.iter().map(|t| (*t).to_owned()).collect();
        self
    }

    /// Its options.
    #[must_use]
    pub fn options(mut self, options: Vec<OptionSpec>) -> Self {
        self.options = options;
        self
    }

    /// By what its state is kept apart.
    #[must_use]
    pub fn key(mut self, key: Partition) -> Self {
        self.key = key;
        self
    }

    /// Whether it takes a topic.
    pub fn takes(&self, topic: &str) -> bool {
        self.inputs.is_empty() || self.inputs.iter().any(|f| f.matches(topic))
    }

    /// Checks options and makes what the factory gets. Processors are made of it with [`ProcessorSpec::make`], one per partition.
    ///
    /// # Errors
    /// All problems at once.
    pub fn setup(&self, given: &Map<String, Value>, catalogue: &Catalogue) -> std::result::Result<Setup, Vec<OptionProblem>> {
        let config = Config::check(&self.options, given)?;
        let identity = ProcessorIdentity::new(self.name, self.version, &config.canonical());
        Ok(Setup { config, identity, catalogue: catalogue.clone() })
    }

    /// A fresh processor.
    ///
    /// # Errors
    /// What the factory says, such as a model that is not there.
    pub fn make(&self, setup: &Setup) -> Result<Box<dyn Processor>> {
        (self.factory)(setup)
    }

    /// Its options as a JSON Schema (2020-12).
    pub fn schema(&self) -> Value {
        options::schema(&self.options)
    }
}

impl std::fmt::Debug for ProcessorSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProcessorSpec({} {})", self.name, self.version)
    }
}

/// The processors that a program knows. Explicit: nothing registers itself.
#[derive(Debug, Clone, Default)]
pub struct Registry(BTreeMap<&'static str, Arc<ProcessorSpec>>);

impl Registry {
    /// An empty one.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Adds a processor.
    ///
    /// # Errors
    /// `BAD_FLOW` when the name is taken.
    pub fn add(&mut self, spec: ProcessorSpec) -> Result<()> {
        match self.0.entry(spec.name) {
            std::collections::btree_map::Entry::Occupied(_) => {
                Err(Error::new(Code::BAD_FLOW, format!("there are two processors named {}", spec.name)).op("registry.add"))
            }
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(Arc::new(spec));
                Ok(())
            }
        }
    }

    /// The processor with this name.
    pub fn get(&self, name: &str) -> Option<&Arc<ProcessorSpec>> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ProcessorSpec>> {
        self.0.values()
    }
}
