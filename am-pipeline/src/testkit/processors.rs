//! Cases for processors.

use am_schema::Reading;

use super::{Verdict, ctx};
use crate::{Batch, Ledger, Origin, Outcome, Output, Processor, Receipt};

/// What one run of a processor gave: encoded readings, in order, and how each input ended.
#[derive(Debug, Default, PartialEq)]
struct Run {
    given: Vec<Vec<u8>>,
    ended: Vec<&'static str>,
    parked: usize,
}

/// Runs the cases for processors on inputs of the processor's kinds, in order of time.
pub async fn processor<P: Processor>(make: impl Fn() -> P, inputs: Vec<Reading>) -> Vec<Verdict> {
    vec![
        Verdict::of("processor.decides", "every item of a batch is decided", decides(&make, &inputs).await),
        Verdict::of("processor.snapshot", "a snapshot taken up by another one changes nothing", snapshot(&make, &inputs).await),
        Verdict::of("processor.repeat", "the same input gives the same readings with the same ids", repeat(&make, &inputs).await),
        Verdict::of(
            "processor.restore",
            "bytes that are no state are refused, and no bytes are a fresh start",
            restore(&make, &inputs).await,
        ),
        Verdict::of("processor.flush", "a second flush gives nothing more", flush(&make, &inputs).await),
        Verdict::of("processor.again", "a batch delivered again after a crash gives the same readings", again(&make, &inputs).await),
        Verdict::of(
            "processor.stranger",
            "an item of another kind is decided without a panic, and its neighbours go on",
            stranger(&make, &inputs).await,
        ),
        Verdict::of("processor.empty", "an empty batch is fine and changes nothing", empty(&make).await),
    ]
}

/// One call; the ledger keeps how its items end.
async fn call<P: Processor>(p: &mut P, readings: &[Reading], run: &mut Run) -> Result<Ledger, String> {
    let (ledger, batch) = Batch::issue(readings.to_vec(), Origin::Live);
    let mut out = Output::new();
    p.process(&ctx(), batch, &mut out).await.map_err(|e| format!("process: {e}"))?;
    take(&mut out, run);
    Ok(ledger)
}

fn take(out: &mut Output, run: &mut Run) {
    let decided = out.take();
    for item in decided.emitted {
        run.given.push(item.to_wire());
        item.settle(Outcome::Delivered);
    }
    Receipt::settle_all(decided.absorbed, &Outcome::Delivered);
    for (item, e) in decided.parked {
        run.parked += 1;
        item.settle(Outcome::Parked(std::sync::Arc::new(e)));
    }
    // An item that is to be tried again is decided too; here nobody tries again.
    for (item, e) in decided.retry {
        item.settle(Outcome::Parked(std::sync::Arc::new(e)));
    }
}

async fn finish<P: Processor>(p: &mut P, run: &mut Run) -> Result<(), String> {
    let mut out = Output::new();
    p.flush(&ctx(), &mut out).await.map_err(|e| format!("flush: {e}"))?;
    take(&mut out, run);
    Ok(())
}

fn ends(ledgers: &[Ledger], run: &mut Run) {
    for outcome in ledgers.iter().flat_map(Ledger::outcomes) {
        run.ended.push(match outcome {
            Some(Outcome::Delivered) => "delivered",
            Some(Outcome::Discarded(_)) => "discarded",
            Some(Outcome::Parked(_)) => "parked",
            Some(Outcome::Retry(_)) => "dropped",
            None => "held",
        });
    }
}

async fn whole<P: Processor>(make: &impl Fn() -> P, inputs: &[Reading], size: usize) -> Result<Run, String> {
    let (mut p, mut run, mut ledgers) = (make(), Run::default(), Vec::new());
    for batch in inputs.chunks(size) {
        ledgers.push(call(&mut p, batch, &mut run).await?);
    }
    finish(&mut p, &mut run).await?;
    drop(p);
    ends(&ledgers, &mut run);
    Ok(run)
}

async fn decides<P: Processor>(make: &impl Fn() -> P, inputs: &[Reading]) -> Result<(), String> {
    for size in [1, 7, inputs.len().max(1)] {
        let run = whole(make, inputs, size).await?;
        if let Some(i) = run.ended.iter().position(|e| *e == "dropped" || *e == "held") {
            return Err(format!("batches of {size}: input {i} was {} at the end", run.ended.get(i).copied().unwrap_or_default()));
        }
    }
    Ok(())
}

async fn snapshot<P: Processor>(make: &impl Fn() -> P, inputs: &[Reading]) -> Result<(), String> {
    let straight = whole(make, inputs, 4).await?;
    let (mut p, mut run) = (make(), Run::default());
    for batch in inputs.chunks(4) {
        let ledger = call(&mut p, batch, &mut run).await?;
        let state = p.snapshot().map_err(|e| format!("snapshot: {e}"))?;
        p = make();
        p.restore(&state).map_err(|e| format!("restore: {e}"))?;
        ends(&[ledger], &mut run);
    }
    finish(&mut p, &mut run).await?;
    if run.given != straight.given {
        return Err(format!("{} readings with snapshots, {} without, or other ones", run.given.len(), straight.given.len()));
    }
    if run.ended != straight.ended { Err("items end in another way after a snapshot".into()) } else { Ok(()) }
}

