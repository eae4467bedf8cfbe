//! PF17: what custody costs through the server: durable commit before the answer, against answering on receipt and never waiting.

use crate::harness::{Options, Row, Target, median};
use crate::served::{BATCH, Failed, Serve, Served, frame, heart_rates, pump};

pub(crate) fn run(options: &Options) -> Result<Vec<Row>, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(measure(options)).map_err(|e| e.to_string())
}

async fn measure(options: &Options) -> Result<Vec<Row>, Failed> {
    let (rounds, batches) = if options.quick { (1, 80) } else { (7, 1_200) };
    let frames: Vec<_> = heart_rates(batches, false)?.iter().map(|b| frame(b)).collect();
    let (mut careful, mut slow, mut careless) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("am.db");
        let (slow_path, off) = (folder.path().join("slow.db"), folder.path().join("off.db"));
        for (what, into) in
            [(Serve::Sqlite(&path), &mut careful), (Serve::SlowSync(&slow_path), &mut slow), (Serve::Careless(&off), &mut careless)]
        {
            let server = Served::start(&what)?;
            let wall = pump(server.grpc, &frames, frames.len()).await?;
            into.push(wall.as_secs_f64() * 1e6 / (frames.len() * BATCH) as f64);
        }
    }
    let baseline = median(careless);
    let row = |what: &str, ours: f64| Row {
        id: "PF17",
        what: what.into(),
        ours,
        baseline,
        unit: "µs/reading",
        target: Target::RatioAtMost(1.3),
        note: "the same with synchronous=OFF and the answer on receipt".into(),
    };
    Ok(vec![
        row("through the server: durable commit, then the answer", median(careful)),
        row("the same, with 5 ms added to every sync", median(slow)),
    ])
}
