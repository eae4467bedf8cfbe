//! Cancellation that needs no runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// A flag that can be raised once, waited for, and handed down.
///
/// Cancelling a token cancels its children, never its parent.
#[derive(Clone, Default)]
pub struct CancelToken(Arc<Node>);

#[derive(Default)]
struct Node {
    raised: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    wakers: Vec<(u64, Waker)>,
    children: Vec<Weak<Node>>,
}

impl CancelToken {
    /// A token that nobody has raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that is raised with this one, or alone.
    #[must_use]
    pub fn child(&self) -> Self {
        let child = CancelToken::new();
        let mut w = self.0.waiting.lock();
        if self.is_cancelled() {
            child.0.raised.store(true, Ordering::Release);
        } else {
            w.children.retain(|c| c.strong_count() > 0);
            w.children.push(Arc::downgrade(&child.0));
        }
        child
    }

    /// Raises it. Raising it again does nothing.
    pub fn cancel(&self) {
        let mut todo = vec![self.0.clone()];
        while let Some(node) = todo.pop() {
            let (wakers, children) = {
                let mut w = node.waiting.lock();
                node.raised.store(true, Ordering::Release);
                (std::mem::take(&mut w.wakers), std::mem::take(&mut w.children))
            };
            wakers.into_iter().for_each(|(_, w)| w.wake());
            todo.extend(children.iter().filter_map(Weak::upgrade));
        }
    }

    /// Whether it was raised.
    pub fn is_cancelled(&self) -> bool {
        self.0.raised.load(Ordering::Acquire)
    }

    /// Ready once it is raised.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled { node: self.0.clone(), id: None }
    }
}

impl std::fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CancelToken({})", self.is_cancelled())
    }
}

/// Ready once its token is raised.
#[must_use = "futures do nothing unless polled"]
pub struct Cancelled {
    node: Arc<Node>,
    id: Option<u64>,
}

impl Future for Cancelled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let node = self.node.clone();
        let mut w = node.waiting.lock();
        if node.raised.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        let id = *self.id.get_or_insert_with(|| {
            w.next += 1;
            w.next
        });
        match w.wakers.iter_mut().find(|(i, _)| *i == id) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => w.wakers.push((id, cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.node.waiting.lock().wakers.retain(|(i, _)| *i != id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancelling_goes_down_and_not_up() {
        let root = CancelToken::new();
        let a = root.child();
        let b = a.child();
        a.cancel();
        assert!(!root.is_cancelled() && a.is_cancelled() && b.is_cancelled());
        assert!(a.child().is_cancelled());
    }

    #[test]
    fn a_dropped_wait_leaves_no_waker() {
        let t = CancelToken::new();
        let mut cx = Context::from_waker(Waker::noop());
        {
            let mut f = Box::pin(t.cancelled());
            assert!(f.as_mut().poll(&mut cx).is_pending());
            assert!(f.as_mut().poll(&mut cx).is_pending());
            assert_eq!(t.0.waiting.lock().wakers.len(), 1);
        }
        assert_eq!(t.0.waiting.lock().wakers.len(), 0);
        let mut f = Box::pin(t.cancelled());
        t.cancel();
        assert!(f.as_mut().poll(&mut cx).is_ready());
    }
}
