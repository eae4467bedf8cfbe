//! The configuration loader: one TOML text, then `AM__SECTION__KEY` variables, then flags, into any serde type.
//!
//! Later sources win, tables are merged, everything else is replaced whole. Values of variables and flags take the
//! type that the reader asks for: `8080`, `true`, `a,b,c`, `[1, 2]`, `{cert = "a"}`; an empty one is no value for an
//! `Option`. Keys that no struct has are errors. Nothing here reads files or the environment: the caller hands over
//! texts and iterators, so the same loader runs in a browser and in tests.
//!
//! ```
//! use serde::Deserialize;
//! #[derive(Debug, Default, PartialEq, Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Server { port: u16, hosts: Vec<String> }
//! #[derive(Debug, Default, PartialEq, Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Config { server: Server }
//!
//! let config: Config = am_core::config::Loader::new()
//!     .toml("am.toml", "[server]\nport = 8080")
//!     .variables([("AM__SERVER__HOSTS", "a,b"), ("PATH", "/bin")])
//!     .flags(["server.port=0"])
//!     .load()?;
//! assert_eq!(config.server, Server { port: 0, hosts: vec!["a".into(), "b".into()] });
//!
//! let e = am_core::config::Loader::new().toml("am.toml", "[server]\nprot = 1").load::<Config>().unwrap_err();
//! assert_eq!(e.message(), "am.toml:2:1: server.prot: there is no key \"prot\" here; did you mean port?");
//! # Ok::<(), am_core::Error>(())
//! ```

mod de;
mod layers;
mod node;
mod parse;
mod problem;
mod secret_ref;

use std::cell::RefCell;
use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::Result;
use node::{Node, Step, Value, dotted};
pub use problem::{Origin, Problem};
pub use secret_ref::SecretRef;

/// More problems than this are not looked for.
const MAX_PROBLEMS: usize = 100;

/// A message may repeat a value; this is how much of it.
const MAX_MESSAGE: usize = 400;

/// Collects the sources of a configuration, in the order in which they win over each other.
#[derive(Clone)]
#[must_use]
pub struct Loader {
    root: Node,
    problems: Vec<Problem>,
}

impl Default for Loader {
    fn default() -> Self {
        Loader { root: Node::table(Origin::Nowhere), problems: Vec::new() }
    }
}

impl Loader {
    /// No source yet: every value is its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lays a TOML text over what is there. `name` is how messages call it, usually its path.
    pub fn toml(mut self, name: &str, text: &str) -> Self {
        let (node, problems) = parse::parse(name, text);
        if matches!(self.root.origin, Origin::Nowhere) {
            self.root.origin = node.origin.clone();
        }
        self.root.overlay(node);
        self.problems.extend(problems);
        self
    }

    /// Like [`Loader::toml`], with the text fetched by `read`, such as `|path| std::fs::read_to_string(path)`.
    pub fn file(mut self, path: &str, read: impl FnOnce(&str) -> std::io::Result<String>) -> Self {
        match read(path) {
            Ok(text) => self.toml(path, &text),
            Err(e) => {
                let origin = Origin::File { name: Arc::from(path), line: 0, column: 0 };
                self.problems.push(Problem { origin, key: String::new(), message: format!("cannot be read: {e}") });
                self
            }
        }
    }

    /// Takes the variables `AM__SECTION__KEY`, in lower case, and leaves all others alone. Pass `std::env::vars_os()`.
    pub fn variables<N: Into<OsString>, V: Into<OsString>>(self, variables: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut found: Vec<_> = variables.into_iter().filter_map(|(n, v)| layers::variable(n.into(), v.into())).collect();
        // The environment has no order; shorter keys first, so that a table given whole comes before its single keys.
        found.sort_by(|a, b| match (a, b) {
            (Ok(a), Ok(b)) => a.path.cmp(&b.path).then_with(|| a.origin.cmp(&b.origin)),
            _ => a.is_ok().cmp(&b.is_ok()),
        });
        self.apply(found)
    }

    /// Takes `section.key=value` pairs of a command line; parts that hold dots are quoted.
    pub fn flags<S: AsRef<str>>(self, flags: impl IntoIterator<Item = S>) -> Self {
        let settings: Vec<_> = flags.into_iter().zip(1..).map(|(f, n)| layers::flag(n, f.as_ref())).collect();
        self.apply(settings)
    }

    fn apply(mut self, settings: Vec<std::result::Result<layers::Setting, Problem>>) -> Self {
        for setting in settings {
            let done = setting.and_then(|s| self.root.set(&s.path, s.text, &s.origin));
            self.problems.extend(done.err());
        }
        self
    }

    /// The merged configuration.
    ///
    /// # Errors
    /// `BAD_CONFIG`, one line per problem, each with its source.
    pub fn load<T: DeserializeOwned>(self) -> Result<T> {
        self.check().map_err(|problems| problem::into_error(&problems))
    }

    /// The merged configuration, or every problem in the order of the sources.
    ///
    /// # Errors
    /// The list is never empty. A value of a wrong type is left out and reading goes on, to find the next one.
    pub fn check<T: DeserializeOwned>(self) -> std::result::Result<T, Vec<Problem>> {
        let Loader { mut root, mut problems } = self;
        let broken: Vec<(Arc<str>, u32)> = problems.iter().filter_map(|p| line_of(&p.origin)).collect();
        let unknown = RefCell::new(Vec::new());
        let mut wrong: Vec<Problem> = Vec::new();
        let mut removed: Vec<Vec<Step>> = Vec::new();
        let value = loop {
            let result = T::deserialize(de::De { node: &root, path: de::Path::ROOT, unknown: &unknown });
            let e = match result {
                Ok(value) => break Some(value),
                Err(e) => e,
            };
            let path = e.path.unwrap_or_default();
            // A table that misses what was taken out of it a moment ago is no news.
            let follows = removed.iter().any(|r| r.starts_with(&path));
            let Some(node) = root.find(&path) else { break None };
            if !follows {
                let message = e.message.chars().take(MAX_MESSAGE).collect();
                wrong.push(Problem { origin: node.origin.clone(), key: dotted(&path), message });
            }
            node.value = Value::Removed;
            if path.is_empty() || removed.len() >= MAX_PROBLEMS {
                break None;
            }
            removed.push(path);
        };
        let found = unknown.into_inner().into_iter().chain(wrong);
        // What the parser salvaged from a line that it did not understand says nothing.
        problems.extend(found.filter(|p| line_of(&p.origin).is_none_or(|l| !broken.contains(&l))));
        problems.sort();
        problems.dedup();
        problems.truncate(MAX_PROBLEMS);
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            None if problems.is_empty() => {
                Err(vec![Problem { origin: Origin::Nowhere, key: String::new(), message: "the values do not fit together".into() }])
            }
            _ => Err(problems),
        }
    }
}

fn line_of(origin: &Origin) -> Option<(Arc<str>, u32)> {
    match origin {
        Origin::File { name, line, .. } if *line > 0 => Some((name.clone(), *line)),
        _ => None,
    }
}

/// Shows the number of problems only: values may be secrets that somebody wrote in by mistake.
impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").field("problems", &self.problems.len()).finish_non_exhaustive()
    }
}
