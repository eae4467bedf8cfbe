//! Off the bus, shared by the members of a group.

use std::collections::BTreeMap;
use std::time::Duration;

use am_core::Code;

use super::super::cut;
use super::bench::{Bench, OTHER, collect, drain, fetch, number_of, once, tags};
use crate::bus::{Area, Consumer, GroupSpec, Message};

pub(super) async fn shares(b: &Bench) -> Result<(), String> {
    b.publish(b.messages(0..100)).await?;
    let mut one = b.join(b.spec()).await?;
    let mut two = b.second.groups.join(b.spec()).await.map_err(|e| format!("join: {e}"))?;
    let (mut seen, mut by): (BTreeMap<u64, usize>, [usize; 2]) = Default::default();
    let mut idle = 0;
    while idle < 2 {
        let before = seen.len();
        for (i, c) in [&mut one, &mut two].into_iter().enumerate() {
            let got = fetch(c, 7, 300).await?;
            for d in &got {
                *seen.entry(number_of(d)?).or_default() += 1;
            }
            *by.get_mut(i).ok_or("two members")? += got.len();
            c.ack(&tags(&got)).await.map_err(|e| format!("ack: {e}"))?;
        }
        idle = if seen.len() == before { idle + 1 } else { 0 };
    }
    once(&seen, 0..100)?;
    if by.contains(&0) { Err(format!("one member got everything: {by:?}")) } else { Ok(()) }
}

pub(super) async fn each(b: &Bench) -> Result<(), String> {
    b.publish(b.messages(0..10)).await?;
    for suffix in ["-a", "-b"] {
        let mut c = b.join(b.named(suffix)).await?;
        once(&drain(&mut c, 300).await?, 0..10).map_err(|e| format!("group {suffix}: {e}"))?;
    }
    Ok(())
}

pub(super) async fn filters(b: &Bench) -> Result<(), String> {
    let mut all = b.messages(0..10);
    let third = "device.sensor.barometer.raw";
    for (n, m) in (10..20).map(|n| (n, b.message(n))) {
        all.push(Message { topic: if n < 15 { OTHER } else { third }.into(), ..m });
    }
    b.publish(all).await?;
    let mut one = b.join(b.named("-1").topics([OTHER.to_owned()])).await?;
    once(&drain(&mut one, 300).await?, 10..15)?;
    let mut two = b.join(b.named("-2").topics([third.to_owned(), OTHER.to_owned()])).await?;
    once(&drain(&mut two, 300).await?, 10..20)?;
    // Everybody's, of a topic: this person's are among them.
    let everybody = GroupSpec { scope: None, ..b.named("-3") }.topics([third.to_owned()]);
    let seen = drain_own(b, everybody).await?;
    once(&seen, 15..20)
}

/// What a group of everybody gets of this case's person.
async fn drain_own(b: &Bench, spec: GroupSpec) -> Result<BTreeMap<u64, usize>, String> {
    let (mut c, mut seen) = (b.join(spec).await?, BTreeMap::new());
    loop {
        let got = fetch(&mut c, 64, 300).await?;
        if got.is_empty() {
            return Ok(seen);
        }
        for d in got.iter().filter(|d| d.message.as_ref().is_ok_and(|m| m.scope == b.scope)) {
            *seen.entry(number_of(d)?).or_default() += 1;
        }
        c.ack(&tags(&got)).await.map_err(|e| format!("ack: {e}"))?;
    }
}

pub(super) async fn areas(b: &Bench) -> Result<(), String> {
    let errors = |n: u64| Message { area: Area::Errors, topic: "processing.errors.kit".into(), ..b.message(n) };
    let all: Vec<Message> = b.messages(0..60).into_iter().chain((60..80).map(errors)).collect();
    b.publish(all).await?;
    let spec = GroupSpec { areas: vec![Area::Errors, Area::Readings], ..b.spec() };
    let mut c = b.join(spec).await?;
    let (mut seen, mut early): (BTreeMap<u64, usize>, usize) = Default::default();
    loop {
        let got = fetch(&mut c, 10, 300).await?;
        if got.is_empty() {
            break;
        }
        for d in &got {
            let n = number_of(d)?;
            let area = d.message.as_ref().map(|m| m.area).map_err(|f| f.why.clone())?;
            if area != if n < 60 { Area::Readings } else { Area::Errors } {
                return Err(format!("message {n} came from {area:?}"));
            }
            early += usize::from(n < 60 && seen.len() < 60);
            *seen.entry(n).or_default() += 1;
        }
        c.ack(&tags(&got)).await.map_err(|e| format!("ack: {e}"))?;
    }
    once(&seen, 0..80)?;
    if early == 0 { Err("the readings waited until there was nothing else".into()) } else { Ok(()) }
}

