//! Flows as read from flow files.

use am_core::{Code, Error, Result};
use am_pipeline::flow::{self, OnError};
use am_pipeline::{Attempts, Registry};
use am_schema::Catalogue;

use super::{Flow, FlowStep};

impl Flow {
    /// A checked flow of a file. When `version` changes, what it derived is derived anew.
    ///
    /// # Errors
    /// `BAD_FLOW` for what the feed's runner does not do: letting go of items that a step cannot process. It parks them.
    pub fn of_file(file: &flow::Flow, version: &str, catalogue: &Catalogue) -> Result<Flow> {
        let mut out = Flow::new(&file.name, version);
        for pattern in &file.input {
            out = out.input(catalogue, pattern.as_str())?;
        }
        for step in &file.steps {
            if step.on_error == OnError::Discard {
                let why = format!(
                    "flow {}, step {}: on the feed, items that cannot be processed are parked; on_error must be park",
                    file.name, step.name
                );
                return Err(Error::new(Code::BAD_FLOW, why).op("store.flow"));
            }
            // A processor that cannot be made is found before anything runs.
            step.spec.make(&step.setup)?;
            let attempts = match step.timeout {
                Some(d) => Attempts::default().timeout(d),
                None => Attempts::default(),
            };
            out.steps.push(FlowStep { spec: step.spec.clone(), setup: step.setup.clone(), attempts });
        }
        for topic in &file.output {
            out = out.output(topic.as_str())?;
        }
        Ok(out)
    }

    /// The flows of some files, each given by name and text, checked together.
    ///
    /// # Errors
    /// `BAD_FLOW` with every problem, its place and its line.
    pub fn load(files: &[(&str, &str)], version: &str, registry: &Registry, catalogue: &Catalogue) -> Result<Vec<Flow>> {
        let flows = flow::Checker::new(registry.clone(), catalogue.clone()).load(files)?;
        flows.flows.values().map(|f| Flow::of_file(f, version, catalogue)).collect()
    }
}
