//! Flows and routes as read from files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use am_core::{Topic, TopicFilter};
use am_schema::Reading;
use serde_json::{Map, Value};

use super::problem::Place;
use crate::Condition;
use crate::registry::{Partition, ProcessorSpec, Setup};

/// How soon a flow's work is done when there is more than can be done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// When nothing else is to do.
    Low,
    /// As most flows.
    #[default]
    Medium,
    /// Before the others.
    High,
}

/// What becomes of an item that a step cannot process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// It goes to the dead letters.
    #[default]
    Park,
    /// It is let go, for the reason `on_error`.
    Discard,
}

/// One step of a flow: a processor with its options.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Step {
    /// Its name within the flow.
    pub name: String,
    /// The processor.
    pub spec: Arc<ProcessorSpec>,
    /// Its checked options.
    pub setup: Setup,
    /// By what its state is kept apart.
    pub key: Partition,
    /// How many run at the same time.
    pub parallelism: usize,
    /// The longest time for one batch.
    pub timeout: Option<Duration>,
    /// What becomes of items that it cannot process.
    pub on_error: OnError,
    pub(crate) place: Place,
}

/// A flow: what it takes, its steps, what it gives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Flow {
    /// Its name; also that of its cursor.
    pub name: String,
    /// How soon its work is done.
    pub priority: Priority,
    /// The topics it takes.
    pub input: Vec<TopicFilter>,
    /// How long it may take end to end.
    pub target: Option<Duration>,
    /// In order.
    pub steps: Vec<Step>,
    /// The topics it gives.
    pub output: Vec<Topic>,
    pub(crate) file: Arc<str>,
    pub(crate) place: Place,
    /// The topics of the catalogue that it takes.
    pub(crate) topics: Vec<String>,
}

impl Flow {
    /// Whether it takes readings of a topic.
    pub fn takes(&self, topic: &str) -> bool {
        self.input.iter().any(|f| f.matches(topic))
    }

    /// By what the whole flow's state is kept apart: the coarsest key of its steps.
    pub fn key(&self) -> Partition {
        let has = |key| self.steps.iter().any(|s| s.key == key);
        match () {
            () if has(Partition::Scope) => Partition::Scope,
            () if has(Partition::Device) => Partition::Device,
            () => Partition::None,
        }
    }
}

/// A service that readings are sent to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RemoteTarget {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
    /// The longest time for a call.
    pub timeout: Option<Duration>,
    /// How the payload is put into the request.
    pub transform: Option<String>,
    /// Which circuit breaker guards it.
    pub breaker: Option<String>,
    /// Anything else that its client understands.
    pub options: Map<String, Value>,
}

/// A rule for what goes to other services.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Route {
    /// Its name.
    pub name: String,
    /// For which readings.
    pub when: Condition,
    /// Where they go.
    pub to: RemoteTarget,
    /// The topic of what comes back.
    pub emits: Option<Topic>,
    pub(crate) place: Place,
}

/// All flows and routes of a program, checked together.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Flows {
    /// By name.
    pub flows: BTreeMap<String, Flow>,
    /// In order: the first whose condition holds is taken.
    pub routes: Vec<Route>,
}

impl Flows {
    /// The route of a reading; without one it is stored as it is.
    pub fn route(&self, r: &Reading) -> Option<&Route> {
        self.routes.iter().find(|route| route.when.holds(r))
    }

    /// The flows that take a topic, the most urgent first.
    pub fn taking(&self, topic: &str) -> Vec<&Flow> {
        let mut flows: Vec<&Flow> = self.flows.values().filter(|f| f.takes(topic)).collect();
        flows.sort_by_key(|f| (std::cmp::Reverse(f.priority), &f.name));
        flows
    }
}