pub(super) async fn durable(b: &Bench) -> Result<(), String> {
    b.publish(b.messages(0..20)).await?;
    let spec = || b.spec().settle_within(Duration::from_millis(1_000));
    let mut one = b.join(spec()).await?;
    let got = collect(&mut one, 10).await?;
    let (done, left) = got.split_at(5);
    one.ack(&tags(done)).await.map_err(|e| format!("ack: {e}"))?;
    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
    for d in done {
        *seen.entry(number_of(d)?).or_default() += 1;
    }
    // What it acknowledged is on its way; it leaves with five that it did not.
    b.sleep(200).await;
    drop(left.to_vec());
    drop(one);
    b.publish(b.messages(20..25)).await?;
    let mut two = b.second.groups.join(spec()).await.map_err(|e| format!("join: {e}"))?;
    for (n, times) in drain(&mut two, 2_500).await? {
        *seen.entry(n).or_default() += times;
    }
    once(&seen, 0..25)
}

pub(super) async fn mismatch(b: &Bench) -> Result<(), String> {
    let _one = b.join(b.spec()).await?;
    let two = b.join(b.spec().in_flight(7).settle_within(Duration::from_secs(9))).await;
    two.map_err(|e| format!("a member with other numbers: {e}"))?;
    let strange = [b.spec().topics([OTHER.to_owned()]), GroupSpec { scope: None, ..b.spec() }];
    let strange = strange.into_iter().chain([GroupSpec { areas: vec![Area::Readings, Area::Errors], ..b.spec() }]);
    for spec in strange {
        match b.bus.groups.join(spec.clone()).await {
            Err(e) if e.code() == Code::BUS_MISMATCH => {}
            Err(e) => return Err(format!("{spec:?} was refused with {e}")),
            Ok(_) => return Err(format!("{spec:?} was taken beside another one of the name")),
        }
    }
    Ok(())
}

pub(super) async fn in_flight(b: &Bench) -> Result<(), String> {
    b.publish(b.messages(0..10)).await?;
    let mut c = b.join(b.spec().in_flight(3)).await?;
    let first = fetch(&mut c, 10, 500).await?;
    let more = fetch(&mut c, 10, 300).await?;
    if first.is_empty() || first.len() + more.len() > 3 {
        return Err(format!("{} and {} messages, where a member may hold three", first.len(), more.len()));
    }
    c.ack(&tags(&first)).await.map_err(|e| format!("ack: {e}"))?;
    c.ack(&tags(&more)).await.map_err(|e| format!("ack: {e}"))?;
    let mut seen = drain(&mut c, 500).await?;
    for d in first.iter().chain(&more) {
        *seen.entry(number_of(d)?).or_default() += 1;
    }
    once(&seen, 0..10)
}

pub(super) async fn cancel(b: &Bench) -> Result<(), String> {
    b.publish(b.messages(0..60)).await?;
    let mut c = b.join(b.spec().settle_within(Duration::from_millis(1_000))).await?;
    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
    for polls in (1..8).chain(1..8) {
        if let Some(got) = cut(c.fetch(4, Duration::from_millis(300)), polls).await {
            let got = got.map_err(|e| format!("fetch: {e}"))?;
            for d in &got {
                *seen.entry(number_of(d)?).or_default() += 1;
            }
            c.ack(&tags(&got)).await.map_err(|e| format!("ack: {e}"))?;
        }
    }
    for (n, times) in drain(&mut c, 2_500).await? {
        *seen.entry(n).or_default() += times;
    }
    once(&seen, 0..60)
}

pub(super) async fn lag(b: &Bench) -> Result<(), String> {
    let mut c = b.join(b.spec()).await?;
    lags(b, &mut c, 0, "at first").await?;
    b.publish(b.messages(0..12)).await?;
    lags(b, &mut c, 12, "after twelve messages").await?;
    let got = collect(&mut c, 5).await?;
    lags(b, &mut c, 7, "with five at a member").await?;
    c.ack(&tags(&got)).await.map_err(|e| format!("ack: {e}"))?;
    drain(&mut c, 300).await?;
    lags(b, &mut c, 0, "at the end").await
}

/// The lag is an observation: whoever counts may hear of a message a moment after its publisher does.
async fn lags(b: &Bench, c: &mut Box<dyn Consumer>, want: u64, when: &str) -> Result<(), String> {
    let mut is = None;
    for _ in 0..40 {
        is = Some(c.lag().await.map_err(|e| format!("lag: {e}"))?);
        if is == Some(want) {
            return Ok(());
        }
        b.sleep(50).await;
    }
    Err(format!("{when} the lag is {is:?}, not {want}"))
}

pub(super) async fn wait(b: &Bench) -> Result<(), String> {
    let mut c = b.join(b.spec()).await?;
    let clock = b.ctx.clock();
    let start = clock.monotonic();
    if !fetch(&mut c, 5, 400).await?.is_empty() {
        return Err("there is something where nothing was published".into());
    }
    let took = clock.monotonic().saturating_sub(start);
    if took < Duration::from_millis(200) || took > Duration::from_secs(4) {
        return Err(format!("an empty fetch of 400 ms took {took:?}"));
    }
    let start = clock.monotonic();
    let later = async {
        b.sleep(300).await;
        b.publish(b.messages(0..1)).await
    };
    let (got, published) = tokio::join!(fetch(&mut c, 5, 20_000), later);
    published?;
    let took = clock.monotonic().saturating_sub(start);
    match (got?.len(), took < Duration::from_secs(10)) {
        (1, true) => Ok(()),
        (n, _) => Err(format!("{n} messages after {took:?}, where one was published after 300 ms")),
    }
}
