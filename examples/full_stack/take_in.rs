//! A person's own files instead of simulated devices.

use std::path::Path;

use am_connect::{ImportOptions, ImportReport, ImportSource};
use am_core::{CancelToken, Ctx, Result};
use am_pipeline::{Outcome, Reason, Settled, Source};
use am_store::ScopedStore;
use am_store::model::{Ingest, Origin, Provenance, PutOutcome};
use indicatif::ProgressBar;

/// Reads the folder file by file and stores what it finds, as old data.
pub(crate) async fn run(store: &ScopedStore, folder: &Path, bar: &ProgressBar, stop: &CancelToken) -> Result<ImportReport> {
    let ctx: Ctx = store.ctx().clone();
    let mut source = ImportSource::open(folder, ImportOptions::default())?;
    while let Some(polled) = source.poll(&ctx, 500).await? {
        let (done, total) = source.progress();
        bar.set_length(total as u64);
        bar.set_position(done as u64);
        let (tokens, readings): (Vec<_>, Vec<_>) = polled.items.into_iter().filter_map(|a| a.item.ok().map(|r| (a.token, r))).unzip();
        if readings.is_empty() {
            continue;
        }
        let provenance = Provenance {
            client: "full_stack import".into(),
            client_version: env!("CARGO_PKG_VERSION").into(),
            received_at: ctx.now(),
            origin: Origin::Backfill,
            ..Default::default()
        };
        let outcome = store.ingest(Ingest { provenance, readings, ..Default::default() }).await?;
        let settled: Vec<Settled> = tokens
            .into_iter()
            .zip(&outcome.readings)
            .map(|(token, o)| {
                let outcome = match o {
                    PutOutcome::Discarded(_) => Outcome::Discarded(Reason::new("filter")),
                    _ => Outcome::Delivered,
                };
                Settled { token, outcome }
            })
            .collect();
        source.settle(&ctx, &settled).await?;
        if stop.is_cancelled() {
            break;
        }
    }
    Ok(source.report())
}
