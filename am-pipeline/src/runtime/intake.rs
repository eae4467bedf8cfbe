//! The task of a source: polls with credits, hands items on, tells the source how they ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use am_core::{BoxFuture, CancelToken, Ctx, Result};
use tokio::sync::Notify;

use super::outlet::Outlet;
use super::parking::Parking;
use super::settings::SourceOptions;
use super::status::Counters;
use crate::outcome::Outcome;
use crate::receipt::Ledger;
use crate::{Attempts, Item, Jitter, Polled, Settled, Source, Token};

/// How often items are looked after that ended before the rest of their poll.
const EARLY: Duration = Duration::from_millis(50);
/// How long after a hard stop the last receipts may still come in.
const LAST: Duration = Duration::from_secs(1);

/// What came of a source's items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Items that the source handed over.
    pub received: u64,
    /// Items that arrived.
    pub delivered: u64,
    /// Items let go on purpose, by reason.
    pub discarded: BTreeMap<String, u64>,
    /// Items among the dead letters.
    pub parked: u64,
    /// Items that the source was told to bring again.
    pub retry: u64,
}

impl Totals {
    /// Whether every item that was received ended (P02).
    pub fn balance(&self) -> bool {
        self.received == self.delivered + self.discarded.values().sum::<u64>() + self.parked + self.retry
    }

    pub(super) fn add(&mut self, other: &Totals) {
        self.received += other.received;
        self.delivered += other.delivered;
        self.parked += other.parked;
        self.retry += other.retry;
        for (reason, n) in &other.discarded {
            *self.discarded.entry(reason.clone()).or_default() += n;
        }
    }

    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Delivered => self.delivered += 1,
            Outcome::Discarded(reason) => match self.discarded.get_mut(reason.as_str()) {
                Some(n) => *n += 1,
                None => {
                    self.discarded.insert(reason.as_str().to_owned(), 1);
                }
            },
            Outcome::Parked(_) => self.parked += 1,
            Outcome::Retry(_) => self.retry += 1,
        }
    }
}

/// The items of one poll while they are on their way.
struct Flight {
    ledger: Ledger,
    tokens: Vec<Token>,
}

pub(super) struct Intake {
    pub(super) ctx: Ctx,
    pub(super) source: Box<dyn Source>,
    pub(super) options: SourceOptions,
    pub(super) outlet: Outlet,
    pub(super) parking: Parking,
    pub(super) counters: Arc<Counters>,
    /// Raised to stop polling.
    pub(super) stop: CancelToken,
    /// Raised when everything on its way has been broken off.
    pub(super) broken_off: CancelToken,
    pub(super) jitter: Jitter,
}

/// What woke the task.
enum Event {
    Polled(Result<Option<Polled>>),
    Stop,
    Look,
    Early,
    Rested,
    BrokenOff,
    Late,
}

impl Intake {
    /// Runs until the source is at its end or told to stop, and all that it handed over has ended.
    pub(super) async fn run(mut self) -> (Totals, Result<()>) {
        let mut totals = Totals::default();
        let result = self.work(&mut totals).await;
        if result.is_err() {
            self.stop.cancel();
        }
        (totals, result)
    }

    async fn work(&mut self, totals: &mut Totals) -> Result<()> {
        let ctx = self.ctx.clone();
        let settled = Arc::new(Notify::new());
        let mut flights: VecDeque<Flight> = VecDeque::new();
        let (mut on_way, mut failures, mut polling) = (0usize, 0u32, true);
        let mut rest: Option<BoxFuture<'static, ()>> = None;
        let mut late: Option<BoxFuture<'static, ()>> = None;
        let mut early: Option<BoxFuture<'static, ()>> = None;
        let (mut failed, mut look) = (Ok(()), false);
        loop {
            let done = collect(&mut flights, std::mem::take(&mut look));
            if !done.is_empty() {
                on_way -= done.len();
                self.counters.leave(done.len());
                done.iter().for_each(|s| totals.count(&s.outcome));
                self.settle(&ctx, &done).await?;
            }
            if !polling && flights.is_empty() {
                return failed;
            }
            let room = self.options.in_flight.saturating_sub(on_way).min(self.options.batch);
            // Asking for every credit as it comes back would make batches of single items.
            let worth = self.options.in_flight.min(self.options.batch) / 8;
            if early.is_none() && !flights.is_empty() {
                early = Some(ctx.clock().sleep(EARLY));
            }
            let event = tokio::select! {
                biased;
                () = self.broken_off.cancelled(), if late.is_none() => Event::BrokenOff,
                () = self.stop.cancelled(), if polling => Event::Stop,
                polled = self.source.poll(&ctx, room), if polling && room > worth && rest.is_none() => Event::Polled(polled),
                () = settled.notified() => Event::Look,
                () = wait(&mut rest) => Event::Rested,
                () = wait(&mut late) => Event::Late,
                () = wait(&mut early) => Event::Early,
            };
            match event {
                Event::Look => {}
                Event::Early => (early, look) = (None, true),
                Event::Rested => rest = None,
                Event::Stop | Event::Polled(Ok(None)) => {
                    polling = false;
                    rest = None;
                    self.outlet = Outlet::default();
                }
                Event::BrokenOff => {
                    polling = false;
                    self.outlet = Outlet::default();
                    late = Some(ctx.clock().sleep(LAST));
                }
                Event::Late => {
                    // Someone holds receipts beyond the end; their items come again.
                    let left: Vec<Settled> = flights.drain(..).flat_map(Flight::abandon).collect();
                    left.iter().for_each(|s| totals.count(&s.outcome));
                    self.settle(&ctx, &left).await?;
                    return failed;
                }
                Event::Polled(Ok(Some(polled))) => {
                    failures = 0;
                    if polled.items.is_empty() {
                        // Nothing now: gives the others their turn before it is asked again.
                        tokio::task::yield_now().await;
                        continue;
                    }
                    totals.received += polled.items.len() as u64;
                    on_way += self.take(&ctx, polled, &mut flights, &settled, totals).await?;
                    // Lets the next node take the batch while it is still in the processor's cache.
                    tokio::task::yield_now().await;
                }
                Event::Polled(Err(e)) => {
                    self.counters.add(|c| &c.errors, 1);
                    if e.advice().is_worthwhile() {
                        failures = failures.saturating_add(1);
                        tracing::warn!(error = %e, failures, "a source failed; asking again");
                        let wait = self.options.backoff.wait(failures, self.jitter.unit(), e.advice().after());
                        rest = Some(ctx.clock().sleep(wait));
                    } else {
                        failed = Err(e);
                        polling = false;
                        self.outlet = Outlet::default();
                    }
                }
            }
        }
    }

