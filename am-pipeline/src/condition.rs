//! Conditions on readings, as rules state them.
//!
//! ```yaml
//! all: [{field: kind, equals: device.image.camera.raw}, {field: metadata.detect_faces, equals: "true"}]
//! ```

use am_core::Timestamp;
use am_schema::{Catalogue, Reading};
use regex_lite::Regex;
use serde_json::Value;

use crate::field::{FieldPath, FieldValue};

/// How deeply conditions may be nested.
const MAX_DEPTH: usize = 16;

/// What is compared, and how; a field with several values passes when one of them does.
#[derive(Debug, Clone)]
enum Test {
    Equals(Value),
    NotEquals(Value),
    In(Vec<Value>),
    Contains(String),
    Matches(Regex),
    Exists(bool),
    Gt(Value),
    Lt(Value),
}

#[derive(Debug, Clone)]
enum Node {
    Field(FieldPath, Test),
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
}

/// A condition on a reading: `equals`, `not_equals`, `in`, `contains`, `matches`, `exists`, `gt`, `lt` on a field, joined by `all`, `any`
/// and `not`.
///
/// ```
/// # use am_core::{DeviceId, Timestamp};
/// # use am_pipeline::Condition;
/// # use am_schema::{Catalogue, Reading, v1};
/// # let catalogue = Catalogue::builtin();
/// # let kind = catalogue.get("device.health.heartrate.raw").ok_or("kind")?;
/// # let reading = Reading::builder(kind, DeviceId::new("watch")?, Timestamp::from_second(1_772_352_000))
/// #     .payload(&v1::HeartRate { bpm: 150, ..Default::default() }).build()?;
/// let rule = serde_json::json!({"all": [{"field": "kind", "equals": "device.health.heartrate.raw"}, {"field": "bpm", "gt": 140}]});
/// let fast = Condition::parse(&rule, &catalogue).map_err(|p| p[0].message.clone())?;
/// assert!(fast.holds(&reading));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Condition(Node);

/// What is wrong with a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionProblem {
    /// The way from the condition's root to the place: names and list positions.
    pub path: Vec<String>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// All problems at once.
    pub fn parse(v: &Value, catalogue: &Catalogue) -> Result<Condition, Vec<ConditionProblem>> {
        let mut p = Parser { catalogue, path: Vec::new(), problems: Vec::new() };
        match p.node(v) {
            Some(node) if p.problems.is_empty() => Ok(Condition(node)),
            _ => Err(p.problems),
        }
    }

    /// Whether it holds for a reading.
    pub fn holds(&self, r: &Reading) -> bool {
        self.0.holds(r)
    }
}

struct Parser<'a> {
    catalogue: &'a Catalogue,
    path: Vec<String>,
    problems: Vec<ConditionProblem>,
}

