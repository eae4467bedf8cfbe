//! What a person typed into what is asked.

use am_core::Result;

use super::tokenizer::terms;
use crate::limits::{MAX_SEARCH_BYTES, bad};

/// The most terms of a search.
pub const MAX_TERMS: usize = 64;

/// A search, read: words that may occur, phrases that must, phrases that must not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// One of these must occur, unless there is a phrase.
    pub words: Vec<String>,
    /// Each must occur, its terms side by side.
    pub phrases: Vec<Vec<String>>,
    /// None may occur.
    pub excluded: Vec<Vec<String>>,
}

impl Query {
    /// Reads words, `"phrases"` and `-exclusions`. An open quote ends with the text.
    ///
    /// # Errors
    /// `BAD_QUERY` when nothing is left to look for, or it is too long.
    pub fn parse(text: &str) -> Result<Query> {
        if text.len() > MAX_SEARCH_BYTES {
            return Err(bad(format!("the search has {} bytes, more than {MAX_SEARCH_BYTES}", text.len())));
        }
        let mut q = Query::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let minus = rest.strip_prefix('-');
            let part = minus.unwrap_or(rest);
            let (quoted, piece, after) = match part.strip_prefix('"') {
                Some(inside) => {
                    let (piece, after) = inside.split_once('"').unwrap_or((inside, ""));
                    (true, piece, after)
                }
                None => {
                    let end = part.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(part.len());
                    let (piece, after) = part.split_at(end);
                    (false, piece, after)
                }
            };
            let found: Vec<String> = terms(piece).collect();
            match (found.is_empty(), minus.is_some(), quoted) {
                (true, ..) => {}
                (_, true, _) => q.excluded.push(found),
                (_, _, true) => q.phrases.push(found),
                _ => q.words.extend(found),
            }
            rest = after.trim_start();
        }
        let total = q.words.len() + q.phrases.iter().chain(&q.excluded).map(Vec::len).sum::<usize>();
        if total > MAX_TERMS {
            return Err(bad(format!("the search has {total} words, more than {MAX_TERMS}")));
        }
        if q.words.is_empty() && q.phrases.is_empty() {
            return Err(bad("the search has no word to look for"));
        }
        Ok(q)
    }

    /// The distinct terms that count for the rank, in order.
    pub fn terms(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.words.iter().chain(self.phrases.iter().flatten()).map(String::as_str).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The distinct terms that must be looked up to decide a match, excluded ones included.
    pub fn all_terms(&self) -> Vec<&str> {
        let mut all = self.terms();
        all.extend(self.excluded.iter().flatten().map(String::as_str));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether a document is a hit, given the ascending positions of a term in it; none when it does not occur.
    pub fn matches<'a>(&self, positions: impl Fn(&str) -> Option<&'a [u32]>) -> bool {
        let occurs = |phrase: &[String]| phrase_occurs(phrase, &positions);
        if self.excluded.iter().any(|p| occurs(p)) || !self.phrases.iter().all(|p| occurs(p)) {
            return false;
        }
        !self.phrases.is_empty() || self.words.iter().any(|w| positions(w).is_some_and(|p| !p.is_empty()))
    }
}

fn phrase_occurs<'a>(phrase: &[String], positions: &impl Fn(&str) -> Option<&'a [u32]>) -> bool {
    let Some((first, rest)) = phrase.split_first() else { return false };
    let Some(starts) = positions(first) else { return false };
    let mut others = Vec::with_capacity(rest.len());
    for w in rest {
        match positions(w) {
            Some(p) => others.push(p),
            None => return false,
        }
    }
    starts.iter().any(|s| others.iter().zip(1u32..).all(|(p, offset)| s.checked_add(offset).is_some_and(|at| p.binary_search(&at).is_ok())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Document;
    use proptest::prelude::*;

    fn hit(query: &str, text: &str) -> bool {
        let d = Document::of_texts(&[text]).unwrap_or_default();
        Query::parse(query).unwrap().matches(|t| d.positions.get(t).map(Vec::as_slice))
    }

    #[test]
    fn words_phrases_and_exclusions_decide_a_hit() {
        let text = "The quick brown fox jumps over the lazy dog";
        for (query, yes) in [
            ("fox", true),
            ("cat fox", true),
            ("cat", false),
            ("\"quick brown\"", true),
            ("\"brown quick\"", false),
            ("\"quick brown\" cat", true),
            ("fox -dog", false),
            ("fox -cat", true),
            ("fox -\"dog lazy\"", true),
            ("fox -\"lazy dog\"", false),
            ("\"jumping over", true),
            ("fox-cat", true),
            ("fox -brown-fox", false),
        ] {
            assert_eq!(hit(query, text), yes, "{query}");
        }
    }

    #[test]
    fn a_search_without_a_word_is_refused() {
        for bad in ["", "  ", "-fox", "\"\"", "!!", &"a b ".repeat(40), &"x".repeat(5_000)] {
            assert!(Query::parse(bad).is_err(), "{bad:.20}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(s in "[\\PC\"\\- ]{0,200}") {
            let _ = Query::parse(&s);
        }
    }
}
