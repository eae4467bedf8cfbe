//! Single quantities, and numbers that grow with the span they were counted over.

use super::Item;
use crate::{normalise, path};

/// A quantity in a unit that can be turned into the kind's, and within the range of what it measures.
pub(super) fn quantity(item: &mut Item<'_, '_>) {
    let (value, unit, code) = normalise::quantity(item.bytes);
    let Some(measure) = normalise::measure(item.kind, code) else {
        return item.find("code", code, "a vital sign of the catalogue");
    };
    let Some(v) = measure.canonical(value, unit) else {
        return item.find("unit", unit, format!("{} or a unit that converts to it", measure.unit));
    };
    if !(measure.min..=measure.max).contains(&v) {
        let sent = if unit.is_empty() { value.to_string() } else { format!("{value} {unit}") };
        item.find("value", sent, format!("{} to {} {}", measure.min, measure.max, measure.unit));
    }
}

/// The rows of the catalogue that speak of the span: it must be there, and a number may not grow faster than allowed.
pub(super) fn span(item: &mut Item<'_, '_>) {
    // Without a start the envelope is at fault, and says so itself.
    let Some(from) = item.envelope.recorded_at else { return };
    let Some(to) = item.envelope.ended_at else {
        if item.kind.needs_span() {
            super::push(item.findings, "ended_at", "", format!("the end of the span, for {}", item.kind));
        }
        return;
    };
    let Some(rate) = item.kind.max_rate() else { return };
    let seconds = to.since(from).as_secs_f64();
    let most = (rate.per_minute * seconds / 60.0).ceil();
    if let Some(v) = path::number(item.kind.message(), item.bytes, &rate.numbers)
        && v > most
    {
        item.find(&rate.path, v, format!("at most {}/min, that is {most} in {seconds} s", rate.per_minute));
    }
}

/// At least one of the fields that the catalogue names is there and not empty.
pub(super) fn one_of(item: &mut Item<'_, '_>) {
    let paths = item.kind.one_of();
    if paths.is_empty() {
        return;
    }
    let mut there = false;
    for p in paths {
        path::visit(item.kind.message(), item.bytes, p, &mut |f, v| there |= path::is_set(f, v));
    }
    if !there {
        let names = item.kind.one_of_names();
        let first = names.first().map_or("", String::as_str).to_owned();
        item.find(&first, "", format!("at least one of {}", names.join(", ")));
    }
}
