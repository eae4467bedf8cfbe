//! Readings onto the bus instead of into the store.

use std::sync::Arc;

use am_core::{Code, Ctx, Error, Result, TraceParent};
use am_pipeline::bus::{Bus, Message, pack};
use am_schema::ReadingRef;
use async_trait::async_trait;

use super::parcels;
use crate::model::{AggregateQuery, Bucket, Ingest, IngestOutcome, LatestQuery, Page, Provenance, PutOutcome, ScanQuery, Stored};
use crate::traits::{Backend, Counts, KindCount, Maintenance, Readings, Stats};

/// How a gateway takes in.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct GatewayOptions {
    /// Beyond this share of the stream's age or bytes nothing is taken in, so that what is not stored yet is never removed; 0.7.
    pub pressure: f64,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        GatewayOptions { pressure: 0.7 }
    }
}

/// A backend for a server: what comes in is published, and answered once the bus has it. Everything else is asked of `inner`, such as
/// the keys of devices. It is ready when the bus is.
///
/// `PutOutcome::Stored` means that the bus has it, at this place of its stream; that it is a duplicate or a conflict often shows only
/// when it is stored, and is counted there.
pub fn gateway(inner: Backend, bus: &Bus, options: GatewayOptions) -> Backend {
    let front = Arc::new(Gateway { inner: inner.clone(), bus: bus.clone(), options });
    Backend { name: "gateway", readings: front.clone(), maintenance: front, ..inner }
}

struct Gateway {
    inner: Backend,
    bus: Bus,
    options: GatewayOptions,
}

impl Gateway {
    async fn room(&self) -> Result<()> {
        let pressure = self.bus.publisher.pressure().await?;
        if pressure.share() < self.options.pressure {
            return Ok(());
        }
        let text = format!(
            "what is not stored yet has {:.0} % of the stream's age and {:.0} % of its bytes; the limit is {:.0} %",
            pressure.age * 100.0,
            pressure.bytes * 100.0,
            self.options.pressure * 100.0
        );
        Err(Error::new(Code::OVERLOADED, text).op("gateway.put").retry(am_core::Retry::Safe { after_ms: 2_000 }))
    }
}

#[async_trait]
impl Readings for Gateway {
    async fn put(&self, ctx: &Ctx, batch: Ingest) -> Result<IngestOutcome> {
        ctx.check()?;
        self.room().await?;
        let limit = self.bus.publisher.body_limit();
        let template = parcels::template(&batch.provenance);
        let trace = TraceParent::parse(&batch.provenance.traceparent).unwrap_or_else(|| ctx.trace());
        let packed = pack(ctx.scope(), &batch.readings, limit, trace, &template);
        let (mut messages, places): (Vec<Message>, Vec<Vec<usize>>) = packed.into_iter().unzip();
        messages.extend(parcels::errors(ctx.scope(), "ingest", &batch.rejected, &batch.discarded, limit, &template));
        let wanted = messages.len();
        let results = self.bus.publisher.publish(ctx, messages).await;
        if results.len() != wanted {
            return Err(Error::new(Code::INTERNAL, format!("the bus answered {} of {wanted} messages", results.len())).op("gateway.put"));
        }
        let mut out = IngestOutcome { readings: vec![PutOutcome::Duplicate; batch.readings.len()], ..Default::default() };
        let mut places = places.into_iter();
        // One message that is not on the bus means the batch: what is there already is a duplicate the next time.
        for result in results {
            let published = result?;
            for place in places.next().into_iter().flatten().filter(|_| !published.duplicate) {
                if let Some(o) = out.readings.get_mut(place) {
                    *o = PutOutcome::Stored(published.sequence);
                }
            }
        }
        out.parked.extend(batch.rejected.into_iter().map(|l| l.id));
        Ok(out)
    }

    async fn get(&self, ctx: &Ctx, names: &[ReadingRef]) -> Result<Vec<Option<Stored>>> {
        self.inner.readings.get(ctx, names).await
    }

    async fn scan(&self, ctx: &Ctx, query: &ScanQuery) -> Result<Page<Stored>> {
        self.inner.readings.scan(ctx, query).await
    }

    async fn latest(&self, ctx: &Ctx, query: &LatestQuery) -> Result<Vec<Stored>> {
        self.inner.readings.latest(ctx, query).await
    }

    async fn aggregate(&self, ctx: &Ctx, query: &AggregateQuery) -> Result<Vec<Bucket>> {
        self.inner.readings.aggregate(ctx, query).await
    }

    async fn provenance(&self, ctx: &Ctx, batch: u64) -> Result<Option<Provenance>> {
        self.inner.readings.provenance(ctx, batch).await
    }
}

#[async_trait]
impl Maintenance for Gateway {
    async fn counts(&self, ctx: &Ctx) -> Result<Counts> {
        self.inner.maintenance.counts(ctx).await
    }

    async fn by_kind(&self, ctx: &Ctx) -> Result<Vec<KindCount>> {
        self.inner.maintenance.by_kind(ctx).await
    }

    async fn stats(&self) -> Result<Stats> {
        self.inner.maintenance.stats().await
    }

    async fn tidy(&self) -> Result<()> {
        self.inner.maintenance.tidy().await
    }

    async fn ready(&self) -> Result<()> {
        self.bus.publisher.ready().await?;
        self.room().await
    }

    async fn close(&self) -> Result<()> {
        self.bus.publisher.close().await?;
        self.inner.maintenance.close().await
    }
}
