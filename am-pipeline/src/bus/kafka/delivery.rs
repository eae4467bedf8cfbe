//! Messages that wait for the brokers' acknowledgement, together.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use rdkafka::error::KafkaError;
use rdkafka::producer::DeliveryFuture;
use rdkafka::producer::future_producer::Delivery;

type Answer = Result<Delivery, KafkaError>;

/// Those of one call, by their place in it.
#[derive(Default)]
pub(super) struct Deliveries {
    waiting: Vec<(usize, DeliveryFuture)>,
    answered: Vec<(usize, Answer)>,
}

impl Deliveries {
    pub(super) fn add(&mut self, n: usize, delivery: DeliveryFuture) {
        self.waiting.push((n, delivery));
    }

    /// Ready once all are answered. Dropping the future keeps what was answered.
    ///
    /// librdkafka answers in the order of each partition, so waiting for one after the other wakes rarely and loses nothing.
    pub(super) async fn all(&mut self) {
        self.waiting.reverse();
        std::future::poll_fn(|cx| {
            while let Some((n, delivery)) = self.waiting.last_mut() {
                let Poll::Ready(answer) = Pin::new(delivery).poll(cx) else { return Poll::Pending };
                let n = *n;
                self.waiting.pop();
                self.answered.push((n, flat(answer)));
            }
            Poll::Ready(())
        })
        .await;
    }

    /// What was answered, and what was not.
    pub(super) fn answers(self) -> impl Iterator<Item = (usize, Option<Answer>)> {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        // Some behind the one that was waited for may have been answered.
        let rest: Vec<(usize, Option<Answer>)> = self
            .waiting
            .into_iter()
            .map(|(n, mut delivery)| match Pin::new(&mut delivery).poll(&mut cx) {
                Poll::Ready(answer) => (n, Some(flat(answer))),
                Poll::Pending => (n, None),
            })
            .collect();
        self.answered.into_iter().map(|(n, a)| (n, Some(a))).chain(rest)
    }
}

fn flat<E>(answer: Result<rdkafka::producer::future_producer::OwnedDeliveryResult, E>) -> Answer {
    match answer {
        Ok(Ok(delivery)) => Ok(delivery),
        Ok(Err((e, _))) => Err(e),
        // The producer is gone.
        Err(_) => Err(KafkaError::Canceled),
    }
}
