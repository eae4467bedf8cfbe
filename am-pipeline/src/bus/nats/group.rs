//! Members of groups: durable pull consumers with an acknowledgement per message.

use std::collections::BTreeSet;
use std::time::Duration;

use am_core::{Code, Error, Result};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, Config, DeliverPolicy, Info};
use async_trait::async_trait;
use serde::Serialize;

use super::Shared;
use super::api::{Nothing, refusal};
use super::member::Member;
use super::options::is_name;
use super::pull::Pull;
use crate::bus::subject::filters_in;
use crate::bus::{Area, Consumer, GroupSpec, Groups};

const OP: &str = "bus.join";
/// Members of a group that may hold all they are allowed at the same time.
const MEMBERS: usize = 16;
/// Most messages of a group that are with its members, whatever it asks for.
const MOST: usize = 65_536;
/// Which areas a group reads, kept with its consumers, so that a member that reads others is noticed.
const AREAS: &str = "am-areas";

/// The request that makes a consumer.
#[derive(Serialize)]
pub(super) struct Create<'a> {
    pub(super) stream_name: &'a str,
    pub(super) config: &'a Config,
    /// `create` for a new one only, `update` for one that is there only.
    pub(super) action: &'static str,
}

/// The subject on which a consumer is made. One filter is part of it, so that permissions can be given by person.
pub(super) fn create_subject(stream: &str, config: &Config) -> String {
    let name = config.durable_name.as_ref().or(config.name.as_ref()).map_or("", String::as_str);
    match config.filter_subject.as_str() {
        "" => format!("CONSUMER.CREATE.{stream}.{name}"),
        filter => format!("CONSUMER.CREATE.{stream}.{name}.{filter}"),
    }
}

/// Puts filters into a configuration, where one and several have different places.
pub(super) fn filter(config: &mut Config, filters: Vec<String>) {
    let mut unique: Vec<String> = filters.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    match unique.len() {
        1 => config.filter_subject = unique.pop().unwrap_or_default(),
        _ => config.filter_subjects = unique,
    }
}

fn filters_of(c: &Config) -> BTreeSet<&str> {
    let one = Some(c.filter_subject.as_str()).filter(|f| !f.is_empty());
    one.into_iter().chain(c.filter_subjects.iter().map(String::as_str)).collect()
}

fn letters(areas: &[Area]) -> String {
    areas.iter().collect::<BTreeSet<_>>().into_iter().map(|a| a.letter()).collect()
}

/// The time in which a group has to settle a message of an area.
fn settle_within(shared: &Shared, spec: &GroupSpec, areas: &[Area]) -> Duration {
    areas.iter().filter_map(|a| shared.options.streams.of(*a).ack_wait).fold(spec.settle_within, Duration::max)
}

fn wanted(shared: &Shared, spec: &GroupSpec, area: Area) -> Config {
    let name = format!("{}-group-{}", shared.options.prefix, spec.name);
    let mut config = Config {
        durable_name: Some(name.clone()),
        name: Some(name),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: settle_within(shared, spec, &[area]),
        // Without end: a message that nobody acknowledged must not vanish when the last member that had it dies. Which delivery is the
        // last one is said to the member instead.
        max_deliver: -1,
        max_ack_pending: i64::try_from(spec.in_flight.saturating_mul(MEMBERS).min(MOST)).unwrap_or(i64::MAX),
        metadata: [(AREAS.to_owned(), letters(&spec.areas))].into(),
        ..Config::default()
    };
    filter(&mut config, filters_in(&shared.options.prefix, area, spec.scope.as_ref(), &spec.topics));
    config
}

/// Refuses a consumer that reads something else. Times and numbers may differ: the newest member's count.
fn compare(there: &Config, want: &Config) -> Result<()> {
    let name = want.durable_name.as_deref().unwrap_or_default();
    let bad = |what: &str, is: String, should: String| {
        let text = format!("the group's consumer {name} has {what} {is}, and {should} is wanted; choose another name, or remove it");
        Err(Error::new(Code::BUS_MISMATCH, text).op(OP).with("consumer", name).with("setting", what))
    };
    let (a, b) = (filters_of(there), filters_of(want));
    if a != b {
        return bad("filters", format!("{a:?}"), format!("{b:?}"));
    }
    if there.ack_policy != want.ack_policy || there.deliver_subject.is_some() {
        return bad("ack_policy", format!("{:?}", there.ack_policy), format!("{:?} by pulling", want.ack_policy));
    }
    if there.max_deliver > 0 {
        return bad("max_deliver", there.max_deliver.to_string(), "no end".into());
    }
    match (there.metadata.get(AREAS), want.metadata.get(AREAS)) {
        (Some(a), Some(b)) if a != b => bad("areas", a.clone(), b.clone()),
        _ => Ok(()),
    }
}

/// Makes sure that the consumer of an area is there and reads what the group reads; returns its name.
pub(super) async fn ensure(shared: &Shared, spec: &GroupSpec, area: Area) -> Result<String> {
    let (stream, want) = (shared.options.stream(area), wanted(shared, spec, area));
    let name = want.durable_name.clone().unwrap_or_default();
    for _ in 0..3 {
        match shared.api.ask::<Info>(OP, format!("CONSUMER.INFO.{stream}.{name}"), &Nothing {}).await? {
            Ok(info) => {
                compare(&info.config, &want)?;
                if (info.config.ack_wait, info.config.max_ack_pending) != (want.ack_wait, want.max_ack_pending) {
                    let update = Create { stream_name: &stream, config: &want, action: "update" };
                    shared.api.must::<Info>(OP, create_subject(&stream, &want), &update).await?;
                }
                return Ok(name);
            }
            Err(e) if e.error_code() == ErrorCode::CONSUMER_NOT_FOUND => {}
            Err(e) => return Err(refusal(OP, &e)),
        }
        let create = Create { stream_name: &stream, config: &want, action: "create" };
        match shared.api.ask::<Info>(OP, create_subject(&stream, &want), &create).await? {
            Ok(_) => return Ok(name),
            // Another member made it in the same moment: look at it.
            Err(e) if e.error_code() == ErrorCode::CONSUMER_ALREADY_EXISTS => {}
            Err(e) => return Err(refusal(OP, &e)),
        }
    }
    Err(Error::new(Code::BUS_UNAVAILABLE, format!("the consumer {name} is made and removed by others all the time")).op(OP))
}

#[async_trait]
impl Groups for Shared {
    async fn join(&self, mut spec: GroupSpec) -> Result<Box<dyn Consumer>> {
        let bad = |why: &str| Err(Error::new(Code::BUS_MISMATCH, format!("the group {:?}: {why}", spec.name)).op(OP));
        if !is_name(&spec.name) {
            return bad("a name has 1 to 32 letters, digits, - and _");
        }
        if spec.areas.is_empty() || spec.in_flight == 0 {
            return bad("it reads no area, or may hold no message");
        }
        spec.areas.sort_unstable();
        spec.areas.dedup();
        spec.settle_within = settle_within(self, &spec, &spec.areas);
        if spec.deliveries == 0 {
            spec.deliveries = spec.areas.iter().map(|a| self.options.streams.of(*a).max_deliver).max().unwrap_or(0);
        }
        let mut pulls = Vec::new();
        for area in &spec.areas {
            let consumer = ensure(self, &spec, *area).await?;
            pulls.push(Pull::open(&self.api, &self.clock, &self.options.stream(*area), &consumer).await?);
        }
        Ok(Box::new(Member::new(self.me()?, spec, pulls)))
    }
}
