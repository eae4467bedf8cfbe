//! The one error type.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::codes::Code;

/// Shorthand used by every public function of AM.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is. Maps onto one gRPC and one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller sent something that can never be accepted.
    InvalidArgument,
    /// There is nothing under that name.
    NotFound,
    /// Something else holds the place.
    Conflict,
    /// Someone changed it first; read again and retry.
    Aborted,
    /// No valid credentials.
    Unauthenticated,
    /// Valid credentials that do not allow it.
    PermissionDenied,
    /// A limit or a quota is reached.
    ResourceExhausted,
    /// The state of the system does not allow it.
    FailedPrecondition,
    /// The other side cannot answer now.
    Unavailable,
    /// It took longer than allowed.
    DeadlineExceeded,
    /// The caller gave up.
    Cancelled,
    /// Stored data is damaged.
    DataLoss,
    /// A fault on our side.
    Internal,
}

impl ErrorKind {
    /// The numeric gRPC status code (google.rpc.Code).
    pub const fn grpc_status(self) -> i32 {
        match self {
            ErrorKind::Cancelled => 1,
            ErrorKind::InvalidArgument => 3,
            ErrorKind::DeadlineExceeded => 4,
            ErrorKind::NotFound => 5,
            ErrorKind::Conflict => 6,
            ErrorKind::PermissionDenied => 7,
            ErrorKind::ResourceExhausted => 8,
            ErrorKind::FailedPrecondition => 9,
            ErrorKind::Aborted => 10,
            ErrorKind::Internal => 13,
            ErrorKind::Unavailable => 14,
            ErrorKind::DataLoss => 15,
            ErrorKind::Unauthenticated => 16,
        }
    }

    /// The HTTP status (RFC 9110).
    pub const fn http_status(self) -> u16 {
        match self {
            ErrorKind::InvalidArgument => 400,
            ErrorKind::Unauthenticated => 401,
            ErrorKind::PermissionDenied => 403,
            ErrorKind::NotFound => 404,
            ErrorKind::Conflict | ErrorKind::Aborted => 409,
            ErrorKind::FailedPrecondition => 412,
            ErrorKind::ResourceExhausted => 429,
            ErrorKind::Cancelled => 499,
            ErrorKind::Internal | ErrorKind::DataLoss => 500,
            ErrorKind::Unavailable => 503,
            ErrorKind::DeadlineExceeded => 504,
        }
    }
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same call fails again.
    Never,
    /// Nothing happened; try again, not before `after_ms`.
    Safe {
        /// Milliseconds to wait at least.
        after_ms: u64,
    },
    /// It may have happened; try again only if doing it twice is harmless.
    IfIdempotent,
    /// It was tried as often as allowed.
    GaveUp,
}

impl Retry {
    /// True when an idempotent call may be tried again.
    pub const fn is_worthwhile(self) -> bool {
        matches!(self, Retry::Safe { .. } | Retry::IfIdempotent)
    }

    /// The least time to wait before the next try.
    pub const fn after(self) -> Duration {
        match self {
            Retry::Safe { after_ms } => Duration::from_millis(after_ms),
            _ => Duration::ZERO,
        }
    }
}

/// A failure: a code of the table, what was being done, to what, and whether to try again.
pub struct Error(Box<Inner>);

struct Inner {
    code: Code,
    retry: Retry,
    op: &'static str,
    message: Cow<'static, str>,
    fields: Vec<(&'static str, String)>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with the code's own kind and retry advice. `message` says what happened to what.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        let retry = code.info().retry;
        Error(Box::new(Inner { code, retry, op: "", message: message.into(), fields: Vec::new(), source: None }))
    }

    /// Names the operation, as `crate.verb`.
    #[must_use]
    pub fn op(mut self, op: &'static str) -> Self {
        self.0.op = op;
        self
    }

    /// Adds a named value that helps to find the cause. Never pass personal data.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.0.fields.push((name, value.to_string()));
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Overrides the code's retry advice.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// The code of the table.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.code.info().kind
    }

    /// Whether trying again can help.
    pub fn advice(&self) -> Retry {
        self.0.retry
    }

    /// The operation, or an empty text.
    pub fn operation(&self) -> &'static str {
        self.0.op
    }

    /// What happened, without code, operation and cause.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The named values.
    pub fn fields(&self) -> &[(&'static str, String)] {
        &self.0.fields
    }

    /// An I/O error of the standard library, with the path or place it happened at.
    pub fn io(op: &'static str, place: impl fmt::Display, e: std::io::Error) -> Self {
        let code = match e.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::STORE_FULL,
            _ => Code::IO,
        };
        Error::new(code, format!("{place}: {e}")).op(op).source(e)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.message)?;
        if !self.0.fields.is_empty() {
            let list: Vec<String> = self.0.fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
            write!(f, " ({})", list.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        if !self.0.op.is_empty() {
            write!(f, " in {}", self.0.op)?;
        }
        let mut cause = StdError::source(self);
        while let Some(c) = cause {
            write!(f, "; caused by: {c}")?;
            cause = c.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|s| s as &(dyn StdError + 'static))
    }
}

/// Turns foreign errors into [`Error`] at the edge.
pub trait ResultExt<T> {
    /// Wraps the cause under a code, naming the operation.
    fn code(self, code: Code, op: &'static str) -> Result<T>;
}

impl<T, E: StdError + Send + Sync + 'static> ResultExt<T> for std::result::Result<T, E> {
    fn code(self, code: Code, op: &'static str) -> Result<T> {
        self.map_err(|e| Error::new(code, e.to_string()).op(op).source(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_word_wide_and_tells_code_message_and_fields() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        let e = Error::new(Code::STORE_LOCKED, "store.db is held").op("store.open").with("pid", 42);
        assert_eq!(e.to_string(), "AM-3004: store.db is held (pid=42)");
        assert_eq!(e.kind(), ErrorKind::Conflict);
        assert!(e.advice().is_worthwhile());
        assert_eq!(format!("{e:?}"), "AM-3004: store.db is held (pid=42) in store.open");
    }

    #[test]
    fn a_full_disk_is_told_apart_from_other_io() {
        let e = Error::io("x", "/data", std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert_eq!(e.code(), Code::STORE_FULL);
    }
}
