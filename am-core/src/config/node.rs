//! The merged tree of values, each with the place it came from.

use std::collections::BTreeMap;

use super::problem::{Origin, Problem};

/// A value and where it was written.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A value as its source wrote it.
#[derive(Clone)]
pub(super) enum Value {
    /// Of a variable or a flag: takes the type that the reader asks for.
    Untyped(String),
    Text(String),
    Int(i128),
    Float(f64),
    Bool(bool),
    List(Vec<Node>),
    Table(BTreeMap<String, Entry>),
    /// Was reported as wrong and is skipped from then on.
    Removed,
}

/// A key of a table and its value.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key_origin: Origin,
    pub(super) node: Node,
}

/// One step from a node to a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The dotted form of a path.
pub(super) fn dotted(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Index(i) => out.push_str(&format!("[{i}]")),
            Step::Key(k) => {
                if !out.is_empty() {
                    out.push('.');
                }
                let plain = !k.is_empty() && k.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
                out.push_str(&if plain { k.clone() } else { format!("{k:?}") });
            }
        }
    }
    out
}

impl Node {
    pub(super) fn table(origin: Origin) -> Self {
        Node { value: Value::Table(BTreeMap::new()), origin }
    }

    /// The node at the end of the path.
    pub(super) fn find(&mut self, path: &[Step]) -> Option<&mut Node> {
        let mut node = self;
        for step in path {
            node = match (step, &mut node.value) {
                (Step::Key(k), Value::Table(t)) => &mut t.get_mut(k)?.node,
                (Step::Index(i), Value::List(l)) => l.get_mut(*i)?,
                _ => return None,
            };
        }
        Some(node)
    }

    /// Lays `other` over this node: tables are merged, everything else is replaced.
    pub(super) fn overlay(&mut self, other: Node) {
        match (&mut self.value, other.value) {
            (Value::Table(mine), Value::Table(theirs)) => {
                for (key, entry) in theirs {
                    match mine.get_mut(&key) {
                        Some(old) => old.node.overlay(entry.node),
                        None => drop(mine.insert(key, entry)),
                    }
                }
            }
            (mine, theirs) => {
                *mine = theirs;
                self.origin = other.origin;
            }
        }
    }

    /// Puts an untyped text at the end of a path, making the tables on the way.
    pub(super) fn set(&mut self, path: &[String], text: String, origin: &Origin) -> Result<(), Problem> {
        let mut node = self;
        for (depth, key) in path.iter().enumerate() {
            let above = node.origin.clone();
            let Value::Table(table) = &mut node.value else {
                let steps = |keys: &[String]| dotted(&keys.iter().cloned().map(Step::Key).collect::<Vec<_>>());
                let parent = steps(path.get(..depth).unwrap_or_default());
                let message = format!("{parent} was set to a single value ({above}), so nothing can be set below it");
                return Err(Problem { origin: origin.clone(), key: steps(path), message });
            };
            let fresh = || Entry { key_origin: origin.clone(), node: Node::table(origin.clone()) };
            node = &mut table.entry(key.clone()).or_insert_with(fresh).node;
        }
        *node = Node { value: Value::Untyped(text), origin: origin.clone() };
        Ok(())
    }
}
