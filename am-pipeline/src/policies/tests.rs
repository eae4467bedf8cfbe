use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use am_core::{ManualClock, Scope, Timestamp, policy::Backoff};

use super::*;

fn setup() -> (ManualClock, Ctx) {
    let clock = ManualClock::new(Timestamp::from_second(0));
    (clock.clone(), Ctx::new(Scope::local(), Arc::new(clock)))
}

fn away() -> Error {
    Error::new(Code::UNREACHABLE, "away").retry(am_core::Retry::Safe { after_ms: 0 })
}

/// Polls a future, moving the clock by `step` whenever it waits; returns its value and the time it took.
fn drive<T>(clock: &ManualClock, step: Duration, future: impl Future<Output = T>) -> (T, Duration) {
    let mut future = Box::pin(future);
    let mut cx = Context::from_waker(Waker::noop());
    let start = am_core::Clock::monotonic(clock);
    for _ in 0..1_000_000 {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(v) => return (v, am_core::Clock::monotonic(clock) - start),
            Poll::Pending => clock.advance(step),
        }
    }
    panic!("it never ended");
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn retries_wait_within_their_ceilings_and_then_give_up_with_the_cause() {
    let (clock, ctx) = setup();
    let policies = Policies::new().with(Retry::new(4, Backoff::new(100, 1_000)));
    let times = parking_lot::Mutex::new(Vec::new());
    let (result, _) = drive(
        &clock,
        MS,
        policies.call(&ctx, |ctx| {
            times.lock().push(ctx.clock().monotonic());
            Box::pin(async { Err::<(), _>(away()) })
        }),
    );
    let e = result.unwrap_err();
    assert_eq!((e.code(), e.message()), (Code::GAVE_UP, "away after 4 tries"));
    assert!(format!("{e:?}").contains("caused by: AM-5001"));
    let times = times.into_inner();
    let waits: Vec<Duration> = times.windows(2).map(|w| w[1] - w[0]).collect();
    assert_eq!(waits.len(), 3);
    for (wait, ceiling) in waits.iter().zip([100, 200, 400]) {
        assert!(*wait <= Duration::from_millis(ceiling + 1), "{waits:?}");
    }
}

#[test]
fn an_error_that_never_passes_is_not_tried_again_and_its_advice_is_heeded() {
    let (clock, ctx) = setup();
    let calls = AtomicU32::new(0);
    let policies = Policies::new().with(Retry::default());
    let once = policies.call(&ctx, |_| {
        calls.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Err::<(), _>(Error::new(Code::INVALID_ITEM, "no")) })
    });
    assert_eq!(drive(&clock, MS, once).0.unwrap_err().code(), Code::INVALID_ITEM);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    let twice = policies.call(&ctx, |_| {
        let n = calls.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { if n == 1 { Err(away().retry(am_core::Retry::Safe { after_ms: 700 })) } else { Ok(n) } })
    });
    let (value, took) = drive(&clock, MS, twice);
    assert_eq!(value.unwrap(), 2);
    assert!(took >= Duration::from_millis(700), "{took:?}");
}

#[test]
fn the_budget_and_the_limit_of_a_try_end_a_call_that_hangs() {
    let (clock, ctx) = setup();
    let retry = Retry::new(100, Backoff::new(0, 0)).budget(Duration::from_secs(10)).per_try(Duration::from_secs(3));
    let (result, took) = drive(
        &clock,
        10 * MS,
        Policies::new().with(retry).call(&ctx, |ctx| {
            assert!(ctx.time_left().unwrap() <= Duration::from_secs(3), "the call knows its limit");
            Box::pin(std::future::pending::<Result<()>>())
        }),
    );
    assert_eq!(result.unwrap_err().code(), Code::GAVE_UP);
    assert!((Duration::from_secs(9)..=Duration::from_secs(11)).contains(&took), "{took:?}");
}

