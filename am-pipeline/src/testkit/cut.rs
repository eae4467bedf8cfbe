//! Drops a future in the middle of its work.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A future that gives its inner one so many polls and then ends with nothing; made by [`cut`].
pub struct Cut<F> {
    inner: Pin<Box<F>>,
    left: usize,
}

/// Polls a future at most `polls` times: `None` when it was not ready by then. Dropping the returned future drops the inner one, at the
/// await it had come to.
pub fn cut<F: Future>(inner: F, polls: usize) -> Cut<F> {
    Cut { inner: Box::pin(inner), left: polls }
}

impl<F: Future> Future for Cut<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        match self.inner.as_mut().poll(cx) {
            Poll::Ready(v) => Poll::Ready(Some(v)),
            Poll::Pending => {
                self.left -= 1;
                if self.left == 0 { Poll::Ready(None) } else { Poll::Pending }
            }
        }
    }
}
