//! What could not be taken in or processed is kept, can be looked at, repaired and replayed (P02).

mod file;
mod letter;
mod memory;

use am_core::{Ctx, Result};
use async_trait::async_trait;

pub use file::DeadLetterFile;
pub use letter::DeadLetter;
pub use memory::DeadLetterMemory;

/// Which dead letters are asked for.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LetterQuery {
    /// Only of this stage.
    pub stage: Option<String>,
    /// After this id.
    pub after: Option<String>,
    /// At most so many; 0 means 100.
    pub limit: usize,
}

impl LetterQuery {
    /// The first 100 of any stage.
    pub fn new() -> Self {
        LetterQuery::default()
    }

    /// Only of this stage.
    #[must_use]
    pub fn stage(mut self, stage: impl Into<String>) -> Self {
        self.stage = Some(stage.into());
        self
    }

    /// After this id.
    #[must_use]
    pub fn after(mut self, id: impl Into<String>) -> Self {
        self.after = Some(id.into());
        self
    }

    /// At most so many.
    #[must_use]
    pub fn limit(mut self, n: usize) -> Self {
        self.limit = n;
        self
    }

    fn pick<'a>(&self, ctx: &Ctx, letters: impl Iterator<Item = &'a DeadLetter>) -> Vec<DeadLetter> {
        let wanted = |l: &&DeadLetter| {
            l.scope == *ctx.scope() && self.stage.as_ref().is_none_or(|s| *s == l.stage) && self.after.as_ref().is_none_or(|a| l.id > *a)
        };
        letters.filter(wanted).take(if self.limit == 0 { 100 } else { self.limit }).cloned().collect()
    }
}

/// Where dead letters are kept. Every pipeline has one.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Keeps letters durably; a letter whose id is there already adds nothing.
    ///
    /// # Errors
    /// None of the letters may be forgotten by the caller then.
    async fn park(&self, ctx: &Ctx, letters: Vec<DeadLetter>) -> Result<()>;

    /// Open letters of the scope in `ctx`, in order of id.
    ///
    /// # Errors
    /// When they cannot be read.
    async fn list(&self, ctx: &Ctx, query: &LetterQuery) -> Result<Vec<DeadLetter>>;

    /// Marks letters of the scope as ended: replayed, or let go by someone. Returns how many were open.
    ///
    /// # Errors
    /// When it cannot be written down.
    async fn resolve(&self, ctx: &Ctx, ids: &[String]) -> Result<usize>;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use am_core::{Code, ManualClock, Scope, Timestamp};
    use am_schema::{Catalogue, Finding, Rejected};
    use bytes::Bytes;

    use super::*;

    fn ctx(user: &str) -> Ctx {
        Ctx::new(Scope::new("t", user).unwrap(), Arc::new(ManualClock::new(Timestamp::from_second(1_772_352_000))))
    }

    fn letter(ctx: &Ctx, wire: &'static [u8]) -> DeadLetter {
        let finding = Finding::new("heart_rate.bpm", 500, "20 to 300 /min");
        DeadLetter::rejected(ctx.scope().clone(), ctx.now(), Rejected::new(Code::INVALID_ITEM, vec![finding], Bytes::from_static(wire)))
    }

    #[tokio::test]
    async fn letters_survive_reopening_and_a_torn_end_and_stay_within_their_scope() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("letters");
        let (ada, bob) = (ctx("ada"), ctx("bob"));
        let file = DeadLetterFile::open(&path, 10).unwrap();
        file.park(&ada, vec![letter(&ada, b"one"), letter(&ada, b"two"), letter(&ada, b"one")]).await.unwrap();
        file.park(&bob, vec![letter(&bob, b"one")]).await.unwrap();
        let ids: Vec<_> = file.list(&ada, &LetterQuery::new()).await.unwrap().into_iter().map(|l| l.id).collect();
        assert_eq!(ids.len(), 2);
        assert_eq!(file.resolve(&bob, &ids).await.unwrap(), 0, "another person's letters cannot be resolved");
        assert_eq!(file.resolve(&ada, &ids[..1]).await.unwrap(), 1);
        drop(file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(&[9, 0, 0, 0, 1, 2, 3]);
        std::fs::write(&path, bytes).unwrap();
        let file = DeadLetterFile::open(&path, 10).unwrap();
        let left = file.list(&ada, &LetterQuery::new()).await.unwrap();
        assert_eq!(left.iter().map(|l| l.id.as_str()).collect::<Vec<_>>(), [&ids[1]]);
        assert_eq!(left[0].findings[0].to_string(), "heart_rate.bpm is 500, expected 20 to 300 /min");
        assert!(left[0].reading(&Catalogue::builtin()).is_err());
        file.park(&ada, vec![letter(&ada, b"three")]).await.unwrap();
        drop(file);
        assert_eq!(DeadLetterFile::open(&path, 10).unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_full_place_refuses_letters_and_forgets_none() {
        let ada = ctx("ada");
        let memory = DeadLetterMemory::new(1);
        memory.park(&ada, vec![letter(&ada, b"one")]).await.unwrap();
        let e = memory.park(&ada, vec![letter(&ada, b"one"), letter(&ada, b"two")]).await.unwrap_err();
        assert_eq!((e.code(), memory.len()), (Code::OVERLOADED, 1));
    }

    #[test]
    fn a_letter_survives_its_json() {
        let ada = ctx("ada");
        let l = letter(&ada, b"\x00\xffwire");
        assert_eq!(DeadLetter::from_json(&l.to_json()).unwrap(), l);
        assert_eq!(DeadLetter::from_json(&serde_json::json!({})).unwrap_err().code(), Code::UNDECODABLE);
    }
}
