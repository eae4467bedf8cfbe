//! TOML text to nodes with line and column.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::node::{Entry, Node, Value};
use super::problem::{Origin, Problem};

/// The largest text that is read.
pub(super) const MAX_TEXT: usize = 1 << 20;

/// Finds lines and columns of byte offsets.
struct Lines<'a> {
    name: &'a Arc<str>,
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(name: &'a Arc<str>, text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Lines { name, text, starts }
    }

    fn origin(&self, offset: usize) -> Origin {
        let line = self.starts.partition_point(|s| *s <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset).map_or(0, |s| s.chars().count());
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Origin::File { name: self.name.clone(), line: narrow(line), column: narrow(before + 1) }
    }
}

/// What a text holds, and what is wrong with its syntax. Reading goes on behind an error where possible.
pub(super) fn parse(name: &str, text: &str) -> (Node, Vec<Problem>) {
    let name: Arc<str> = Arc::from(name);
    let whole = Origin::File { name: name.clone(), line: 0, column: 0 };
    if text.len() > MAX_TEXT {
        let message = format!("the text has {} bytes, more than {MAX_TEXT}", text.len());
        return (Node::table(whole.clone()), vec![Problem { origin: whole, key: String::new(), message }]);
    }
    let lines = Lines::new(&name, text);
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Problem> = Vec::new();
    for e in errors {
        let origin = lines.origin(e.span().map_or(0, |s| s.start));
        let on_same_line =
            |p: &Problem| matches!((&p.origin, &origin), (Origin::File { line: a, .. }, Origin::File { line: b, .. }) if a == b);
        // The parser stumbles on over the rest of a line it did not understand; the first word about it is the useful one.
        if !problems.iter().any(on_same_line) {
            problems.push(Problem { origin, key: String::new(), message: format!("not valid TOML: {}", e.message()) });
        }
    }
    let at = |offset: usize| lines.origin(offset);
    (Node { value: table(root.into_inner(), &at), origin: whole }, problems)
}

/// A value as it is written inside TOML, for variables and flags; everything in it has the origin of the whole.
pub(super) fn parse_inline(text: &str, origin: &Origin) -> Result<Value, String> {
    let spanned = DeValue::parse(text.trim()).map_err(|e| format!("not valid TOML: {}", e.message()))?;
    Ok(convert(spanned.into_inner(), &|_| origin.clone()))
}

fn table(t: DeTable<'_>, at: &dyn Fn(usize) -> Origin) -> Value {
    let entry = |(k, v): (toml::Spanned<_>, toml::Spanned<DeValue<'_>>)| {
        let key_origin = at(k.span().start);
        let origin = at(v.span().start);
        let key: std::borrow::Cow<'_, str> = k.into_inner();
        (key.into_owned(), Entry { key_origin, node: Node { value: convert(v.into_inner(), at), origin } })
    };
    Value::Table(t.into_iter().map(entry).collect())
}

fn convert(v: DeValue<'_>, at: &dyn Fn(usize) -> Origin) -> Value {
    match v {
        DeValue::String(s) => Value::Text(s.into_owned()),
        DeValue::Integer(i) => match i128::from_str_radix(i.as_str(), i.radix()) {
            Ok(n) => Value::Int(n),
            Err(_) => Value::Text(i.to_string()),
        },
        DeValue::Float(x) => match x.as_str().parse() {
            Ok(n) => Value::Float(n),
            Err(_) => Value::Text(x.to_string()),
        },
        DeValue::Boolean(b) => Value::Bool(b),
        DeValue::Datetime(d) => Value::Text(d.to_string()),
        DeValue::Array(a) => {
            Value::List(a.into_iter().map(|n| Node { origin: at(n.span().start), value: convert(n.into_inner(), at) }).collect())
        }
        DeValue::Table(t) => table(t, at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_count_from_one() {
        let name: Arc<str> = Arc::from("f");
        let lines = Lines::new(&name, "ä = 1\nöß = 2");
        let at = |o| lines.origin(o).to_string();
        assert_eq!([at(0), at(3), at(7), at(12)], ["f:1:1", "f:1:3", "f:2:1", "f:2:4"]);
        assert_eq!(at(999), "f:2:1");
    }
}
