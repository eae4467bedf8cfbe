//! The best of many, without keeping the others.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Keeps the entries with the highest scores; of equal scores, those whose place comes first.
#[derive(Debug)]
pub struct Top<P> {
    limit: usize,
    /// The worst on top.
    heap: BinaryHeap<Entry<P>>,
}

#[derive(Debug)]
struct Entry<P> {
    score: f64,
    place: P,
}

impl<P: Ord> Ord for Entry<P> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then_with(|| self.place.cmp(&other.place))
    }
}

impl<P: Ord> PartialOrd for Entry<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P: Ord> PartialEq for Entry<P> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<P: Ord> Eq for Entry<P> {}

impl<P: Ord> Top<P> {
    /// The best `limit`.
    pub fn new(limit: usize) -> Self {
        Top { limit, heap: BinaryHeap::with_capacity(limit.min(1_024) + 1) }
    }

    /// Whether an entry would be among the best so far. Asked before what is dear to find out about it.
    #[inline]
    pub fn wants(&self, score: f64, place: &P) -> bool {
        if self.heap.len() < self.limit {
            return true;
        }
        self.heap.peek().is_some_and(|worst| match score.total_cmp(&worst.score) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => *place < worst.place,
        })
    }

    /// Whether there are as many as asked for.
    pub fn is_full(&self) -> bool {
        self.heap.len() >= self.limit
    }

    /// Adds an entry, and lets go of the worst when there are too many.
    pub fn push(&mut self, score: f64, place: P) {
        self.heap.push(Entry { score, place });
        if self.heap.len() > self.limit {
            self.heap.pop();
        }
    }

    /// Best first.
    pub fn into_best(self) -> Vec<(f64, P)> {
        self.heap.into_sorted_vec().into_iter().map(|e| (e.score, e.place)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_best_are_those_of_sorting_all(scores in proptest::collection::vec(0u8..6, 0..80), limit in 1usize..20) {
            let mut top = Top::new(limit);
            for (place, score) in scores.iter().enumerate().rev() {
                let score = f64::from(*score);
                if top.wants(score, &place) {
                    top.push(score, place);
                }
            }
            let mut all: Vec<(f64, usize)> = scores.iter().enumerate().map(|(n, s)| (f64::from(*s), n)).collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            all.truncate(limit);
            prop_assert_eq!(top.into_best(), all);
        }
    }
}
