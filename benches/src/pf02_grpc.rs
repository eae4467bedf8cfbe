//! PF2: what the server itself costs per reading, without a store.

use crate::harness::{Options, Row, Target, median};
use crate::served::{BATCH, Failed, Serve, Served, frame, heart_rates, pump};

/// Processor seconds of a server process per reading.
pub(crate) async fn cost(server: &Served, frames: &[bytes::Bytes], batches: usize) -> Result<f64, Failed> {
    let before = server.cpu()?;
    pump(server.grpc, frames, batches).await?;
    Ok((server.cpu()?.saturating_sub(before)).as_secs_f64() / (batches * BATCH) as f64)
}

pub(crate) fn run(options: &Options) -> Result<Vec<Row>, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(measure(options)).map_err(|e| e.to_string())
}

async fn measure(options: &Options) -> Result<Vec<Row>, Failed> {
    let (rounds, batches) = if options.quick { (1, 400) } else { (5, 4_000) };
    let frames: Vec<_> = heart_rates(64, true)?.iter().map(|b| frame(b)).collect();
    let (ours, noop) = (Served::start(&Serve::Null)?, Served::start(&Serve::Noop)?);
    for server in [&ours, &noop] {
        pump(server.grpc, &frames, 100).await?;
    }
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        a.push(cost(&ours, &frames, batches).await?);
        b.push(cost(&noop, &frames, batches).await?);
    }
    let (a, b) = (median(a), median(b));
    Ok(vec![Row {
        id: "PF2",
        what: "gRPC ingest without a store: decode, validate, answer per item".into(),
        ours: 1.0 / a,
        baseline: 1.0 / b,
        unit: "readings/CPU-s",
        target: Target::RatioAtLeast(0.8),
        note: format!("no-op tonic server that decodes with prost; {:.2} against {:.2} µs per reading", a * 1e6, b * 1e6),
    }])
}
