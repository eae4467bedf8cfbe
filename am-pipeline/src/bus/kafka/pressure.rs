//! How full the bus is of what its slowest group has not settled.
//!
//! Kafka removes messages by age and size whether or not anybody has read them, so this is what keeps a gateway from outrunning its
//! readers. The age is a step below the truth of at most a tenth of the retention: the brokers tell which offset a time had, not the
//! time that an offset had.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use am_core::Result;
use parking_lot::Mutex;
use rdkafka::Offset;
use rdkafka::consumer::BaseConsumer;

use super::errors::{Quiet, explain};
use super::ledger::Place;
use super::offsets::{self, Offsets, at, committed, gap};
use super::upkeep::Seen;
use super::{KafkaOptions, Shared, blocking, topics};
use crate::bus::{Area, Pressure};

/// A value is at most so old.
const FRESH: Duration = Duration::from_secs(1);
/// Groups and topics are looked for so often.
const LOOK: Duration = Duration::from_secs(15);
/// The most groups that are watched; those with the first names.
const GROUPS: usize = 32;
/// Ages that are asked for, in tenths of the retention.
const STEPS: [u32; 9] = [1, 2, 3, 4, 5, 6, 7, 8, 9];
/// What a message takes besides its body.
const OVERHEAD: u64 = 256;

/// The last value, and what it is made of.
pub(super) struct Gauge {
    retention: Duration,
    retention_bytes: u64,
    sent: AtomicU64,
    bytes: AtomicU64,
    last: Mutex<Option<(Duration, Pressure)>>,
    known: Mutex<Option<(Duration, Arc<Known>)>>,
    /// Held by whoever asks the brokers, so that one does at a time.
    asking: tokio::sync::Mutex<()>,
}

/// What is watched: a client per group, which asks and never reads.
struct Known {
    topics: Vec<Seen>,
    groups: Vec<BaseConsumer<Quiet>>,
}

impl Gauge {
    pub(super) fn new(options: KafkaOptions) -> Self {
        Gauge {
            retention: Duration::from_secs(options.retention_hours.saturating_mul(3_600)),
            retention_bytes: options.retention_bytes,
            sent: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            last: Mutex::new(None),
            known: Mutex::new(None),
            asking: tokio::sync::Mutex::new(()),
        }
    }

