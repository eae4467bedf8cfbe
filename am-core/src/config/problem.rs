//! What is wrong with a configuration, and where.

use std::fmt;
use std::sync::Arc;

use crate::{Code, Error};

/// Where a value of the configuration came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// No source in particular: a required value that nobody gave.
    Nowhere,
    /// A TOML text.
    File {
        /// The name it was given, usually a path.
        name: Arc<str>,
        /// Line, from 1; 0 for the text as a whole.
        line: u32,
        /// Column in characters, from 1.
        column: u32,
    },
    /// A variable of the environment.
    Variable(Arc<str>),
    /// A flag of the command line: its key, or its number when it has none.
    Flag(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Nowhere => f.write_str("configuration"),
            Origin::File { name, line: 0, .. } => f.write_str(name),
            Origin::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Origin::Variable(name) => write!(f, "variable {name}"),
            Origin::Flag(key) => write!(f, "flag {key}"),
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where the value came from.
    pub origin: Origin,
    /// The dotted key, empty for the whole.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong, one line each, as one error.
pub(super) fn into_error(problems: &[Problem]) -> Error {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    Error::new(Code::BAD_CONFIG, lines.join("\n")).op("config.load")
}

/// Words longer than this get no suggestion: comparing them costs time and helps nobody.
const MAX_COMPARED: usize = 64;

/// The candidate that was probably meant.
pub(super) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().take(MAX_COMPARED + 1).collect();
    if word.len() > MAX_COMPARED {
        return None;
    }
    let limit = (word.len() / 3).max(1);
    let near = candidates.into_iter().map(|c| (distance(&word, &c.to_lowercase().chars().collect::<Vec<_>>()), c));
    near.filter(|(d, _)| *d <= limit).min_by_key(|(d, _)| *d).map(|(_, c)| c)
}

/// Optimal string alignment: insertions, deletions, replacements and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let at = |r: &[usize], k: usize| r.get(k).copied().unwrap_or(usize::MAX / 2);
            let mut d = (at(&last, j) + usize::from(ca != cb)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            if i > 0 && j > 0 && a.get(i - 1) == Some(cb) && b.get(j - 1) == Some(ca) {
                d = d.min(at(&before, j - 1) + 1);
            }
            row.push(d);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

/// The end of a message about a name that does not exist.
pub(super) fn suggestion(word: &str, candidates: &[&str]) -> String {
    match closest(word, candidates.iter().copied()) {
        Some(c) => format!("; did you mean {c}?"),
        None if candidates.is_empty() => String::new(),
        None if candidates.len() <= 12 => format!("; known are {}", candidates.join(", ")),
        None => {
            format!("; known are {} and {} more", candidates.iter().take(10).copied().collect::<Vec<_>>().join(", "), candidates.len() - 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let known = ["grpc_port", "http_port", "data_dir", "tls"];
        assert_eq!(closest("grpc_prot", known), Some("grpc_port"));
        assert_eq!(closest("GRPC-Port", known), Some("grpc_port"));
        assert_eq!(closest("tsl", known), Some("tls"));
        assert_eq!(closest("colour", known), None);
        assert_eq!(closest(&"x".repeat(100), known), None);
        assert_eq!(distance(&['a', 'b'], &['b', 'a']), 1);
        assert_eq!(distance(&[], &['b', 'a']), 2);
    }
}
