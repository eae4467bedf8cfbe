//! Texts and searches with hits that are computed here the plain way, so that every backend can be held against the same ten.

use std::collections::BTreeSet;

use super::generate::Seeded;
use crate::text::terms;

/// A text of the corpus and what it scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// Its number in [`texts`].
    pub text: usize,
    /// Okapi BM25, k1 1.2, b 0.75.
    pub score: f64,
}

const OPENINGS: &[&str] = &[
    "Met Clara at the harbour café, we talked about the lighthouse and her new boat.",
    "Dentist moved to Thursday; ask about the crown and the invoice.",
    "Slept badly again, heart racing at 3 am, no coffee after lunch from now on.",
    "Recipe: roast the pumpkin, fold in ginger, lime and coconut milk.",
    "The lighthouse keeper's diary is in the city archive, second floor.",
    "Running plan: easy Monday, intervals Wednesday, long run Sunday along the river.",
    "Überweisung an die Werkstatt nicht vergessen, Rechnung liegt im Flur.",
    "Idea for the talk: why silence is data, and why a gap is not a zero.",
    "Bought running shoes, the old ones had six hundred kilometres.",
    "Call mum about the garden; the apple trees need cutting before spring.",
    "Flight AM 3001 to Lisbon, gate B12, boarding at 6:40.",
    "Lisbon: tram 28, pastel de nata, the tile museum, sunset at the miradouro.",
    "Notes on heart rate variability: breathe slowly, six breaths per minute.",
    "Password hint is the river's name and the year of the boat.",
    "東京のホテルは駅の近く。 Hotel close to Tokyo station.",
];

const VOCABULARY: &[&str] = &[
    "river",
    "garden",
    "harbour",
    "lighthouse",
    "boat",
    "coffee",
    "meeting",
    "invoice",
    "running",
    "sleep",
    "heart",
    "winter",
    "letter",
    "music",
    "train",
    "museum",
    "apple",
    "kitchen",
    "window",
    "mountain",
    "phone",
    "battery",
    "weather",
    "doctor",
    "birthday",
];

/// The texts, always the same 120.
pub fn texts() -> Vec<String> {
    let mut g = Seeded::new(20_260_301);
    let mut all: Vec<String> = OPENINGS.iter().map(|s| (*s).to_owned()).collect();
    while all.len() < 120 {
        let n = 3 + g.below(25);
        // Squaring makes the first words of the list common and the last ones rare.
        let word = |g: &mut Seeded| {
            let u = g.unit();
            VOCABULARY.get((u * u * VOCABULARY.len() as f64) as usize).copied().unwrap_or("river")
        };
        all.push((0..n).map(|_| word(&mut g)).collect::<Vec<_>>().join(" "));
    }
    all
}

/// The searches.
pub fn queries() -> &'static [&'static str] {
    &[
        "lighthouse",
        "river",
        "river garden",
        "heart rate",
        "run",
        "running shoes",
        "boat harbour lighthouse",
        "birthday doctor weather",
        "\"river garden\"",
        "\"river river\"",
        "\"running shoes\" boat",
        "coffee -meeting",
        "river -garden -harbour -boat",
        "apple -\"apple tree\"",
        "uberweisung",
        "cafe",
        "tokyo 東京",
        "lisbon tram 28",
        "AM 3001",
        "mountain mountain mountain",
        "phone battery weather window kitchen",
        "breathing breaths",
        "nothing of the kind",
        "zebra",
    ]
}

/// The best texts for a search: no index, no shared counting; only the tokenizer is the store's own.
pub fn best(texts: &[String], query: &str, limit: usize) -> Vec<Ranked> {
    let words: Vec<Vec<String>> = texts.iter().map(|t| terms(t).collect()).collect();
    let n = words.len() as f64;
    let average = words.iter().map(Vec::len).sum::<usize>() as f64 / n;
    let (any, must, never) = split(query);
    let counted: BTreeSet<&String> = any.iter().chain(must.iter().flatten()).collect();
    let has = |text: &[String], phrase: &[String]| text.windows(phrase.len()).any(|w| w == phrase);
    let mut hits: Vec<Ranked> = Vec::new();
    for (number, text) in words.iter().enumerate() {
        let wanted = if must.is_empty() { any.iter().any(|w| text.contains(w)) } else { must.iter().all(|p| has(text, p)) };
        if !wanted || never.iter().any(|p| has(text, p)) {
            continue;
        }
        let score = counted.iter().map(|w| {
            let df = words.iter().filter(|t| t.contains(w)).count() as f64;
            let tf = text.iter().filter(|x| x == w).count() as f64;
            let idf = (1.0 + (n - df + 0.5) / (df + 0.5)).ln();
            idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * text.len() as f64 / average))
        });
        hits.push(Ranked { text: number, score: score.sum() });
    }
    // Scores that agree to the last digits are ties, in the order of time.
    hits.sort_by(|a, b| if (a.score - b.score).abs() < 1e-9 { a.text.cmp(&b.text) } else { b.score.total_cmp(&a.score) });
    hits.truncate(limit);
    hits
}

type Split = (Vec<String>, Vec<Vec<String>>, Vec<Vec<String>>);

/// Words, phrases and exclusions, for searches that are well written.
fn split(query: &str) -> Split {
    let (mut any, mut must, mut never) = (Vec::new(), Vec::new(), Vec::new());
    for (n, part) in query.split('"').enumerate() {
        if n % 2 == 1 {
            let after_minus = query.split('"').nth(n - 1).is_some_and(|p| p.ends_with('-'));
            if after_minus {
                never.push(terms(part).collect())
            } else {
                must.push(terms(part).collect())
            }
            continue;
        }
        for word in part.split_whitespace().filter(|w| *w != "-") {
            match word.strip_prefix('-') {
                Some(w) => never.push(terms(w).collect()),
                None => any.extend(terms(word)),
            }
        }
    }
    (any, must, never)
}
