//! The words of a batch.

use am_schema::Reading;

use super::Document;

/// The words of those readings that have some, by their place in the batch. Callers find them, so that a long text does not hold up
/// whoever writes.
pub(crate) struct Words(Vec<(usize, Document)>);

impl Words {
    pub(crate) fn of<'r>(readings: impl Iterator<Item = &'r Reading>) -> Words {
        Words(readings.enumerate().filter_map(|(n, r)| Some((n, Document::of(r)?))).collect())
    }

    /// Those of the reading at a place.
    pub(crate) fn at(&self, n: usize) -> Option<&Document> {
        let found = self.0.binary_search_by_key(&n, |(at, _)| *at).ok()?;
        self.0.get(found).map(|(_, d)| d)
    }
}
