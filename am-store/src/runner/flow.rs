//! A flow: which kinds it takes, and the processors that they go through.

use std::sync::Arc;

use am_core::{Code, Error, Result, TopicFilter};
use am_pipeline::{Attempts, Partition, ProcessorSpec, Registry, Setup};
use am_schema::{Catalogue, Kind, Reading};
use serde_json::{Map, Value};

/// A flow's definition.
///
/// What one step emits goes to the next step that takes it, and derived readings are stored on the way. Readings of a step that passes
/// on what it takes are not stored again.
#[derive(Debug, Clone)]
pub struct Flow {
    name: String,
    version: String,
    inputs: Vec<Kind>,
    pub(super) steps: Vec<FlowStep>,
    outputs: Vec<TopicFilter>,
}

/// One processor of a flow.
#[derive(Debug, Clone)]
pub struct FlowStep {
    pub(super) spec: Arc<ProcessorSpec>,
    pub(super) setup: Setup,
    pub(super) attempts: Attempts,
}

fn bad(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Code::BAD_FLOW, why).op("store.flow")
}

impl Flow {
    /// A flow without steps. When `version` changes, what it derived is derived anew from the start of the feed.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Flow {
        Flow { name: name.into(), version: version.into(), inputs: Vec::new(), steps: Vec::new(), outputs: Vec::new() }
    }

    /// Takes the kinds that a topic or pattern names.
    ///
    /// # Errors
    /// `BAD_TOPIC` when it is no pattern, `UNKNOWN_KIND` when the catalogue has none of it.
    pub fn input(mut self, catalogue: &Catalogue, pattern: &str) -> Result<Flow> {
        let filter = TopicFilter::parse(pattern)?;
        let before = self.inputs.len();
        for kind in catalogue.kinds().filter(|k| filter.matches(k.topic())) {
            if !self.inputs.contains(&kind) {
                self.inputs.push(kind);
            }
        }
        match self.inputs.len() > before {
            true => Ok(self),
            false => Err(Error::new(Code::UNKNOWN_KIND, format!("{pattern} names no further kind of the catalogue")).op("store.flow")),
        }
    }

    /// Adds a processor with its options, an object or null.
    ///
    /// # Errors
    /// `BAD_FLOW` when there is no such processor or an option is wrong.
    pub fn step(self, registry: &Registry, catalogue: &Catalogue, processor: &str, options: &Value) -> Result<Flow> {
        self.step_with(registry, catalogue, processor, options, Attempts::default())
    }

    /// As [`Flow::step`], with tries of its own.
    ///
    /// # Errors
    /// As [`Flow::step`].
    pub fn step_with(
        mut self,
        registry: &Registry,
        catalogue: &Catalogue,
        processor: &str,
        options: &Value,
        attempts: Attempts,
    ) -> Result<Flow> {
        let spec = registry.get(processor).ok_or_else(|| bad(format!("there is no processor {processor:?}")))?.clone();
        let empty = Map::new();
        let given = match options {
            Value::Null => &empty,
            Value::Object(o) => o,
            other => return Err(bad(format!("the options of {processor} are {other}, expected an object"))),
        };
        let setup = spec.setup(given, catalogue).map_err(|problems| {
            let all: Vec<String> = problems.into_iter().map(|p| p.message).collect();
            bad(format!("{processor}: {}", all.join("; ")))
        })?;
        // A processor that cannot be made is found before anything runs.
        spec.make(&setup)?;
        self.steps.push(FlowStep { spec, setup, attempts });
        Ok(self)
    }

    /// Stores only derived readings of these topics or patterns; all when it is never called.
    ///
    /// # Errors
    /// `BAD_TOPIC` when it is no pattern.
    pub fn output(mut self, pattern: &str) -> Result<Flow> {
        self.outputs.push(TopicFilter::parse(pattern)?);
        Ok(self)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kinds it takes.
    pub fn inputs(&self) -> &[Kind] {
        &self.inputs
    }

    pub(super) fn steps(&self) -> &[FlowStep] {
        &self.steps
    }

    /// The version that the store keeps: the flow's own, and a digest of kinds, processors, their versions and options, so that a change
    /// of any of them derives anew.
    pub fn full_version(&self) -> String {
        let mut h = blake3::Hasher::new_derive_key("am 2026 flow version v1");
        let mut part = |b: &[u8]| {
            h.update(&(b.len() as u64).to_le_bytes());
            h.update(b);
        };
        part(self.version.as_bytes());
        self.inputs.iter().for_each(|k| part(k.topic().as_bytes()));
        for s in &self.steps {
            let i = &s.setup.identity;
            part(i.name.as_bytes());
            part(i.version.as_bytes());
            part(&i.config_digest);
            part(i.model_digest.as_ref().map(|d| d.as_slice()).unwrap_or_default());
        }
        self.outputs.iter().for_each(|f| part(f.as_str().as_bytes()));
        format!("{}+{}", self.version, h.finalize().to_hex().get(..12).unwrap_or_default())
    }

    /// Whether a derived reading is stored.
    pub(super) fn stores(&self, reading: &Reading) -> bool {
        reading.lineage().is_some() && (self.outputs.is_empty() || self.outputs.iter().any(|f| f.matches(reading.kind().topic())))
    }

    /// Whether a person's devices are processed together.
    pub(super) fn is_by_scope(&self) -> bool {
        self.steps.iter().any(|s| s.spec.key == Partition::Scope)
    }

    /// Checks that it can run.
    pub(super) fn check(&self) -> Result<()> {
        if self.name.is_empty() || self.name.len() > 128 || self.name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(bad(format!("{:?} is no name of a flow: 1 to 128 characters without white space", self.name)));
        }
        if self.inputs.is_empty() {
            return Err(bad(format!("the flow {} has no input", self.name)));
        }
        if self.steps.is_empty() {
            return Err(bad(format!("the flow {} has no steps", self.name)));
        }
        let mut topics: Vec<&str> = self.inputs.iter().map(|k| k.topic()).collect();
        for (i, s) in self.steps.iter().enumerate() {
            if self.steps.iter().take(i).any(|e| e.spec.name == s.spec.name) {
                return Err(bad(format!("the flow {} has {} twice", self.name, s.spec.name)));
            }
            if !topics.iter().any(|t| s.spec.takes(t)) {
                return Err(bad(format!("the flow {}: {} takes none of {}", self.name, s.spec.name, topics.join(", "))));
            }
            topics.extend(s.spec.outputs.iter().map(String::as_str));
        }
        Ok(())
    }
}