impl Parser<'_> {
    fn bad<T>(&mut self, message: impl Into<String>) -> Option<T> {
        self.problems.push(ConditionProblem { path: self.path.clone(), message: message.into() });
        None
    }

    fn at<T>(&mut self, step: impl Into<String>, f: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.path.push(step.into());
        let out = f(self);
        self.path.pop();
        out
    }

    fn node(&mut self, v: &Value) -> Option<Node> {
        if self.path.len() > 2 * MAX_DEPTH {
            return self.bad(format!("conditions may be nested {MAX_DEPTH} deep"));
        }
        let Some(o) = v.as_object() else { return self.bad("a condition is a map such as {field: bpm, gt: 140} or {all: [...]}") };
        if let Some(field) = o.get("field") {
            return self.field(field, o);
        }
        let mut entries = o.iter();
        match (entries.next(), entries.next()) {
            (Some((k, v)), None) if k == "not" => self.at("not", |p| p.node(v)).map(|n| Node::Not(Box::new(n))),
            (Some((k, Value::Array(list))), None) if k == "all" || k == "any" => {
                let all = k == "all";
                let parts: Vec<Option<Node>> =
                    self.at(k, |p| Some(list.iter().enumerate().map(|(i, v)| p.at(i.to_string(), |p| p.node(v))).collect()))?;
                let parts: Vec<Node> = parts.into_iter().collect::<Option<_>>()?;
                Some(if all { Node::All(parts) } else { Node::Any(parts) })
            }
            _ => self.bad("expected one of all: [...], any: [...], not: {...}, or field: with one test"),
        }
    }

    fn field(&mut self, field: &Value, o: &serde_json::Map<String, Value>) -> Option<Node> {
        let path = field.as_str().and_then(FieldPath::parse);
        let path = match path {
            Some(p) if p.is_known(self.catalogue) => Some(p),
            Some(_) => self.at("field", |p| p.bad(format!("no kind has a field {field}; metadata is metadata.KEY"))),
            None => self.at("field", |p| p.bad(format!("{field} is not a field's name"))),
        };
        let mut tests = o.iter().filter(|(k, _)| *k != "field");
        let test = match (tests.next(), tests.next()) {
            (Some((k, v)), None) => self.at(k, |p| p.test(k, v)),
            _ => self.bad("expected one test: equals, not_equals, in, contains, matches, exists, gt or lt"),
        };
        Some(Node::Field(path?, test?))
    }

    fn test(&mut self, name: &str, v: &Value) -> Option<Test> {
        let scalar = !v.is_array() && !v.is_object() && !v.is_null();
        match (name, v) {
            ("equals", _) if scalar => Some(Test::Equals(v.clone())),
            ("not_equals", _) if scalar => Some(Test::NotEquals(v.clone())),
            ("equals" | "not_equals", _) => self.bad(format!("{v} is not a text, number or truth value")),
            ("in", Value::Array(list)) => Some(Test::In(list.clone())),
            ("in", _) => self.bad(format!("{v} is not a list")),
            ("contains", Value::String(s)) => Some(Test::Contains(s.clone())),
            ("matches", Value::String(s)) => match Regex::new(s) {
                Ok(r) => Some(Test::Matches(r)),
                Err(e) => self.bad(format!("{v} is not a regular expression: {e}")),
            },
            ("contains" | "matches", _) => self.bad(format!("{v} is not a text")),
            ("exists", Value::Bool(b)) => Some(Test::Exists(*b)),
            ("exists", _) => self.bad(format!("{v} is neither true nor false")),
            ("gt", _) | ("lt", _) if v.is_number() || v.as_str().is_some_and(|s| Timestamp::parse(s).is_ok()) => {
                Some(if name == "gt" { Test::Gt(v.clone()) } else { Test::Lt(v.clone()) })
            }
            ("gt" | "lt", _) => self.bad(format!("{v} is neither a number nor a time")),
            _ => {
                let words = ["equals", "not_equals", "in", "contains", "matches", "exists", "gt", "lt"];
                let near = crate::options::nearest(name, words).map(|n| format!("; did you mean {n}?")).unwrap_or_default();
                self.bad(format!("there is no test {name}{near}"))
            }
        }
    }
}

impl Node {
    fn holds(&self, r: &Reading) -> bool {
        match self {
            Node::All(parts) => parts.iter().all(|p| p.holds(r)),
            Node::Any(parts) => parts.iter().any(|p| p.holds(r)),
            Node::Not(part) => !part.holds(r),
            Node::Field(path, Test::Exists(wanted)) => {
                let mut found = false;
                path.visit(r, &mut |_| found = true);
                found == *wanted
            }
            Node::Field(path, Test::NotEquals(v)) => !any(path, r, |x| equal(x, v)),
            Node::Field(path, test) => any(path, r, |x| test.passes(x)),
        }
    }
}

fn any(path: &FieldPath, r: &Reading, mut test: impl FnMut(&FieldValue) -> bool) -> bool {
    let (mut holds, mut absent) = (false, true);
    path.visit(r, &mut |v| {
        absent = false;
        holds |= test(&v);
    });
    if absent { path.default_of(r).is_some_and(|v| test(&v)) } else { holds }
}

impl Test {
    fn passes(&self, x: &FieldValue) -> bool {
        match self {
            Test::Equals(v) => equal(x, v),
            Test::In(list) => list.iter().any(|v| equal(x, v)),
            Test::Contains(s) => text(x).is_some_and(|t| t.contains(s)),
            Test::Matches(regex) => text(x).is_some_and(|t| regex.is_match(t)),
            Test::Gt(v) => order(x, v).is_some_and(std::cmp::Ordering::is_gt),
            Test::Lt(v) => order(x, v).is_some_and(std::cmp::Ordering::is_lt),
            Test::NotEquals(_) | Test::Exists(_) => false,
        }
    }
}

fn text(x: &FieldValue) -> Option<&str> {
    match x {
        FieldValue::Text(t) | FieldValue::Name(t, _) => Some(t),
        _ => None,
    }
}

