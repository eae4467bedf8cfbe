//! Flows as Mermaid pictures.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::model::{Flow, Flows};

impl Flow {
    /// A Mermaid flowchart of this flow alone.
    pub fn draw(&self) -> String {
        draw([self])
    }
}

impl Flows {
    /// A Mermaid flowchart of all flows, joined where one gives what another takes, and of the routes.
    pub fn draw(&self) -> String {
        let mut out = draw(self.flows.values());
        for (i, route) in self.routes.iter().enumerate() {
            let _ = writeln!(out, "  route{i}{{{{\"{}\"}}}} --> remote{i}[/\"{}\"/]", clean(&route.name), clean(&route.to.name));
        }
        out
    }
}

/// Text that cannot end a label.
fn clean(s: &str) -> String {
    s.replace('"', "'").replace(['\n', '<', '>'], " ")
}

fn draw<'a>(flows: impl IntoIterator<Item = &'a Flow>) -> String {
    let mut out = String::from("flowchart LR\n");
    let mut topics: BTreeMap<String, usize> = BTreeMap::new();
    let mut edges = Vec::new();
    for (f, flow) in flows.into_iter().enumerate() {
        let mut topic = |t: &str| {
            let n = topics.len();
            format!("t{}", topics.entry(t.to_owned()).or_insert(n))
        };
        let _ = writeln!(out, "  subgraph f{f}[\"{}\"]", clean(&flow.name));
        // What is there before a step: a topic, and the node it comes from.
        let mut pool: Vec<(String, String)> = flow.topics.iter().map(|t| (t.clone(), topic(t))).collect();
        for (s, step) in flow.steps.iter().enumerate() {
            let id = format!("f{f}s{s}");
            let _ = writeln!(out, "    {id}[\"{}: {}\"]", clean(&step.name), clean(step.spec.name));
            let passes = step.spec.outputs.is_empty();
            let mut passed = Vec::new();
            pool.retain(|(t, from)| {
                let taken = step.spec.takes(t);
                if taken {
                    edges.push(format!("{from} --> {id}"));
                    passed.push((t.clone(), id.clone()));
                }
                !(taken && passes)
            });
            if passes {
                pool.extend(passed);
            }
            pool.extend(step.spec.outputs.iter().map(|t| (t.clone(), id.clone())));
        }
        out.push_str("  end\n");
        for t in &flow.output {
            let to = topic(t.as_str());
            edges.extend(pool.iter().filter(|(p, _)| p == t.as_str()).map(|(_, from)| format!("{from} --> {to}")));
        }
    }
    for (t, n) in &topics {
        let _ = writeln!(out, "  t{n}([\"{t}\"])");
    }
    edges.sort();
    edges.dedup();
    edges.iter().for_each(|e| {
        let _ = writeln!(out, "  {e}");
    });
    out
}
