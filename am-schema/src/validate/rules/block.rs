//! Sample blocks: shape, length and every sample.

use super::{Item, bytes_of, each, last, unsigned};
use crate::block::{self, Block, Channel, Limits};
use crate::wire::Value;

/// The longest span of one block, in nanoseconds.
const MAX_SPAN: u64 = 5 * 60 * 1_000_000_000;

/// Checks the block that is the payload, or that stands in one of its fields.
pub(super) fn check(item: &mut Item<'_, '_>, nested: Option<u32>) {
    let (message, prefix) = match nested.map(|n| last(item.bytes, n)) {
        None => (item.bytes, ""),
        Some(Some(Value::Len(b))) => (b, "block."),
        Some(_) => return item.find("block", "", "a sample block"),
    };
    let signal = item.kind.signal();
    let expected = signal.map_or(&[][..], |s| s.channels);
    let (mut names, mut scales) = (Vec::new(), Vec::new());
    for (i, channel) in each(message, 3).enumerate().take(block::MAX_CHANNELS + 1) {
        let name = std::str::from_utf8(bytes_of(channel, 1)).unwrap_or_default();
        let unit = std::str::from_utf8(bytes_of(channel, 2)).unwrap_or_default();
        let scale = match last(channel, 3) {
            Some(Value::Fixed64(v)) => f64::from_bits(v),
            _ => 0.0,
        };
        if let Some(s) = signal
            && !s.unit.is_empty()
            && !unit.is_empty()
            && unit != s.unit
        {
            item.find(&format!("{prefix}channels[{i}].unit"), unit, format!("{}, or empty for it", s.unit));
        }
        if name.is_empty() {
            item.find(&format!("{prefix}channels[{i}].name"), "", "a name");
        } else if names.contains(&name) {
            item.find(&format!("{prefix}channels[{i}].name"), name, "a name of its own");
        }
        if scale < 0.0 {
            item.find(&format!("{prefix}channels[{i}].scale"), scale, "above 0, or 0 for float samples");
        }
        names.push(name);
        scales.push(scale);
    }
    if names.is_empty() || (!expected.is_empty() && names != expected) {
        let rule = if expected.is_empty() { "at least one channel".into() } else { format!("the channels {}", expected.join(", ")) };
        item.find(&format!("{prefix}channels"), names.join(", "), rule);
    }
    if names.len() > block::MAX_CHANNELS {
        return item.find(&format!("{prefix}channels"), "more", format!("at most {}", block::MAX_CHANNELS));
    }
    let encoding = unsigned(message, 4);
    if encoding != u64::from(block::ENCODING) {
        return item.find(&format!("{prefix}encoding"), encoding, format!("{}", block::ENCODING));
    }
    let (count, period) = (unsigned(message, 2), unsigned(message, 1));
    if count == 0 {
        return item.find(&format!("{prefix}count"), 0, "at least 1");
    }
    let limits = Limits::exactly(names.len(), usize::try_from(count).unwrap_or(usize::MAX));
    match block::decode(bytes_of(message, 5), &limits) {
        Ok(b) => {
            times(item, prefix, &b, count, period);
            samples(item, prefix, &b, &names, &scales);
        }
        Err(e) => item.find(&format!("{prefix}data"), e.message(), "a block of so many channels and samples"),
    }
}

fn times(item: &mut Item<'_, '_>, prefix: &str, block: &Block, count: u64, period: u64) {
    let field = format!("{prefix}period_ns");
    match &block.offsets_ns {
        Some(_) if period != 0 => item.find(&field, period, "0, because the block has times of its own"),
        Some(offsets) => {
            if offsets.first().is_some_and(|t| *t < 0) || offsets.windows(2).any(|w| matches!(w, [a, b] if b < a)) {
                item.find(&format!("{prefix}data"), "times that go back", "times in order, from 0 on");
            }
            if offsets.last().is_some_and(|t| *t > MAX_SPAN as i64) {
                item.find(&format!("{prefix}data"), "a longer block", "at most 5 min");
            }
        }
        None if period == 0 && count > 1 => item.find(&field, 0, "the time between samples, or times in the block"),
        None if period.saturating_mul(count - 1) > MAX_SPAN => item.find(&field, period, "at most 5 min from the first to the last sample"),
        None => {}
    }
}

fn samples(item: &mut Item<'_, '_>, prefix: &str, block: &Block, names: &[&str], scales: &[f64]) {
    let max = item.kind.signal().map_or(f64::INFINITY, |s| s.max_abs);
    let unit = item.kind.signal().map_or("", |s| s.unit);
    for (i, channel) in block.channels.iter().enumerate() {
        let (name, scale) = (names.get(i).copied().unwrap_or_default(), scales.get(i).copied().unwrap_or_default());
        let steps = if scale == 0.0 { 1.0 } else { scale };
        let worst = match channel {
            Channel::I32(s) => first_bad(s, max, |v| f64::from(*v) * steps),
            Channel::F32(s) => first_bad(s, max, |v| f64::from(*v)),
            Channel::F64(s) => first_bad(s, max, |v| *v),
        };
        if let Some((at, v)) = worst {
            let rule = if v.is_finite() { format!("-{max} to {max} {unit}") } else { "a finite number".into() };
            item.find(&format!("{prefix}data.{name}[{at}]"), v, rule);
        }
        match (channel, scale == 0.0) {
            (Channel::I32(_), true) => item.find(&format!("{prefix}channels[{i}].scale"), 0, "the value of one integer step"),
            (Channel::F32(_) | Channel::F64(_), false) => {
                item.find(&format!("{prefix}channels[{i}].scale"), scale, "0, because the samples are floats");
            }
            _ => {}
        }
    }
}

fn first_bad<T>(samples: &[T], max: f64, value: impl Fn(&T) -> f64) -> Option<(usize, f64)> {
    let bad = |v: f64| !v.is_finite() || v.abs() > max;
    // Without an exit in the loop it runs as vectors; good blocks are the rule.
    if !samples.iter().fold(false, |any, s| any | bad(value(s))) {
        return None;
    }
    samples.iter().map(value).enumerate().find(|(_, v)| bad(*v))
}
