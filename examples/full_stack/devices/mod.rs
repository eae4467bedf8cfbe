//! The three devices: what they record, and how they send it.

mod laptop;
mod motion;
mod phone;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use am_client::{Client, ClientOptions, Compression, GrpcTransport};
use am_core::policy::Backoff;
use am_core::{CancelToken, Clock, DeviceId, ReadingId, Result, Secret, Timestamp};
use am_schema::{Catalogue, Payload, Reading, v1};

use crate::day::{self, Faults};
use crate::link::{DeviceClock, Latencies, Radio};
use crate::rng::Rng;

/// Which device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Phone,
    Watch,
    Laptop,
}

impl Which {
    pub(crate) const ALL: [Which; 3] = [Which::Phone, Which::Watch, Which::Laptop];

    pub(crate) fn id(self) -> &'static str {
        match self {
            Which::Phone => "phone",
            Which::Watch => "watch",
            Which::Laptop => "laptop",
        }
    }
}

/// What all devices need to know.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) hours: f64,
    pub(crate) speed: f64,
    pub(crate) faults: Faults,
    pub(crate) endpoint: String,
    pub(crate) real: Arc<dyn Clock>,
    pub(crate) latencies: Arc<Latencies>,
    pub(crate) stop: CancelToken,
    /// Simulated seconds done, of all devices together.
    pub(crate) progress: AtomicU64,
}

/// What a device planted, and what its client says at the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent {
    pub(crate) readings: u64,
    pub(crate) duplicates: u64,
    pub(crate) invalid: u64,
    pub(crate) rejected: u64,
    pub(crate) left: u64,
}

/// A device at work: makes readings of a stretch of time and pushes them.
pub(crate) struct Device {
    which: Which,
    id: DeviceId,
    catalogue: Catalogue,
    client: Client,
    rng: Rng,
    faults_rng: Rng,
    duplicates: f64,
    invalid: f64,
    /// Added to the time of every reading while the clock is wrong, nanoseconds.
    wrong_by: i64,
    sent: Sent,
    sequence: u64,
}

impl Device {
    /// Pushes a reading of a kind at a time; now and then twice, now and then a broken one after it.
    pub(crate) fn record<P: Payload>(&mut self, topic: &str, at: Timestamp, payload: &P) -> Result<()> {
        self.record_until(topic, at, None, payload)
    }

    /// The same for a span.
    pub(crate) fn record_until<P: Payload>(&mut self, topic: &str, at: Timestamp, end: Option<Timestamp>, payload: &P) -> Result<()> {
        let Some(kind) = self.catalogue.get(topic) else { return Ok(()) };
        let at = at.shifted(self.wrong_by);
        self.sequence += 1;
        let mut b = Reading::builder(kind, self.id.clone(), at)
            .id(ReadingId::v7_from(at, self.rng.bytes()))
            .sequence(self.sequence)
            .payload(payload);
        if let Some(end) = end {
            b = b.ended_at(end.shifted(self.wrong_by));
        }
        let reading = b.build()?;
        self.client.push(&reading)?;
        self.sent.readings += 1;
        if self.faults_rng.unit() < self.duplicates {
            self.client.push(&reading)?;
            self.sent.duplicates += 1;
        }
        if self.faults_rng.unit() < self.invalid {
            let item = self.broken(at);
            self.client.push_encoded(&[&item])?;
            self.sent.invalid += 1;
        }
        Ok(())
    }

    /// An item that breaks a rule, by turns.
    fn broken(&mut self, at: Timestamp) -> Vec<u8> {
        use prost::Message;
        let time = |t: Timestamp| Some(prost_types::Timestamp { seconds: t.as_second(), nanos: t.subsec_nanos() });
        let mut r = v1::Reading {
            device_id: self.id.to_string(),
            reading_id: ReadingId::v7_from(at, self.faults_rng.bytes()).to_string(),
            recorded_at: time(at),
            kind: "device.health.heartrate.raw".into(),
            data: Some(v1::reading::Data::HeartRate(v1::HeartRate { bpm: 72, ..Default::default() })),
            ..Default::default()
        };
        match self.sent.invalid % 6 {
            0 => r.data = Some(v1::reading::Data::HeartRate(v1::HeartRate { bpm: 900, ..Default::default() })),
            1 => {
                r.kind = "device.sensor.gps.raw".into();
                r.data = Some(v1::reading::Data::Gps(v1::Gps { latitude: f64::NAN, longitude: 13.0, ..Default::default() }));
            }
            2 => r.kind = "device.health.mood_ring.raw".into(),
            3 => r.recorded_at = time(at.saturating_add(Duration::from_secs(80 * 365 * 86_400))),
            4 => r.device_id = String::new(),
            _ => {
                let mut bytes = r.encode_to_vec();
                bytes.truncate(bytes.len() / 2);
                return bytes;
            }
        }
        r.encode_to_vec()
    }
}

