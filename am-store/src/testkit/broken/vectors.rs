//! Flaws of vectors.

use am_core::{Ctx, Result};
use async_trait::async_trait;

use super::Flaw;
use super::flawed::Flawed;
use crate::limits::bad;
use crate::model::{Generations, NewVector, VectorDelete, VectorFault, VectorHits, VectorModel, VectorOutcome, VectorQuery};
use crate::traits::Vectors;
use am_core::Timestamp;

impl Flawed {
    fn vectors(&self) -> Result<&dyn Vectors> {
        self.open()?.vectors.as_deref().ok_or_else(|| bad("the store in memory keeps vectors"))
    }
}

#[async_trait]
impl Vectors for Flawed {
    async fn register(&self, model: VectorModel) -> Result<bool> {
        self.vectors()?.register(model).await
    }

    async fn models(&self) -> Result<Vec<VectorModel>> {
        self.vectors()?.models().await
    }

    async fn retire(&self, model: &str) -> Result<bool> {
        self.vectors()?.retire(model).await
    }

    async fn upsert(&self, ctx: &Ctx, model: &str, batch: Vec<NewVector>) -> Result<Vec<VectorOutcome>> {
        let v = self.vectors()?;
        match self.flaw {
            // The first of a reading stays; whoever knows it is told that the new one took its place.
            Some(Flaw::KeepsOldVectors) => {
                let mut out = Vec::new();
                for item in batch {
                    let key = format!("{} {model} {:?} {}", ctx.scope(), item.reading, item.part);
                    let held = self.memo.lock().vectors.contains(&key);
                    let done = if held { vec![VectorOutcome::Replaced] } else { v.upsert(ctx, model, vec![item]).await? };
                    if done.contains(&VectorOutcome::Added) {
                        self.memo.lock().vectors.insert(key);
                    }
                    out.extend(done);
                }
                Ok(out)
            }
            Some(Flaw::TakesOrphanVectors) => {
                let out = v.upsert(ctx, model, batch).await?;
                let taken = |o| if o == VectorOutcome::Refused(VectorFault::UnknownReading) { VectorOutcome::Added } else { o };
                Ok(out.into_iter().map(taken).collect())
            }
            _ => v.upsert(ctx, model, batch).await,
        }
    }

    async fn search(&self, ctx: &Ctx, query: &VectorQuery) -> Result<VectorHits> {
        let v = self.vectors()?;
        let mut query = query.clone();
        match self.flaw {
            Some(Flaw::FindsOldVectors) => query.generations = Generations::All,
            Some(Flaw::IgnoresVectorTimes) => (query.from, query.to) = (Timestamp::MIN, Timestamp::MAX),
            _ => {}
        }
        let mut found = v.search(ctx, &query).await?;
        match self.flaw {
            Some(Flaw::ReordersVectorTies) => {
                found.hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.stored.seq.cmp(&a.stored.seq)));
            }
            Some(Flaw::LeaksVectors) => {
                for scope in self.everybody().into_iter().filter(|s| s != ctx.scope()) {
                    found.hits.extend(v.search(&ctx.with_scope(scope), &query).await?.hits);
                }
                found.hits.sort_by(|a, b| b.score.total_cmp(&a.score));
                found.hits.truncate(query.limit);
            }
            _ => {}
        }
        Ok(found)
    }

    async fn delete(&self, ctx: &Ctx, which: &VectorDelete) -> Result<u64> {
        self.vectors()?.delete(ctx, which).await
    }
}
