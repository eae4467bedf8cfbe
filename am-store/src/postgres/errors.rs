//! PostgreSQL's failures in AM's words.

use am_core::{Code, Error, Retry};

/// Why a piece of work did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The work itself says no.
    Refused(Error),
    /// PostgreSQL failed, or the way to it: the transaction is lost.
    Broken(sqlx::Error),
    /// Another transaction came first, which the next attempt will see.
    Raced,
}

impl From<sqlx::Error> for Failure {
    fn from(e: sqlx::Error) -> Self {
        Failure::Broken(e)
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Failure::Refused(e)
    }
}

impl Failure {
    /// The error that the caller sees. `place` names the database without its password.
    pub(super) fn explain(self, op: &'static str, place: &str) -> Error {
        match self {
            Failure::Refused(e) => e,
            Failure::Broken(e) => explain(op, place, e),
            Failure::Raced => raced(op, place),
        }
    }

    /// The same for another caller.
    pub(super) fn again(&self, op: &'static str, place: &str) -> Error {
        match self {
            Failure::Refused(e) => Error::new(e.code(), e.message().to_owned()).op(op).retry(e.advice()),
            Failure::Broken(e) => told(op, place, e),
            Failure::Raced => raced(op, place),
        }
    }

    /// Whether others in the same transaction may succeed without this work: the fault lies neither with the server nor the way to it.
    pub(super) fn is_of_the_work(&self) -> bool {
        match self {
            Failure::Broken(e) => matches!(code_of(e), Code::INTERNAL | Code::TOO_LARGE | Code::STORE_CORRUPT),
            Failure::Refused(_) | Failure::Raced => true,
        }
    }

    /// Two transactions stood in each other's way, and this one was ended: it can be done again at once.
    pub(super) fn is_of_the_moment(&self) -> bool {
        match self {
            Failure::Broken(e) => matches!(state(e).as_deref(), Some("40001" | "40P01")),
            Failure::Raced => true,
            Failure::Refused(_) => false,
        }
    }

    /// The connection is gone. What was not committed did not happen.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Failure::Broken(e) if lost(e))
    }

    /// A key was there already where none was expected.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Failure::Broken(e) if state(e).as_deref() == Some("23505"))
    }
}

/// The connection is gone: a restart of the server, or a session that it ended.
pub(super) fn lost(e: &sqlx::Error) -> bool {
    match state(e) {
        Some(s) => s.starts_with("57P") || s.starts_with("08") || s == "25P03",
        None => matches!(e, sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed),
    }
}

fn raced(op: &'static str, place: &str) -> Error {
    Error::new(Code::STORE_UNAVAILABLE, format!("{place}: others wrote the same keys again and again")).op(op)
}

/// The SQLSTATE, if the server said something.
pub(super) fn state(e: &sqlx::Error) -> Option<String> {
    e.as_database_error().and_then(|d| d.code()).map(|c| c.into_owned())
}

/// The code for an error of PostgreSQL or of the way to it.
pub(super) fn code_of(e: &sqlx::Error) -> Code {
    let Some(state) = state(e) else {
        return match e {
            sqlx::Error::PoolClosed => Code::CLOSED,
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed => Code::STORE_UNAVAILABLE,
            sqlx::Error::Configuration(_) => Code::BAD_STORE_URL,
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Code::STORE_CORRUPT,
            _ => Code::INTERNAL,
        };
    };
    match state.as_str() {
        "28P01" | "28000" | "42501" => Code::STORE_REFUSED,
        "25006" => Code::STORE_READ_ONLY,
        "3D000" | "3F000" | "42P01" | "42703" | "42883" | "58P01" | "0A000" => Code::STORE_UNFIT,
        "53100" => Code::STORE_FULL,
        "XX001" | "XX002" => Code::STORE_CORRUPT,
        "54000" => Code::TOO_LARGE,
        "40001" | "40P01" | "55P03" | "57014" | "58030" => Code::STORE_UNAVAILABLE,
        s if s.starts_with("08") || s.starts_with("53") || s.starts_with("57P") || s.starts_with("25P") => Code::STORE_UNAVAILABLE,
        _ => Code::INTERNAL,
    }
}

/// What a person can do about it, where the code alone does not say.
fn advice(e: &sqlx::Error) -> &'static str {
    match state(e).as_deref() {
        Some("28P01") => "; the password is wrong or missing: put the right one into the address or PGPASSWORD",
        Some("28000") => "; pg_hba.conf or the role's attributes do not let this user in from here",
        Some("3D000") => "; create it with: CREATE DATABASE, or correct the name behind the last / of the address",
        Some("42501") => "; grant it to the role, or open the store once as the owner of the schema",
        Some("42P01" | "3F000" | "42883") => "; open the store once as the owner of the schema, so that the tables are made",
        Some("53100") => "; the database's disk is full: free some space",
        Some("53300") => "; raise max_connections, or lower `connections` and `writers` of this store",
        Some("57014") => "; it took longer than statement_timeout_ms",
        Some("25006") => "; the server or the role allows reading only: open with read_only, or connect to the primary",
        _ => "",
    }
}

fn told(op: &'static str, place: &str, e: &sqlx::Error) -> Error {
    let code = code_of(e);
    let text = match e {
        sqlx::Error::Database(d) => d.message().to_owned(),
        sqlx::Error::Io(e) => format!("the connection failed: {e}"),
        sqlx::Error::PoolTimedOut => "no connection came free in time".into(),
        other => other.to_string(),
    };
    let error = Error::new(code, format!("{place}: {text}{}", advice(e))).op(op);
    // A commit whose answer was lost may have happened; doing it again adds nothing.
    if code == Code::STORE_UNAVAILABLE { error.retry(Retry::IfIdempotent) } else { error }
}

/// An error with the place it happened to.
pub(super) fn explain(op: &'static str, place: &str, e: sqlx::Error) -> Error {
    told(op, place, &e).source(e)
}

/// A stored row that cannot be what was written.
pub(super) fn damaged(what: impl std::fmt::Display) -> Error {
    Error::new(Code::STORE_CORRUPT, format!("{what} cannot be read back")).op("postgres.read")
}

/// The error of every call after `close`.
pub(super) fn closed() -> Error {
    Error::new(Code::CLOSED, "the store is closed")
}
