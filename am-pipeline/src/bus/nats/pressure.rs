//! How full a stream is of what somebody still needs, and how what nobody needs any more is removed.

use std::time::Duration;

use am_core::{Result, Timestamp};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::stream;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

use super::api::refusal;
use super::{Shared, streams};
use crate::bus::{Area, Pressure};

const OP: &str = "bus.pressure";
/// How old a value may be.
const FRESH: Duration = Duration::from_secs(1);
/// Of so many consumers that are behind the oldest open message is looked up; the others are ahead of these.
const LOOKED_AT: usize = 16;

/// The last value, and when it was measured. The lock is held while it is measured, so that many callers ask the servers once.
#[derive(Default)]
pub(super) struct Gauge {
    value: Mutex<Option<(Duration, Pressure)>>,
    relieved: Mutex<Option<Duration>>,
}

/// How far a stream is settled.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Standing {
    pressure: Pressure,
    /// Everything before this place is settled by every durable consumer; `None` when there is no consumer.
    open_from: Option<u64>,
}

impl Gauge {
    pub(super) async fn get(&self, shared: &Shared) -> Result<Pressure> {
        let mut value = self.value.lock().await;
        let now = shared.clock.monotonic();
        if let Some((at, pressure)) = *value
            && now.saturating_sub(at) < FRESH
        {
            return Ok(pressure);
        }
        let pressure = measure(shared, Area::Readings).await?.pressure;
        *value = Some((shared.clock.monotonic(), pressure));
        Ok(pressure)
    }

    /// After a stream refused: removes what everybody has from the streams, at most once a second.
    pub(super) async fn relieve(&self, shared: &Shared) {
        let Ok(mut at) = self.relieved.try_lock() else { return };
        let now = shared.clock.monotonic();
        if at.is_some_and(|t| now.saturating_sub(t) < FRESH) {
            return;
        }
        for area in Area::ALL {
            if let Err(e) = measure(shared, area).await {
                tracing::warn!(error = %e, "a full stream could not be looked at");
            }
        }
        *at = Some(shared.clock.monotonic());
    }
}

#[derive(Deserialize)]
struct Page {
    total: usize,
    consumers: Option<Vec<Info>>,
}

async fn durables(shared: &Shared, stream: &str) -> Result<Vec<Info>> {
    let (mut found, mut offset) = (Vec::new(), 0);
    loop {
        let page: Page = shared.api.must(OP, format!("CONSUMER.LIST.{stream}"), &json!({ "offset": offset })).await?;
        let infos = page.consumers.unwrap_or_default();
        offset += infos.len();
        let last = infos.is_empty() || offset >= page.total;
        found.extend(infos.into_iter().filter(|i| i.config.durable_name.is_some()));
        if last {
            return Ok(found);
        }
    }
}

/// How many messages a consumer has not settled.
fn open(c: &Info) -> u64 {
    c.num_pending + c.num_ack_pending as u64
}

/// The place up to which a consumer has settled everything it wants, as far as its own numbers tell.
fn floor(c: &Info, last: u64) -> u64 {
    match (open(c), c.num_ack_pending) {
        (0, _) => last,
        // The floor stays behind when what it waits for was removed from the stream.
        (_, 0) => c.delivered.stream_sequence.max(c.ack_floor.stream_sequence),
        _ => c.ack_floor.stream_sequence,
    }
}

#[derive(Deserialize)]
struct Found {
    message: At,
}

#[derive(Deserialize)]
struct At {
    seq: u64,
    time: String,
}

/// The first message behind a place that a consumer wants: its place, and when it was published.
async fn oldest(shared: &Shared, stream: &str, c: &Info, after: u64) -> Result<Option<(u64, Timestamp)>> {
    let one = Some(c.config.filter_subject.as_str()).filter(|f| !f.is_empty());
    let mut filters: Vec<&str> = one.into_iter().chain(c.config.filter_subjects.iter().map(String::as_str)).collect();
    if filters.is_empty() {
        filters.push(">");
    }
    let mut first: Option<(u64, Timestamp)> = None;
    for f in filters {
        let request = json!({ "seq": after + 1, "next_by_subj": f });
        let at = match shared.api.ask::<Found>(OP, format!("STREAM.MSG.GET.{stream}"), &request).await? {
            Ok(found) => found.message,
            Err(e) if e.error_code() == ErrorCode::NO_MESSAGE_FOUND => continue,
            Err(e) => return Err(refusal(OP, &e)),
        };
        if first.is_none_or(|(seq, _)| at.seq < seq) {
            first = Some((at.seq, Timestamp::parse(&at.time)?));
        }
    }
    Ok(first)
}

