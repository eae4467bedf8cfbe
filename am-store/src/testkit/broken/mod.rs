//! Backends with one fault each. They prove that the kit notices, and that it says which promise is broken.

mod flawed;
mod questions;
mod vectors;
mod writes;

use std::sync::Arc;

use am_core::Result;
use async_trait::async_trait;

use super::{Setting, Subject};
use crate::memory::{self, MemoryOptions};
use crate::traits::Backend;
use flawed::Flawed;

/// What a broken backend does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "FLAWS says what each is")]
pub enum Flaw {
    ForgetsReadings,
    StoresTwice,
    HidesConflicts,
    OverwritesProvenance,
    AcknowledgesEarly,
    LosesLetters,
    MiscountsCustody,
    LeaksReadings,
    LeaksLetters,
    LeaksLineage,
    ReordersScans,
    SkipsOnPages,
    TakesAnyCursor,
    IgnoresSpans,
    ServesOldGenerations,
    AnswersStale,
    LatestByArrival,
    ReordersFeed,
    JumpsOnFeed,
    WakesTooEarly,
    HidesSuperseded,
    TearsCommits,
    TakesStaleCommits,
    KeepsStateOnReset,
    ForgetsSpanLineage,
    IgnoresExclusions,
    CountsWordsOfAll,
    IgnoresTtl,
    IgnoresVersions,
    ForgetsRevocation,
    KeepsOldVectors,
    TakesOrphanVectors,
    FindsOldVectors,
    IgnoresVectorTimes,
    ReordersVectorTies,
    LeaksVectors,
    AnswersWhenClosed,
}

/// A flaw, what it does, and a case that must catch it.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// The flaw.
    pub flaw: Flaw,
    /// What the backend does wrong.
    pub what: &'static str,
    /// The case that is there for it. Others may fail too.
    pub caught_by: &'static str,
}

macro_rules! flaws {
    ($($flaw:ident $what:literal $case:literal;)*) => {
        /// Every flaw there is.
        pub static FLAWS: &[Known] = &[$(Known { flaw: Flaw::$flaw, what: $what, caught_by: $case }),*];
    };
}

flaws! {
    ForgetsReadings "drops the last reading of a large batch, and acknowledges it" "put.batch_again";
    StoresTwice "gives a duplicate a new id and stores it again" "put.again";
    HidesConflicts "answers a conflict as a duplicate and parks nothing" "put.conflict";
    OverwritesProvenance "answers the latest provenance for every batch" "put.provenance";
    AcknowledgesEarly "acknowledges a batch that it only stores with the next one" "reopen.readings";
    LosesLetters "acknowledges rejected items without keeping them" "letters.with_the_batch";
    MiscountsCustody "forgets to count what was discarded as received" "counts.balance";
    LeaksReadings "finds the readings of everybody in the same tenant" "tenant.reads";
    LeaksLetters "finds dead letters of any scope by their id" "tenant.letters";
    LeaksLineage "tells any scope what was made from a reading" "tenant.lineage";
    ReordersScans "orders readings of the same time by id alone" "scan.order";
    SkipsOnPages "loses a reading between two pages" "page.whole";
    TakesAnyCursor "begins again when it does not know the cursor" "page.strange_cursor";
    IgnoresSpans "finds spans only where they begin" "scan.spans";
    ServesOldGenerations "reads every generation of a slot" "generation.newest";
    AnswersStale "answers statistics from the last time that it was asked" "aggregate.tail";
    LatestByArrival "takes what arrived last for the latest" "latest.late_data";
    ReordersFeed "gives the entries of a page of the feed backwards" "feed.order";
    JumpsOnFeed "says that it looked at the whole feed after every page" "feed.pages";
    WakesTooEarly "ends a wait at once" "feed.wait";
    HidesSuperseded "keeps quiet about generations that gave way" "generation.feed";
    TearsCommits "stores what a refused commit derived" "flow.stale";
    TakesStaleCommits "takes a commit of any epoch" "flow.race";
    KeepsStateOnReset "keeps a flow's state when it is reset" "flow.reset";
    ForgetsSpanLineage "knows only the outputs of inputs that are named one by one" "lineage.span";
    IgnoresExclusions "finds texts with excluded words" "text.excluded";
    CountsWordsOfAll "scores a text by how long it is, not by how rare its words are" "text.corpus";
    IgnoresTtl "keeps values for ever" "kv.ttl";
    IgnoresVersions "writes whatever version was expected" "kv.compare_and_put";
    ForgetsRevocation "answers a revoked key as if it were good" "key.revoke";
    KeepsOldVectors "keeps the first vector of a reading, and says that it was replaced" "vectors.replace";
    TakesOrphanVectors "acknowledges the vector of a reading that it does not have" "vectors.unknown_reading";
    FindsOldVectors "finds the vectors of generations that gave way" "vectors.superseded";
    IgnoresVectorTimes "searches vectors of all times" "vectors.narrowed";
    ReordersVectorTies "gives hits with equal scores latest first" "vectors.ties";
    LeaksVectors "finds the vectors of everybody" "vectors.tenants";
    AnswersWhenClosed "goes on after it was closed" "close.refuses";
}

/// A store in memory that claims to outlive its closing: it is closed for its callers and opened again over the same data.
pub struct Reopened {
    setting: Setting,
    held: Backend,
    flaw: Option<Flaw>,
}

impl Reopened {
    /// A backend without a flaw, or with one.
    pub fn new(setting: Setting, flaw: Option<Flaw>) -> Self {
        let held = memory::open(MemoryOptions::default(), setting.clock.clone(), setting.catalogue.clone());
        Reopened { setting, held, flaw }
    }
}

#[async_trait]
impl Subject for Reopened {
    async fn open(&self) -> Result<Backend> {
        let f = Arc::new(Flawed::new(self.held.clone(), self.flaw, self.setting.clock.clone()));
        Ok(Backend {
            name: "flawed",
            readings: f.clone(),
            feed: f.clone(),
            flows: f.clone(),
            derivations: f.clone(),
            text: f.clone(),
            dead_letters: f.clone(),
            key_value: f.clone(),
            devices: f.clone(),
            maintenance: f.clone(),
            vectors: Some(f),
        })
    }

    fn durable(&self) -> bool {
        true
    }
}
