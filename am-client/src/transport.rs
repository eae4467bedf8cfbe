//! How batches leave the device.

use am_core::Result;
use async_trait::async_trait;
use bytes::Bytes;

/// A batch on its way out.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Encoded readings with their numbers in the outbox, in order.
    pub items: Vec<(u64, Bytes)>,
    /// Names the batch in logs and provenance.
    pub batch_id: String,
    /// The device's wall clock, nanoseconds since 1970.
    pub sent_at: am_core::Timestamp,
    /// Changes when the device starts anew.
    pub boot_id: String,
    /// The device's monotonic clock, nanoseconds.
    pub monotonic_ns: u64,
}

/// What the server said of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemOutcome {
    /// Durably stored.
    Stored,
    /// It was there already.
    Duplicate,
    /// Left out for a reason.
    Discarded,
    /// Parked as a dead letter: code and reason.
    Rejected(u32, String),
    /// Not taken in; to be sent again.
    Retry,
}

/// The server's answer to a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UploadAnswer {
    /// One per item, in order.
    pub outcomes: Vec<ItemOutcome>,
    /// Wait at least so long before the next batch, milliseconds.
    pub retry_after_ms: u32,
}

/// A way to the server.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends a batch and waits for the answer.
    ///
    /// # Errors
    /// Anything: the batch is sent again unless the advice is `Never`, and even then it is kept.
    ///
    /// # Cancel safety
    /// The server may or may not have taken the batch; sending it again adds nothing (P04).
    async fn upload(&self, batch: Upload) -> Result<UploadAnswer>;
}
