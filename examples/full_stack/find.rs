//! Finds the planted faults again, from what the store holds alone.

use std::collections::{BTreeMap, BTreeSet};

use am_core::{DeviceId, Result, Timestamp};
use am_schema::{Kind, v1};
use am_store::ScopedStore;
use am_store::model::{Provenance, ScanQuery, Stored};
use serde::Serialize;

use crate::day::{self, Faults};

/// A stretch of the day, hours since midnight.
pub(crate) type Hours = (f64, f64);

/// What was planted, what was found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Compared {
    pub(crate) fault: &'static str,
    pub(crate) planted: String,
    pub(crate) found: String,
    pub(crate) matches: bool,
}

/// All readings of a kind and device, page by page.
pub(crate) async fn all(store: &ScopedStore, kind: Kind, device: &str) -> Result<Vec<Stored>> {
    let mut q = ScanQuery::default();
    q.kinds = vec![kind];
    q.devices = vec![DeviceId::new(device)?];
    q.limit = 10_000;
    let mut out = Vec::new();
    loop {
        let page = store.scan(&q).await?;
        out.extend(page.items);
        match page.cursor {
            Some(c) => q.cursor = Some(c),
            None => return Ok(out),
        }
    }
}

/// The ingest batches that brought some readings, by number.
async fn batches(store: &ScopedStore, readings: &[Stored]) -> Result<BTreeMap<u64, Provenance>> {
    let mut out = BTreeMap::new();
    for b in readings.iter().map(|r| r.batch).collect::<BTreeSet<u64>>() {
        if let Some(p) = store.provenance(b).await? {
            out.insert(b, p);
        }
    }
    Ok(out)
}

/// When a device was offline: its readings arrived long after they were recorded.
pub(crate) async fn offline(store: &ScopedStore, kind: Kind, device: &str) -> Result<Vec<Hours>> {
    let readings = all(store, kind, device).await?;
    let batches = batches(store, &readings).await?;
    let sent = |r: &Stored| batches.get(&r.batch).and_then(|p| p.sent_at);
    let mut delays: Vec<f64> =
        readings.iter().filter_map(|r| Some(sent(r)?.since(r.reading.recorded_at()).as_secs_f64() / 3_600.0)).collect();
    delays.sort_by(f64::total_cmp);
    // Late is what took far longer than usual, and more than a few minutes.
    let late = (delays.get(delays.len() / 2).copied().unwrap_or_default() * 10.0).max(0.08);
    let mut spans: Vec<Hours> = Vec::new();
    for r in &readings {
        let Some(sent) = sent(r) else { continue };
        let at = r.reading.recorded_at();
        if sent.since(at).as_secs_f64() / 3_600.0 < late {
            continue;
        }
        let end = day::hour(sent);
        match spans.last_mut() {
            Some(s) if day::hour(at) <= s.1 => s.1 = s.1.max(end),
            _ => spans.push((day::hour(at), end)),
        }
    }
    Ok(spans)
}

/// When a device's wall clock jumped against its own monotonic clock, and by how many seconds; from the batches' provenance.
pub(crate) async fn clock_jumps(store: &ScopedStore, kind: Kind, device: &str) -> Result<Vec<(f64, i64)>> {
    let readings = all(store, kind, device).await?;
    let batches = batches(store, &readings).await?;
    let mut seen: Vec<(&str, u64, Timestamp)> =
        batches.values().filter_map(|p| Some((p.boot_id.as_str(), p.monotonic_ns, p.sent_at?))).collect();
    seen.sort();
    let mut out = Vec::new();
    for w in seen.windows(2) {
        let [(boot_a, mono_a, wall_a), (boot_b, mono_b, wall_b)] = w else { continue };
        if boot_a != boot_b {
            continue;
        }
        let by = (wall_b.as_nanos() - wall_a.as_nanos()) - (*mono_b as i64 - *mono_a as i64);
        let seconds = (by as f64 / 1e9).round() as i64;
        if seconds.abs() >= 30 {
            // Where the clock would have stood without the jump.
            out.push((day::hour(wall_a.shifted(*mono_b as i64 - *mono_a as i64)), seconds));
        }
    }
    Ok(out)
}

/// When the position was not permitted: capture states, checked against the positions themselves.
pub(crate) async fn permission_off(store: &ScopedStore, states: Kind, positions: Kind, device: &str) -> Result<Vec<Hours>> {
    let mut spans: Vec<Hours> = Vec::new();
    let mut since: Option<f64> = None;
    for s in all(store, states, device).await? {
        let state: v1::CaptureState = s.reading.payload()?;
        let h = day::hour(s.reading.recorded_at());
        match (state.state(), since) {
            (v1::capture_state::State::Permission, None) => since = Some(h),
            (v1::capture_state::State::On, Some(from)) => {
                spans.push((from, h));
                since = None;
            }
            _ => {}
        }
    }
    let mut confirmed = Vec::new();
    for (from, to) in spans {
        let mut q = ScanQuery::default();
        q.kinds = vec![positions];
        q.devices = vec![DeviceId::new(device)?];
        q.from = day::at(from).shifted(1);
        q.to = day::at(to);
        q.limit = 1;
        if store.scan(&q).await?.items.is_empty() {
            confirmed.push((from, to));
        }
    }
    Ok(confirmed)
}

fn spans(s: &[Hours]) -> String {
    match s {
        [] => "nothing".into(),
        s => s.iter().map(|(a, b)| format!("{} to {}", clock(*a), clock(*b))).collect::<Vec<_>>().join(", "),
    }
}

/// `9.5` as `09:30`.
pub(crate) fn clock(hour: f64) -> String {
    let minutes = (hour * 60.0).round() as i64;
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

fn near(a: Hours, b: Hours) -> bool {
    let slack = 0.25 * (b.1 - b.0).max(0.2);
    (a.0 - b.0).abs() <= slack && (a.1 - b.1).abs() <= slack
}

/// Compares the faults that are spans or jumps.
pub(crate) async fn compare(store: &ScopedStore, faults: &Faults) -> Result<Vec<Compared>> {
    let catalogue = store.store().catalogue().clone();
    let kind = |t: &str| catalogue.get(t).ok_or_else(|| am_core::Error::new(am_core::Code::UNKNOWN_KIND, t.to_owned()));
    let power = kind("device.state.power.raw")?;
    let off = offline(store, power, "phone").await?;
    let jumps = clock_jumps(store, power, "laptop").await?;
    let denied = permission_off(store, kind("device.state.capture.raw")?, kind("device.sensor.gps.raw")?, "phone").await?;
    let (from, to, by) = faults.clock;
    let expected = [by, -by];
    Ok(vec![
        Compared {
            fault: "offline",
            planted: spans(&[faults.offline]),
            found: spans(&off),
            matches: off.len() == 1 && off.iter().all(|s| near(*s, faults.offline)),
        },
        Compared {
            fault: "clock_jump",
            planted: format!("{by} s from {} to {}", clock(from), clock(to)),
            found: match jumps.as_slice() {
                [] => "nothing".into(),
                j => j.iter().map(|(h, s)| format!("{s:+} s at {}", clock(*h))).collect::<Vec<_>>().join(", "),
            },
            matches: jumps.iter().map(|j| j.1).eq(expected),
        },
        Compared {
            fault: "permission_off",
            planted: spans(&[faults.permission]),
            found: spans(&denied),
            matches: denied.len() == 1 && denied.iter().all(|s| near(*s, faults.permission)),
        },
    ])
}
