//! Backend traits: at most six methods, none with a body. A wrapper that forgets to forward a default is a bug nobody sees.

use super::tree::Tree;

const MAX_METHODS: usize = 6;

pub(super) fn check(tree: &Tree) -> Vec<String> {
    let mut out = Vec::new();
    let ours = |p: &str| p == "am-store/src/traits.rs" || p.starts_with("am-store/src/traits/");
    for (path, text) in tree.texts(&[".rs"]).filter(|(p, _)| ours(p)) {
        for (name, body) in bodies(&plain(text)) {
            let methods = methods(body);
            if methods.len() > MAX_METHODS {
                out.push(format!("{path}: the trait {name} has {} methods, more than {MAX_METHODS}", methods.len()));
            }
            let bodied = methods.iter().filter(|m| m.1).map(|m| m.0);
            out.extend(bodied.map(|m| format!("{path}: the method {name}::{m} has a default body")));
        }
    }
    out
}

/// The text without comments and without what stands in quotes.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut quoted = false;
        let mut last = ' ';
        for c in line.chars() {
            match c {
                '"' if last != '\\' => quoted = !quoted,
                '/' if !quoted && last == '/' => {
                    out.pop();
                    break;
                }
                _ if quoted => {}
                _ => out.push(c),
            }
            last = c;
        }
        out.push('\n');
    }
    out
}

/// Every trait with what stands between its braces.
fn bodies(text: &str) -> Vec<(&str, &str)> {
    let mut out = Vec::new();
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    for (at, word) in text.match_indices("trait ") {
        if text.get(..at).and_then(|s| s.chars().next_back()).is_some_and(is_name) {
            continue;
        }
        let rest = text.get(at + word.len()..).unwrap_or_default();
        let name = rest.split(|c| !is_name(c)).next().unwrap_or_default();
        let Some((_, rest)) = rest.split_once('{') else { continue };
        let mut depth = 1usize;
        let end = rest.char_indices().find(|(_, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        out.push((name, end.and_then(|(e, _)| rest.get(..e)).unwrap_or(rest)));
    }
    out
}

/// The methods of a trait's body and whether each has a body of its own.
fn methods(body: &str) -> Vec<(&str, bool)> {
    let mut out = Vec::new();
    let mut rest = body;
    while let Some((before, after)) = rest.split_once("fn ") {
        let starts_a_word = !before.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let name = after.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
        if !starts_a_word || name.is_empty() {
            rest = after;
            continue;
        }
        let Some(end) = after.find([';', '{']) else { break };
        let (signature, tail) = after.split_at(end);
        // `[u8; 4]` in a signature is no end of it.
        if tail.starts_with(';') && signature.matches('[').count() > signature.matches(']').count() {
            let skip = tail.find(']').unwrap_or(0);
            let tail = tail.get(skip..).unwrap_or_default();
            let Some(end) = tail.find([';', '{']) else { break };
            let (_, tail) = tail.split_at(end);
            out.push((name, tail.starts_with('{')));
            rest = behind(tail);
            continue;
        }
        out.push((name, tail.starts_with('{')));
        rest = behind(tail);
    }
    out
}

/// What follows a method's end: behind the `;`, or behind the closing brace of its body.
fn behind(tail: &str) -> &str {
    let mut depth = 0usize;
    for (at, c) in tail.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return tail.get(at + c.len_utf8()..).unwrap_or_default();
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        check(&Tree::of(&[("am-store/src/traits/feed.rs", text), ("am-store/src/sqlite/feed.rs", "trait X { fn a() {} }")]))
    }

    #[test]
    fn a_default_method_is_caught_and_a_mention_of_one_is_not() {
        let text = "/// fn doc() {} trait Doc {\n#[async_trait]\npub trait Feed: Send + Sync {\n    /// fn x() { }\n    async fn read(&self, a: [u8; 4]) -> Result<()>;\n    \
                    async fn trim(&self) -> Result<()> {\n        if true { let f = |x| { x }; }\n        Ok(())\n    }\n    fn last(&self);\n}\n\
                    impl Feed for X { fn y(&self) { } }\n";
        assert_eq!(found(text), ["am-store/src/traits/feed.rs: the method Feed::trim has a default body"]);
    }

    #[test]
    fn a_seventh_method_is_caught() {
        let of = |n: usize| {
            format!(
                "pub trait Feed {{\n{}\n}}",
                (0..n).map(|i| format!("    async fn m{i}(&self) -> Result<Vec<u8>>;\n")).collect::<String>()
            )
        };
        assert_eq!(found(&of(6)), Vec::<String>::new());
        assert_eq!(found(&of(7)), ["am-store/src/traits/feed.rs: the trait Feed has 7 methods, more than 6"]);
    }
}
