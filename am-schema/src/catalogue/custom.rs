//! JSON Schemas of embedders' kinds: a subset of draft 2020-12 that is checked whole.
//!
//! Written here because the full validators bring a regular-expression engine, URI resolution and dozens of crates into every embedder.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::Finding;

/// Bytes of a schema.
const MAX_SCHEMA: usize = 64 << 10;
/// Levels of a schema and of a value.
const MAX_DEPTH: usize = 32;
/// Rules that one value may take; schemas that refer to themselves can ask for more than anyone can check.
const MAX_STEPS: usize = 200_000;
/// Findings of one value.
const MAX_FINDINGS: usize = 32;

/// Says something to people, asks for nothing. `format` and `contentEncoding` are among them, as the draft has it by default.
const ANNOTATIONS: &[&str] = &[
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "contentEncoding",
];

const TYPES: &[&str] = &["null", "boolean", "object", "array", "number", "integer", "string"];

/// A JSON Schema, ready to check values with.
///
/// Understands `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`, `minimum`, `maximum`,
/// `exclusiveMinimum`, `exclusiveMaximum`, `minLength`, `maxLength`, `minItems`, `maxItems`, `anyOf`, `oneOf`, `allOf`, `not`,
/// `if` with `then` and `else`, `$ref` into `#/$defs`, and annotations. A schema with any other keyword is refused, so that no rule is silently ignored.
#[derive(Debug)]
pub struct JsonSchema {
    nodes: Vec<Node>,
    root: usize,
}

#[derive(Debug, Default)]
struct Node {
    never: bool,
    types: Vec<&'static str>,
    allowed: Option<Vec<Value>>,
    properties: HashMap<String, usize>,
    required: Vec<String>,
    additional: Option<usize>,
    items: Option<usize>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    above: Option<f64>,
    below: Option<f64>,
    length: (Option<usize>, Option<usize>),
    count: (Option<usize>, Option<usize>),
    any_of: Vec<usize>,
    one_of: Vec<usize>,
    all_of: Vec<usize>,
    not: Option<usize>,
    condition: Option<usize>,
    then: Option<usize>,
    otherwise: Option<usize>,
}

struct Parser {
    nodes: Vec<Node>,
    defs: HashMap<String, usize>,
}

impl JsonSchema {
    /// Reads a schema; the message says what is not understood, and where.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_SCHEMA {
            return Err(format!("the JSON Schema has {} bytes, more than {MAX_SCHEMA}", text.len()));
        }
        let value: Value = serde_json::from_str(text).map_err(|e| format!("the JSON Schema is not JSON: {e}"))?;
        let mut p = Parser { nodes: Vec::new(), defs: HashMap::new() };
        let defs = match value.get("$defs") {
            None => None,
            Some(Value::Object(d)) => Some(d),
            Some(_) => return Err("$defs: not an object".into()),
        };
        // Names first, so that definitions may refer to each other.
        for name in defs.into_iter().flat_map(Map::keys) {
            p.defs.insert(name.clone(), p.nodes.len());
            p.nodes.push(Node::default());
        }
        for (name, v) in defs.into_iter().flatten() {
            let node = p.node(v, &format!("#/$defs/{name}"), 0)?;
            if let Some(slot) = p.defs.get(name).and_then(|i| p.nodes.get_mut(*i)) {
                *slot = node;
            }
        }
        let root = p.add(&value, "#", 0)?;
        Ok(JsonSchema { nodes: p.nodes, root })
    }

    /// What is wrong with a value; empty when nothing is. Fields are paths within the value.
    pub fn check(&self, value: &Value) -> Vec<Finding> {
        let mut run = Run { schema: self, findings: Vec::new(), steps: 0 };
        run.check(self.root, value, "", 0);
        run.findings
    }
}

