//! How an item ended.

use std::borrow::Cow;
use std::sync::Arc;

use am_core::Error;

/// Why an item was let go on purpose: `filter`, `consent`, `erased` or a word of your own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reason(Cow<'static, str>);

impl Reason {
    /// A condition did not hold.
    pub const FILTER: Reason = Reason(Cow::Borrowed("filter"));
    /// The person does not allow it.
    pub const CONSENT: Reason = Reason(Cow::Borrowed("consent"));
    /// It was erased.
    pub const ERASED: Reason = Reason(Cow::Borrowed("erased"));
    /// It was seen before.
    pub const DUPLICATE: Reason = Reason(Cow::Borrowed("duplicate"));
    /// It came after its window had closed.
    pub const LATE: Reason = Reason(Cow::Borrowed("late"));
    /// There were more of its kind than wanted.
    pub const THROTTLED: Reason = Reason(Cow::Borrowed("throttled"));

    /// A reason of your own; a short word, since status and metrics count by it.
    pub fn new(word: impl Into<Cow<'static, str>>) -> Self {
        Reason(word.into())
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&'static str> for Reason {
    fn from(word: &'static str) -> Self {
        Reason::new(word)
    }
}

/// How bad an outcome is; where an item took several ways, the worst of their outcomes is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Severity {
    /// It arrived.
    Delivered = 0,
    /// It was let go on purpose.
    Discarded = 1,
    /// It is among the dead letters.
    Parked = 2,
    /// It must come again.
    Retry = 3,
}

impl Severity {
    pub(crate) const fn from_bits(bits: u32) -> Severity {
        match bits {
            0 => Severity::Delivered,
            1 => Severity::Discarded,
            2 => Severity::Parked,
            _ => Severity::Retry,
        }
    }
}

/// How an item ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It arrived everywhere it should.
    Delivered,
    /// It was let go on purpose.
    Discarded(Reason),
    /// It is kept among the dead letters.
    Parked(Arc<Error>),
    /// Nobody decided about it, or the work was broken off: it must come again. Without an error when it was dropped.
    Retry(Option<Arc<Error>>),
}

impl Outcome {
    /// How bad it is.
    pub const fn severity(&self) -> Severity {
        match self {
            Outcome::Delivered => Severity::Delivered,
            Outcome::Discarded(_) => Severity::Discarded,
            Outcome::Parked(_) => Severity::Parked,
            Outcome::Retry(_) => Severity::Retry,
        }
    }

    /// The worse of two; the first of equals.
    #[must_use]
    pub fn merge(self, other: Outcome) -> Outcome {
        if other.severity() > self.severity() { other } else { self }
    }
}
