//! Checks flow files, each alone and all together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use am_core::{Result, Topic, TopicFilter};
use am_schema::Catalogue;

use super::model::{Flow, Flows, OnError};
use super::problem::{Place, Problem, into_error};
use super::read::Reader;
use super::{cycle, yaml};
use crate::Registry;
use crate::options::nearest;

/// Checks flow files against the processors and kinds that there are.
///
/// ```
/// use am_pipeline::{Registry, flow::Checker};
/// use am_schema::Catalogue;
/// let checker = Checker::new(Registry::builtin()?, Catalogue::builtin());
/// let text = "flow: calm\ninput: [device.health.heartrate.raw]\nsteps:\n  - thin: {processor: throttel, every: 1m}\noutput: []\n";
/// let problems = checker.check(&[("calm.yaml", text)]).unwrap_err();
/// assert!(problems[0].to_string().starts_with("calm.yaml:4:23: there is no processor throttel; did you mean throttle?"));
/// # Ok::<(), am_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Checker {
    registry: Registry,
    catalogue: Catalogue,
    dead_letters: bool,
}

impl Checker {
    /// Checks against these.
    pub fn new(registry: Registry, catalogue: Catalogue) -> Checker {
        Checker { registry, catalogue, dead_letters: true }
    }

    /// The program has nowhere to keep dead letters: a step that would park items is then a problem.
    #[must_use]
    pub fn without_dead_letters(mut self) -> Checker {
        self.dead_letters = false;
        self
    }

    /// Reads and checks files, given by name and text.
    ///
    /// # Errors
    /// Everything that is wrong, by file and place.
    pub fn check(&self, files: &[(&str, &str)]) -> std::result::Result<Flows, Vec<Problem>> {
        let mut found: Vec<Problem> = Vec::new();
        let mut flows = Flows::default();
        let mut texts: BTreeMap<&str, &str> = BTreeMap::new();
        for (file, text) in files {
            texts.insert(file, text);
            let root = match yaml::parse(file, text) {
                Ok(root) => root,
                Err(p) => {
                    found.push(p);
                    continue;
                }
            };
            let mut reader = Reader { file: Arc::from(*file), registry: &self.registry, catalogue: &self.catalogue, found: Vec::new() };
            match root.get("routes") {
                Some(_) => {
                    for route in reader.routes(&root) {
                        if flows.routes.iter().any(|r| r.name == route.name) {
                            reader.bad(route.place, format!("there is another route named {}", route.name));
                        }
                        flows.routes.push(route);
                    }
                }
                None => {
                    if let Some(flow) = reader.flow(&root) {
                        self.types(&flow, &mut reader.found);
                        match flows.flows.get(&flow.name) {
                            Some(other) => {
                                let at = format!("{}:{}", other.file, other.place.line);
                                reader.bad(flow.place, format!("there is another flow named {}, in {at}", flow.name));
                            }
                            None => {
                                flows.flows.insert(flow.name.clone(), flow);
                            }
                        }
                    }
                }
            }
            found.extend(reader.found.into_iter().map(|(place, message)| Problem::new(file, text, place, message)));
        }
        for (file, place, message) in cycle::find(&flows) {
            found.push(Problem::new(&file, texts.get(&*file).copied().unwrap_or_default(), place, message));
        }
        found.sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
        if found.is_empty() { Ok(flows) } else { Err(found) }
    }

    /// As [`Checker::check`], with all problems in one error.
    ///
    /// # Errors
    /// `BAD_FLOW` with every problem, its place and its line.
    pub fn load(&self, files: &[(&str, &str)]) -> Result<Flows> {
        self.check(files).map_err(|problems| into_error(&problems))
    }

    /// Whether each step gets something it takes, and the flow gives what it says.
    fn types(&self, flow: &Flow, found: &mut Vec<(Place, String)>) {
        let mut pool: BTreeSet<String> = flow.topics.iter().cloned().collect();
        for step in &flow.steps {
            if !pool.is_empty() && !pool.iter().any(|t| step.spec.takes(t)) {
                let takes: Vec<&str> = step.spec.inputs.iter().map(TopicFilter::as_str).collect();
                let there: Vec<&str> = pool.iter().map(String::as_str).collect();
                let message = format!(
                    "step {} gets nothing: {} takes {}, before it there is only {}",
                    step.name,
                    step.spec.name,
                    takes.join(", "),
                    there.join(", ")
                );
                found.push((step.place, message));
            }
            if step.on_error == OnError::Park && !self.dead_letters {
                let message = format!("step {} parks items that it cannot process, but there is no place for dead letters", step.name);
                found.push((step.place, message));
            }
            pool.extend(step.spec.outputs.iter().cloned());
        }
        for topic in flow.output.iter().map(Topic::as_str).filter(|t| !pool.contains(*t)) {
            let near = nearest(topic, pool.iter().map(String::as_str)).map(|n| format!("; did you mean {n}?")).unwrap_or_default();
            found.push((flow.place, format!("flow {} says it gives {topic}, but none of its steps does{near}", flow.name)));
        }
    }
}
