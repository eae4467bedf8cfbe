//! What AM did not put on the bus.

use std::future::Future;

use bytes::Bytes;

use super::super::Verdict;
use super::bench::{Bench, fetch, number, number_of, tags};
use super::tails;
use crate::bus::{Area, Bus, GroupSpec, TailSpec, subject::subject};

/// Runs the cases for what others put on a bus. `put` publishes bytes under a subject past the publisher, as another program would; the
/// subject begins with `am`, whatever the bus makes of that.
pub async fn foreign<F: Future<Output = Bus>, P: Future<Output = ()>>(
    make: impl Fn() -> F,
    put: impl Fn(String, Bytes) -> P,
) -> Vec<Verdict> {
    let b = Bench::new(&make, "foreign").await;
    let in_group = b.patient(group(&b, &put)).await;
    let b = Bench::new(&make, "foreign.tail").await;
    let in_tail = if b.bus.tails.is_some() { b.patient(tail(&b, &put)).await } else { Ok(()) };
    vec![
        Verdict::of("foreign.group", "a group hands over what is no message, with its bytes, and goes on", in_group),
        Verdict::of("foreign.tail", "a tail hands over what is no message at its place, and goes on", in_tail),
    ]
}

/// A subject that a group of everybody reads, and that names nobody.
fn strange(b: &Bench) -> String {
    format!("am.r.=.{}.device.kit.raw", b.name)
}

async fn group<P: Future<Output = ()>>(b: &Bench, put: &impl Fn(String, Bytes) -> P) -> Result<(), String> {
    b.publish(b.messages(0..1)).await?;
    put(strange(b), Bytes::from_static(b"not ours")).await;
    put(subject(Area::Readings, &b.scope, "device.kit.raw"), Bytes::from_static(b"\xFF\xFE\xFD")).await;
    b.publish(b.messages(1..2)).await?;
    let (mut foreign, mut bodies, mut ours) = (0, 0, Vec::new());
    let mut c = b.join(GroupSpec { scope: None, ..b.spec() }).await?;
    loop {
        let got = fetch(&mut c, 64, 500).await?;
        if got.is_empty() {
            break;
        }
        for d in &got {
            match &d.message {
                Err(f) if f.subject.contains(&b.name) => {
                    if f.body != "not ours" || f.why.is_empty() {
                        return Err(format!("{f:?} instead of what was put there"));
                    }
                    foreign += 1;
                }
                Ok(m) if m.scope == b.scope && m.body == b"\xFF\xFE\xFD"[..] => bodies += 1,
                Ok(m) if m.scope == b.scope => ours.push(number_of(d)?),
                _ => {}
            }
        }
        c.ack(&tags(&got)).await.map_err(|e| format!("ack: {e}"))?;
    }
    match (foreign, bodies, ours.as_slice()) {
        (1, 1, [0, 1]) => Ok(()),
        other => Err(format!("{other:?} came: one that is no message, one with a strange body, and two of ours were put there")),
    }
}

async fn tail<P: Future<Output = ()>>(b: &Bench, put: &impl Fn(String, Bytes) -> P) -> Result<(), String> {
    let after = b.publish(b.messages(0..1)).await?.first().map_or(0, |p| p.sequence);
    put(strange(b), Bytes::from_static(b"not ours")).await;
    b.publish(b.messages(1..2)).await?;
    let mut t = tails::open(&b.bus, TailSpec { scope: None, ..tails::spec(b, after) }).await?;
    let mut seen = Vec::new();
    for _ in 0..10 {
        for s in t.next(8, std::time::Duration::from_millis(300)).await.map_err(|e| format!("next: {e}"))? {
            match &s.message {
                Err(f) if f.subject.contains(&b.name) => seen.push(None),
                Ok(m) if m.scope == b.scope => seen.push(Some(number(m)?)),
                _ => {}
            }
        }
    }
    if seen == [None, Some(1)] { Ok(()) } else { Err(format!("{seen:?} came instead of what is no message and message 1")) }
}
