//! Runs one batch through a processor or into a sink, so that a failing item takes nothing else down.
//!
//! The pipeline's lanes and a store's flow runner share it. A failed try is repeated as the error advises; when that does not help the
//! batch is halved until the failing items stand alone, and those are parked. A panic counts as a failure.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use am_core::{BoxFuture, Code, Ctx, Error, Result};

use am_schema::Reading;

use crate::item::catching;
use crate::outcome::Outcome;
use crate::output::undecided;
use crate::{Attempts, Batch, Decided, Item, Jitter, Origin, Output, Processor, Receipt, Sink, Written};

/// Runs a batch through a processor until every item is decided: nothing is left in [`Decided::retry`].
///
/// # Cancel safety
/// When the future is dropped, items that are not decided say `Retry`.
pub async fn process(
    processor: &mut dyn Processor,
    ctx: &Ctx,
    batch: Batch,
    out: &mut Output,
    attempts: &Attempts,
    jitter: &mut Jitter,
) -> Decided {
    if let Some(first) = batch.iter().next() {
        out.set_origin(first.origin());
    }
    out.expect(batch.len());
    let mut tray = Vec::new();
    let result = guarded(processor.process(ctx, batch, out), ctx, attempts, &mut tray).await;
    let mut done = out.take();
    if result.is_ok() && tray.is_empty() && done.retry.is_empty() {
        return done;
    }
    let mut rest = Unfinished::default();
    rest.sort(std::mem::take(&mut done.retry), tray, result, 1, attempts, &mut done);
    while let Some((items, attempt, error)) = rest.next() {
        if let Some(e) = error {
            attempts.pause(ctx, attempt - 1, &e, jitter).await;
        }
        let mut tray = Vec::new();
        let result = guarded(processor.process(ctx, Batch::from(items), out), ctx, attempts, &mut tray).await;
        let mut decided = out.take();
        let retry = std::mem::take(&mut decided.retry);
        done.extend(decided);
        rest.sort(retry, tray, result, attempt, attempts, &mut done);
    }
    done
}

/// Writes items into a sink until every one is delivered or has to be parked. Delivered ones are settled.
///
/// # Cancel safety
/// When the future is dropped, items that are not delivered say `Retry`.
pub async fn deliver(sink: &mut dyn Sink, ctx: &Ctx, items: Vec<Item>, attempts: &Attempts, jitter: &mut Jitter) -> Decided {
    let mut done = Decided::default();
    let mut rest = Unfinished::default();
    rest.todo.push((items, 1, None));
    while let Some((items, attempt, error)) = rest.next() {
        if let Some(e) = error {
            attempts.pause(ctx, attempt - 1, &e, jitter).await;
        }
        let mut receipts = Vec::with_capacity(items.len());
        // Collected in place: an item's memory becomes the reading's.
        let parted = items.into_iter().map(|item| {
            let (reading, receipt) = item.into_parts();
            receipts.push(receipt);
            reading
        });
        let readings: Vec<Reading> = parted.collect();
        let written = guarded(sink.write(ctx, &readings), ctx, attempts, &mut Vec::new()).await;
        let written = match written {
            Ok(Written::Partial(failed)) if failed.iter().any(|(i, _)| *i >= readings.len()) => {
                Err(Error::new(Code::PROCESSOR_FAILED, "the sink names a reading that it was not given").op("sink.write"))
            }
            other => other,
        };
        match written {
            Ok(Written::All) => Receipt::settle_all(receipts, &Outcome::Delivered),
            Ok(Written::Partial(mut failed)) => {
                failed.sort_by_key(|(i, _)| *i);
                failed.dedup_by_key(|(i, _)| *i);
                let mut failed = failed.into_iter().peekable();
                let mut again = Vec::new();
                for (i, (reading, receipt)) in readings.into_iter().zip(receipts).enumerate() {
                    match failed.next_if(|(at, _)| *at == i) {
                        Some((_, e)) => again.push((Item::new(reading, receipt, Origin::Live), e)),
                        None => receipt.settle(Outcome::Delivered),
                    }
                }
                rest.sort(again, Vec::new(), Ok(()), attempt, attempts, &mut done);
            }
            Err(e) => {
                let items = readings.into_iter().zip(receipts).map(|(r, x)| Item::new(r, x, Origin::Live)).collect();
                rest.sort(Vec::new(), items, Err(e), attempt, attempts, &mut done);
            }
        }
    }
    done
}

