//! Futures that are watched, or let go of half-way.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use am_core::BoxFuture;

/// How a watched future ended.
pub(super) enum End<T> {
    Done(T),
    Panicked(String),
    TimedOut,
}

/// Runs a future until it is done, panics, or the alarm goes off.
pub(super) async fn watched<T>(make: impl FnOnce() -> BoxFuture<'static, T>, mut alarm: BoxFuture<'static, ()>) -> End<T> {
    let mut work = match catch_unwind(AssertUnwindSafe(make)) {
        Ok(f) => f,
        Err(p) => return End::Panicked(said(p.as_ref())),
    };
    poll_fn(move |cx| {
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(Poll::Ready(v)) => return Poll::Ready(End::Done(v)),
            Ok(Poll::Pending) => {}
            Err(p) => return Poll::Ready(End::Panicked(said(p.as_ref()))),
        }
        alarm.as_mut().poll(cx).map(|()| End::TimedOut)
    })
    .await
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a text".into())
}

/// Polls a future `times` times, waiting to be woken in between, then lets go of it. `Some` when it was done before.
pub(super) async fn let_go_after<T>(times: usize, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut left = times;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match work.as_mut().poll(cx) {
            Poll::Ready(v) => Poll::Ready(Some(v)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Whether a future is ready at its first poll, without waiting.
pub(super) async fn ready_now<T>(work: impl Future<Output = T>) -> bool {
    let_go_after(1, work).await.is_some()
}
