//! SQLite's failures in AM's words.

use std::path::Path;

use am_core::{Code, Error, Retry};
use rusqlite::ErrorCode;

/// Why a piece of work did not succeed.
pub(super) enum Failure {
    /// The work itself says no, before it wrote anything: others in the same transaction go on.
    Refused(Error),
    /// SQLite failed: the transaction is lost.
    Broken(rusqlite::Error),
    /// A stored row cannot be read: the transaction is lost.
    Damaged(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(e: rusqlite::Error) -> Self {
        Failure::Broken(e)
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Failure::Refused(e)
    }
}

impl Failure {
    /// The error that the caller sees.
    pub(super) fn explain(self, op: &'static str, path: &Path) -> Error {
        match self {
            Failure::Refused(e) | Failure::Damaged(e) => e,
            Failure::Broken(e) => explain(op, path, e),
        }
    }
}

/// The code for an SQLite error.
pub(super) fn code_of(e: &rusqlite::Error) -> Code {
    match e.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Code::STORE_FULL,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SystemIoFailure | ErrorCode::OperationInterrupted) => {
            Code::STORE_UNAVAILABLE
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Code::STORE_CORRUPT,
        Some(ErrorCode::ReadOnly) => Code::STORE_READ_ONLY,
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Code::IO,
        Some(ErrorCode::TooBig) => Code::TOO_LARGE,
        _ => match e {
            // A column that does not hold what the schema says.
            rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => Code::STORE_CORRUPT,
            _ => Code::INTERNAL,
        },
    }
}

/// An SQLite error with the path of the file it happened to.
pub(super) fn explain(op: &'static str, path: &Path, e: rusqlite::Error) -> Error {
    let code = code_of(&e);
    let error = Error::new(code, format!("{}: {e}", path.display())).op(op);
    // A commit whose sync failed may still be found after a restart.
    let error = if code == Code::STORE_UNAVAILABLE { error.retry(Retry::IfIdempotent) } else { error };
    error.source(e)
}

impl Failure {
    /// Whether others in the same transaction may succeed without this work: the fault lies neither with the disk nor with the file.
    pub(super) fn is_of_the_work(&self) -> bool {
        match self {
            Failure::Broken(e) => matches!(code_of(e), Code::INTERNAL | Code::TOO_LARGE),
            Failure::Refused(_) | Failure::Damaged(_) => true,
        }
    }
}

/// A stored row that cannot be what was written.
pub(super) fn damaged(what: impl std::fmt::Display) -> Error {
    Error::new(Code::STORE_CORRUPT, format!("{what} cannot be read back")).op("sqlite.read")
}
