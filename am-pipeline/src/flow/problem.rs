//! What is wrong with flow files, and where.

use std::fmt;
use std::sync::Arc;

use am_core::{Code, Error};

/// Where something stands: line and column from 1, and how wide it is, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters are meant.
    pub width: usize,
}

/// One thing that is wrong, with the line it stands on.
///
/// ```text
/// flows/motion.yaml:7:26: there is no processor motion.windw; did you mean motion.window?
///   7 |   - window: {processor: motion.windw, size: 5s}
///     |                         ^^^^^^^^^^^^
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The file's name.
    pub file: Arc<str>,
    /// Where.
    pub place: Place,
    /// What is wrong and what would be right.
    pub message: String,
    /// The line it stands on.
    pub line: String,
}

/// The longest part of a line that is shown.
const MAX_LINE: usize = 160;

impl Problem {
    pub(super) fn new(file: &str, text: &str, place: Place, message: impl Into<String>) -> Problem {
        let line = place.line.checked_sub(1).and_then(|n| text.lines().nth(n)).unwrap_or_default();
        let line = line.chars().take(MAX_LINE).map(|c| if c.is_control() { ' ' } else { c }).collect();
        Problem { file: Arc::from(file), place, message: message.into(), line }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column, width } = self.place;
        if line == 0 {
            return write!(f, "{}: {}", self.file, self.message);
        }
        write!(f, "{}:{line}:{column}: {}", self.file, self.message)?;
        let room = self.line.chars().count() + 1;
        if column <= room {
            let (before, marks) = (" ".repeat(column - 1), "^".repeat(width.clamp(1, (room - column).max(1))));
            write!(f, "\n{line:>5} | {}\n      | {before}{marks}", self.line)?;
        }
        Ok(())
    }
}

/// All problems as one error, each with its place.
pub(super) fn into_error(problems: &[Problem]) -> Error {
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Error::new(Code::BAD_FLOW, text.join("\n")).op("flow.check")
}
