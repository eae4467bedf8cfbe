//! What a backend must do. Authors implement these; users hold a [`crate::Store`].
//!
//! No default methods: a wrapper that forgets to forward is a bug nobody sees. Every backend runs `am_store::testkit`.

mod dead_letters;
mod devices;
mod feed;
mod flows;
mod key_value;
mod lineage;
mod maintenance;
mod readings;
mod text;
mod vectors;

pub use dead_letters::{DeadLetterQuery, DeadLetterRow, DeadLetters, Resolution};
pub use devices::{ApiKey, DeviceRow, Devices};
pub use feed::Feed;
pub use flows::{FlowInfo, FlowState, Flows};
pub use key_value::{KeyValue, Versioned};
pub use lineage::{Derivations, LineageInputs};
pub use maintenance::{Counts, KindCount, Maintenance, Stats};
pub use readings::Readings;
pub use text::Text;
pub use vectors::Vectors;

use std::sync::Arc;

/// A store's abilities, each behind its trait. An optional one is an `Option` that the compiler shows.
#[derive(Clone)]
#[allow(missing_docs, reason = "each field is its trait")]
pub struct Backend {
    /// The scheme it answers to, such as `sqlite`.
    pub name: &'static str,
    pub readings: Arc<dyn Readings>,
    pub feed: Arc<dyn Feed>,
    pub flows: Arc<dyn Flows>,
    pub derivations: Arc<dyn Derivations>,
    pub text: Arc<dyn Text>,
    pub dead_letters: Arc<dyn DeadLetters>,
    pub key_value: Arc<dyn KeyValue>,
    pub devices: Arc<dyn Devices>,
    pub maintenance: Arc<dyn Maintenance>,
    /// `None` where the store cannot keep vectors, such as PostgreSQL without pgvector.
    pub vectors: Option<Arc<dyn Vectors>>,
}
