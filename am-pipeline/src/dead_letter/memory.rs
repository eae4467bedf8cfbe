//! Dead letters of a process that keeps nothing: for tests and for programs that print them.

use std::collections::BTreeMap;

use am_core::{Code, Ctx, Error, Result};
use async_trait::async_trait;
use parking_lot::Mutex;

use super::{DeadLetter, DeadLetters, LetterQuery};

/// Keeps at most so many letters in memory, then refuses more: letters are never dropped to make room.
#[derive(Debug)]
pub struct DeadLetterMemory {
    letters: Mutex<BTreeMap<String, DeadLetter>>,
    limit: usize,
}

impl DeadLetterMemory {
    /// Room for `limit` letters.
    pub fn new(limit: usize) -> Self {
        DeadLetterMemory { letters: Mutex::new(BTreeMap::new()), limit }
    }

    /// Number of open letters.
    pub fn len(&self) -> usize {
        self.letters.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for DeadLetterMemory {
    fn default() -> Self {
        DeadLetterMemory::new(10_000)
    }
}

#[async_trait]
impl DeadLetters for DeadLetterMemory {
    async fn park(&self, _: &Ctx, letters: Vec<DeadLetter>) -> Result<()> {
        let mut kept = self.letters.lock();
        let fresh = letters.iter().filter(|l| !kept.contains_key(&l.id)).count();
        if kept.len() + fresh > self.limit {
            return Err(Error::new(Code::OVERLOADED, format!("more than {} dead letters in memory", self.limit)).op("dead_letters.park"));
        }
        for l in letters {
            kept.entry(l.id.clone()).or_insert(l);
        }
        Ok(())
    }

    async fn list(&self, ctx: &Ctx, query: &LetterQuery) -> Result<Vec<DeadLetter>> {
        Ok(query.pick(ctx, self.letters.lock().values()))
    }

    async fn resolve(&self, ctx: &Ctx, ids: &[String]) -> Result<usize> {
        let mut kept = self.letters.lock();
        let mut n = 0;
        for id in ids {
            if kept.get(id).is_some_and(|l| l.scope == *ctx.scope()) {
                kept.remove(id);
                n += 1;
            }
        }
        Ok(n)
    }
}
