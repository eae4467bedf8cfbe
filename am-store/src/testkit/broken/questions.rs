//! Flaws of what is asked.

use am_core::{Code, Ctx, Result, Scope};
use am_schema::ReadingRef;
use async_trait::async_trait;

use super::Flaw;
use super::flawed::Flawed;
use super::writes::closed;
use crate::model::{
    AggregateQuery, Bucket, FeedEvent, FeedPage, FeedQuery, Generations, Ingest, IngestOutcome, LatestQuery, Page, Provenance, ScanQuery,
    Seq, Stored, TextHits, TextQuery,
};
use crate::traits::{Derivations, Feed, LineageInputs, Readings, Text};

#[async_trait]
impl Readings for Flawed {
    async fn put(&self, ctx: &Ctx, batch: Ingest) -> Result<IngestOutcome> {
        self.take_in(ctx, batch).await
    }

    async fn get(&self, ctx: &Ctx, names: &[ReadingRef]) -> Result<Vec<Option<Stored>>> {
        self.open()?.readings.get(ctx, names).await
    }

    async fn scan(&self, ctx: &Ctx, query: &ScanQuery) -> Result<Page<Stored>> {
        let b = self.open()?;
        let mut query = query.clone();
        if self.has(Flaw::ServesOldGenerations) {
            // The cursor belongs to the question as it was asked.
            (query.generations, query.cursor, query.limit) = (Generations::All, None, 100_000);
        }
        let mut page = match b.readings.scan(ctx, &query).await {
            Err(e) if self.has(Flaw::TakesAnyCursor) && query.cursor.is_some() && e.code() == Code::BAD_QUERY => {
                b.readings.scan(ctx, &ScanQuery { cursor: None, ..query.clone() }).await?
            }
            other => other?,
        };
        match self.flaw {
            Some(Flaw::ReordersScans) => page.items.sort_by_key(|s| (s.reading.recorded_at(), s.reading.id())),
            Some(Flaw::SkipsOnPages) if page.cursor.is_some() && page.items.len() > 1 => {
                page.items.pop();
            }
            Some(Flaw::IgnoresSpans) => page.items.retain(|s| s.reading.recorded_at() >= query.from),
            Some(Flaw::LeaksReadings) => {
                let neighbours = self.everybody().into_iter().filter(|s| s.tenant() == ctx.scope().tenant() && s != ctx.scope());
                for scope in neighbours {
                    let more = b.readings.scan(&ctx.with_scope(scope), &ScanQuery { cursor: None, ..query.clone() }).await?;
                    page.items.extend(more.items);
                }
            }
            _ => {}
        }
        Ok(page)
    }

    async fn latest(&self, ctx: &Ctx, query: &LatestQuery) -> Result<Vec<Stored>> {
        let b = self.open()?;
        let honest = b.readings.latest(ctx, query).await?;
        if !self.has(Flaw::LatestByArrival) {
            return Ok(honest);
        }
        let all = b.readings.scan(ctx, &ScanQuery { limit: 100_000, ..Default::default() }).await?.items;
        let last = |s: &Stored| {
            let same = all.iter().filter(|x| x.reading.kind() == s.reading.kind() && x.reading.device() == s.reading.device());
            same.max_by_key(|x| x.seq).cloned()
        };
        Ok(honest.iter().filter_map(last).collect())
    }

    async fn aggregate(&self, ctx: &Ctx, query: &AggregateQuery) -> Result<Vec<Bucket>> {
        let honest = self.open()?.readings.aggregate(ctx, query).await?;
        if !self.has(Flaw::AnswersStale) {
            return Ok(honest);
        }
        let question = format!("{} {query:?}", ctx.scope());
        Ok(self.memo.lock().answers.entry(question).or_insert(honest).clone())
    }

    async fn provenance(&self, ctx: &Ctx, batch: u64) -> Result<Option<Provenance>> {
        let honest = self.open()?.readings.provenance(ctx, batch).await?;
        Ok(honest.map(|p| if self.has(Flaw::OverwritesProvenance) { self.memo.lock().provenance.clone() } else { p }))
    }
}

#[async_trait]
impl Feed for Flawed {
    async fn read(&self, scope: Option<&Scope>, query: &FeedQuery) -> Result<FeedPage> {
        let mut page = self.open()?.feed.read(scope, query).await?;
        match self.flaw {
            Some(Flaw::ReordersFeed) => page.entries.reverse(),
            Some(Flaw::JumpsOnFeed) => page.next = page.head,
            Some(Flaw::HidesSuperseded) => page.entries.retain(|e| !matches!(e.event, FeedEvent::Superseded { .. })),
            _ => {}
        }
        Ok(page)
    }

    async fn head(&self) -> Result<Seq> {
        self.open()?.feed.head().await
    }

    async fn wait(&self, after: Seq) -> Result<()> {
        if self.has(Flaw::WakesTooEarly) {
            return Ok(());
        }
        let mut shut = self.closed.subscribe();
        tokio::select! {
            done = self.inner.feed.wait(after) => done,
            _ = shut.wait_for(|c| *c) => Err(closed()),
        }
    }
}

#[async_trait]
impl Derivations for Flawed {
    async fn inputs(&self, ctx: &Ctx, name: &ReadingRef) -> Result<Option<LineageInputs>> {
        self.open()?.derivations.inputs(ctx, name).await
    }

    async fn outputs(&self, ctx: &Ctx, name: &ReadingRef, limit: usize) -> Result<Vec<Stored>> {
        let b = self.open()?;
        let mut out = b.derivations.outputs(ctx, name, limit).await?;
        if self.has(Flaw::ForgetsSpanLineage) {
            out.retain(|s| s.reading.lineage().is_some_and(|l| l.inputs.iter().any(|i| i.to.is_none())));
        }
        if self.has(Flaw::LeaksLineage) {
            for scope in self.everybody() {
                out.extend(b.derivations.outputs(&ctx.with_scope(scope), name, limit).await?);
            }
        }
        Ok(out)
    }

    async fn generations(&self, ctx: &Ctx, slot: &[u8; 16]) -> Result<Vec<Stored>> {
        self.open()?.derivations.generations(ctx, slot).await
    }
}

#[async_trait]
impl Text for Flawed {
    async fn search(&self, ctx: &Ctx, query: &TextQuery) -> Result<TextHits> {
        let b = self.open()?;
        let mut query = query.clone();
        if self.has(Flaw::IgnoresExclusions) && query.text.contains(" -") {
            query.text = query.text.replace(" -", " ");
        }
        let mut found = b.text.search(ctx, &query).await?;
        if self.has(Flaw::CountsWordsOfAll) {
            let length = |s: &Stored| 1.0 / s.reading.texts().iter().map(|t| t.len() as f64).sum::<f64>().max(1.0);
            found.hits.iter_mut().for_each(|h| h.score = length(&h.stored));
            found.hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        }
        Ok(found)
    }
}
