//! Questions put together in one expression.

use am_core::{DeviceId, Timestamp};
use am_schema::Kind;

use super::{AggregateQuery, Cursor, Generations, LatestQuery, Order, Predicate, ScanQuery, TextQuery};

impl ScanQuery {
    /// The first 1,000 readings of these kinds; of all kinds when empty.
    pub fn of(kinds: impl IntoIterator<Item = Kind>) -> Self {
        ScanQuery { kinds: kinds.into_iter().collect(), ..Default::default() }
    }

    /// Only of these devices.
    #[must_use]
    pub fn devices(mut self, devices: impl IntoIterator<Item = DeviceId>) -> Self {
        self.devices = devices.into_iter().collect();
        self
    }

    /// Only what lies in `[from, to)`.
    #[must_use]
    pub fn between(mut self, from: Timestamp, to: Timestamp) -> Self {
        (self.from, self.to) = (from, to);
        self
    }

    /// Only what a condition holds for.
    #[must_use]
    pub fn filter(mut self, filter: Predicate) -> Self {
        self.filter = filter;
        self
    }

    /// In this order.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// These generations of derived readings.
    #[must_use]
    pub fn generations(mut self, generations: Generations) -> Self {
        self.generations = generations;
        self
    }

    /// At most so many.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Going on where another page ended.
    #[must_use]
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.cursor = Some(cursor);
        self
    }
}

impl LatestQuery {
    /// The latest of these kinds; of all kinds when empty.
    pub fn of(kinds: impl IntoIterator<Item = Kind>) -> Self {
        LatestQuery { kinds: kinds.into_iter().collect(), ..Default::default() }
    }

    /// Only of these devices.
    #[must_use]
    pub fn devices(mut self, devices: impl IntoIterator<Item = DeviceId>) -> Self {
        self.devices = devices.into_iter().collect();
        self
    }

    /// As of this time.
    #[must_use]
    pub fn at(mut self, at: Timestamp) -> Self {
        self.at = at;
        self
    }
}

impl AggregateQuery {
    /// Only of these devices.
    #[must_use]
    pub fn devices(mut self, devices: impl IntoIterator<Item = DeviceId>) -> Self {
        self.devices = devices.into_iter().collect();
        self
    }
}

impl TextQuery {
    /// Only in these kinds.
    #[must_use]
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = Kind>) -> Self {
        self.kinds = kinds.into_iter().collect();
        self
    }

    /// Only what lies in `[from, to)`.
    #[must_use]
    pub fn between(mut self, from: Timestamp, to: Timestamp) -> Self {
        (self.from, self.to) = (from, to);
        self
    }

    /// At most so many.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}
