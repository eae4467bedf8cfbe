//! What the cases have in common.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use am_core::{Ctx, DeviceId, Scope};

use super::super::ctx;
use crate::bus::{Area, Bus, Consumer, Delivery, GroupSpec, Message, Parcel, Parcels, Published, Tag};

/// How long a case may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// A usual topic.
pub(super) const TOPIC: &str = "device.health.heartrate.raw";
/// Another one.
pub(super) const OTHER: &str = "device.sensor.gps.raw";

/// A bus, and names that no other case has.
pub(super) struct Bench {
    pub(super) bus: Bus,
    /// Another handle to the same bus.
    pub(super) second: Bus,
    pub(super) ctx: Ctx,
    /// A word of this case and this run alone.
    pub(super) name: String,
    pub(super) scope: Scope,
}

impl Bench {
    pub(super) async fn new<F: Future<Output = Bus>>(make: &impl Fn() -> F, id: &str) -> Bench {
        static CASES: AtomicU64 = AtomicU64::new(0);
        let ctx = ctx();
        let run = u64::try_from(ctx.now().as_nanos() / 1_000).unwrap_or_default() ^ u64::from(std::process::id()) << 40;
        let name = format!("{}-{:x}{:x}", id.replace('.', "-"), run & 0xFFFF_FFFF, CASES.fetch_add(1, Ordering::Relaxed));
        let name = name.get(name.len().saturating_sub(30)..).unwrap_or(&name).trim_start_matches('-').to_owned();
        let scope = Scope::new("kit", &name).unwrap_or_else(|_| Scope::local());
        Bench { bus: make().await, second: make().await, ctx, name, scope }
    }

    /// A case that hangs does not hold.
    pub(super) async fn patient(&self, case: impl Future<Output = Result<(), String>>) -> Result<(), String> {
        tokio::select! {
            result = case => result,
            () = self.ctx.clock().sleep(PATIENCE) => Err(format!("it took longer than {PATIENCE:?}")),
        }
    }

    /// Message number `n` of this case: one of three devices, its number in the body.
    pub(super) fn message(&self, n: u64) -> Message {
        Message {
            area: Area::Readings,
            scope: self.scope.clone(),
            topic: TOPIC.into(),
            device: DeviceId::new(format!("watch-{}", n % 3)).ok(),
            id: format!("{}-{n}", self.name),
            trace: Default::default(),
            body: Parcel { client: n.to_string(), ..Default::default() }.to_body(),
        }
    }

    pub(super) fn messages(&self, numbers: std::ops::Range<u64>) -> Vec<Message> {
        numbers.map(|n| self.message(n)).collect()
    }

    /// Publishes, and wants each of them taken.
    pub(super) async fn publish(&self, messages: Vec<Message>) -> Result<Vec<Published>, String> {
        let n = messages.len();
        let results = self.bus.publisher.publish(&self.ctx, messages).await;
        if results.len() != n {
            return Err(format!("{} answers for {n} messages", results.len()));
        }
        results.into_iter().enumerate().map(|(i, r)| r.map_err(|e| format!("message {i} was refused: {e}"))).collect()
    }

    /// A group of this case's person.
    pub(super) fn spec(&self) -> GroupSpec {
        self.named("")
    }

    /// Another one.
    pub(super) fn named(&self, suffix: &str) -> GroupSpec {
        let name = format!("{}{suffix}", self.name);
        let name = name.get(name.len().saturating_sub(32)..).unwrap_or(&name).to_owned();
        GroupSpec::new(name, [Area::Readings]).scope(self.scope.clone())
    }

    pub(super) async fn join(&self, spec: GroupSpec) -> Result<Box<dyn Consumer>, String> {
        self.bus.groups.join(spec).await.map_err(|e| format!("join: {e}"))
    }

    pub(super) async fn sleep(&self, ms: u64) {
        self.ctx.clock().sleep(Duration::from_millis(ms)).await;
    }
}

/// The number in a message's body.
pub(super) fn number(m: &Message) -> Result<u64, String> {
    let parcel = Parcel::from_body(m.body.clone()).map_err(|e| format!("a body came back as something else: {e}"))?;
    parcel.client.parse().map_err(|_| format!("a body came back with {:?}", parcel.client))
}

/// The number in a delivery.
pub(super) fn number_of(d: &Delivery) -> Result<u64, String> {
    match &d.message {
        Ok(m) => number(m),
        Err(f) => Err(format!("a message came back as foreign: {}", f.why)),
    }
}

pub(super) fn tags(deliveries: &[Delivery]) -> Vec<Tag> {
    deliveries.iter().map(|d| d.tag).collect()
}

/// One fetch that is tried again while the bus is not there.
pub(super) async fn fetch(c: &mut Box<dyn Consumer>, max: usize, ms: u64) -> Result<Vec<Delivery>, String> {
    let got = c.fetch(max, Duration::from_millis(ms)).await.map_err(|e| format!("fetch: {e}"))?;
    if got.len() > max { Err(format!("{} messages, where {max} were asked for", got.len())) } else { Ok(got) }
}

/// Fetches until there were so many, without settling.
pub(super) async fn collect(c: &mut Box<dyn Consumer>, want: usize) -> Result<Vec<Delivery>, String> {
    let mut out = Vec::new();
    for _ in 0..40 {
        out.extend(fetch(c, (want - out.len()).max(1), 500).await?);
        if out.len() >= want {
            return Ok(out);
        }
    }
    Err(format!("{} of {want} messages came", out.len()))
}

/// Fetches and acknowledges until nothing comes any more: how often each number came.
pub(super) async fn drain(c: &mut Box<dyn Consumer>, idle_ms: u64) -> Result<BTreeMap<u64, usize>, String> {
    let mut seen = BTreeMap::new();
    loop {
        let got = fetch(c, 32, idle_ms).await?;
        if got.is_empty() {
            return Ok(seen);
        }
        for d in &got {
            *seen.entry(number_of(d)?).or_default() += 1;
        }
        c.ack(&tags(&got)).await.map_err(|e| format!("ack: {e}"))?;
    }
}

/// Each number once.
pub(super) fn once(seen: &BTreeMap<u64, usize>, want: std::ops::Range<u64>) -> Result<(), String> {
    if let Some(n) = want.clone().find(|n| !seen.contains_key(n)) {
        return Err(format!("message {n} never came"));
    }
    match seen.iter().find(|(n, times)| **times != 1 || !want.contains(n)) {
        Some((n, times)) => Err(format!("message {n} came {times} times")),
        None => Ok(()),
    }
}
