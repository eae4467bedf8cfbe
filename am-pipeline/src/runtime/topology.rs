//! What is wrong with a topology.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::{Node, Part, PipelineBuilder};
use crate::options::nearest;

/// The most lanes of a node.
const MAX_LANES: usize = 1_024;

/// The most items of a source on their way.
const MAX_IN_FLIGHT: usize = 1 << 24;

/// All problems, in the order of the nodes.
pub(super) fn problems(b: &PipelineBuilder) -> Vec<String> {
    let mut found = Vec::new();
    if b.letters.is_none() {
        found.push(format!("pipeline {}: no dead letters; name where items go that cannot be processed with dead_letters()", b.name));
    }
    if !b.nodes.iter().any(Node::is_source) {
        found.push(format!("pipeline {}: no source", b.name));
    }
    if !b.nodes.iter().any(Node::is_sink) {
        found.push(format!("pipeline {}: no sink", b.name));
    }
    let mut names = BTreeSet::new();
    for n in &b.nodes {
        if !names.insert(n.name.as_str()) {
            found.push(format!("node {}: the name is used twice", n.name));
        }
        n.check(&mut found);
        for (from, port) in &n.inputs {
            edge(b, n, from, port, &mut found);
        }
    }
    for n in b.nodes.iter().filter(|n| !n.is_sink()) {
        for port in &n.ports {
            let used = b.nodes.iter().any(|m| m.inputs.iter().any(|(from, p)| *from == n.name && p == port));
            if !used {
                let way = if port.is_empty() { String::new() } else { format!("way out {port}: ") };
                found.push(format!("node {}: {way}its items go nowhere; add a sink after it", n.name));
            }
        }
    }
    found.extend(cycle(b));
    found
}

impl Node {
    fn is_source(&self) -> bool {
        matches!(self.part, Part::Source(..))
    }

    fn is_sink(&self) -> bool {
        matches!(self.part, Part::Sink(_) | Part::Sinks(_))
    }

    fn check(&self, found: &mut Vec<String>) {
        if let Part::Source(_, o) = &self.part
            && (!(1..=MAX_IN_FLIGHT).contains(&o.in_flight) || o.batch == 0)
        {
            found.push(format!("node {}: in_flight must be 1 to {MAX_IN_FLIGHT}, batch at least 1", self.name));
        }
        let single = matches!(self.part, Part::One(_) | Part::Sink(_));
        if single && self.options.lanes > 1 {
            found.push(format!(
                "node {}: {} lanes of one value; give a factory with processors() or sinks()",
                self.name, self.options.lanes
            ));
        }
        if !(1..=MAX_LANES).contains(&self.options.lanes) {
            found.push(format!("node {}: {} lanes, expected 1 to {MAX_LANES}", self.name, self.options.lanes));
        }
        if self.options.queue == 0 || self.options.batching.items == 0 {
            found.push(format!("node {}: queue and batches must hold at least 1", self.name));
        }
        if !self.is_source() && self.inputs.is_empty() {
            found.push(format!("node {}: nothing comes in; put it after another node", self.name));
        }
        if self.is_source() && !self.inputs.is_empty() {
            found.push(format!("node {}: a source takes nothing from other nodes", self.name));
        }
    }
}

fn edge(b: &PipelineBuilder, to: &Node, from: &str, port: &str, found: &mut Vec<String>) {
    let Some(source) = b.nodes.iter().find(|n| n.name == from) else {
        let near = nearest(from, b.nodes.iter().map(|n| n.name.as_str())).map(|n| format!("; did you mean {n}?")).unwrap_or_default();
        found.push(format!("node {}: there is no node {from} before it{near}", to.name));
        return;
    };
    if source.is_sink() {
        found.push(format!("node {}: {from} is a sink, nothing comes out of it", to.name));
    } else if !source.ports.iter().any(|p| p == port) {
        let ways = source.ports.join(", ");
        found.push(match port {
            "" => format!("node {}: name one of the ways out of {from}: {ways}", to.name),
            _ => format!("node {}: {from} has no way out {port}; it has {ways}", to.name),
        });
    }
}

/// The nodes of a cycle, if there is one: those that are left when nodes without open inputs are taken away (Kahn, 1962).
fn cycle(b: &PipelineBuilder) -> Option<String> {
    let mut open: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for n in &b.nodes {
        let known = n.inputs.iter().map(|(f, _)| f.as_str()).filter(|f| b.nodes.iter().any(|m| m.name == **f));
        open.entry(&n.name).or_default().extend(known);
    }
    while let Some(free) = open.iter().find(|(_, inputs)| inputs.is_empty()).map(|(n, _)| *n) {
        open.remove(free);
        open.values_mut().for_each(|inputs| {
            inputs.remove(free);
        });
    }
    (!open.is_empty()).then(|| format!("nodes {}: their items go round in a circle", open.keys().copied().collect::<Vec<_>>().join(", ")))
}
