//! Flows that feed each other in a circle.

use std::sync::Arc;

use super::model::{Flow, Flows};
use super::problem::Place;

/// Every circle of flows, told once, at the flow of it whose name comes first.
pub(super) fn find(flows: &Flows) -> Vec<(Arc<str>, Place, String)> {
    let mut found: Vec<(Arc<str>, Place, String)> = Vec::new();
    for start in flows.flows.values() {
        let mut path = Vec::new();
        if let Some(circle) = back_to(start, start, flows, &mut path, &mut Vec::new())
            && circle.iter().all(|(f, _)| f.name >= start.name)
        {
            let mut text = String::new();
            for (flow, topic) in &circle {
                text.push_str(&format!("{} -({topic})-> ", flow.name));
            }
            found.push((start.file.clone(), start.place, format!("flows feed each other in a circle: {text}{}", start.name)));
        }
    }
    found
}

/// The way from a flow back to the start, as flows and the topics between them.
fn back_to<'a>(
    flow: &'a Flow,
    start: &'a Flow,
    flows: &'a Flows,
    path: &mut Vec<(&'a Flow, String)>,
    seen: &mut Vec<&'a str>,
) -> Option<Vec<(&'a Flow, String)>> {
    for topic in &flow.output {
        for next in flows.flows.values().filter(|n| n.takes(topic.as_str())) {
            path.push((flow, topic.to_string()));
            if next.name == start.name {
                return Some(path.clone());
            }
            if !seen.contains(&next.name.as_str()) {
                seen.push(&next.name);
                if let Some(circle) = back_to(next, start, flows, path, seen) {
                    return Some(circle);
                }
            }
            path.pop();
        }
    }
    None
}
