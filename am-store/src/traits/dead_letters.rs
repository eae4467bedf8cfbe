//! What could not be taken in or processed.

use am_core::{Ctx, Result, Timestamp};
use am_pipeline::DeadLetter;
use async_trait::async_trait;

/// Which dead letters are asked for.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DeadLetterQuery {
    /// Only of this stage, such as `ingest` or a processor's name.
    pub stage: Option<String>,
    /// Also those that were resolved.
    pub resolved: bool,
    /// After this id.
    pub after: Option<String>,
    /// At most so many; 0 means 100.
    pub limit: usize,
}

impl DeadLetterQuery {
    /// Also those that were resolved.
    #[must_use]
    pub fn resolved(mut self) -> Self {
        self.resolved = true;
        self
    }

    /// Only of this stage.
    #[must_use]
    pub fn stage(mut self, stage: impl Into<String>) -> Self {
        self.stage = Some(stage.into());
        self
    }

    /// Going on after this id.
    #[must_use]
    pub fn after(mut self, id: impl Into<String>) -> Self {
        self.after = Some(id.into());
        self
    }

    /// At most so many.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

/// How a dead letter ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Its repaired reading was taken in.
    Replayed,
    /// Someone decided to let it go.
    Dropped,
}

/// A dead letter in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetterRow {
    /// The letter; its `id` names it.
    pub letter: DeadLetter,
    /// How and when it ended.
    pub resolution: Option<(Resolution, Timestamp)>,
}

/// The dead letters of the scope in `ctx`.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Keeps letters durably; a letter whose id is there already adds nothing.
    async fn park(&self, ctx: &Ctx, letters: Vec<DeadLetter>) -> Result<()>;

    /// Letters in order of id.
    async fn list(&self, ctx: &Ctx, query: &DeadLetterQuery) -> Result<Vec<DeadLetterRow>>;

    /// One letter.
    async fn get(&self, ctx: &Ctx, id: &str) -> Result<Option<DeadLetterRow>>;

    /// Gives a letter that is there the code, findings, message and attempts of `letter`, which has its id; the item itself stays
    /// as it came. For a repair that failed again.
    ///
    /// # Errors
    /// `NOT_FOUND` when there is none under that id.
    async fn amend(&self, ctx: &Ctx, letter: DeadLetter) -> Result<()>;

    /// Marks a letter as ended.
    ///
    /// # Errors
    /// `NOT_FOUND` when there is none under that id.
    async fn resolve(&self, ctx: &Ctx, id: &str, how: Resolution) -> Result<()>;
}
