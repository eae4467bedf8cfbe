//! What is settled, what is not, and what is sent back.

use std::collections::BTreeSet;
use std::time::Duration;

use super::bench::{Bench, collect, drain, fetch, number_of, once, tags};
use crate::bus::Tag;

pub(super) async fn late(b: &Bench) -> Result<(), String> {
    b.publish(b.messages(0..6)).await?;
    let mut c = b.join(b.spec().settle_within(Duration::from_millis(1_000))).await?;
    let got = collect(&mut c, 6).await?;
    if let Some(d) = got.iter().find(|d| d.attempt != 1 || d.last) {
        return Err(format!("a first delivery says attempt {} and last {}", d.attempt, d.last));
    }
    let (done, open) = got.split_at(3);
    c.ack(&tags(done)).await.map_err(|e| format!("ack: {e}"))?;
    let open: BTreeSet<u64> = open.iter().map(number_of).collect::<Result<_, _>>()?;
    let again = collect(&mut c, 3).await?;
    let came: BTreeSet<u64> = again.iter().map(number_of).collect::<Result<_, _>>()?;
    if came != open {
        return Err(format!("{open:?} were not settled, and {came:?} came again"));
    }
    if let Some(d) = again.iter().find(|d| d.attempt < 2) {
        return Err(format!("a second delivery says attempt {}", d.attempt));
    }
    c.ack(&tags(&again)).await.map_err(|e| format!("ack: {e}"))?;
    match drain(&mut c, 2_000).await?.len() {
        0 => Ok(()),
        n => Err(format!("{n} messages came again after all were settled")),
    }
}

pub(super) async fn again(b: &Bench) -> Result<(), String> {
    b.publish(b.messages(0..2)).await?;
    let mut c = b.join(b.spec().settle_within(Duration::from_secs(20))).await?;
    let got = collect(&mut c, 2).await?;
    let (back, done) = got.split_at(1);
    c.ack(&tags(done)).await.map_err(|e| format!("ack: {e}"))?;
    let start = b.ctx.clock().monotonic();
    c.again(&tags(back), Duration::from_millis(700)).await.map_err(|e| format!("again: {e}"))?;
    let came = collect(&mut c, 1).await?;
    let took = b.ctx.clock().monotonic().saturating_sub(start);
    let same = came.first().map(number_of).transpose()? == back.first().map(number_of).transpose()?;
    if !same || took < Duration::from_millis(600) || came.first().is_none_or(|d| d.attempt < 2) {
        return Err(format!("{came:?} after {took:?}, where {back:?} was sent back for 700 ms"));
    }
    c.again(&tags(&came), Duration::ZERO).await.map_err(|e| format!("again: {e}"))?;
    let came = collect(&mut c, 1).await?;
    c.ack(&tags(&came)).await.map_err(|e| format!("ack: {e}"))?;
    once(&drain(&mut c, 300).await?, 0..0)
}

pub(super) async fn last(b: &Bench) -> Result<(), String> {
    b.publish(b.messages(0..1)).await?;
    let mut c = b.join(b.spec().deliveries(2).settle_within(Duration::from_millis(700))).await?;
    for (want, leave) in [(false, false), (true, false), (true, true), (true, false)] {
        let got = collect(&mut c, 1).await?;
        let Some(d) = got.first() else { return Err("nothing came".into()) };
        if d.last != want {
            return Err(format!("delivery {} of at most two says last {}", d.attempt, d.last));
        }
        // Sent back, or left until it comes by itself.
        if !leave {
            c.again(&tags(&got), Duration::from_millis(50)).await.map_err(|e| format!("again: {e}"))?;
        }
    }
    let got = collect(&mut c, 1).await?;
    c.ack(&tags(&got)).await.map_err(|e| format!("ack: {e}"))?;
    match fetch(&mut c, 5, 1_500).await?.len() {
        0 => Ok(()),
        n => Err(format!("{n} messages came after it was acknowledged")),
    }
}

pub(super) async fn strange(b: &Bench) -> Result<(), String> {
    b.publish(b.messages(0..3)).await?;
    let mut c = b.join(b.spec()).await?;
    let got = collect(&mut c, 1).await?;
    c.ack(&[Tag(u64::MAX)]).await.map_err(|e| format!("ack: {e}"))?;
    c.again(&[Tag(u64::MAX - 1)], Duration::ZERO).await.map_err(|e| format!("again: {e}"))?;
    c.ack(&tags(&got)).await.map_err(|e| format!("ack: {e}"))?;
    c.ack(&tags(&got)).await.map_err(|e| format!("ack again: {e}"))?;
    c.again(&tags(&got), Duration::ZERO).await.map_err(|e| format!("again: {e}"))?;
    let mut seen = drain(&mut c, 500).await?;
    for d in &got {
        *seen.entry(number_of(d)?).or_default() += 1;
    }
    once(&seen, 0..3)
}