/// Runs one device through the day. Returns once the server has answered for everything, or at `stop`.
pub(crate) async fn run(which: Which, plan: Arc<Plan>, folder: &Path, key: Secret<String>) -> Result<Sent> {
    let clock = Arc::new(DeviceClock::new(plan.real.clone(), day::start(), plan.speed));
    let mut options = ClientOptions::default();
    options.folder = folder.to_owned();
    options.endpoint = plan.endpoint.clone();
    options.api_key = Some(key);
    options.client = format!("full_stack-{}", which.id());
    options.compression = Compression::Zstd;
    // The client lives in simulated time: what is a moment for a person is longer for the device.
    let scaled = |ms: f64| (ms * plan.speed) as u64;
    options.linger_ms = scaled(50.0);
    options.timeout_ms = scaled(30_000.0);
    options.sync_ms = scaled(100.0);
    options.backoff = Backoff::new(scaled(20.0).max(1), scaled(200.0).max(1));
    let transport = Arc::new(Radio::new(GrpcTransport::new(&options, clock.clone())?, plan.real.clone(), plan.latencies.clone()));
    let client = Client::open_with(options, transport.clone(), clock.clone())?;

    let mut device = Device {
        which,
        id: DeviceId::new(which.id())?,
        catalogue: Catalogue::builtin(),
        client: client.clone(),
        rng: Rng::new(plan.seed, which.id()),
        faults_rng: Rng::new(plan.seed, &format!("{} faults", which.id())),
        duplicates: plan.faults.duplicates,
        invalid: plan.faults.invalid,
        wrong_by: 0,
        sent: Sent::default(),
        sequence: 0,
    };
    const STEP: u64 = 10;
    let total = (plan.hours * 3_600.0) as u64;
    let mut permission = true;
    for second in (0..total).step_by(STEP as usize) {
        if plan.stop.is_cancelled() {
            break;
        }
        let at = day::start().saturating_add(Duration::from_secs(second));
        let hour = second as f64 / 3_600.0;
        // The stretch is over when it is recorded.
        let end = at.saturating_add(Duration::from_secs(STEP));
        clock.until(end, end.saturating_add(Duration::from_secs(STEP))).await;
        let within = |(from, to): (f64, f64)| (from..to).contains(&hour);
        match which {
            Which::Phone => {
                transport.switch(!within(plan.faults.offline));
                let allowed = !within(plan.faults.permission);
                if allowed != permission || second == 0 {
                    permission = allowed;
                    phone::capture_state(&mut device, at, allowed)?;
                }
                phone::step(&mut device, at, second, STEP, permission)?;
            }
            Which::Watch => watch::step(&mut device, at, second, STEP)?,
            Which::Laptop => {
                let (from, to, by) = plan.faults.clock;
                let wrong = if within((from, to)) { by } else { 0 };
                clock.set_wrong_by(wrong);
                device.wrong_by = wrong * 1_000_000_000;
                laptop::step(&mut device, at, second, STEP)?;
            }
        }
        plan.progress.fetch_add(STEP, Ordering::Relaxed);
        tokio::task::yield_now().await;
    }
    transport.switch(true);
    clock.release();
    tokio::select! {
        done = client.flush() => done?,
        () = plan.stop.cancelled() => {}
    }
    let status = client.status();
    client.close().await?;
    device.sent.rejected = status.rejected;
    device.sent.left = status.depth;
    tracing::debug!(device = device.which.id(), now = %clock.now(), "done");
    Ok(device.sent)
}

/// The seconds of a step at which something that happens every `every` seconds is due.
pub(crate) fn due(second: u64, step: u64, every: u64) -> impl Iterator<Item = u64> {
    (second..second + step).filter(move |s| s % every == 0).map(move |s| s - second)
}

/// A time within a step.
pub(crate) fn after(at: Timestamp, seconds: u64) -> Timestamp {
    at.saturating_add(Duration::from_secs(seconds))
}
