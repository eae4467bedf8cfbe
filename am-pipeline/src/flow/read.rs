//! From the tree of a file to flows and routes.

use std::sync::Arc;
use std::time::Duration;

use am_core::{Topic, TopicFilter};
use am_schema::Catalogue;
use serde_json::{Map, Value};

use super::model::{Flow, OnError, Priority, RemoteTarget, Route, Step};
use super::problem::Place;
use super::yaml::{Content, Node};
use crate::options::{nearest, parse_duration};
use crate::registry::Partition;
use crate::{Condition, Registry};

/// The most steps that run at the same time.
const MAX_PARALLELISM: i64 = 1_024;
const FLOW: &[&str] = &["flow", "priority", "input", "target", "steps", "output", "description"];
const STEP: &[&str] = &["processor", "parallelism", "timeout", "on_error", "key"];
const ROUTE: &[&str] = &["name", "when", "to", "emits", "description"];

pub(super) struct Reader<'a> {
    pub(super) file: Arc<str>,
    pub(super) registry: &'a Registry,
    pub(super) catalogue: &'a Catalogue,
    pub(super) found: Vec<(Place, String)>,
}

impl Reader<'_> {
    pub(super) fn bad(&mut self, place: Place, message: impl Into<String>) {
        self.found.push((place, message.into()));
    }

    fn names(&mut self, node: &Node, what: &str, known: &[&str]) {
        for (k, _) in node.map().unwrap_or_default() {
            let name = k.text().unwrap_or_default();
            if !known.contains(&name) {
                let near = nearest(name, known.iter().copied()).map(|n| format!("; did you mean {n}?")).unwrap_or_default();
                self.bad(k.place, format!("a {what} has no '{name}'{near}"));
            }
        }
    }

    fn text(&mut self, node: &Node, name: &str) -> Option<String> {
        let v = node.get(name)?;
        match v.text() {
            Some(t) => Some(t.to_owned()),
            None => {
                self.bad(v.place, format!("{name} is {}, expected a text", v.json()));
                None
            }
        }
    }

    fn duration(&mut self, node: &Node, name: &str) -> Option<Duration> {
        let v = node.get(name)?;
        match v.text().map(parse_duration) {
            Some(Ok(d)) => Some(d),
            _ => {
                self.bad(v.place, format!("{name} is {}, expected a time such as 250ms, 5s, 10m, 1h", v.json()));
                None
            }
        }
    }

    fn word<T: Copy>(&mut self, node: &Node, name: &str, words: &[(&str, T)]) -> Option<T> {
        let v = node.get(name)?;
        let meant = v.text().and_then(|t| words.iter().find(|(w, _)| *w == t));
        if meant.is_none() {
            let known: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
            self.bad(v.place, format!("{name} is {}, expected one of {}", v.json(), known.join(", ")));
        }
        meant.map(|(_, t)| *t)
    }

    fn texts<'n>(&mut self, node: &'n Node, name: &str) -> Vec<&'n Node> {
        let Some(v) = node.get(name) else { return Vec::new() };
        let items = match v.list() {
            Some(items) => items.iter().collect(),
            None => vec![v],
        };
        items
            .into_iter()
            .filter(|n| {
                let ok = n.text().is_some();
                if !ok {
                    self.bad(n.place, format!("{} in {name} is not a topic", n.json()));
                }
                ok
            })
            .collect()
    }

    pub(super) fn flow(&mut self, root: &Node) -> Option<Flow> {
        if root.map().is_none() {
            self.bad(root.place, "a flow file is a map with flow, input, steps and output, or one with routes");
            return None;
        }
        self.names(root, "flow", FLOW);
        let name = match root.get("flow") {
            Some(_) => self.text(root, "flow"),
            None => {
                self.bad(root.place, "'flow' is missing: the flow's name");
                None
            }
        };
        let priority = [("low", Priority::Low), ("medium", Priority::Medium), ("high", Priority::High)];
        let priority = self.word(root, "priority", &priority).unwrap_or_default();
        let target = self.duration(root, "target");
        let (mut input, mut topics) = (Vec::new(), Vec::new());
        for node in self.texts(root, "input") {
            self.input(node, &mut input, &mut topics);
        }
        if root.get("input").is_none() {
            self.bad(root.place, "'input' is missing: the topics that the flow takes");
        }
        let output = self.outputs(root);
        let steps = self.steps(root);
        let place = root.get("flow").map_or(root.place, |n| n.place);
        Some(Flow { name: name?, priority, input, target, steps: steps?, output, file: self.file.clone(), place, topics })
    }

    fn input(&mut self, node: &Node, input: &mut Vec<TopicFilter>, topics: &mut Vec<String>) {
        let text = node.text().unwrap_or_default();
        match TopicFilter::parse(text) {
            Err(e) => self.bad(node.place, e.message().to_owned()),
            Ok(filter) => {
                // A name of the table, an alias or a pattern's topic; else a filter over the table.
                let named = self.catalogue.get(text).map(|k| k.topic().to_owned());
                let meant: Vec<String> = match named {
                    Some(t) => vec![t],
                    None => self.catalogue.kinds().map(|k| k.topic()).filter(|t| filter.matches(t)).map(str::to_owned).collect(),
                };
                if meant.is_empty() {
                    self.unknown_topic(node);
                }
                let exact = |t: &String| TopicFilter::parse(t).ok();
                match meant.as_slice() {
                    [one] if one != text => input.extend(exact(one)),
                    _ => input.push(filter),
                }
                topics.extend(meant);
            }
        }
    }

    fn unknown_topic(&mut self, node: &Node) {
        let text = node.text().unwrap_or_default();
        let near = nearest(text, self.catalogue.kinds().map(|k| k.topic())).map(|n| format!("; did you mean {n}?")).unwrap_or_default();
        self.bad(node.place, format!("there is no topic {text}{near}"));
    }

    fn outputs(&mut self, root: &Node) -> Vec<Topic> {
        let mut output = Vec::new();
        for node in self.texts(root, "output") {
            output.extend(self.derived(node));
        }
        if root.get("output").is_none() {
            self.bad(root.place, "'output' is missing: the topics that the flow gives");
        }
        output
    }

    /// A topic that flows may give.
    fn derived(&mut self, node: &Node) -> Option<Topic> {
        match self.catalogue.get(node.text().unwrap_or_default()) {
            None => self.unknown_topic(node),
            Some(k) if !k.stage().is_derived() => {
                self.bad(node.place, format!("{k} is raw: devices and accounts send it, flows do not"));
            }
            Some(k) => return Topic::parse(k.topic()).ok(),
        }
        None
    }

    fn steps(&mut self, root: &Node) -> Option<Vec<Step>> {
        let Some(node) = root.get("steps") else {
            self.bad(root.place, "'steps' is missing: the processors of the flow");
            return None;
        };
        let Some(items) = node.list() else {
            self.bad(node.place, "steps is a list such as [{name: {processor: ...}}]");
            return None;
        };
        let (mut steps, mut whole) = (Vec::<Step>::new(), true);
        for item in items {
            let (name, body) = match item.map() {
                Some([(name, body)]) => (name, body),
                _ => {
                    self.bad(item.place, "a step is a name with a map: - name: {processor: ...}");
                    whole = false;
                    continue;
                }
            };
            match self.step(name, body) {
                Some(step) if steps.iter().any(|s| s.name == step.name) => {
                    self.bad(name.place, format!("there is another step named {}", step.name));
                }
                Some(step) => steps.push(step),
                None => whole = false,
            }
        }
        whole.then_some(steps)
    }

    fn step(&mut self, name: &Node, body: &Node) -> Option<Step> {
        let step = name.text().unwrap_or_default();
        let Some(node) = body.get("processor") else {
            self.bad(name.place, format!("step {step} names no processor"));
            return None;
        };
        let processor = self.text(body, "processor")?;
        let Some(spec) = self.registry.get(&processor).cloned() else {
            let near = nearest(&processor, self.registry.iter().map(|s| s.name)).map(|n| format!("; did you mean {n}?"));
            self.bad(node.place, format!("there is no processor {processor}{}", near.unwrap_or_default()));
            return None;
        };
        let given: Map<String, Value> = body
            .map()
            .unwrap_or_default()
            .iter()
            .filter_map(|(k, v)| Some((k.text()?.to_owned(), v.json())))
            .filter(|(k, _)| !STEP.contains(&k.as_str()) || spec.options.iter().any(|o| o.name == k))
            .collect();
        let setup = spec.setup(&given, self.catalogue);
        if let Err(problems) = &setup {
            for p in problems {
                let place = match (body.key(&p.name), body.get(&p.name)) {
                    (Some(k), Some(_)) if !spec.options.iter().any(|o| o.name == p.name) => k.place,
                    (_, Some(v)) => v.place,
                    _ => name.place,
                };
                self.bad(place, p.message.clone());
            }
        }
        let keys = [("device", Partition::Device), ("scope", Partition::Scope), ("none", Partition::None)];
        let key = self.word(body, "key", &keys).unwrap_or(spec.key);
        let on_error = self.word(body, "on_error", &[("park", OnError::Park), ("discard", OnError::Discard)]).unwrap_or_default();
        let timeout = self.duration(body, "timeout");
        let parallelism = match body.get("parallelism").map(|v| (v.place, &v.value)) {
            None => 1,
            Some((_, Content::Scalar(Value::Number(n)))) if n.as_i64().is_some_and(|n| (1..=MAX_PARALLELISM).contains(&n)) => {
                n.as_u64().unwrap_or(1) as usize
            }
            Some((place, _)) => {
                self.bad(place, format!("parallelism is a whole number from 1 to {MAX_PARALLELISM}"));
                1
            }
        };
        let name = Node { ..name.clone() };
        Some(Step { name: step.to_owned(), spec, setup: setup.ok()?, key, parallelism, timeout, on_error, place: name.place })
    }

    pub(super) fn routes(&mut self, root: &Node) -> Vec<Route> {
        self.names(root, "routes file", &["routes", "description"]);
        let Some(node) = root.get("routes") else { return Vec::new() };
        let Some(items) = node.list() else {
            self.bad(node.place, "routes is a list");
            return Vec::new();
        };
        items.iter().filter_map(|item| self.route(item)).collect()
    }

    fn route(&mut self, item: &Node) -> Option<Route> {
        self.names(item, "route", ROUTE);
        for needed in ["name", "when", "to"] {
            if item.get(needed).is_none() {
                self.bad(item.place, format!("'{needed}' is missing in a route"));
            }
        }
        let name = self.text(item, "name");
        let when = item.get("when").and_then(|node| match Condition::parse(&node.json(), self.catalogue) {
            Ok(c) => Some(c),
            Err(problems) => {
                for p in problems {
                    self.bad(node.at(&p.path).place, p.message);
                }
                None
            }
        });
        let to = item.get("to").and_then(|node| self.target(node));
        let emits = item.get("emits").and_then(|node| self.derived(node));
        Some(Route { place: item.get("name").map_or(item.place, |n| n.place), name: name?, when: when?, to: to?, emits })
    }

    fn target(&mut self, node: &Node) -> Option<RemoteTarget> {
        for needed in ["remote", "url"] {
            if node.get(needed).is_none() {
                self.bad(node.place, format!("'{needed}' is missing in the target of a route"));
            }
        }
        let known = ["remote", "url", "timeout", "transform", "breaker"];
        let name = self.text(node, "remote");
        let url = self.text(node, "url");
        if let (Some(u), Some(n)) = (&url, node.get("url"))
            && !["http://", "https://"].iter().any(|scheme| u.starts_with(scheme))
        {
            self.bad(n.place, format!("{u} is not an http:// or https:// address"));
        }
        let (timeout, transform, breaker) = (self.duration(node, "timeout"), self.text(node, "transform"), self.text(node, "breaker"));
        let rest = node.map().unwrap_or_default().iter().filter_map(|(k, v)| Some((k.text()?, v)));
        let options = rest.filter(|(k, _)| !known.contains(k)).map(|(k, v)| (k.to_owned(), v.json())).collect();
        Some(RemoteTarget { name: name?, url: url?, timeout, transform, breaker, options })
    }
}
