//! Questions to the store for the report.

use std::collections::BTreeMap;

use am_core::Result;
use am_schema::v1;
use am_store::ScopedStore;
use am_store::model::TextQuery;
use am_store::traits::DeadLetterQuery;

use crate::day::{self, Doing};
use crate::find;
use crate::report::{Activity, Rejected, Search};

/// What is asked for.
const SEARCHES: &[&str] = &["lighthouse", "storage engine", "ferry -jacket", "\"storm warning\"", "unicorn"];

/// Runs the searches.
pub(crate) async fn searches(store: &ScopedStore) -> Result<Vec<Search>> {
    let mut out = Vec::new();
    for text in SEARCHES {
        let begin = store.store().clock().monotonic();
        let found = store.search(&TextQuery::new(*text)).await?;
        let ms = store.store().clock().monotonic().saturating_sub(begin).as_secs_f64() * 1e3;
        let best = found.hits.first().map(|h| {
            let r = &h.stored.reading;
            let words: String = r.texts().join(" · ").chars().take(70).collect();
            format!("{} {} {words:?}", r.recorded_at(), r.kind())
        });
        out.push(Search { text: (*text).into(), hits: found.hits.len(), best, ms });
    }
    Ok(out)
}

/// The dead letters by reason; fields and rules, never values.
pub(crate) async fn rejected(store: &ScopedStore) -> Result<Vec<Rejected>> {
    let mut groups: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut q = DeadLetterQuery::default();
    q.limit = 1_000;
    loop {
        let rows = store.dead_letters(&q).await?;
        let Some(last) = rows.last() else { break };
        q.after = Some(last.letter.id.clone());
        for row in rows {
            let l = row.letter;
            let reason = match l.findings.first() {
                Some(f) if f.field.is_empty() => format!("expected {}", f.rule),
                Some(f) => format!("{}: expected {}", f.field, f.rule),
                None => l.message,
            };
            *groups.entry((l.code.to_string(), reason)).or_default() += 1;
        }
    }
    let mut out: Vec<Rejected> = groups.into_iter().map(|((code, reason), items)| Rejected { code, reason, items }).collect();
    out.sort_by(|a, b| b.items.cmp(&a.items).then_with(|| a.reason.cmp(&b.reason)));
    Ok(out)
}

/// What the motion flow found on the watch, against the plan of the day.
pub(crate) async fn activities(store: &ScopedStore, hours: f64) -> Result<Vec<Activity>> {
    let Some(kind) = store.store().catalogue().get("motion.classification.activity") else { return Ok(Vec::new()) };
    let names = [(Doing::Still, "still"), (Doing::Walking, "walking"), (Doing::Running, "running"), (Doing::Vehicle, "vehicle")];
    let mut found: BTreeMap<&str, f64> = BTreeMap::new();
    let mut right: BTreeMap<&str, f64> = BTreeMap::new();
    let mut seen: BTreeMap<&str, f64> = BTreeMap::new();
    let mut end_before = am_core::Timestamp::MIN;
    for s in find::all(store, kind, "watch").await? {
        let a: v1::Activity = s.reading.payload()?;
        // Windows overlap; each stretch of time counts once.
        let from = s.reading.recorded_at().max(end_before);
        let to = s.reading.ended_at().unwrap_or(from);
        end_before = end_before.max(to);
        let minutes = to.since(from).as_secs_f64() / 60.0;
        use v1::activity::Class;
        let name = match a.activity() {
            Class::Still => "still",
            Class::Walking => "walking",
            Class::Running => "running",
            Class::Cycling => "cycling",
            Class::Driving | Class::Transit | Class::Vehicle => "vehicle",
            Class::Unknown | Class::Unspecified => "unknown",
        };
        *found.entry(name).or_default() += minutes;
        let middle = (day::hour(from) + day::hour(to)) / 2.0;
        if let Some((_, planned)) = names.iter().find(|n| n.0 == day::doing(middle)) {
            *seen.entry(planned).or_default() += minutes;
            if *planned == name {
                *right.entry(planned).or_default() += minutes;
            }
        }
    }
    let mut out = Vec::new();
    for (doing, name) in names {
        let steps = (hours * 60.0) as u64;
        let planned_minutes = (0..steps).filter(|m| day::doing(*m as f64 / 60.0) == doing).count() as f64;
        let agreement = seen.get(name).filter(|s| **s > 0.0).map(|s| right.get(name).copied().unwrap_or_default() / s);
        out.push(Activity { activity: name.into(), planned_minutes, found_minutes: found.remove(name).unwrap_or_default(), agreement });
    }
    out.extend(found.into_iter().map(|(n, m)| Activity { activity: n.into(), planned_minutes: 0.0, found_minutes: m, agreement: None }));
    Ok(out)
}
