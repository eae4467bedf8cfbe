//! Small values with a time to live.

use std::time::Duration;

use am_core::{Ctx, Result};
use async_trait::async_trait;

/// A value and how often it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The bytes, at most 1 MiB.
    pub value: Vec<u8>,
    /// 1 after the first write.
    pub version: u64,
}

/// A key-value space per scope. Keys are texts of 1 to 512 bytes.
#[async_trait]
pub trait KeyValue: Send + Sync {
    /// The value, unless it is absent or expired.
    async fn get(&self, ctx: &Ctx, key: &str) -> Result<Option<Versioned>>;

    /// Writes a value; it expires after `ttl`. Returns its version.
    async fn put(&self, ctx: &Ctx, key: &str, value: Vec<u8>, ttl: Option<Duration>) -> Result<u64>;

    /// Writes a value if the version is still `expected` (0: absent).
    ///
    /// # Errors
    /// `CAS_MISMATCH` otherwise.
    async fn compare_and_put(&self, ctx: &Ctx, key: &str, expected: u64, value: Vec<u8>, ttl: Option<Duration>) -> Result<u64>;

    /// Removes a value; true when there was one.
    async fn delete(&self, ctx: &Ctx, key: &str) -> Result<bool>;

    /// Keys that begin so, in order, after `after`, at most `limit`.
    async fn keys(&self, ctx: &Ctx, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>>;
}