/// Items that failed, in the order they are tried again: which, the how-manyeth try it is, and what to wait for.
#[derive(Default)]
struct Unfinished {
    todo: Vec<(Vec<Item>, u32, Option<Error>)>,
}

impl Unfinished {
    fn next(&mut self) -> Option<(Vec<Item>, u32, Option<Error>)> {
        self.todo.pop()
    }

    /// Decides what becomes of failed items: again together, again in halves, or parked.
    fn sort(
        &mut self,
        retry: Vec<(Item, Error)>,
        fallen: Vec<Item>,
        result: Result<()>,
        attempt: u32,
        attempts: &Attempts,
        done: &mut Decided,
    ) {
        let failed = usize::from(result.is_err() || !fallen.is_empty()) + usize::from(!retry.is_empty());
        done.failures += failed as u64;
        let mut again = Vec::new();
        let mut longest: Option<Error> = None;
        for (item, e) in retry {
            if attempts.again(attempt, &e) {
                again.push(item);
                longest = Some(match longest {
                    Some(old) if old.advice().after() >= e.advice().after() => old,
                    _ => e,
                });
            } else {
                done.park(item, e, attempt);
            }
        }
        if let Some(e) = longest {
            self.todo.push((again, attempt + 1, Some(e)));
        }
        let e = match result {
            Err(e) => e,
            Ok(()) => undecided(),
        };
        self.fallen(fallen, e, attempt, attempts, done);
    }

    fn fallen(&mut self, mut items: Vec<Item>, e: Error, attempt: u32, attempts: &Attempts, done: &mut Decided) {
        if items.is_empty() {
            return;
        }
        if attempts.again(attempt, &e) {
            self.todo.push((items, attempt + 1, Some(e)));
        } else if items.len() > 1 {
            // Each half is tried once at once: the waits are over, or would not help.
            let second = items.split_off(items.len() / 2);
            self.todo.push((second, attempt.max(attempts.max), None));
            self.todo.push((items, attempt.max(attempts.max), None));
        } else if let Some(item) = items.pop() {
            done.park(item, e, attempt);
        }
    }
}

impl Decided {
    fn park(&mut self, mut item: Item, e: Error, attempt: u32) {
        item.attempts = u8::try_from(attempt).unwrap_or(u8::MAX);
        let e = if e.advice().is_worthwhile() {
            Error::new(Code::GAVE_UP, format!("{} after {attempt} tries", e.message())).source(e)
        } else {
            e
        };
        self.parked.push((item, e));
    }
}

/// Runs a future with the time limit, catches its panic, and collects the items that it drops undecided.
async fn guarded<T>(mut work: BoxFuture<'_, Result<T>>, ctx: &Ctx, attempts: &Attempts, tray: &mut Vec<Item>) -> Result<T> {
    let mut timer = attempts.timeout.map(|d| ctx.clock().sleep(d));
    let result = poll_fn(|cx| {
        let polled = catching(tray, || catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))));
        match polled {
            Err(panic) => Poll::Ready(Err(panicked(panic.as_ref()))),
            Ok(Poll::Ready(r)) => Poll::Ready(r),
            Ok(Poll::Pending) => match timer.as_mut().map(|t| Pin::new(t).poll(cx)) {
                Some(Poll::Ready(())) => {
                    let limit = attempts.timeout.unwrap_or_default();
                    Poll::Ready(Err(Error::new(Code::TIMED_OUT, format!("not done within {limit:?}"))))
                }
                _ => Poll::Pending,
            },
        }
    })
    .await;
    // What the future still holds falls with it.
    catching(tray, || drop(work));
    result
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::new(Code::PROCESSOR_FAILED, format!("it panicked: {}", text.unwrap_or("without a message"))).op("processor")
}
