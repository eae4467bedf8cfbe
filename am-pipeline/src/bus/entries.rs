//! Small values with compare-and-set.

use am_core::{Code, Error, Result};
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

/// Bytes of the longest key.
const LONGEST_KEY: usize = 512;

/// Bytes of the largest value.
pub const LARGEST_VALUE: usize = 900 << 10;

/// Checks that a text is a key as [`Entries`] has them.
///
/// # Errors
/// `BAD_ID` says what is wrong.
pub fn check_key(key: &str) -> Result<()> {
    let segment = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'=' | b'-'));
    match key.len() <= LONGEST_KEY && key.split('.').all(segment) {
        true => Ok(()),
        false => {
            let text = format!("{key:?} is not a key: segments of letters, digits, _, = and - joined by dots, {LONGEST_KEY} bytes");
            Err(Error::new(Code::BAD_ID, text).op("bus.entries"))
        }
    }
}

/// Checks the size of a value.
///
/// # Errors
/// `TOO_LARGE`.
pub fn check_value(key: &str, value: &[u8]) -> Result<()> {
    match value.len() <= LARGEST_VALUE {
        true => Ok(()),
        false => {
            let text = format!("the value of {key} has {} bytes, more than {LARGEST_VALUE}", value.len());
            Err(Error::new(Code::TOO_LARGE, text).op("bus.entries"))
        }
    }
}

/// Values by key, durable. Keys are segments of `[A-Za-z0-9_=-]+` joined by dots, at most 512 bytes; see [`super::subject::token`].
#[async_trait]
pub trait Entries: Send + Sync {
    /// The value, as new as any write that returned before.
    async fn get(&self, key: &str) -> Result<Option<Entry>>;

    /// Writes a value whatever is there (`None`), or only over this revision (0: only when there is none). Returns the new revision.
    ///
    /// # Errors
    /// `CAS_MISMATCH` when another revision is there. `TOO_LARGE` beyond [`LARGEST_VALUE`]. `BAD_ID` for what is no key, as everywhere
    /// here.
    async fn put(&self, key: &str, value: Bytes, expected: Option<u64>) -> Result<u64>;

    /// Removes a value whatever is there (`None`), or only this revision; true when there was one.
    ///
    /// # Errors
    /// `CAS_MISMATCH` when another revision is there.
    async fn delete(&self, key: &str, expected: Option<u64>) -> Result<bool>;

    /// The keys that begin with these whole segments (`flow.motion` finds `flow.motion.x`), in order of bytes.
    async fn keys(&self, prefix: &str) -> Result<Vec<String>>;
}
