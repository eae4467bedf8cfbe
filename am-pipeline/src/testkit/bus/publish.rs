//! Onto the bus.

use std::collections::BTreeMap;
use std::time::Duration;

use am_core::{Code, DeviceId, Scope, TraceParent};
use bytes::Bytes;

use super::super::cut;
use super::bench::{Bench, collect, drain, number_of, once};
use crate::bus::{Message, Parcel, Parcels};

pub(super) async fn order(b: &Bench) -> Result<(), String> {
    let mut places: BTreeMap<u64, u64> = BTreeMap::new();
    for from in (0..120).step_by(20) {
        for (n, p) in (from..).zip(b.publish(b.messages(from..from + 20)).await?) {
            if places.insert(n % 3, p.sequence).is_some_and(|before| before >= p.sequence) {
                return Err(format!("message {n} got the place {}, before an older one of its device", p.sequence));
            }
        }
    }
    let mut c = b.join(b.spec()).await?;
    let mut newest: BTreeMap<u64, u64> = BTreeMap::new();
    for d in collect(&mut c, 120).await? {
        let n = number_of(&d)?;
        if newest.insert(n % 3, n).is_some_and(|before| before >= n) {
            return Err(format!("message {n} came after a newer one of its device"));
        }
    }
    Ok(())
}

pub(super) async fn again(b: &Bench) -> Result<(), String> {
    let first = b.publish(b.messages(0..5)).await?;
    let second = b.publish(b.messages(0..6)).await?;
    if first.iter().any(|p| p.duplicate) {
        return Err("a new message is said to be a duplicate".into());
    }
    let known = second.get(..5).unwrap_or_default();
    if let Some(i) = known.iter().zip(&first).position(|(s, f)| !s.duplicate || s.sequence != f.sequence) {
        return Err(format!("message {i} published again: {:?}, at first {:?}", known.get(i), first.get(i)));
    }
    if second.last().is_none_or(|p| p.duplicate) {
        return Err("a new message after known ones is said to be a duplicate".into());
    }
    let mut c = b.join(b.spec()).await?;
    once(&drain(&mut c, 500).await?, 0..6)
}

pub(super) async fn people(b: &Bench) -> Result<(), String> {
    let other = Scope::new("kit", format!("{}-2", b.name)).map_err(|e| e.to_string())?;
    let twin = Message { scope: other.clone(), ..b.message(0) };
    if b.publish(vec![b.message(0), twin]).await?.iter().any(|p| p.duplicate) {
        return Err("the second person's message is said to be a duplicate of the first one's".into());
    }
    for scope in [&b.scope, &other] {
        let suffix = if *scope == other { "-2" } else { "" };
        let mut c = b.join(b.named(suffix).scope(scope.clone())).await?;
        once(&drain(&mut c, 500).await?, 0..1).map_err(|e| format!("of {scope}: {e}"))?;
    }
    Ok(())
}

pub(super) async fn large(b: &Bench) -> Result<(), String> {
    let limit = b.bus.publisher.body_limit();
    let fill = |n: usize| Parcel { client: "2".repeat(n), ..Default::default() }.to_body();
    let exact = (limit.saturating_sub(16)..=limit).map(fill).find(|body| body.len() == limit);
    let exact = exact.unwrap_or_else(|| Bytes::from(vec![0; limit]));
    let too_large = Message { body: Bytes::from(vec![0; limit + 1]), ..b.message(1) };
    let messages = vec![b.message(0), too_large, Message { body: exact, ..b.message(2) }, b.message(3)];
    let results = b.bus.publisher.publish(&b.ctx, messages).await;
    for (i, r) in results.iter().enumerate() {
        match (i, r) {
            (1, Err(e)) if e.code() == Code::TOO_LARGE && !e.advice().is_worthwhile() => {}
            (0 | 2 | 3, Ok(_)) => {}
            (i, r) => return Err(format!("message {i} of four, the second of which is too large: {r:?}")),
        }
    }
    let mut c = b.join(b.spec()).await?;
    match collect(&mut c, 3).await?.len() {
        3 => Ok(()),
        n => Err(format!("{n} messages came, and three were taken")),
    }
}

pub(super) async fn cancel(b: &Bench) -> Result<(), String> {
    for polls in 1..12u64 {
        let batch = || b.messages(polls * 20..polls * 20 + 20);
        let _dropped = cut(b.bus.publisher.publish(&b.ctx, batch()), polls as usize).await;
        b.publish(batch()).await.map_err(|e| format!("dropped after {polls} polls: {e}"))?;
    }
    let mut c = b.join(b.spec()).await?;
    once(&drain(&mut c, 500).await?, 20..240)
}

pub(super) async fn over(b: &Bench) -> Result<(), String> {
    let late = b.ctx.with_timeout(Duration::ZERO);
    let gone = b.ctx.with_cancel(am_core::CancelToken::new());
    gone.cancel().cancel();
    for (ctx, code) in [(late, Code::TIMED_OUT), (gone, Code::CANCELLED)] {
        let results = b.bus.publisher.publish(&ctx, b.messages(0..3)).await;
        if results.len() != 3 || results.iter().any(|r| r.as_ref().err().map(am_core::Error::code) != Some(code)) {
            return Err(format!("{results:?} instead of {code} three times"));
        }
    }
    let mut c = b.join(b.spec()).await?;
    once(&drain(&mut c, 300).await?, 0..0)
}

pub(super) async fn whole(b: &Bench) -> Result<(), String> {
    let scope = Scope::new("kit.*.>", format!("ü/{}", b.name)).map_err(|e| e.to_string())?;
    let wanted = Message {
        scope: scope.clone(),
        device: DeviceId::new("Uhr.·*>=").ok(),
        trace: TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap_or_default(),
        ..b.message(1)
    };
    let bare = Message { device: None, trace: Default::default(), ..b.message(2) };
    let bare = Message { scope: scope.clone(), ..bare };
    b.publish(vec![wanted.clone(), bare.clone()]).await?;
    let mut c = b.join(b.spec().scope(scope)).await?;
    for (d, want) in collect(&mut c, 2).await?.into_iter().zip([wanted, bare]) {
        if d.message.as_ref() != Ok(&want) {
            return Err(format!("{want:?} came as {:?}", d.message));
        }
    }
    Ok(())
}
