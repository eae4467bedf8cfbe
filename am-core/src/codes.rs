//! The one table of error codes.

use crate::error::{ErrorKind, Retry};

/// A stable error code, shown as `AM-nnnn`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(u16);

/// One row of the error table.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct CodeInfo {
    /// The code.
    pub code: Code,
    /// Its name in Rust, in other languages and in the docs.
    pub name: &'static str,
    /// What kind of failure it is; decides the gRPC and HTTP status.
    pub kind: ErrorKind,
    /// Whether trying again can help, unless the error at hand says otherwise.
    pub retry: Retry,
    /// One sentence: what happened.
    pub title: &'static str,
    /// One sentence: what to do next.
    pub next_step: &'static str,
}

macro_rules! codes {
    ($($name:ident = $n:literal, $kind:ident, $retry:expr, $title:literal, $next:literal;)*) => {
        impl Code {
            $(#[doc = $title] pub const $name: Code = Code($n);)*
        }
        /// Every code there is, in order.
        pub static CODES: &[CodeInfo] = &[$(CodeInfo {
            code: Code($n), name: stringify!($name), kind: ErrorKind::$kind, retry: $retry,
            title: $title, next_step: $next,
        }),*];
    };
}

codes! {
    INVALID_ITEM = 1001, InvalidArgument, Retry::Never, "An item breaks a rule of its kind.", "Correct the named field and send the item again; the original is kept among the dead letters.";
    UNKNOWN_KIND = 1002, InvalidArgument, Retry::Never, "The item names a kind that the catalogue does not have.", "Use a topic of the catalogue, or register a custom kind first.";
    UNDECODABLE = 1003, InvalidArgument, Retry::Never, "The bytes are not a message of the expected type.", "Check that client and server speak the same protocol; the bytes are kept among the dead letters.";
    TOO_LARGE = 1004, InvalidArgument, Retry::Never, "A message, batch or field is larger than allowed.", "Send smaller batches, or raise the limit in the configuration.";
    MISSING_LINEAGE = 1005, InvalidArgument, Retry::Never, "A derived reading does not say what it was made from.", "Emit it with its inputs; a derived row without lineage cannot be stored.";
    BAD_TOPIC = 1006, InvalidArgument, Retry::Never, "The text is not a topic.", "Use three or four lower-case segments separated by dots.";
    BAD_ID = 1007, InvalidArgument, Retry::Never, "The text is not a valid id.", "Use 1 to 128 printable characters without spaces; reading ids are UUIDs.";
    BAD_TIME = 1008, InvalidArgument, Retry::Never, "The text or number is not a timestamp that can be kept.", "Use RFC 3339 between the years 1678 and 2262.";
    BAD_QUERY = 1009, InvalidArgument, Retry::Never, "The query or filter cannot be answered as written.", "Correct the part that the message names.";
    CLOCK_CONFLICT = 1010, Conflict, Retry::Never, "Another reading with the same key but other content was stored first.", "The first one is kept; look at the dead letter and send the correction under a new id.";
    BAD_BLOCK = 1011, InvalidArgument, Retry::Never, "A sample block cannot be decoded.", "Check the encoder; the block is kept among the dead letters.";
    BAD_KIND = 1012, InvalidArgument, Retry::Never, "The definition of a kind is not valid.", "Correct the field path, range or JSON Schema that the message names.";
    UNAUTHENTICATED = 2001, Unauthenticated, Retry::Never, "The call carries no valid key.", "Send the device's API key as 'authorization: Bearer KEY'.";
    FORBIDDEN = 2002, PermissionDenied, Retry::Never, "The key does not allow this.", "Use a key whose scope covers the device and the action.";
    STORE_UNAVAILABLE = 3001, Unavailable, Retry::Safe { after_ms: 1_000 }, "The store does not answer.", "Check that the disk or database is up; clients try again by themselves.";
    STORE_FULL = 3002, ResourceExhausted, Retry::Safe { after_ms: 30_000 }, "There is no space left for the store.", "Free some space; nothing that was acknowledged is lost.";
    STORE_CORRUPT = 3003, DataLoss, Retry::Never, "The store's file is damaged.", "Stop, copy the file, and restore the latest backup.";
    STORE_LOCKED = 3004, Conflict, Retry::Safe { after_ms: 5_000 }, "Another process writes to this store.", "Stop the process that the message names, or open the store read-only.";
    STORE_NEWER = 3005, FailedPrecondition, Retry::Never, "The store was written by a newer version of AM.", "Update this program; the file was not touched.";
    STORE_READ_ONLY = 3006, FailedPrecondition, Retry::Never, "The store is open for reading only.", "Open it for writing, or send writes to the process that holds it.";
    NOT_FOUND = 3007, NotFound, Retry::Never, "There is nothing under that name.", "Check the name and the scope.";
    STALE_COMMIT = 3008, Aborted, Retry::Safe { after_ms: 0 }, "The flow was committed by someone else meanwhile.", "Reload the flow's cursor and state, then process again.";
    BAD_STORE_URL = 3009, InvalidArgument, Retry::Never, "The store's address is not understood.", "Use memory:, sqlite:PATH or postgres://USER@HOST/DATABASE.";
    CAS_MISMATCH = 3010, Aborted, Retry::Safe { after_ms: 0 }, "The value changed since it was read.", "Read it again, then write.";
    STORE_REFUSED = 3011, PermissionDenied, Retry::Never, "The database refuses this user, password or action.", "Check the user and password of the address, and what the role may do.";
    STORE_UNFIT = 3012, FailedPrecondition, Retry::Never, "The database lacks something that AM needs.", "Do what the message says: install the extension, update the server, or run the migrations as the owner.";
    OVERLOADED = 4001, ResourceExhausted, Retry::Safe { after_ms: 500 }, "There is more work than can be taken in now.", "Slow down and try again; the item was not accepted.";
    TIMED_OUT = 4002, DeadlineExceeded, Retry::IfIdempotent, "The work did not finish in time.", "Try again; a write may have happened, and is then answered as a duplicate.";
    CANCELLED = 4003, Cancelled, Retry::Safe { after_ms: 0 }, "The work was cancelled.", "Nothing, if it was meant; otherwise call again.";
    PROCESSOR_FAILED = 4004, Internal, Retry::IfIdempotent, "A processor failed on an item.", "Look at the dead letter; replay it when the cause is gone.";
    BAD_FLOW = 4005, InvalidArgument, Retry::Never, "The flow or topology is not valid.", "Correct the line that the message names.";
    CIRCUIT_OPEN = 4006, Unavailable, Retry::Safe { after_ms: 30_000 }, "Calls are held back because too many failed.", "Wait until the circuit closes, and look for the cause of the failures.";
    SHUTTING_DOWN = 4007, Unavailable, Retry::Safe { after_ms: 1_000 }, "The process is stopping.", "Try again in a moment.";
    GAVE_UP = 4008, Internal, Retry::GaveUp, "All tries failed.", "Look at the last cause; the item is among the dead letters.";
    BUS_UNAVAILABLE = 4009, Unavailable, Retry::Safe { after_ms: 1_000 }, "The bus does not answer.", "Check that its servers are up; what was not acknowledged is sent again.";
    BUS_MISMATCH = 4010, FailedPrecondition, Retry::Never, "A stream or consumer of the bus is there with other settings.", "Change the settings that the message names, on the bus or in the configuration.";
    BUS_TRIMMED = 4011, DataLoss, Retry::Never, "The bus removed messages before this reader had them.", "Derive the span anew from the store; raise the retention, and see why the reader was so far behind.";
    BUS_REFUSED = 4012, PermissionDenied, Retry::Never, "The bus refuses this user or subject.", "Check the credentials and the permissions of the account.";
    UNREACHABLE = 5001, Unavailable, Retry::Safe { after_ms: 1_000 }, "The server cannot be reached.", "Check the address and the network; readings wait in the outbox.";
    OUTBOX_FULL = 5002, ResourceExhausted, Retry::Safe { after_ms: 5_000 }, "The outbox has reached its limit.", "Let it drain, raise the limit, or choose what may be discarded.";
    OUTBOX_IO = 5003, Unavailable, Retry::Safe { after_ms: 1_000 }, "The outbox's file cannot be written or read.", "Check the disk; the reading was not accepted.";
    CLOSED = 5004, FailedPrecondition, Retry::Never, "The handle is closed.", "Open a new one.";
    PROTOCOL = 5005, Internal, Retry::IfIdempotent, "The other side answered something unexpected.", "Update the older side.";
    BAD_CONFIG = 6001, InvalidArgument, Retry::Never, "The configuration is not valid.", "Correct the line that the message names.";
    IMPORT_BROKEN = 7001, InvalidArgument, Retry::Never, "A file to import is damaged or of another format.", "Export it again; what could be read was taken in.";
    IO = 9001, Unavailable, Retry::Safe { after_ms: 1_000 }, "Reading or writing a file failed.", "Check the path, the permissions and the space.";
    INTERNAL = 9999, Internal, Retry::Never, "A fault in AM itself.", "Please report it with the message.";
}

impl Code {
    /// The number after `AM-`.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The row of the table.
    pub fn info(self) -> &'static CodeInfo {
        static UNKNOWN: CodeInfo = CodeInfo {
            code: Code::INTERNAL,
            name: "INTERNAL",
            kind: ErrorKind::Internal,
            retry: Retry::Never,
            title: "A fault in AM itself.",
            next_step: "Please report it with the message.",
        };
        CODES.binary_search_by_key(&self, |c| c.code).ok().and_then(|i| CODES.get(i)).unwrap_or(&UNKNOWN)
    }

    /// The code with this number, if the table has it.
    pub fn from_number(n: u16) -> Option<Code> {
        CODES.binary_search_by_key(&Code(n), |c| c.code).ok().map(|_| Code(n))
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AM-{:04}", self.0)
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_each_code_finds_its_row() {
        assert!(CODES.windows(2).all(|w| w[0].code < w[1].code));
        for row in CODES {
            assert_eq!(row.code.info().name, row.name);
            assert_eq!(Code::from_number(row.code.number()), Some(row.code));
            assert!(row.title.ends_with('.') && row.next_step.ends_with('.'), "{}", row.name);
        }
        assert_eq!(Code::from_number(1), None);
    }
}