/// Looks at a stream and its durable consumers, and removes what all of them have when the stream is fuller than it may be.
async fn measure(shared: &Shared, area: Area) -> Result<Standing> {
    let name = shared.options.stream(area);
    let Some(info) = streams::info(&shared.api, &name).await? else {
        return Ok(Standing { pressure: Pressure::default(), open_from: None });
    };
    let consumers = durables(shared, &name).await?;
    let last = info.state.last_sequence;
    let mut standing = Standing { pressure: Pressure::default(), open_from: (!consumers.is_empty()).then_some(last + 1) };
    let mut behind: Vec<(u64, &Info)> = consumers.iter().filter(|c| open(c) > 0).map(|c| (floor(c, last), c)).collect();
    behind.sort_by_key(|(floor, _)| *floor);
    let mut slowest = "";
    for (floor, c) in behind.iter().take(LOOKED_AT) {
        let Some((place, since)) = oldest(shared, &name, c, *floor).await? else { continue };
        let now = share(&info, place, shared.clock.now().as_nanos().saturating_sub(since.as_nanos()));
        if now.share() > standing.pressure.share() {
            slowest = &c.name;
        }
        standing.pressure.age = standing.pressure.age.max(now.age);
        standing.pressure.bytes = standing.pressure.bytes.max(now.bytes);
        standing.open_from = standing.open_from.map(|o| o.min(place));
    }
    // Those that were not looked at are open from behind their own floor.
    for (floor, _) in behind.iter().skip(LOOKED_AT) {
        standing.open_from = standing.open_from.map(|o| o.min(floor + 1));
    }
    if standing.pressure.share() > shared.options.pressure_limit {
        tracing::warn!(
            stream = name,
            consumer = slowest,
            share = standing.pressure.share(),
            "a consumer is so far behind that gateways refuse"
        );
    }
    trim(shared, &name, &info, standing.open_from).await;
    Ok(standing)
}

/// Shares of the stream's own limits that a message and everything behind it take. The server does not tell the bytes behind a place: they
/// are taken to be spread evenly, which is exact when nothing lies before it.
fn share(info: &stream::Info, place: u64, age_ns: i64) -> Pressure {
    let (config, state) = (&info.config, &info.state);
    let age = if config.max_age.is_zero() { 0.0 } else { age_ns.max(0) as f64 / config.max_age.as_nanos() as f64 };
    let places = |from: u64| (state.last_sequence + 1).saturating_sub(from).max(1) as f64;
    let behind = (places(place) / places(state.first_sequence)).min(1.0);
    let bytes = if config.max_bytes <= 0 { 0.0 } else { state.bytes as f64 * behind / config.max_bytes as f64 };
    Pressure { age, bytes }
}

async fn trim(shared: &Shared, name: &str, info: &stream::Info, open_from: Option<u64>) {
    let limit = shared.options.trim_settled_at;
    let full = info.config.max_bytes > 0 && limit > 0.0 && info.state.bytes as f64 > limit * info.config.max_bytes as f64;
    let Some(place) = open_from.filter(|p| full && *p > info.state.first_sequence) else { return };
    // A purge up to a place keeps the place itself.
    match shared.api.ask::<serde_json::Value>(OP, format!("STREAM.PURGE.{name}"), &json!({ "seq": place })).await {
        Ok(Ok(_)) => tracing::debug!(stream = name, place, "removed what every durable consumer has"),
        Ok(Err(e)) => tracing::warn!(stream = name, error = %e, "what every durable consumer has cannot be removed"),
        Err(e) => tracing::warn!(stream = name, error = %e, "what every durable consumer has cannot be removed"),
    }
}
