//! What an import came to.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Format, Imported, Skip};

/// The most places kept per file and reason.
const MAX_EXAMPLES: usize = 3;
/// The most different reasons kept per file.
const MAX_REASONS: usize = 50;

/// What one file came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FileReport {
    /// Its format; `None` when it is not known.
    pub format: Option<Format>,
    /// Readings by topic.
    pub readings: BTreeMap<String, u64>,
    /// How often each reason to skip came up.
    pub skipped: BTreeMap<String, u64>,
    /// Where, for the first few of each reason.
    pub examples: BTreeMap<String, Vec<String>>,
}

/// What all files came to, by name.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ImportReport {
    /// One entry per file.
    pub files: BTreeMap<String, FileReport>,
}

impl ImportReport {
    /// Notes a file.
    pub fn file(&mut self, name: &str, format: Option<Format>) {
        self.files.entry(name.into()).or_default().format = format;
    }

    /// Notes a result of a file.
    pub fn note(&mut self, file: &str, item: &Imported) {
        let f = self.files.entry(file.into()).or_default();
        match item {
            Imported::Reading(r) => *f.readings.entry(r.kind().topic().into()).or_default() += 1,
            Imported::Skipped(Skip { place, reason, .. }) => {
                let reason = match f.skipped.contains_key(reason) || f.skipped.len() < MAX_REASONS {
                    true => reason.as_str(),
                    false => "other reasons",
                };
                *f.skipped.entry(reason.into()).or_default() += 1;
                let examples = f.examples.entry(reason.into()).or_default();
                if examples.len() < MAX_EXAMPLES && !place.is_empty() {
                    examples.push(place.clone());
                }
            }
        }
    }

    /// Readings of all files.
    pub fn readings(&self) -> u64 {
        self.files.values().flat_map(|f| f.readings.values()).sum()
    }

    /// Things skipped in all files.
    pub fn skipped(&self) -> u64 {
        self.files.values().flat_map(|f| f.skipped.values()).sum()
    }
}