impl Parser {
    fn add(&mut self, v: &Value, at: &str, depth: usize) -> Result<usize, String> {
        let node = self.node(v, at, depth)?;
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    fn node(&mut self, v: &Value, at: &str, depth: usize) -> Result<Node, String> {
        if depth > MAX_DEPTH {
            return Err(format!("{at}: nested deeper than {MAX_DEPTH} levels"));
        }
        let object = match v {
            Value::Bool(yes) => return Ok(Node { never: !yes, ..Node::default() }),
            Value::Object(o) => o,
            _ => return Err(format!("{at}: a schema is an object or a boolean")),
        };
        let mut n = Node::default();
        for (key, v) in object {
            let here = format!("{at}/{key}");
            match key.as_str() {
                "type" => n.types = types(v, &here)?,
                "enum" => n.allowed = Some(v.as_array().cloned().ok_or_else(|| format!("{here}: not a list"))?),
                "const" => n.allowed = Some(vec![v.clone()]),
                "properties" => {
                    for (name, s) in v.as_object().ok_or_else(|| format!("{here}: not an object"))? {
                        let i = self.add(s, &format!("{here}/{name}"), depth + 1)?;
                        n.properties.insert(name.clone(), i);
                    }
                }
                "required" => n.required = texts(v, &here)?,
                "additionalProperties" => n.additional = Some(self.add(v, &here, depth + 1)?),
                "items" => n.items = Some(self.add(v, &here, depth + 1)?),
                "minimum" => n.minimum = Some(number(v, &here)?),
                "maximum" => n.maximum = Some(number(v, &here)?),
                "exclusiveMinimum" => n.above = Some(number(v, &here)?),
                "exclusiveMaximum" => n.below = Some(number(v, &here)?),
                "minLength" => n.length.0 = Some(size(v, &here)?),
                "maxLength" => n.length.1 = Some(size(v, &here)?),
                "minItems" => n.count.0 = Some(size(v, &here)?),
                "maxItems" => n.count.1 = Some(size(v, &here)?),
                "anyOf" => n.any_of = self.list(v, &here, depth)?,
                "oneOf" => n.one_of = self.list(v, &here, depth)?,
                "allOf" => n.all_of.extend(self.list(v, &here, depth)?),
                "not" => n.not = Some(self.add(v, &here, depth + 1)?),
                "if" => n.condition = Some(self.add(v, &here, depth + 1)?),
                "then" => n.then = Some(self.add(v, &here, depth + 1)?),
                "else" => n.otherwise = Some(self.add(v, &here, depth + 1)?),
                "$ref" => n.all_of.push(self.reference(v, &here)?),
                k if ANNOTATIONS.contains(&k) || k.starts_with("x-") => {}
                _ => return Err(format!("{here}: this keyword is not supported")),
            }
        }
        Ok(n)
    }

    fn list(&mut self, v: &Value, at: &str, depth: usize) -> Result<Vec<usize>, String> {
        let list = v.as_array().filter(|l| !l.is_empty()).ok_or_else(|| format!("{at}: not a list of schemas"))?;
        list.iter().enumerate().map(|(i, s)| self.add(s, &format!("{at}/{i}"), depth + 1)).collect()
    }

    fn reference(&self, v: &Value, at: &str) -> Result<usize, String> {
        let target = v.as_str().and_then(|s| s.strip_prefix("#/$defs/")).and_then(|name| self.defs.get(name));
        target.copied().ok_or_else(|| format!("{at}: {v} is not one of #/$defs"))
    }
}

fn types(v: &Value, at: &str) -> Result<Vec<&'static str>, String> {
    let given = match v {
        Value::String(s) => vec![s.clone()],
        _ => texts(v, at)?,
    };
    given.iter().map(|t| TYPES.iter().find(|k| *k == t).copied().ok_or_else(|| format!("{at}: {t:?} is no type of JSON"))).collect()
}

fn texts(v: &Value, at: &str) -> Result<Vec<String>, String> {
    let list = v.as_array().ok_or_else(|| format!("{at}: not a list of texts"))?;
    list.iter().map(|t| t.as_str().map(str::to_owned).ok_or_else(|| format!("{at}: {t} is not a text"))).collect()
}

fn number(v: &Value, at: &str) -> Result<f64, String> {
    v.as_f64().ok_or_else(|| format!("{at}: not a number"))
}

fn size(v: &Value, at: &str) -> Result<usize, String> {
    v.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| format!("{at}: not a whole number from 0 up"))
}

struct Run<'a> {
    schema: &'a JsonSchema,
    findings: Vec<Finding>,
    steps: usize,
}

