//! Okapi BM25 (Robertson, Walker, Jones, Hancock-Beaulieu, Gatford: Okapi at TREC-3, 1994), with the non-negative idf of Lucene.

use am_schema::Reading;

use crate::cursor::Place;

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// What is known of all the texts of a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// How many texts there are.
    pub documents: u64,
    /// How many words they have together.
    pub words: u64,
}

impl Statistics {
    /// The inverse document frequency of a term that `df` texts have.
    pub fn idf(&self, df: u64) -> f64 {
        let (n, df) = (self.documents as f64, df as f64);
        ((n - df + 0.5).max(0.5) / (df + 0.5)).ln_1p()
    }

    /// The score of a text of `length` words. `terms` holds (texts with the term, times it occurs here) in the order of
    /// [`super::Query::terms`], so that every backend adds in the same order and gets the same bits.
    pub fn score(&self, length: u32, terms: impl IntoIterator<Item = (u64, u32)>) -> f64 {
        let average = self.words as f64 / self.documents.max(1) as f64;
        let norm = K1 * (1.0 - B + B * f64::from(length) / average.max(1.0));
        terms.into_iter().filter(|(_, tf)| *tf > 0).map(|(df, tf)| self.idf(df) * f64::from(tf) * (K1 + 1.0) / (f64::from(tf) + norm)).sum()
    }
}

/// Sorts hits best first, equal scores by (recorded_at, kind, device, id), and keeps the best.
pub fn rank<T>(hits: &mut Vec<(f64, T)>, limit: usize, reading: impl Fn(&T) -> &Reading) {
    hits.sort_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| Place::of(reading(x)).cmp(&Place::of(reading(y)))));
    hits.truncate(limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_terms_short_texts_and_repetition_score_higher() {
        let s = Statistics { documents: 100, words: 1_000 };
        assert!(s.score(10, [(1, 1)]) > s.score(10, [(50, 1)]));
        assert!(s.score(5, [(10, 1)]) > s.score(50, [(10, 1)]));
        assert!(s.score(10, [(10, 3)]) > s.score(10, [(10, 1)]));
        assert!(s.score(10, [(100, 1)]) > 0.0, "a term in every text still counts");
        assert_eq!(Statistics::default().score(1, []), 0.0);
    }

    #[test]
    fn the_score_is_that_of_the_formula() {
        // Two texts of 3 and 5 words; a term in one of them, twice, in the text of 3 words.
        let s = Statistics { documents: 2, words: 8 };
        let by_hand = (1.0f64 + (2.0 - 1.0 + 0.5) / (1.0 + 0.5)).ln() * 2.0 * 2.2 / (2.0 + 1.2 * (0.25 + 0.75 * 3.0 / 4.0));
        assert!((s.score(3, [(1, 2)]) - by_hand).abs() < 1e-12);
    }
}
