//! The laptop: apps, pages, clipboard, and the accounts it is signed in to.

use am_core::{Result, Timestamp};
use am_schema::v1;

use super::{Device, after, due};
use crate::day;

const APPS: &[(&str, &str, &[&str])] = &[
    ("Editor", "org.example.editor", &["pipeline.rs", "storage engine notes", "invoice draft"]),
    ("Browser", "org.example.browser", &["Rust by example", "Ferry timetable", "Lighthouse opening hours"]),
    ("Mail", "org.example.mail", &["Inbox", "Quarterly report", "Re: harbour tour"]),
    ("Terminal", "org.example.terminal", &["cargo test", "journal", "ssh"]),
];

pub(super) fn step(d: &mut Device, at: Timestamp, second: u64, step: u64) -> Result<()> {
    let awake = !day::asleep(day::hour(at));
    for s in due(second, step, 1) {
        for half in 0..2 {
            let t = after(at, s).shifted(half * 500_000_000);
            app_event(d, t, awake)?;
        }
    }
    for s in due(second, step, 10) {
        let t = after(at, s);
        let cpu = Some((if awake { 22.0 } else { 2.0 } + d.rng.unit() * 10.0) as f32);
        let usage = v1::SystemUsage {
            cpu,
            memory_used: Some(9 << 30),
            memory_total: Some(16 << 30),
            disk_used: Some(210 << 30),
            disk_total: Some(512 << 30),
            apps: Vec::new(),
        };
        d.record("device.state.usage.raw", t, &usage)?;
        let plug = v1::power::Plug::Ac.into();
        d.record("device.state.power.raw", t, &v1::Power { level: Some(100.0), charging: true, plug, ..Default::default() })?;
    }
    if !awake {
        return Ok(());
    }
    for s in due(second, step, 20) {
        let t = after(at, s);
        let page = d.rng.next() % 40;
        let title = if page == 0 { "How tall is the lighthouse?".to_owned() } else { format!("Article {page} on tides and harbours") };
        let visit = v1::WebVisit { url: format!("https://example.org/{page}"), title, dwell_ns: 12_000_000_000, ..Default::default() };
        d.record("digital.web_analytics.raw", t, &visit)?;
    }
    for s in due(second, step, 100) {
        let t = after(at, s);
        let clip = v1::Clipboard {
            text: format!("order number {}", d.rng.next() % 100_000),
            mime: "text/plain".into(),
            source_app: "Browser".into(),
        };
        d.record("digital.clipboard.raw", t, &clip)?;
        let change = if d.rng.unit() < 0.5 { v1::screen_event::Change::Lock } else { v1::screen_event::Change::Unlock };
        d.record("os.events.screen.raw", t, &v1::ScreenEvent { change: change.into() })?;
        mail(d, t)?;
    }
    for s in due(second, step, 60) {
        let t = after(at, s);
        let input = v1::InputActivity {
            keys: (d.rng.unit() * 220.0) as u32,
            clicks: (d.rng.unit() * 40.0) as u32,
            scrolls: (d.rng.unit() * 60.0) as u32,
        };
        d.record_until("digital.input.raw", t, Some(after(t, 60)), &input)?;
    }
    for s in due(second, step, 3_600) {
        hourly(d, after(at, s))?;
    }
    Ok(())
}

fn app_event(d: &mut Device, t: Timestamp, awake: bool) -> Result<()> {
    use v1::app_event::Change;
    let Some((app, package, titles)) = d.rng.pick(APPS).copied() else { return Ok(()) };
    let change = d.rng.pick(&[Change::Foreground, Change::Background]).copied().unwrap_or(Change::Foreground);
    let title = if awake { d.rng.pick(titles).copied().unwrap_or_default() } else { "" };
    d.record(
        "os.events.app_lifecycle.raw",
        t,
        &v1::AppEvent { app: app.into(), package: package.into(), change: change.into(), title: title.into() },
    )
}

fn mail(d: &mut Device, t: Timestamp) -> Result<()> {
    let n = d.rng.next();
    let email = v1::Email {
        message_id: format!("{n:016x}@example.org"),
        from: "harbour@example.org".into(),
        to: vec!["me@example.org".into()],
        subject: format!("Tour {}", n % 500),
        text: format!("The boat for tour {} leaves from pier {}. Please bring the ticket.", n % 500, n % 12),
        ..Default::default()
    };
    d.record("external.email.events.raw", t, &email)
}

fn hourly(d: &mut Device, t: Timestamp) -> Result<()> {
    let pb = |t: Timestamp| Some(prost_types::Timestamp { seconds: t.as_second(), nanos: 0 });
    let event = v1::CalendarEvent {
        uid: format!("{:x}", d.rng.next()),
        start: pb(after(t, 86_400)),
        end: pb(after(t, 90_000)),
        zone: "Europe/Berlin".into(),
        summary: "Planning".into(),
        text: "Bring the figures of the storage engine".into(),
        ..Default::default()
    };
    d.record("external.calendar.events.raw", t, &event)?;
    let note = v1::Note {
        note_id: format!("{:x}", d.rng.next()),
        title: "Idea".into(),
        text: "A quiet week at the lighthouse, without a phone".into(),
        tags: vec!["travel".into()],
    };
    d.record("external.memo.raw", t, &note)
}
