//! Spans: an end does not lie before its start.

use am_core::Timestamp;

use super::{Item, each, last, unsigned};
use crate::wire::{Value, read_timestamp};

/// Two times of the payload are in order, where both are there.
pub(super) fn times(item: &mut Item<'_, '_>, from: (&str, u32), to: (&str, u32)) {
    if let (Some(a), Some(b)) = (time(item.bytes, from.1), time(item.bytes, to.1))
        && b < a
    {
        item.find(to.0, b, format!("not before {}, {a}", from.0));
    }
}

/// The parts of a list that count nanoseconds from the start of the reading are in order and lie within it.
pub(super) fn nanoseconds(item: &mut Item<'_, '_>, list: &str, number: u32, start: u32, end: u32) {
    let span = match (item.envelope.recorded_at, item.envelope.ended_at) {
        (Some(from), Some(to)) => u64::try_from(to.since(from).as_nanos()).unwrap_or(u64::MAX),
        _ => u64::MAX,
    };
    let mut before = 0;
    for (i, part) in each(item.bytes, number).enumerate() {
        let (a, b) = (unsigned(part, start), unsigned(part, end));
        if b < a {
            item.find(&format!("{list}[{i}].end_ns"), b, format!("not before start_ns, {a}"));
        } else if a < before {
            item.find(&format!("{list}[{i}].start_ns"), a, format!("not before the one before it, {before}"));
        } else if b > span {
            item.find(&format!("{list}[{i}].end_ns"), b, format!("within the span of the reading, {span} ns"));
        }
        before = before.max(a);
    }
}

/// The segments of a night are in order, do not overlap and are not empty.
pub(super) fn stages(item: &mut Item<'_, '_>) {
    let mut before: Option<Timestamp> = None;
    let mut n = 0;
    for (i, segment) in each(item.bytes, 1).enumerate() {
        n += 1;
        let (Some(from), Some(to)) = (time(segment, 1), time(segment, 2)) else {
            item.find(&format!("segments[{i}]"), "a segment without times", "from and to");
            continue;
        };
        if to <= from {
            item.find(&format!("segments[{i}].to"), to, format!("after from, {from}"));
        }
        if let Some(b) = before.filter(|b| from < *b) {
            item.find(&format!("segments[{i}].from"), from, format!("not before the end of the segment before, {b}"));
        }
        before = before.max(Some(to));
    }
    if n == 0 {
        item.find("segments", "", "at least one segment");
    }
}

fn time(message: &[u8], number: u32) -> Option<Timestamp> {
    match last(message, number) {
        Some(Value::Len(b)) => read_timestamp(b).ok().and_then(|(s, n)| Timestamp::from_parts(s, n)),
        _ => None,
    }
}
