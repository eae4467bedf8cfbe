//! The simulated device's own time and radio.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use am_client::{GrpcTransport, Transport, Upload, UploadAnswer};
use am_core::{BoxFuture, Clock, Code, Error, Monotonic, Result, Timestamp};
use async_trait::async_trait;

/// A device's clock that runs `speed` times as fast as real time, and may be wrong.
///
/// It never runs ahead of what the device has recorded: on a machine that is too slow for the speed, the device's time goes slower.
pub(crate) struct DeviceClock {
    real: Arc<dyn Clock>,
    begin: Monotonic,
    start: Timestamp,
    speed: f64,
    /// How far the device fell behind the speed, nanoseconds.
    slip_ns: AtomicI64,
    /// Where the clock waits for the device, nanoseconds since the start.
    cap_ns: AtomicI64,
    offset_ns: AtomicI64,
}

impl DeviceClock {
    pub(crate) fn new(real: Arc<dyn Clock>, start: Timestamp, speed: f64) -> Self {
        let zero = || AtomicI64::new(0);
        DeviceClock { begin: real.monotonic(), real, start, speed, slip_ns: zero(), cap_ns: zero(), offset_ns: zero() }
    }

    /// Sets the clock wrong by some seconds.
    pub(crate) fn set_wrong_by(&self, seconds: i64) {
        self.offset_ns.store(seconds * 1_000_000_000, Ordering::Release);
    }

    /// Waits until the simulated time is `t`; from then on the clock may go on as far as `cap`.
    pub(crate) async fn until(&self, t: Timestamp, cap: Timestamp) {
        let since = |t: Timestamp| i64::try_from(t.since(self.start).as_nanos()).unwrap_or(i64::MAX);
        let ahead = since(t) - self.unbounded_ns();
        match ahead {
            1.. => self.sleep(Duration::from_nanos(ahead.unsigned_abs())).await,
            _ => {
                self.slip_ns.fetch_sub(ahead, Ordering::AcqRel);
            }
        }
        self.cap_ns.store(since(cap), Ordering::Release);
    }

    /// Lets the clock run on: nothing more is recorded.
    pub(crate) fn release(&self) {
        self.cap_ns.store(i64::MAX, Ordering::Release);
    }

    fn unbounded_ns(&self) -> i64 {
        let scaled = self.real.monotonic().saturating_sub(self.begin).mul_f64(self.speed);
        i64::try_from(scaled.as_nanos()).unwrap_or(i64::MAX).saturating_sub(self.slip_ns.load(Ordering::Acquire))
    }
}

impl Clock for DeviceClock {
    fn now(&self) -> Timestamp {
        self.start.saturating_add(self.monotonic()).shifted(self.offset_ns.load(Ordering::Acquire))
    }

    fn monotonic(&self) -> Monotonic {
        let ns = self.unbounded_ns().min(self.cap_ns.load(Ordering::Acquire));
        Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        self.real.sleep(d.div_f64(self.speed))
    }
}

/// Round trips in microseconds; bounded, because a day is.
pub(crate) struct Latencies {
    /// Counts by eighths of powers of two.
    buckets: [AtomicU64; 256],
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies { buckets: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Latencies {
    fn note(&self, d: Duration) {
        let us = d.as_micros().max(1) as f64;
        let i = (us.log2() * 8.0) as usize;
        if let Some(b) = self.buckets.get(i.min(255)) {
            b.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Milliseconds below which a share of them lies; 0 when there were none.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let counts: Vec<u64> = self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        let rank = (counts.iter().sum::<u64>() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (i, c) in counts.iter().enumerate() {
            seen += c;
            if seen >= rank && rank > 0 {
                return 2f64.powf((i as f64 + 0.5) / 8.0) / 1_000.0;
            }
        }
        0.0
    }
}

/// A radio that can be off, in front of the real transport; measures how long the server takes to accept a batch.
pub(crate) struct Radio {
    inner: GrpcTransport,
    real: Arc<dyn Clock>,
    off: AtomicBool,
    latencies: Arc<Latencies>,
}

impl Radio {
    pub(crate) fn new(inner: GrpcTransport, real: Arc<dyn Clock>, latencies: Arc<Latencies>) -> Self {
        Radio { inner, real, off: AtomicBool::new(false), latencies }
    }

    pub(crate) fn switch(&self, on: bool) {
        self.off.store(!on, Ordering::Release);
    }
}

#[async_trait]
impl Transport for Radio {
    async fn upload(&self, batch: Upload) -> Result<UploadAnswer> {
        if self.off.load(Ordering::Acquire) {
            return Err(Error::new(Code::UNREACHABLE, "no network").op("radio"));
        }
        let begin = self.real.monotonic();
        let answer = self.inner.upload(batch).await?;
        self.latencies.note(self.real.monotonic().saturating_sub(begin));
        Ok(answer)
    }
}