fn equal(x: &FieldValue, v: &Value) -> bool {
    match (x, v) {
        (FieldValue::Text(t), Value::String(s)) => t == s,
        (FieldValue::Name(t, _), Value::String(s)) => t == s || t.strip_suffix(s.as_str()).is_some_and(|p| p.ends_with('_')),
        (FieldValue::Number(n) | FieldValue::Name(_, n), Value::Number(m)) => m.as_f64() == Some(*n),
        (FieldValue::Number(n), Value::Bool(b)) => *n == f64::from(u8::from(*b)),
        (FieldValue::Time(t), Value::String(s)) => Timestamp::parse(s).is_ok_and(|u| *t == u),
        _ => false,
    }
}

fn order(x: &FieldValue, v: &Value) -> Option<std::cmp::Ordering> {
    match (x, v) {
        (FieldValue::Number(n) | FieldValue::Name(_, n), Value::Number(m)) => n.partial_cmp(&m.as_f64()?),
        (FieldValue::Text(t), Value::Number(m)) => t.parse::<f64>().ok()?.partial_cmp(&m.as_f64()?),
        (FieldValue::Time(t), Value::String(s)) => Timestamp::parse(s).ok().map(|u| t.cmp(&u)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use am_core::DeviceId;
    use am_schema::v1;
    use serde_json::json;

    use super::*;

    fn reading() -> Reading {
        let kind = Catalogue::builtin().get("device.health.heartrate.raw").unwrap();
        Reading::builder(kind, DeviceId::new("watch").unwrap(), Timestamp::from_second(1_772_352_000))
            .metadata("room", "kitchen")
            .metadata("floor", "2")
            .sequence(7)
            .payload(&v1::HeartRate { bpm: 150, confidence: 0.5, zone: 3, source: String::new() })
            .build()
            .unwrap()
    }

    #[test]
    fn each_test_compares_what_it_says() {
        let r = reading();
        let holds = |v: serde_json::Value| Condition::parse(&v, &Catalogue::builtin()).unwrap().holds(&r);
        for yes in [
            json!({"field": "kind", "equals": "device.health.heartrate.raw"}),
            json!({"field": "bpm", "gt": 149}),
            json!({"field": "payload.bpm", "lt": 150.5}),
            json!({"field": "bpm", "in": [1, 150]}),
            json!({"field": "zone", "equals": "CARDIO"}),
            json!({"field": "zone", "equals": 3}),
            json!({"field": "source", "equals": ""}),
            json!({"field": "source", "exists": false}),
            json!({"field": "metadata.room", "contains": "itch"}),
            json!({"field": "metadata.room", "matches": "^k.*n$"}),
            json!({"field": "metadata.floor", "gt": 1}),
            json!({"field": "metadata.none", "not_equals": "x"}),
            json!({"field": "recorded_at", "lt": "2026-03-02T00:00:00Z"}),
            json!({"field": "sequence", "equals": 7}),
            json!({"not": {"field": "device", "equals": "phone"}}),
            json!({"any": [{"field": "bpm", "lt": 1}, {"field": "bpm", "gt": 1}]}),
        ] {
            assert!(holds(yes.clone()), "{yes}");
            assert!(!holds(json!({"not": yes})), "{yes}");
        }
        for no in [json!({"field": "metadata.none", "exists": true}), json!({"field": "stages.x.y", "exists": true})] {
            assert!(Condition::parse(&no, &Catalogue::builtin()).map(|c| !c.holds(&r)).unwrap_or(true), "{no}");
        }
    }

    #[test]
    fn problems_name_their_place() {
        let v = json!({"all": [{"field": "bpmm", "gt": 1}, {"field": "bpm", "equls": 1}, {"not": {"field": "kind", "matches": "("}}, 5]});
        let problems = Condition::parse(&v, &Catalogue::builtin()).unwrap_err();
        let found: Vec<String> = problems.iter().map(|p| format!("{}: {}", p.path.join("/"), p.message)).collect();
        assert!(found[0].starts_with("all/0/field: no kind has a field \"bpmm\""), "{found:?}");
        assert_eq!(found[1], "all/1/equls: there is no test equls; did you mean equals?");
        assert!(found[2].starts_with("all/2/not/matches: \"(\" is not a regular expression"), "{found:?}");
        assert!(found[3].starts_with("all/3: a condition is a map"), "{found:?}");
    }
}
