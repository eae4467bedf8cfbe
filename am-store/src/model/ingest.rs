//! What goes in.

use am_core::{Code, Error, Scope, Timestamp};
pub use am_pipeline::Origin;

use am_pipeline::DeadLetter;
use am_schema::Reading;

use super::{ReadingKey, Seq};

/// Who brought a batch of readings, and when. One row that its readings point to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    /// Name of the client program.
    pub client: String,
    /// Its version.
    pub client_version: String,
    /// The client's own id of the batch.
    pub batch_id: String,
    /// Which API key was used; its public id, never the key.
    pub key_id: String,
    /// W3C traceparent, or empty.
    pub traceparent: String,
    /// When the batch arrived, by the server's clock.
    pub received_at: Timestamp,
    /// When the client sent it, by its own clock.
    pub sent_at: Option<Timestamp>,
    /// Which start of the device it was.
    pub boot_id: String,
    /// The client's monotonic clock when it sent the batch, nanoseconds.
    pub monotonic_ns: u64,
    /// Why the readings arrive now.
    pub origin: Origin,
}

/// A batch to take in: valid readings, and what could not become one.
#[derive(Debug, Clone, Default)]
pub struct Ingest {
    /// Who brought it.
    pub provenance: Provenance,
    /// Valid readings.
    pub readings: Vec<Reading>,
    /// Items that broke a rule; parked in the same transaction.
    pub rejected: Vec<DeadLetter>,
    /// Items that a filter left out before they came here, by reason; counted in the same transaction.
    pub discarded: Vec<(DiscardReason, u32)>,
    /// The flow that made all this elsewhere: it was derived, not received, so the balance does not count it, and it belongs to no
    /// ingest batch. Only its origin is taken from the provenance.
    pub flow: Option<String>,
}

impl Ingest {
    /// Where what it parks failed.
    pub fn stage(&self) -> &str {
        self.flow.as_deref().unwrap_or("ingest")
    }

    /// That every reading a flow made has its lineage (P05).
    ///
    /// # Errors
    /// `MISSING_LINEAGE` names the first that has none.
    pub fn check(&self) -> am_core::Result<()> {
        match self.readings.iter().find(|r| self.flow.is_some() && r.lineage().is_none()) {
            Some(r) => Err(Error::new(Code::MISSING_LINEAGE, format!("{} {} has no lineage", r.kind(), r.id())).op("store.put")),
            None => Ok(()),
        }
    }
}

/// Why a valid reading is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DiscardReason {
    /// A privacy or capture filter.
    Filter,
    /// The person did not consent.
    Consent,
    /// It was erased before, and stays so.
    Erased,
}

/// What became of one reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutOutcome {
    /// Durably stored at this place of the feed.
    Stored(Seq),
    /// Same key and content as one that is stored.
    Duplicate,
    /// Same key, other content: the first is kept, this one is among the dead letters under this id.
    Conflict(String),
    /// Left out.
    Discarded(DiscardReason),
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IngestOutcome {
    /// One per reading, in order.
    pub readings: Vec<PutOutcome>,
    /// The ids of the dead letters of `Ingest::rejected`, in order.
    pub parked: Vec<String>,
    /// The number of the ingest batch.
    pub batch: u64,
}

/// One step of a flow, all or nothing.
#[derive(Debug, Clone, Default)]
pub struct FlowCommit {
    /// The flow.
    pub flow: String,
    /// What [`crate::traits::Flows::load`] said; a commit with another one is refused as `STALE_COMMIT`.
    pub epoch: u64,
    /// Everything up to and including this place of the feed is done.
    pub cursor: Seq,
    /// Changes of the processors' state.
    pub state: Vec<StateChange>,
    /// What was derived, each with its lineage.
    pub derived: Vec<Derived>,
    /// What could not be processed.
    pub dead_letters: Vec<DeadLetter>,
}

/// A reading that a flow made.
#[derive(Debug, Clone, PartialEq)]
pub struct Derived {
    /// Whose.
    pub scope: Scope,
    /// The reading, with its lineage.
    pub reading: Reading,
    /// That of the input that brought it about: what comes of backfill is backfill, and fires no alerts.
    pub origin: Origin,
}

impl Derived {
    /// Of live input.
    pub fn live(scope: Scope, reading: Reading) -> Self {
        Derived { scope, reading, origin: Origin::Live }
    }
}

/// A new value of one partition's state; `None` removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The partition, such as `acme/ada/watch` and the step's name.
    pub key: String,
    /// The processor's snapshot.
    pub value: Option<Vec<u8>>,
}

/// What a flow's commit did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlowCommitted {
    /// One per derived reading, in order.
    pub derived: Vec<PutOutcome>,
    /// The older generations that gave way.
    pub superseded: Vec<ReadingKey>,
    /// For the next commit.
    pub epoch: u64,
}
