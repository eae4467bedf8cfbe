//! Waiting until a service answers, and what to say when it does not.

use std::time::Duration;

use am_core::SystemTicks;

use super::lifecycle::say;
use super::names::Service;
use super::place::Place;
use super::state::Entry;
use super::{container, health};
use crate::exec;

/// Waits until a service answers; `ticks` began when it was started.
pub(super) fn wait(place: &Place, service: Service, entry: &Entry, ticks: SystemTicks) -> Result<(), String> {
    let limit = service.patience();
    let mut tell = Duration::from_secs(5);
    loop {
        let why = match health::of_entry(service, entry) {
            Ok(()) => {
                let seconds = ticks.monotonic().as_secs_f64();
                let after = if seconds < 0.1 { String::new() } else { format!(" after {seconds:.1} s") };
                say(service, &format!("ready{after}: {}", entry.address(service)));
                return Ok(());
            }
            Err(why) => why,
        };
        let ended = entry.servers.iter().any(|s| s.process.is_some_and(|p| !p.is_alive()));
        let waited = ticks.monotonic();
        if ended || waited > limit {
            let how = if ended { "it ended while starting".into() } else { format!("not ready within {} s", limit.as_secs()) };
            return Err(format!("{how}: {why}\n{}", last_words(place, service, entry)));
        }
        if waited > tell {
            tell += Duration::from_secs(5);
            say(service, &format!("waiting, {} of at most {} s: {why}", waited.as_secs(), limit.as_secs()));
        }
        exec::pause(Duration::from_millis(100))?;
    }
}

/// The end of what the servers wrote, for the person who has to find out.
fn last_words(place: &Place, service: Service, entry: &Entry) -> String {
    if entry.provider.is_container() {
        return container::log(entry, place, service);
    }
    let mut out = String::new();
    for n in 0..entry.servers.len() {
        let file = place.log(service, n);
        let text = std::fs::read(&file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last: Vec<String> = lines.iter().skip(lines.len().saturating_sub(5)).map(|l| format!("    {l}\n")).collect();
        out.push_str(&format!("  {} ends with:\n{}", file.display(), last.concat()));
    }
    out
}