#[test]
fn a_breaker_opens_at_half_of_ten_rests_half_a_minute_and_closes_after_its_probes() {
    let (clock, ctx) = setup();
    let breaker = Arc::new(Breaker::default());
    let policies = Policies::new().with_shared(breaker.clone());
    let state = || breaker.state(am_core::Clock::monotonic(&clock));
    let call = |ok: bool| drive(&clock, MS, policies.call(&ctx, move |_| Box::pin(async move { if ok { Ok(()) } else { Err(away()) } }))).0;
    for i in 0..9 {
        let _ = call(i % 2 == 0);
    }
    assert_eq!(state(), BreakerState::Closed, "nine calls are too few");
    clock.advance(Duration::from_secs(11));
    for i in 0..9 {
        let _ = call(i % 2 == 0);
    }
    assert_eq!(state(), BreakerState::Closed, "the first nine are forgotten");
    assert!(call(false).is_err());
    assert_eq!(state(), BreakerState::Open);
    let e = call(true).unwrap_err();
    assert_eq!(e.code(), Code::CIRCUIT_OPEN);
    assert!(e.advice().after() > Duration::from_secs(29));
    clock.advance(Duration::from_secs(30));
    assert_eq!(state(), BreakerState::HalfOpen);
    assert_eq!(call(false).unwrap_err().code(), Code::UNREACHABLE, "a probe is let through");
    assert_eq!(state(), BreakerState::Open, "a failed probe opens it again");
    clock.advance(Duration::from_secs(30));
    for _ in 0..3 {
        call(true).unwrap();
    }
    assert_eq!(state(), BreakerState::Closed);
}

#[test]
fn a_breaker_counts_trouble_of_the_other_side_and_not_bad_calls() {
    let (clock, ctx) = setup();
    let breaker = Arc::new(Breaker::default());
    let policies = Policies::new().with_shared(breaker.clone());
    for _ in 0..50 {
        let call = policies.call(&ctx, |_| Box::pin(async { Err::<(), _>(Error::new(Code::INVALID_ITEM, "no")) }));
        assert_eq!(drive(&clock, MS, call).0.unwrap_err().code(), Code::INVALID_ITEM);
    }
    assert_eq!(breaker.state(Duration::ZERO), BreakerState::Closed);
}

#[test]
fn only_so_many_calls_run_and_wait_and_a_dropped_wait_leaves_its_place() {
    let (_, ctx) = setup();
    let policies = Policies::new().with(Concurrency::new(1, 1));
    let mut cx = Context::from_waker(Waker::noop());
    let call = || Box::pin(policies.call(&ctx, |_| Box::pin(std::future::pending::<Result<()>>())));
    let (mut running, mut waiting, mut refused) = (call(), call(), call());
    assert!(running.as_mut().poll(&mut cx).is_pending() && waiting.as_mut().poll(&mut cx).is_pending());
    assert!(matches!(refused.as_mut().poll(&mut cx), Poll::Ready(Err(e)) if e.code() == Code::OVERLOADED));
    drop(waiting);
    let mut next = call();
    assert!(next.as_mut().poll(&mut cx).is_pending(), "the place in the queue is free again");
}

#[test]
fn a_rate_lets_a_burst_through_then_one_by_one_and_refuses_long_waits() {
    let (clock, ctx) = setup();
    let rate = Rate::per_second(10.0, 3).waits_at_most(Duration::from_millis(150));
    let policies = Policies::new().with(rate);
    let call = || policies.call(&ctx, |_| Box::pin(async { Ok(()) }));
    for expected in [0, 0, 0, 100, 100] {
        let (result, took) = drive(&clock, MS, call());
        result.unwrap();
        assert_eq!(took.as_millis(), expected);
    }
    let mut cx = Context::from_waker(Waker::noop());
    let mut waiting = Box::pin(call());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    assert!(matches!(Box::pin(call()).as_mut().poll(&mut cx), Poll::Ready(Err(e)) if e.code() == Code::OVERLOADED));
}

#[test]
fn policies_compose_around_a_sink_and_the_meter_counts_what_passes_it() {
    struct Third(u32);
    #[async_trait]
    impl Sink for Third {
        async fn write(&mut self, _: &Ctx, _: &[Reading]) -> Result<Written> {
            self.0 += 1;
            if self.0 < 3 { Err(away()) } else { Ok(Written::All) }
        }
    }
    let (clock, ctx) = setup();
    let (outer, inner) = (Meter::new(), Meter::new());
    let mut sink = Policies::new().with(outer.clone()).with(Retry::new(5, Backoff::new(10, 10))).with(inner.clone()).sink(Third(0));
    assert!(matches!(drive(&clock, MS, sink.write(&ctx, &[])).0, Ok(Written::All)));
    assert_eq!((outer.read().calls, outer.read().failures), (1, 0));
    assert_eq!((inner.read().calls, inner.read().failures, inner.read().under_way), (3, 2, 0));
}