impl Run<'_> {
    fn broken(&mut self, at: &str, value: impl std::fmt::Display, rule: String) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding::new(at, value, rule));
        }
    }

    /// Whether a value fits, without saying why not.
    fn fits(&mut self, node: usize, value: &Value, depth: usize) -> bool {
        let mut run = Run { schema: self.schema, findings: Vec::new(), steps: self.steps };
        run.check(node, value, "", depth);
        self.steps = run.steps;
        run.findings.is_empty()
    }

    fn check(&mut self, node: usize, value: &Value, at: &str, depth: usize) {
        let Some(n) = self.schema.nodes.get(node) else { return };
        self.steps += 1;
        if depth > 2 * MAX_DEPTH || self.steps > MAX_STEPS {
            return self.broken(at, "nested", "a value that can be checked".into());
        }
        if n.never {
            return self.broken(at, value, "nothing here".into());
        }
        if !n.types.is_empty() && !n.types.iter().any(|t| is_type(t, value)) {
            return self.broken(at, value, n.types.join(" or "));
        }
        if let Some(allowed) = n.allowed.as_ref().filter(|a| !a.iter().any(|x| same(x, value))) {
            self.broken(at, value, format!("one of {}", Value::from(allowed.clone())));
        }
        self.check_size(n, value, at);
        match value {
            Value::Object(o) => self.check_object(n, o, at, depth),
            Value::Array(a) => {
                if let Some(items) = n.items {
                    for (i, v) in a.iter().enumerate() {
                        self.check(items, v, &format!("{at}[{i}]"), depth + 1);
                    }
                }
            }
            _ => {}
        }
        for s in &n.all_of {
            self.check(*s, value, at, depth + 1);
        }
        if !n.any_of.is_empty() && !n.any_of.iter().any(|s| self.fits(*s, value, depth + 1)) {
            self.broken(at, value, "one of the forms of anyOf".into());
        }
        if !n.one_of.is_empty() && n.one_of.iter().filter(|s| self.fits(**s, value, depth + 1)).count() != 1 {
            self.broken(at, value, "exactly one of the forms of oneOf".into());
        }
        if let Some(condition) = n.condition {
            let branch = if self.fits(condition, value, depth + 1) { n.then } else { n.otherwise };
            if let Some(s) = branch {
                self.check(s, value, at, depth + 1);
            }
        }
        if n.not.is_some_and(|s| self.fits(s, value, depth + 1)) {
            self.broken(at, value, "another form than that of not".into());
        }
    }

    fn check_size(&mut self, n: &Node, value: &Value, at: &str) {
        if let Some(x) = value.as_f64() {
            let rules = [
                (n.minimum.filter(|m| x < *m), "at least"),
                (n.maximum.filter(|m| x > *m), "at most"),
                (n.above.filter(|m| x <= *m), "more than"),
                (n.below.filter(|m| x >= *m), "less than"),
            ];
            for (limit, word) in rules {
                if let Some(m) = limit {
                    self.broken(at, value, format!("{word} {m}"));
                }
            }
        }
        let (size, limits, what) = match value {
            Value::String(s) => (s.chars().count(), n.length, "characters"),
            Value::Array(a) => (a.len(), n.count, "items"),
            _ => return,
        };
        if let Some(least) = limits.0.filter(|m| size < *m) {
            self.broken(at, format!("{size} {what}"), format!("at least {least} {what}"));
        }
        if let Some(most) = limits.1.filter(|m| size > *m) {
            self.broken(at, format!("{size} {what}"), format!("at most {most} {what}"));
        }
    }

    fn check_object(&mut self, n: &Node, object: &Map<String, Value>, at: &str, depth: usize) {
        let join = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        for name in n.required.iter().filter(|r| !object.contains_key(*r)) {
            self.broken(&join(name), "", "a value".into());
        }
        for (name, v) in object {
            if let Some(s) = n.properties.get(name).copied().or(n.additional) {
                self.check(s, v, &join(name), depth + 1);
            }
        }
    }
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        // 2.0 is an integer, too.
        _ => value.as_f64().is_some_and(|x| x.fract() == 0.0),
    }
}

/// Equal as JSON Schema sees it: numbers by value.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests;
