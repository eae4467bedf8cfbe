//! Onto the bus.

use am_core::{Ctx, Result};
use async_trait::async_trait;

use super::Message;

/// A message that the bus has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Its place in its stream, or in its partition where there are several.
    pub sequence: u64,
    /// The bus had it before, by its id.
    pub duplicate: bool,
}

/// How full a stream is of what its slowest durable consumer has not settled yet, as shares of the stream's limits.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pressure {
    /// Age of the oldest unsettled message divided by the retention time.
    pub age: f64,
    /// Bytes from the oldest unsettled message on, which therefore cannot be removed, divided by the bytes that fit.
    pub bytes: f64,
}

impl Pressure {
    /// The greater share. Beyond 0.7 a gateway refuses, so that retention never eats what nobody has stored yet.
    pub fn share(self) -> f64 {
        self.age.max(self.bytes)
    }
}

/// What an acknowledgement of the bus stands for (P01).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The message is in the memory of this process, and ends with it.
    Process,
    /// So many servers have it; a power cut of all of them at once may still lose the last moments.
    Replicas(u8),
    /// One server wrote and synced it.
    Synced,
    /// One server has it, and writes it out later: a power cut loses what was acknowledged in between.
    Unsynced,
}

impl Durability {
    /// Whether a gateway may answer "stored" on it: the loss of one machine changes nothing, or it is on a disk.
    pub const fn is_custody(self) -> bool {
        match self {
            Durability::Replicas(n) => n >= 2,
            Durability::Synced => true,
            Durability::Process | Durability::Unsynced => false,
        }
    }
}

/// Publishes messages.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// One result per message, in order. `Ok` once the bus has acknowledged that message; the messages are in flight together.
    ///
    /// # Errors
    /// Per message: `OVERLOADED` when the stream is full and takes no more, `BUS_UNAVAILABLE` when nothing answers, `TOO_LARGE` when the
    /// bus does not take so large a message, `BUS_REFUSED` when the subject is not allowed. A message whose answer was lost may have been
    /// published: publishing it again under the same id adds nothing.
    ///
    /// # Cancel safety
    /// Dropping the future leaves each message published or not.
    async fn publish(&self, ctx: &Ctx, messages: Vec<Message>) -> Vec<Result<Published>>;

    /// How full the stream of readings is. Cheap: a value that is at most a second old.
    ///
    /// # Errors
    /// `BUS_UNAVAILABLE`.
    async fn pressure(&self) -> Result<Pressure>;

    /// The most bytes that the body of one message may have.
    fn body_limit(&self) -> usize;

    /// Checks that the bus answers now and that its streams are as they should be.
    ///
    /// # Errors
    /// What keeps it from that, and what to do.
    async fn ready(&self) -> Result<()>;

    /// Sends out what is buffered and lets go of the connection.
    async fn close(&self) -> Result<()>;
}