    /// So much was published by this process: what the size of a message is guessed by.
    pub(super) fn sent(&self, messages: usize, bytes: usize) {
        self.sent.fetch_add(messages as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn mean(&self) -> f64 {
        let sent = self.sent.load(Ordering::Relaxed);
        (self.bytes.load(Ordering::Relaxed) as f64 / sent.max(1) as f64) + OVERHEAD as f64
    }
}

impl Shared {
    pub(super) async fn pressure(self: &Arc<Self>) -> Result<Pressure> {
        let fresh = |me: &Self| {
            let last = *me.gauge.last.lock();
            last.filter(|(at, _)| me.clock.monotonic().saturating_sub(*at) < FRESH).map(|(_, p)| p)
        };
        if let Some(p) = fresh(self) {
            return Ok(p);
        }
        let _asking = self.gauge.asking.lock().await;
        if let Some(p) = fresh(self) {
            return Ok(p);
        }
        let known = self.watched().await?;
        let me = self.clone();
        let now_ms = self.clock.now().as_nanos() / 1_000_000;
        let value = blocking("bus.pressure", move || measure(&me, &known, now_ms)).await?;
        *self.gauge.last.lock() = Some((self.clock.monotonic(), value));
        Ok(value)
    }

    async fn watched(self: &Arc<Self>) -> Result<Arc<Known>> {
        let now = self.clock.monotonic();
        let held = self.gauge.known.lock().clone();
        if let Some((_, known)) = held.filter(|(at, _)| now.saturating_sub(*at) < LOOK) {
            return Ok(known);
        }
        let reads = |group: &String| {
            topics::parse_group(&self.options.prefix, group).is_some_and(|(_, areas)| areas.contains(Area::Readings.letter()))
        };
        let mut names: Vec<String> = self.group_names().await?.into_iter().filter(reads).collect();
        names.sort();
        if names.len() > GROUPS {
            tracing::warn!(groups = names.len(), watched = GROUPS, "there are more groups than are watched for pressure");
            names.truncate(GROUPS);
        }
        let readings = |t: &Seen| topics::parse(&self.options.prefix, &t.name).is_some_and(|(area, _)| area == Area::Readings);
        let topics = self.look_around().await?.into_iter().filter(readings).collect();
        let me = self.clone();
        let groups = blocking("bus.pressure", move || {
            let fail = |e| explain("bus.pressure", false, &me.health, &e);
            let client = |name: &String| {
                let mut c = me.options.client()?;
                c.set("group.id", name);
                c.set("enable.auto.commit", "false");
                c.create_with_context(Quiet(me.health.clone())).map_err(fail)
            };
            names.iter().map(client).collect::<Result<Vec<_>>>()
        })
        .await?;
        let known = Arc::new(Known { topics, groups });
        let old = self.gauge.known.lock().replace((now, known.clone()));
        // Closing clients blocks.
        blocking("bus.pressure", move || {
            drop(old);
            Ok(())
        })
        .await?;
        Ok(known)
    }
}

fn measure(shared: &Shared, known: &Known, now_ms: i64) -> Result<Pressure> {
    let places = offsets::places(&known.topics);
    let Some(asking) = known.groups.first().filter(|_| !places.is_empty()) else { return Ok(Pressure::default()) };
    let begins = at(asking, shared, &places, Offset::Beginning)?;
    let ends = at(asking, shared, &places, Offset::End)?;
    let retention = shared.gauge.retention;
    let mut old = Vec::with_capacity(STEPS.len());
    for tenths in STEPS {
        let ago = i64::try_from((retention / 10).saturating_mul(tenths).as_millis()).unwrap_or(i64::MAX);
        let when = Offset::Offset(now_ms.saturating_sub(ago).max(0));
        old.push((f64::from(tenths) / 10.0, at(asking, shared, &places, when)?));
    }
    let mut worst = Pressure::default();
    for group in &known.groups {
        let done = committed(group, shared, &places)?;
        let p = of_group(&places, &done, &begins, &ends, &old, shared.gauge.mean(), shared.gauge.retention_bytes);
        worst = Pressure { age: worst.age.max(p.age), bytes: worst.bytes.max(p.bytes) };
    }
    Ok(worst)
}

/// What a group has not settled. Only topics of which it has committed something are known to be its own.
fn of_group(places: &[Place], done: &Offsets, begins: &Offsets, ends: &Offsets, old: &[(f64, Offsets)], mean: f64, room: u64) -> Pressure {
    let mut own: BTreeMap<&str, ()> = BTreeMap::new();
    own.extend(done.keys().map(|(topic, _)| (&**topic, ())));
    let mut out = Pressure::default();
    for place in places.iter().filter(|p| own.contains_key(&*p.0)) {
        let begin = begins.get(place).copied().unwrap_or(0);
        let Some(end) = ends.get(place).copied() else { continue };
        let next = done.get(place).copied().unwrap_or(begin).max(begin);
        if room > 0 {
            let open = gap(begins.get(place), ends.get(place), Some(&next));
            out.bytes = out.bytes.max(open as f64 * mean / room as f64);
        }
        for (age, first) in old {
            // Where no message is younger, all of them are older.
            if next < first.get(place).copied().unwrap_or(end) {
                out.age = out.age.max(*age);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[(&str, i32, i64)]) -> Offsets {
        entries.iter().map(|(t, p, n)| ((Arc::from(*t), *p), *n)).collect()
    }

    #[test]
    fn pressure_is_the_age_and_size_of_what_the_group_has_not_committed() {
        let places: Vec<Place> = [("a", 0), ("a", 1), ("b", 0)].map(|(t, p)| (Arc::from(t), p)).to_vec();
        let (begins, ends) = (of(&[("a", 0, 10), ("a", 1, 0), ("b", 0, 0)]), of(&[("a", 0, 100), ("a", 1, 50), ("b", 0, 500)]));
        // Messages below these offsets are older than that share of the retention; of a/1 all are older than half.
        let old = [
            (0.1, of(&[("a", 0, 90), ("b", 0, 400)])),
            (0.5, of(&[("a", 0, 40), ("b", 0, 300)])),
            (0.9, of(&[("a", 0, 10), ("a", 1, 0), ("b", 0, 0)])),
        ];
        let ask = |done: &Offsets, room| of_group(&places, done, &begins, &ends, &old, 10.0, room);
        assert_eq!(ask(&of(&[("a", 0, 100), ("a", 1, 50)]), 1_000), Pressure { age: 0.0, bytes: 0.0 });
        assert_eq!(ask(&of(&[("a", 0, 89), ("a", 1, 50)]), 0), Pressure { age: 0.1, bytes: 0.0 });
        assert_eq!(ask(&of(&[("a", 0, 95), ("a", 1, 49)]), 100), Pressure { age: 0.5, bytes: 0.5 });
        assert_eq!(ask(&of(&[("a", 1, 50)]), 900), Pressure { age: 0.5, bytes: 1.0 }, "nothing of a/0 is committed");
        assert_eq!(ask(&of(&[]), 900), Pressure::default(), "a group that never committed is not known to read anything");
    }
}
