//! Readings that a flow has had: what a sender repeats is on the bus twice, and on a store's feed once.

use std::collections::{HashSet, VecDeque};

use am_core::Scope;
use am_schema::Reading;

/// Readings that are remembered.
const MOST: usize = 200_000;

/// The names of the last readings.
#[derive(Default)]
pub(super) struct Seen {
    names: HashSet<u128>,
    order: VecDeque<u128>,
}

impl Seen {
    /// Whether a reading comes for the first time, as far as is remembered. The name alone counts: of two contents under one name the
    /// first is kept, here as in a store.
    pub(super) fn is_new(&mut self, scope: &Scope, r: &Reading) -> bool {
        let mut h = blake3::Hasher::new();
        for part in [scope.tenant().as_str(), scope.user().as_str(), r.kind().topic(), r.device().as_str()] {
            h.update(&(part.len() as u64).to_le_bytes());
            h.update(part.as_bytes());
        }
        h.update(&r.recorded_at().as_nanos().to_le_bytes()).update(r.id().as_bytes());
        let name = h.finalize().as_bytes().first_chunk().map_or(0, |b| u128::from_le_bytes(*b));
        if !self.names.insert(name) {
            return false;
        }
        self.order.push_back(name);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
        true
    }
}
