//! Ranked full-text search.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use am_core::{Ctx, Result};
use async_trait::async_trait;

use super::Memory;
use crate::limits;
use crate::model::{Seq, Stored, TextHit, TextHits, TextQuery};
use crate::predicate::in_span;
use crate::text::{Document, Query, Statistics, rank};
use crate::traits::Text;

/// The words of one scope.
#[derive(Default)]
pub(super) struct TextIndex {
    statistics: Statistics,
    postings: HashMap<String, HashMap<Seq, Box<[u32]>>>,
    documents: HashMap<Seq, (u32, Arc<Stored>)>,
}

impl TextIndex {
    pub(super) fn add(&mut self, stored: &Arc<Stored>) {
        let Some(d) = Document::of(&stored.reading) else { return };
        self.statistics.documents += 1;
        self.statistics.words += u64::from(d.length);
        for (term, positions) in d.positions {
            self.postings.entry(term).or_default().insert(stored.seq, positions.into());
        }
        self.documents.insert(stored.seq, (d.length, stored.clone()));
    }

    pub(super) fn remove(&mut self, stored: &Arc<Stored>) {
        let Some((length, _)) = self.documents.remove(&stored.seq) else { return };
        self.statistics.documents -= 1;
        self.statistics.words -= u64::from(length);
        for term in Document::of(&stored.reading).unwrap_or_default().positions.into_keys() {
            if let Some(list) = self.postings.get_mut(&term) {
                list.remove(&stored.seq);
                if list.is_empty() {
                    self.postings.remove(&term);
                }
            }
        }
    }

    fn search(&self, q: &Query, query: &TextQuery) -> Vec<(f64, Arc<Stored>)> {
        let list = |t: &str| self.postings.get(t);
        // A phrase must occur, so its first word has every candidate; otherwise any word will do.
        let seeds: Vec<&str> = match q.phrases.first().and_then(|p| p.first()) {
            Some(t) => vec![t],
            None => q.words.iter().map(String::as_str).collect(),
        };
        let candidates: BTreeSet<Seq> = seeds.iter().filter_map(|t| list(t)).flat_map(|l| l.keys().copied()).collect();
        let ranked: Vec<(&str, u64)> = q.terms().into_iter().map(|t| (t, list(t).map_or(0, |l| l.len() as u64))).collect();
        let mut hits = Vec::new();
        for seq in candidates {
            let Some((length, stored)) = self.documents.get(&seq) else { continue };
            let r = &stored.reading;
            if !(query.kinds.is_empty() || query.kinds.contains(&r.kind())) || !in_span(r, query.from, query.to) {
                continue;
            }
            let positions = |t: &str| list(t).and_then(|l| l.get(&seq)).map(|p| &**p);
            if q.matches(positions) {
                let terms = ranked.iter().map(|(t, df)| (*df, positions(t).map_or(0, |p| p.len() as u32)));
                hits.push((self.statistics.score(*length, terms), stored.clone()));
            }
        }
        rank(&mut hits, query.limit, |s| &s.reading);
        hits
    }
}

#[async_trait]
impl Text for Memory {
    async fn search(&self, ctx: &Ctx, query: &TextQuery) -> Result<TextHits> {
        limits::text(query)?;
        let parsed = Query::parse(&query.text)?;
        let state = self.open_for(ctx)?;
        let hits = state.scope(ctx.scope()).map(|d| d.text.search(&parsed, query)).unwrap_or_default();
        let hits = hits.into_iter().map(|(score, s)| TextHit { score, stored: s.as_ref().clone() }).collect();
        Ok(TextHits::text(hits, state.head()))
    }
}
