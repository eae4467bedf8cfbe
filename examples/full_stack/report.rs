//! What the run came to: for people and for programs. The keys of the JSON are stable.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::find::Compared;

/// The report.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) store: String,
    pub(crate) seconds: f64,
    pub(crate) ready_ms: f64,
    pub(crate) counts: Counts,
    pub(crate) total: Counts,
    pub(crate) by_kind: BTreeMap<String, u64>,
    pub(crate) rejected: Vec<Rejected>,
    pub(crate) faults: Vec<Compared>,
    pub(crate) activities: Vec<Activity>,
    pub(crate) searches: Vec<Search>,
    pub(crate) latency_ms: Latency,
    pub(crate) bytes_on_disk: u64,
    pub(crate) flows: Vec<Flow>,
    pub(crate) input: Option<am_connect::ImportReport>,
    pub(crate) unavailable: Vec<Unavailable>,
}

/// The balance of custody: what was received is accounted for.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Counts {
    pub(crate) received: u64,
    pub(crate) stored: u64,
    pub(crate) duplicate: u64,
    pub(crate) discarded: u64,
    pub(crate) dead_lettered: u64,
}

/// A reason why items were refused.
#[derive(Debug, Serialize)]
pub(crate) struct Rejected {
    pub(crate) code: String,
    pub(crate) reason: String,
    pub(crate) items: u64,
}

/// How long the person did something, planned and found.
#[derive(Debug, Serialize)]
pub(crate) struct Activity {
    pub(crate) activity: String,
    pub(crate) planned_minutes: f64,
    pub(crate) found_minutes: f64,
    /// The share of the planned time that was found as such.
    pub(crate) agreement: Option<f64>,
}

/// A search and its best hit.
#[derive(Debug, Serialize)]
pub(crate) struct Search {
    pub(crate) text: String,
    pub(crate) hits: usize,
    pub(crate) best: Option<String>,
    pub(crate) ms: f64,
}

/// Round trips of a batch, from the device to the durable store and back.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Latency {
    pub(crate) accept: Quantiles,
}

/// Milliseconds.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Where a flow stands.
#[derive(Debug, Serialize)]
pub(crate) struct Flow {
    pub(crate) flow: String,
    pub(crate) cursor: u64,
    pub(crate) head: u64,
    /// Readings derived in this run.
    pub(crate) derived: u64,
    /// Derived readings that were there already.
    pub(crate) duplicates: u64,
    pub(crate) parked: u64,
    /// The longest time from the feed to the commit, milliseconds.
    pub(crate) worst_ms: Option<f64>,
}

/// A part that is not there, and why.
#[derive(Debug, Serialize)]
pub(crate) struct Unavailable {
    pub(crate) part: &'static str,
    pub(crate) reason: &'static str,
}

impl Counts {
    pub(crate) fn of(c: am_store::traits::Counts) -> Self {
        Counts { received: c.received, stored: c.stored, duplicate: c.duplicate, discarded: c.discarded, dead_lettered: c.dead_lettered }
    }

    pub(crate) fn since(self, before: Counts) -> Self {
        Counts {
            received: self.received - before.received,
            stored: self.stored - before.stored,
            duplicate: self.duplicate - before.duplicate,
            discarded: self.discarded - before.discarded,
            dead_lettered: self.dead_lettered - before.dead_lettered,
        }
    }

    fn balanced(self) -> bool {
        self.received == self.stored + self.duplicate + self.discarded + self.dead_lettered
    }
}

/// `1234567` as `1,234,567`.
fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

