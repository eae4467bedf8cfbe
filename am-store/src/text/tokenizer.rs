//! Text into terms.

use std::collections::BTreeMap;

use am_schema::Reading;
use rust_stemmers::{Algorithm, Stemmer};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
use unicode_segmentation::UnicodeSegmentation;

/// The most bytes of a term; longer words are cut.
pub const MAX_TERM_BYTES: usize = 64;
/// How far apart the positions of two fields are, so that no phrase spans them.
pub const FIELD_GAP: u32 = 64;

/// The terms of a text in order: words by UAX #29, lower case, compatibility forms folded, marks removed, English words stemmed
/// (Porter2; other scripts and words with digits are left as they are).
pub fn terms(text: &str) -> impl Iterator<Item = String> {
    let stemmer = Stemmer::create(Algorithm::English);
    text.unicode_words().filter_map(move |w| term(w, &stemmer))
}

fn term(word: &str, stemmer: &Stemmer) -> Option<String> {
    let folded: String = match word.is_ascii() {
        true => word.to_ascii_lowercase(),
        false => fold(word),
    };
    // Only what the stemmer was made for: it slices by byte.
    let plain = folded.bytes().all(|b| b.is_ascii_lowercase() || b == b'\'');
    let mut out = if plain { stemmer.stem(&folded).into_owned() } else { folded };
    if out.len() > MAX_TERM_BYTES {
        let mut end = MAX_TERM_BYTES;
        while !out.is_char_boundary(end) {
            end -= 1;
        }
        out.truncate(end);
    }
    (!out.is_empty()).then_some(out)
}

fn fold(word: &str) -> String {
    let decomposed = word.chars().flat_map(char::to_lowercase).nfkd().filter(|c| !is_combining_mark(*c));
    decomposed.map(|c| if matches!(c, '’' | '‘' | 'ʼ') { '\'' } else { c }).flat_map(char::to_lowercase).collect()
}

/// What the index keeps of a reading's texts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// The positions of each term, ascending.
    pub positions: BTreeMap<String, Vec<u32>>,
    /// How many words it has.
    pub length: u32,
}

impl Document {
    /// Of the searchable texts of a reading; `None` when there is no word in them.
    pub fn of(reading: &Reading) -> Option<Document> {
        if reading.kind().text_fields().is_empty() {
            return None;
        }
        Self::of_texts(&reading.texts())
    }

    /// Of several fields.
    pub fn of_texts(texts: &[&str]) -> Option<Document> {
        let mut d = Document::default();
        let mut at = 0u32;
        for text in texts {
            for t in terms(text) {
                d.positions.entry(t).or_default().push(at);
                d.length = d.length.saturating_add(1);
                at = at.saturating_add(1);
            }
            at = at.saturating_add(FIELD_GAP);
        }
        (d.length > 0).then_some(d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &str) -> Vec<String> {
        terms(text).collect()
    }

    #[test]
    fn words_fold_case_marks_width_and_english_endings() {
        assert_eq!(all("Running runners RAN"), ["run", "runner", "ran"]);
        assert_eq!(all("Café CAFÉ cafe\u{301}"), ["cafe", "cafe", "cafe"]);
        assert_eq!(all("ｆｕｌｌ ﬁne"), ["full", "fine"]);
        assert_eq!(all("Ada’s Ada's"), ["ada", "ada"]);
        assert_eq!(all("İstanbul ΣΊΣΥΦΟΣ"), ["istanbul", "σισυφοσ"]);
        assert_eq!(all("北京 3.14 v2.0"), ["北", "京", "3.14", "v2.0"]);
        assert_eq!(all(" ,;– \u{0} "), Vec::<String>::new());
    }

    #[test]
    fn a_phrase_cannot_span_two_fields() {
        let d = Document::of_texts(&["red", "house"]).unwrap();
        assert_eq!((d.positions["red"].clone(), d.positions["hous"].clone(), d.length), (vec![0], vec![1 + FIELD_GAP], 2));
    }

    proptest! {
        #[test]
        fn any_text_gives_terms_within_bounds(s in "\\PC{0,300}") {
            for t in all(&s) {
                prop_assert!(!t.is_empty() && t.len() <= MAX_TERM_BYTES);
            }
        }
    }
}
