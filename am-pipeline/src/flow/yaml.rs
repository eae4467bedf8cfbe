//! YAML as a tree in which every value knows its place.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use serde_json::{Map, Value};

use super::problem::{Place, Problem};

/// How deeply values may be nested.
const MAX_DEPTH: usize = 32;
/// The largest text, in bytes.
const MAX_TEXT: usize = 1 << 20;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Scalar(Value),
    List(Vec<Node>),
    /// In the order written; keys are texts.
    Map(Vec<(Node, Node)>),
}

impl Node {
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Content::Scalar(Value::String(s)) => Some(s),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> Option<&[Node]> {
        match &self.value {
            Content::List(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn map(&self) -> Option<&[(Node, Node)]> {
        match &self.value {
            Content::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.map()?.iter().find(|(k, _)| k.text() == Some(name)).map(|(_, v)| v)
    }

    /// The place of the key, where it stands.
    pub(super) fn key(&self, name: &str) -> Option<&Node> {
        self.map()?.iter().find(|(k, _)| k.text() == Some(name)).map(|(k, _)| k)
    }

    /// The node at a path of names and list positions, or the last one on the way.
    pub(super) fn at(&self, path: &[String]) -> &Node {
        let Some((step, rest)) = path.split_first() else { return self };
        let next = match &self.value {
            Content::List(items) => step.parse::<usize>().ok().and_then(|i| items.get(i)),
            Content::Map(_) if rest.is_empty() => self.key(step).filter(|_| self.get(step).is_some_and(|v| v.text().is_none())),
            _ => None,
        };
        match next.or_else(|| self.get(step)) {
            Some(node) => node.at(rest),
            None => self,
        }
    }

    /// The same without places.
    pub(super) fn json(&self) -> Value {
        match &self.value {
            Content::Scalar(v) => v.clone(),
            Content::List(items) => Value::Array(items.iter().map(Node::json).collect()),
            Content::Map(entries) => {
                let pairs = entries.iter().filter_map(|(k, v)| Some((k.text()?.to_owned(), v.json())));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }
}

/// Reads one document. Anchors and tags are refused: nothing is gained by them here, and they can grow.
pub(super) fn parse(file: &str, text: &str) -> Result<Node, Problem> {
    let problem = |place: Place, message: String| Problem::new(file, text, place, message);
    if text.len() > MAX_TEXT {
        return Err(problem(Place::default(), format!("the file has more than {MAX_TEXT} bytes")));
    }
    let mut open: Vec<(Node, Option<Node>)> = Vec::new();
    let mut root = None;
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|e: ScanError| {
            let m = e.marker();
            problem(Place { line: m.line().max(1), column: m.col() + 1, width: 1 }, e.info().to_owned())
        })?;
        let place = place(&span);
        let node = match event {
            Event::Alias(_) => return Err(problem(place, "aliases are not used in flow files".into())),
            Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) if anchor > 0 => {
                return Err(problem(place, "anchors are not used in flow files".into()));
            }
            Event::Scalar(_, _, _, Some(_)) => return Err(problem(place, "tags are not used in flow files".into())),
            Event::Scalar(s, style, _, _) => Node { place, value: Content::Scalar(scalar(&s, style)) },
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if open.len() >= MAX_DEPTH {
                    return Err(problem(place, format!("values are nested more than {MAX_DEPTH} deep")));
                }
                let list = matches!(event, Event::SequenceStart(..));
                open.push((Node { place, value: if list { Content::List(Vec::new()) } else { Content::Map(Vec::new()) } }, None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some((node, _)) => node,
                None => continue,
            },
            Event::DocumentStart(_) if root.is_some() => return Err(problem(place, "a flow file is one document".into())),
            _ => continue,
        };
        match open.last_mut() {
            None => root = Some(node),
            Some((Node { value: Content::List(items), .. }, _)) => items.push(node),
            Some((Node { value: Content::Map(entries), .. }, key)) => match key.take() {
                None if node.text().is_none() => {
                    // A plain `1` or `true` is a name here too.
                    match &node.value {
                        Content::Scalar(v) => *key = Some(Node { value: Content::Scalar(Value::String(v.to_string())), ..node }),
                        _ => return Err(problem(node.place, "a name is a text".into())),
                    }
                }
                None => {
                    if entries.iter().any(|(k, _)| k.text() == node.text()) {
                        let name = node.text().unwrap_or_default();
                        return Err(problem(node.place, format!("{name} stands twice")));
                    }
                    *key = Some(node);
                }
                Some(k) => entries.push((k, node)),
            },
            Some(_) => {}
        }
    }
    root.ok_or_else(|| problem(Place { line: 1, column: 1, width: 1 }, "the file is empty".into()))
}

fn place(span: &Span) -> Place {
    let (start, end) = (span.start, span.end);
    let width = if end.line() == start.line() { end.col().saturating_sub(start.col()).max(1) } else { 1 };
    Place { line: start.line().max(1), column: start.col() + 1, width }
}

/// A plain scalar by the core schema of YAML 1.2; a quoted one is a text.
fn scalar(s: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::String(s.to_owned());
    }
    match s {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => {
            let numeric = s.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
            let starts = s.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit() || c == '.');
            let number = s.trim_start_matches('+');
            match (numeric && starts, number.parse::<i64>(), number.parse::<f64>()) {
                (true, Ok(n), _) => Value::from(n),
                (true, _, Ok(f)) if f.is_finite() => Value::from(f),
                _ => Value::String(s.to_owned()),
            }
        }
    }
}