impl Report {
    /// The text for people.
    pub(crate) fn text(&self) -> String {
        let mut o = String::new();
        let c = &self.counts;
        let _ = writeln!(o, "\nAM – what this run came to ({:.1} s, ready after {:.0} ms)", self.seconds, self.ready_ms);
        let _ = writeln!(
            o,
            "\n  received {:>12}   stored {:>12}   duplicate {:>9}   discarded {:>6}   dead letters {:>7}",
            number(c.received),
            number(c.stored),
            number(c.duplicate),
            number(c.discarded),
            number(c.dead_lettered)
        );
        let _ = writeln!(
            o,
            "  {}",
            if c.balanced() {
                "received = stored + duplicate + discarded + dead letters: nothing was lost"
            } else {
                "THE BALANCE DOES NOT HOLD: this is a fault in AM"
            }
        );
        if c.received > 0 && c.stored == 0 && c.dead_lettered < c.received {
            let _ = writeln!(o, "  Everything was there already: this run added nothing.");
        }
        if self.total.received != c.received {
            let _ = writeln!(o, "  The store holds {} readings of all runs.", number(self.total.stored));
        }
        section(&mut o, "Readings in the store by kind");
        for (topic, n) in &self.by_kind {
            let _ = writeln!(o, "  {:>12}  {topic}", number(*n));
        }
        if !self.rejected.is_empty() {
            section(&mut o, "Refused, and kept among the dead letters");
            for r in &self.rejected {
                let _ = writeln!(o, "  {:>6}  {}  {}", number(r.items), r.code, r.reason);
            }
        }
        if !self.faults.is_empty() {
            section(&mut o, "Planted faults, and what the store shows of them");
            for f in &self.faults {
                let _ =
                    writeln!(o, "  {} {:<15} planted {:<28} found {}", if f.matches { "ok " } else { "NOT" }, f.fault, f.planted, f.found);
            }
        }
        if !self.activities.is_empty() {
            section(&mut o, "What the person did, by the motion flow (watch)");
            for a in &self.activities {
                let share = a.agreement.map_or_else(String::new, |s| format!("  {:.0} % of the plan", s * 100.0));
                let _ =
                    writeln!(o, "  {:<9} planned {:>6.0} min   found {:>6.0} min{share}", a.activity, a.planned_minutes, a.found_minutes);
            }
        }
        if let Some(i) = &self.input {
            section(&mut o, "Files taken in");
            for (name, f) in &i.files {
                let n: u64 = f.readings.values().sum();
                let _ = writeln!(o, "  {:>8} readings  {name}", number(n));
                for (reason, n) in &f.skipped {
                    let places =
                        f.examples.get(reason).filter(|e| !e.is_empty()).map_or_else(String::new, |e| format!(" ({})", e.join("; ")));
                    let _ = writeln!(o, "           skipped {n}: {reason}{places}");
                }
            }
        }
        if !self.searches.is_empty() {
            section(&mut o, "Searches");
            for s in &self.searches {
                let _ = writeln!(
                    o,
                    "  {:<24} {:>3} hits in {:>6.1} ms   {}",
                    format!("{:?}", s.text),
                    s.hits,
                    s.ms,
                    s.best.as_deref().unwrap_or("-")
                );
            }
        }
        section(&mut o, "Numbers");
        if self.latency_ms.accept.p50 > 0.0 {
            let _ = writeln!(
                o,
                "  accepting a batch, device to disk and back: {:.1} ms median, {:.1} ms at 99 %",
                self.latency_ms.accept.p50, self.latency_ms.accept.p99
            );
        }
        let _ = writeln!(o, "  on disk: {:.1} MB in {}", self.bytes_on_disk as f64 / 1e6, self.store);
        for f in &self.flows {
            let _ = writeln!(
                o,
                "  flow {}: {} derived, {} there already, {} parked; looked at {} of {} entries of the feed",
                f.flow,
                number(f.derived),
                number(f.duplicates),
                number(f.parked),
                number(f.cursor),
                number(f.head)
            );
        }
        section(&mut o, "Not there yet");
        for u in &self.unavailable {
            let _ = writeln!(o, "  {}: {}", u.part, u.reason);
        }
        o
    }
}

fn section(o: &mut String, title: &str) {
    let _ = writeln!(o, "\n{title}");
}
