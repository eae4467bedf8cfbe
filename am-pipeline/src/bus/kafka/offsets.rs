//! How far groups are behind, by the brokers' own numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use am_core::Result;
use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::errors::explain;
use super::ledger::Place;
use super::upkeep::Seen;
use super::{Shared, topics};
use crate::bus::GroupSpec;

/// Offsets of partitions, where there is one.
pub(super) type Offsets = BTreeMap<Place, i64>;

/// The partitions of topics.
pub(super) fn places<'a>(seen: impl IntoIterator<Item = &'a Seen>) -> Vec<Place> {
    let of = |t: &'a Seen| {
        let topic: Arc<str> = Arc::from(t.name.as_str());
        t.partitions.iter().map(move |p| (topic.clone(), *p))
    };
    seen.into_iter().flat_map(of).collect()
}

fn list(places: &[Place], offset: Offset) -> KafkaResult<TopicPartitionList> {
    let mut out = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in places {
        out.add_partition_offset(topic, *partition, offset)?;
    }
    Ok(out)
}

fn known(list: &TopicPartitionList) -> Offsets {
    let offset = |e: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match (e.error(), e.offset()) {
        (Ok(()), Offset::Offset(n)) => Some(((Arc::from(e.topic()), e.partition()), n)),
        _ => None,
    };
    list.elements().iter().filter_map(offset).collect()
}

/// Asks the leaders for offsets by time: [`Offset::Beginning`], [`Offset::End`], or the first message at or after a time in
/// milliseconds, where there is one. One request per broker, however many partitions there are.
pub(super) fn at<C: ConsumerContext>(asking: &impl Consumer<C>, shared: &Shared, places: &[Place], when: Offset) -> Result<Offsets> {
    let fail = |e| explain("kafka.offsets", false, &shared.health, &e);
    if places.is_empty() {
        return Ok(Offsets::new());
    }
    let asked = list(places, when).map_err(fail)?;
    Ok(known(&asking.offsets_for_times(asked, shared.ask_within()).map_err(fail)?))
}

/// What the asking client's group has committed, where it has.
pub(super) fn committed<C: ConsumerContext>(asking: &impl Consumer<C>, shared: &Shared, places: &[Place]) -> Result<Offsets> {
    let fail = |e| explain("kafka.offsets", false, &shared.health, &e);
    if places.is_empty() {
        return Ok(Offsets::new());
    }
    let asked = list(places, Offset::Invalid).map_err(fail)?;
    Ok(known(&asking.committed_offsets(asked, shared.ask_within()).map_err(fail)?))
}

/// How many messages a member's group has not read: of the member's own partitions what it has not read itself, of the others' what is
/// not committed. A scope cannot be asked of the brokers, so messages of others count too.
pub(super) fn behind<C: ConsumerContext>(
    asking: &impl Consumer<C>,
    shared: &Shared,
    spec: &GroupSpec,
    seen: &[Seen],
    read: &BTreeMap<Place, Option<i64>>,
) -> Result<u64> {
    let places = places(seen.iter().filter(|t| topics::wanted(&shared.options.prefix, spec, &t.name)));
    let ends = at(asking, shared, &places, Offset::End)?;
    let begins = at(asking, shared, &places, Offset::Beginning)?;
    let committed = committed(asking, shared, &places)?;
    Ok(places.iter().map(|p| gap(begins.get(p), ends.get(p), read.get(p).copied().flatten().as_ref().or(committed.get(p)))).sum())
}

/// Messages that the brokers removed before a member's group had them, by partition, with where the partition begins now.
pub(super) fn trimmed<C: ConsumerContext>(asking: &impl Consumer<C>, shared: &Shared, places: &[Place]) -> Result<Vec<(Place, i64, i64)>> {
    let begins = at(asking, shared, places, Offset::Beginning)?;
    let committed = committed(asking, shared, places)?;
    let lost = |place: &Place| {
        let (begin, done) = (*begins.get(place)?, *committed.get(place)?);
        (done < begin).then(|| (place.clone(), done, begin))
    };
    Ok(places.iter().filter_map(lost).collect())
}

/// What lies between where one is and the end; what is gone does not count.
pub(super) fn gap(begin: Option<&i64>, end: Option<&i64>, at: Option<&i64>) -> u64 {
    let (begin, Some(end)) = (begin.copied().unwrap_or(0), end) else { return 0 };
    let at = at.copied().unwrap_or(begin).max(begin);
    u64::try_from(end.saturating_sub(at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_what_is_there_and_not_read() {
        assert_eq!(gap(Some(&0), Some(&10), None), 10);
        assert_eq!(gap(Some(&4), Some(&10), None), 6);
        assert_eq!(gap(Some(&4), Some(&10), Some(&2)), 6);
        assert_eq!(gap(Some(&4), Some(&10), Some(&9)), 1);
        assert_eq!(gap(Some(&4), Some(&10), Some(&12)), 0);
        assert_eq!(gap(None, None, Some(&1)), 0);
    }
}
