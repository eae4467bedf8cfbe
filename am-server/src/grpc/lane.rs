//! The batches of one stream: several wait for their commit at once, and their answers leave in order.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use am_core::{Clock, Code, Error};
use futures_core::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Status;

use super::status;
use crate::metrics::{Metrics, Refusal};
use crate::net::link::Cutter;

/// Answers that wait for the client to read them.
const UNREAD: usize = 8;

/// The answers of a stream, as tonic wants them.
pub(crate) struct Answers<R>(mpsc::Receiver<Result<R, Status>>);

impl<R> Stream for Answers<R> {
    type Item = Result<R, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// The client is gone, or was cut off.
pub(crate) struct Gone;

/// Work in flight, in order, and the way back.
pub(crate) struct Lane<R> {
    waiting: VecDeque<JoinHandle<R>>,
    most: usize,
    out: mpsc::Sender<Result<R, Status>>,
    clock: Arc<dyn Clock>,
    stall: Duration,
    metrics: Arc<Metrics>,
    cutter: Option<Cutter>,
}

impl<R: Send + 'static> Lane<R> {
    pub(crate) fn new(
        most: usize,
        clock: Arc<dyn Clock>,
        stall: Duration,
        metrics: Arc<Metrics>,
        cutter: Option<Cutter>,
    ) -> (Self, Answers<R>) {
        let (out, rx) = mpsc::channel(UNREAD);
        (Lane { waiting: VecDeque::new(), most, out, clock, stall, metrics, cutter }, Answers(rx))
    }

    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < self.most
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn push(&mut self, work: impl Future<Output = R> + Send + 'static) {
        self.waiting.push_back(tokio::spawn(work));
    }

    /// The oldest answer, once it is there; never when nothing is waiting.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn next(&mut self) -> Result<R, Status> {
        let Some(first) = self.waiting.front_mut() else { return std::future::pending().await };
        let done = first.await;
        self.waiting.pop_front();
        done.map_err(|e| status::of(&Error::new(Code::INTERNAL, format!("taking a batch in failed: {e}")).op("server.accept")))
    }

    /// Hands an answer over; a client that leaves it unread for too long loses its connection.
    pub(crate) async fn send(&self, answer: Result<R, Status>) -> Result<(), Gone> {
        let answer = match self.out.try_send(answer) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Gone),
            Err(mpsc::error::TrySendError::Full(answer)) => answer,
        };
        tokio::select! {
            sent = self.out.send(answer) => sent.map_err(|_| Gone),
            () = self.clock.sleep(self.stall) => {
                self.metrics.refused(Refusal::Stalled);
                tracing::info!("a client does not read its answers; its connection is cut");
                if let Some(c) = &self.cutter {
                    c.cut();
                }
                Err(Gone)
            }
        }
    }

    /// Ready once nobody reads the answers any more.
    pub(crate) async fn gone(&self) {
        self.out.closed().await;
    }

    /// Sends what is in flight, in order, and then how the stream ended.
    pub(crate) async fn finish(mut self, last: Option<Status>) {
        while !self.is_empty() {
            let answer = self.next().await;
            if self.send(answer).await.is_err() {
                return;
            }
        }
        if let Some(s) = last {
            let _ = self.send(Err(s)).await;
        }
    }
}