    /// Sends valid items on their way and parks the others; returns how many are on their way.
    async fn take(
        &mut self,
        ctx: &Ctx,
        polled: Polled,
        flights: &mut VecDeque<Flight>,
        settled: &Arc<Notify>,
        totals: &mut Totals,
    ) -> Result<usize> {
        self.counters.add(|c| &c.taken, polled.items.len());
        let n = polled.items.iter().filter(|a| a.item.is_ok()).count();
        let (ledger, mut receipts) = Ledger::notifying(n, settled.clone());
        let mut tokens = Vec::with_capacity(n);
        let (mut rejected, mut refused) = (Vec::new(), Vec::new());
        let mut items = Vec::with_capacity(n);
        for arrival in polled.items {
            match arrival.item {
                Ok(r) => {
                    tokens.push(arrival.token);
                    items.push(Item::new(r, receipts.next().unwrap_or_default(), polled.origin));
                }
                Err(r) => {
                    refused.push((arrival.token, Arc::new(am_core::Error::from(r.clone()))));
                    rejected.push(r);
                }
            }
        }
        if n > 0 {
            flights.push_back(Flight { ledger, tokens });
            self.counters.add(|c| &c.given, n);
            self.counters.add(|c| &c.depth, n);
            let lost = self.outlet.send(items).await;
            let broken_off = self.broken_off.clone();
            tokio::select! {
                biased;
                parked = self.parking.park(ctx, lost) => parked?,
                () = broken_off.cancelled() => {}
            }
        }
        if !rejected.is_empty() {
            self.counters.add(|c| &c.parked, rejected.len());
            // A hard stop in between leaves them to come again: they were never acknowledged.
            let broken_off = self.broken_off.clone();
            let parked = tokio::select! {
                biased;
                r = self.parking.park_rejected(ctx, rejected) => Some(r),
                () = broken_off.cancelled() => None,
            };
            let outcome = |e| match &parked {
                Some(Ok(())) => Outcome::Parked(e),
                _ => Outcome::Retry(Some(e)),
            };
            let done: Vec<Settled> = refused.into_iter().map(|(token, e)| Settled { token, outcome: outcome(e) }).collect();
            done.iter().for_each(|s| totals.count(&s.outcome));
            self.settle(ctx, &done).await?;
            if let Some(Err(e)) = parked {
                return Err(e);
            }
        }
        Ok(n)
    }

    /// Tells the source, as often as it takes while its errors advise to try again.
    async fn settle(&mut self, ctx: &Ctx, done: &[Settled]) -> Result<()> {
        let attempts = Attempts { max: u32::MAX, backoff: self.options.backoff.clone(), timeout: None };
        let mut attempt = 1;
        loop {
            match self.source.settle(ctx, done).await {
                Ok(()) => return Ok(()),
                Err(e) if attempts.again(attempt, &e) && !self.broken_off.is_cancelled() => {
                    self.counters.add(|c| &c.errors, 1);
                    tokio::select! {
                        () = attempts.pause(ctx, attempt, &e, &mut self.jitter) => {}
                        () = self.broken_off.cancelled() => {}
                    }
                    attempt += 1;
                }
                Err(e) => return Err(e),
            }
        }
    }
}

impl Flight {
    /// What is left of it, to come again.
    fn abandon(self) -> Vec<Settled> {
        let mut left = Vec::with_capacity(self.ledger.left());
        self.ledger.drain_all(|slot, outcome| {
            if let Some(token) = self.tokens.get(slot) {
                left.push(Settled { token: *token, outcome });
            }
        });
        left
    }
}

/// Takes the outcomes of polls that ended as a whole; with `early` also those of items that ended before their neighbours.
fn collect(flights: &mut VecDeque<Flight>, early: bool) -> Vec<Settled> {
    let mut done = Vec::new();
    flights.retain_mut(|flight| {
        let Flight { ledger, tokens } = flight;
        if ledger.is_settled() || early && ledger.has_news() {
            done.reserve(ledger.left());
            ledger.drain(|slot, outcome| {
                if let Some(token) = tokens.get(slot) {
                    done.push(Settled { token: *token, outcome });
                }
            });
        }
        ledger.left() > 0
    });
    done
}

async fn wait(timer: &mut Option<BoxFuture<'static, ()>>) {
    match timer {
        Some(t) => t.as_mut().await,
        None => std::future::pending().await,
    }
}
