//! One call of a processor: its panic is caught and every item's fate is known.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use am_core::{Code, Ctx, Error, Result};
use am_pipeline::{Batch, Origin, Outcome, Output, Processor, Receipt, Severity};
use am_schema::Reading;

/// What became of a call.
pub(super) struct Answer {
    /// What to pass on, in order.
    pub(super) emitted: Vec<(Origin, Reading)>,
    /// What can never be processed.
    pub(super) parked: Vec<(Reading, Error)>,
    /// What was not processed, and why; the places in the call's readings.
    pub(super) failed: Vec<(usize, Error)>,
    /// How many were let go.
    pub(super) discarded: u64,
}

/// The processor panicked, with this message; its state is not to be used any more.
pub(super) struct Panicked(pub(super) Error);

/// Calls a processor with readings of one origin.
pub(super) async fn call(
    processor: &mut dyn Processor,
    ctx: &Ctx,
    readings: &[Reading],
    origin: Origin,
    timeout: Option<Duration>,
) -> std::result::Result<Answer, Panicked> {
    let (ledger, batch) = Batch::issue(readings.to_vec(), origin);
    let mut out = Output::new();
    out.set_origin(origin);
    let result = guarded(processor, ctx, batch, &mut out, timeout).await?;
    let decided = out.take();
    let mut answer = Answer { emitted: Vec::new(), parked: Vec::new(), failed: Vec::new(), discarded: decided.discarded };
    for item in decided.emitted {
        let origin = item.origin();
        let (reading, receipt) = item.into_parts();
        receipt.settle(Outcome::Delivered);
        answer.emitted.push((origin, reading));
    }
    Receipt::settle_all(decided.absorbed, &Outcome::Delivered);
    for (item, e) in decided.parked {
        let (reading, receipt) = item.into_parts();
        receipt.settle(Outcome::Delivered);
        answer.parked.push((reading, e));
    }
    let mut again: Vec<(Reading, Error)> = Vec::new();
    for (item, e) in decided.retry {
        let (reading, receipt) = item.into_parts();
        receipt.settle(Outcome::Retry(None));
        again.push((reading, e));
    }
    let mut result = result.err();
    for (i, reading) in readings.iter().enumerate() {
        // No outcome means that the processor still holds the item, which a kill would lose.
        if ledger.outcome(i).is_some_and(|o| o.severity() != Severity::Retry) {
            continue;
        }
        let asked = again.iter().position(|(r, _)| r == reading).map(|at| again.swap_remove(at).1);
        let undecided = || Error::new(Code::PROCESSOR_FAILED, "the processor did not decide about the item").op("store.flow");
        answer.failed.push((i, asked.or_else(|| result.take()).unwrap_or_else(undecided)));
    }
    Ok(answer)
}

async fn guarded(
    processor: &mut dyn Processor,
    ctx: &Ctx,
    batch: Batch,
    out: &mut Output,
    timeout: Option<Duration>,
) -> std::result::Result<Result<()>, Panicked> {
    let mut timer = timeout.map(|d| ctx.clock().sleep(d));
    let started = catch_unwind(AssertUnwindSafe(|| processor.process(ctx, batch, out)));
    let mut work = started.map_err(panicked)?;
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Err(panic) => Poll::Ready(Err(panicked(panic))),
        Ok(Poll::Ready(r)) => Poll::Ready(Ok(r)),
        Ok(Poll::Pending) => match timer.as_mut().map(|t| Pin::new(t).poll(cx)) {
            Some(Poll::Ready(())) => {
                let text = format!("not done within {:?}", timeout.unwrap_or_default());
                Poll::Ready(Ok(Err(Error::new(Code::TIMED_OUT, text).op("store.flow"))))
            }
            _ => Poll::Pending,
        },
    })
    .await
}

fn panicked(panic: Box<dyn Any + Send>) -> Panicked {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Panicked(Error::new(Code::PROCESSOR_FAILED, format!("it panicked: {}", text.unwrap_or("without a message"))).op("store.flow"))
}
