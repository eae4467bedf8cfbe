//! What a client says of itself.

use am_core::Timestamp;

/// The most rejected items that are remembered.
pub(crate) const MAX_REJECTED: usize = 64;

/// A snapshot of a client.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Status {
    /// Readings that the server has not answered for.
    pub depth: u64,
    /// Bytes of the outbox on disk.
    pub bytes: u64,
    /// The number of the last reading pushed.
    pub last_seq: u64,
    /// Everything up to this number survives a power cut.
    pub durable_seq: u64,
    /// Everything up to this number was answered.
    pub settled_seq: u64,
    /// Batches on their way.
    pub in_flight: usize,
    /// When the server last answered well.
    pub last_success: Option<Timestamp>,
    /// What went wrong last, unless a success came after it.
    pub last_error: Option<String>,
    /// Failed tries in a row.
    pub failures: u32,
    /// Readings that the server stored.
    pub stored: u64,
    /// Readings that the server had already.
    pub duplicate: u64,
    /// Readings that the server discarded for a reason.
    pub discarded: u64,
    /// Readings that the server parked as dead letters.
    pub rejected: u64,
    /// The newest of the rejected ones, at most 64.
    pub recent_rejected: Vec<RejectedItem>,
    /// Records that were damaged on disk and could not be read: how many bytes were set aside.
    pub damaged_bytes: u64,
}

/// A reading that the server parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedItem {
    /// Its number in the outbox.
    pub seq: u64,
    /// AM-nnnn as a number.
    pub code: u32,
    /// What the server said: field, value and rule.
    pub message: String,
}
