//! Small values with compare-and-set.

use am_core::Result;
use async_trait::async_trait;
use bytes::Bytes;

/// A value and its revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The bytes.
    pub value: Bytes,
    /// Grows with every write of the key; never 0.
    pub revision: u64,
}

/// Values by key, durable. Keys are segments of `[A-Za-z0-9_=-]+` joined by dots, at most 512 bytes; see [`super::subject::token`].
#[async_trait]
pub trait Entries: Send + Sync {
    /// The value, as new as any write that returned before.
    async fn get(&self, key: &str) -> Result<Option<Entry>>;

    /// Writes a value whatever is there (`None`), or only over this revision (0: only when there is none). Returns the new revision.
    ///
    /// # Errors
    /// `CAS_MISMATCH` when another revision is there. `TOO_LARGE` beyond 900 KiB.
    async fn put(&self, key: &str, value: Bytes, expected: Option<u64>) -> Result<u64>;

    /// Removes a value whatever is there (`None`), or only this revision; true when there was one.
    ///
    /// # Errors
    /// `CAS_MISMATCH` when another revision is there.
    async fn delete(&self, key: &str, expected: Option<u64>) -> Result<bool>;

    /// The keys that begin with these whole segments (`flow.motion` finds `flow.motion.x`), in order of bytes.
    async fn keys(&self, prefix: &str) -> Result<Vec<String>>;
}
