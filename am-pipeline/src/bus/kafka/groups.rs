//! Joining groups.

use std::sync::Arc;

use am_core::{Code, Error, Result};
use async_trait::async_trait;
use parking_lot::Mutex;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::producer::Producer as _;

use super::consumer::{Member, Watch};
use super::errors::explain;
use super::ledger::Ledger;
use super::{Hand, Shared, blocking, topics};
use crate::bus::{Consumer, GroupSpec, Groups};

impl Shared {
    /// The groups of AM that the cluster knows: with members, or with offsets that are kept.
    pub(super) async fn group_names(self: &Arc<Self>) -> Result<Vec<String>> {
        let me = self.clone();
        blocking("kafka.groups", move || {
            let fail = |e| explain("kafka.groups", false, &me.health, &e);
            let found = me.producer()?.client().fetch_group_list(None, me.ask_within()).map_err(fail)?;
            let ours = found.groups().iter().filter(|g| topics::parse_group(&me.options.prefix, g.name()).is_some());
            Ok(ours.map(|g| g.name().to_owned()).collect())
        })
        .await
    }
}

#[async_trait]
impl Groups for Hand {
    async fn join(&self, spec: GroupSpec) -> Result<Box<dyn Consumer>> {
        let shared = &self.0;
        let mismatch = |text: String| Error::new(Code::BUS_MISMATCH, text).op("bus.join");
        if !topics::name_like(&spec.name) || spec.areas.is_empty() {
            return Err(mismatch(format!("the group {:?} is not named as groups are, or reads no area", spec.name)));
        }
        let subscription = topics::subscription(&shared.options.prefix, &spec)
            .ok_or_else(|| mismatch(format!("the group {} names a topic that Kafka cannot have", spec.name)))?;
        let name = topics::group(&shared.options.prefix, &spec);
        for other in shared.group_names().await? {
            let same = topics::parse_group(&shared.options.prefix, &other).is_some_and(|(n, _)| n == spec.name);
            if same && other != name {
                let text = format!(
                    "the group {} reads something else: Kafka has it as {other}. Give this one another name, or delete that one with \
                     kafka-consumer-groups --delete --group {other} when nobody needs it",
                    spec.name
                );
                return Err(mismatch(text));
            }
        }
        if !spec.topics.is_empty() {
            // What is there from the start is assigned at the first go.
            let names = subscription.iter().cloned().collect();
            if let Some((_, (code, why))) = shared.ensure(names).await.into_iter().next() {
                return Err(Error::new(code, why).op("bus.join"));
            }
        }
        let settle_ms = u64::try_from(spec.settle_within.as_millis()).unwrap_or(u64::MAX);
        let ledger = Arc::new(Mutex::new(Ledger::new(&spec)));
        let watch = Watch::new(shared.health.clone(), ledger.clone());
        let fail = |e| explain("bus.join", false, &shared.health, &e);
        let consumer: StreamConsumer<Watch> = shared.options.member(&name, settle_ms)?.create_with_context(watch).map_err(fail)?;
        let patterns: Vec<&str> = subscription.iter().map(String::as_str).collect();
        consumer.subscribe(&patterns).map_err(fail)?;
        let mut member = Member::new(shared.clone(), consumer, ledger, spec);
        member.settle_in().await?;
        Ok(Box::new(member))
    }
}