async fn repeat<P: Processor>(make: &impl Fn() -> P, inputs: &[Reading]) -> Result<(), String> {
    let (a, b) = (whole(make, inputs, 5).await?, whole(make, inputs, 5).await?);
    if a == b { Ok(()) } else { Err("two runs over the same input differ".into()) }
}

async fn restore<P: Processor>(make: &impl Fn() -> P, inputs: &[Reading]) -> Result<(), String> {
    let mut p = make();
    p.restore(&[]).map_err(|e| format!("no bytes are refused: {e}"))?;
    let mut run = Run::default();
    let _ledger = call(&mut p, inputs, &mut run).await?;
    let state = p.snapshot().map_err(|e| format!("snapshot: {e}"))?;
    if state.is_empty() {
        return Ok(());
    }
    let mut strange = state.clone();
    if let Some(version) = strange.first_mut() {
        *version = 0xFE;
    }
    if make().restore(&strange).is_ok() {
        return Err("a state of version 254 is taken".into());
    }
    match state.len() > 2 && make().restore(state.get(..state.len() - 1).unwrap_or_default()).is_ok() {
        true => Err("a state that lacks its last byte is taken".into()),
        false => Ok(()),
    }
}

async fn flush<P: Processor>(make: &impl Fn() -> P, inputs: &[Reading]) -> Result<(), String> {
    let (mut p, mut run) = (make(), Run::default());
    let _ledger = call(&mut p, inputs, &mut run).await?;
    finish(&mut p, &mut run).await?;
    let before = run.given.len();
    finish(&mut p, &mut run).await?;
    if run.given.len() == before { Ok(()) } else { Err(format!("{} more readings", run.given.len() - before)) }
}

async fn empty<P: Processor>(make: &impl Fn() -> P) -> Result<(), String> {
    let (mut p, mut run) = (make(), Run::default());
    let before = p.snapshot().map_err(|e| format!("snapshot: {e}"))?;
    let _ledger = call(&mut p, &[], &mut run).await?;
    let after = p.snapshot().map_err(|e| format!("snapshot: {e}"))?;
    if before == after && run.given.is_empty() { Ok(()) } else { Err("it gave readings or changed its state".into()) }
}

async fn again<P: Processor>(make: &impl Fn() -> P, inputs: &[Reading]) -> Result<(), String> {
    let (before, after) = inputs.split_at(inputs.len() / 2);
    let (mut p, mut run) = (make(), Run::default());
    let _ledger = call(&mut p, before, &mut run).await?;
    let state = p.snapshot().map_err(|e| format!("snapshot: {e}"))?;
    let mut runs = [Run::default(), Run::default()];
    for run in &mut runs {
        let mut p = make();
        p.restore(&state).map_err(|e| format!("restore: {e}"))?;
        let ledger = call(&mut p, after, run).await?;
        ends(&[ledger], run);
    }
    let [first, second] = runs;
    if first == second { Ok(()) } else { Err("the second delivery gave other readings".into()) }
}

async fn stranger<P: Processor>(make: &impl Fn() -> P, inputs: &[Reading]) -> Result<(), String> {
    let stranger = super::stranger().ok_or("no reading of another kind could be made")?;
    let (first, rest) = inputs.split_at(inputs.len().min(1));
    let readings: Vec<Reading> = first.iter().chain([&stranger]).chain(rest).cloned().collect();
    let (mut p, mut out) = (make(), Output::new());
    let (ledger, batch) = Batch::issue(readings, Origin::Live);
    let mut jitter = crate::Jitter::seeded(1);
    let mut decided = crate::exec::process(&mut p, &ctx(), batch, &mut out, &crate::Attempts::new(1), &mut jitter).await;
    if let Some((item, e)) = decided.parked.iter().find(|(i, _)| i.reference() != stranger.reference()) {
        return Err(format!("its neighbour {:?} was parked: {e}", item.reading()));
    }
    if let Some((_, e)) = decided.parked.iter().find(|(_, e)| e.message().contains("panicked")) {
        return Err(e.to_string());
    }
    decided.emitted.drain(..).for_each(|i| i.settle(Outcome::Delivered));
    Receipt::settle_all(std::mem::take(&mut decided.absorbed), &Outcome::Delivered);
    decided.parked.drain(..).for_each(|(i, e)| i.settle(Outcome::Parked(std::sync::Arc::new(e))));
    match ledger.outcomes().iter().position(|o| !matches!(o, Some(Outcome::Delivered | Outcome::Discarded(_) | Outcome::Parked(_)))) {
        Some(i) => Err(format!("input {i} was not decided")),
        None => Ok(()),
    }
}
