//! Off the bus, in order from a place on.

use std::time::Duration;

use am_core::Code;

use super::super::cut;
use super::bench::{Bench, OTHER, TOPIC, number};
use crate::bus::{Area, Bus, Message, Sequenced, Tail, TailSpec};

pub(super) fn spec(b: &Bench, after: u64) -> TailSpec {
    TailSpec { name: b.name.clone(), area: Area::Readings, scope: Some(b.scope.clone()), topics: Vec::new(), after }
}

pub(super) async fn open(bus: &Bus, spec: TailSpec) -> Result<Box<dyn Tail>, String> {
    let tails = bus.tails.as_ref().ok_or("there are no tails")?;
    tails.open(spec).await.map_err(|e| format!("open: {e}"))
}

/// Reads until there were so many; then once more, to see that there is no more.
pub(super) async fn read(t: &mut Box<dyn Tail>, want: usize) -> Result<Vec<(u64, u64)>, String> {
    let mut out: Vec<(u64, u64)> = Vec::new();
    let mut take = |got: Vec<Sequenced>| -> Result<usize, String> {
        for s in got {
            let n = s.message.as_ref().map_err(|f| format!("foreign: {}", f.why)).and_then(number)?;
            if out.last().is_some_and(|(place, _)| *place >= s.sequence) {
                return Err(format!("place {} came after {:?}", s.sequence, out.last()));
            }
            out.push((s.sequence, n));
        }
        Ok(out.len())
    };
    let (mut n, mut idle) = (0, 0);
    while n < want && idle < 20 {
        let got = t.next(7, Duration::from_millis(500)).await.map_err(|e| format!("next: {e}"))?;
        idle = if got.is_empty() { idle + 1 } else { 0 };
        n = take(got)?;
    }
    n = take(t.next(7, Duration::from_millis(200)).await.map_err(|e| format!("next: {e}"))?)?;
    if n == want { Ok(out) } else { Err(format!("{n} messages came, and {want} are there")) }
}

fn numbers(got: &[(u64, u64)]) -> Vec<u64> {
    got.iter().map(|(_, n)| *n).collect()
}

fn same(got: &[(u64, u64)], want: impl IntoIterator<Item = u64>) -> Result<(), String> {
    let (got, want) = (numbers(got), want.into_iter().collect::<Vec<_>>());
    if got == want { Ok(()) } else { Err(format!("{got:?} came instead of {want:?}")) }
}

pub(super) async fn order(b: &Bench) -> Result<(), String> {
    let mut places = Vec::new();
    for from in (0..60).step_by(15) {
        places.extend(b.publish(b.messages(from..from + 15)).await?.iter().map(|p| p.sequence));
    }
    let mut t = open(&b.bus, spec(b, 0)).await?;
    let got = read(&mut t, 60).await?;
    same(&got, 0..60)?;
    match got.iter().map(|(place, _)| *place).collect::<Vec<_>>() == places {
        true => t.done(got.last().map_or(0, |g| g.0)).await.map_err(|e| format!("done: {e}")),
        false => Err("the places are not those that were told when it was published".into()),
    }
}

pub(super) async fn filters(b: &Bench) -> Result<(), String> {
    let with = |n: u64| Message { topic: if n.is_multiple_of(2) { TOPIC } else { OTHER }.into(), ..b.message(n) };
    b.publish((0..20).map(with).collect()).await?;
    let mut t = open(&b.bus, TailSpec { topics: vec![OTHER.into()], ..spec(b, 0) }).await?;
    same(&read(&mut t, 10).await?, (1..20).step_by(2))
}

pub(super) async fn resume(b: &Bench) -> Result<(), String> {
    b.publish(b.messages(0..12)).await?;
    let mut t = open(&b.bus, spec(b, 0)).await?;
    let all = read(&mut t, 12).await?;
    for (i, (place, _)) in all.iter().enumerate() {
        t.done(*place).await.map_err(|e| format!("done: {e}"))?;
        drop(t);
        t = open(if i % 2 == 0 { &b.second } else { &b.bus }, spec(b, *place)).await?;
        let rest = read(&mut t, 11 - i).await.map_err(|e| format!("behind message {i}: {e}"))?;
        same(&rest, i as u64 + 1..12).map_err(|e| format!("behind message {i}: {e}"))?;
    }
    Ok(())
}

pub(super) async fn takeover(b: &Bench) -> Result<(), String> {
    b.publish(b.messages(0..10)).await?;
    let mut first = open(&b.bus, spec(b, 0)).await?;
    let got = first.next(4, Duration::from_secs(2)).await.map_err(|e| format!("next: {e}"))?;
    let place = got.last().map(|s| s.sequence).ok_or("nothing came")?;
    let mut second = open(&b.second, spec(b, place)).await?;
    b.publish(b.messages(10..14)).await?;
    let mut cut_off = false;
    for _ in 0..20 {
        match first.next(4, Duration::from_millis(300)).await {
            Err(e) if e.code() == Code::CLOSED => {
                cut_off = true;
                break;
            }
            Err(e) if e.advice().is_worthwhile() => {}
            Err(e) => return Err(format!("the first reader ends with {e}")),
            Ok(_) => {}
        }
    }
    let rest = read(&mut second, 14 - got.len()).await?;
    same(&rest, got.len() as u64..14)?;
    if cut_off { Ok(()) } else { Err("the first reader is not cut off".into()) }
}

pub(super) async fn cancel(b: &Bench) -> Result<(), String> {
    b.publish(b.messages(0..50)).await?;
    let mut t = open(&b.bus, spec(b, 0)).await?;
    let mut seen = Vec::new();
    for polls in (1..8).chain(1..8) {
        if let Some(got) = cut(t.next(3, Duration::from_millis(300)), polls).await {
            for s in got.map_err(|e| format!("next: {e}"))? {
                seen.push((s.sequence, s.message.as_ref().map_err(|f| f.why.clone()).and_then(number)?));
            }
        }
    }
    let left = 50 - seen.len().min(50);
    seen.extend(read(&mut t, left).await?);
    same(&seen, 0..50)
}

pub(super) async fn head(b: &Bench) -> Result<(), String> {
    let tails = b.bus.tails.as_ref().ok_or("there are no tails")?;
    let place = b.publish(b.messages(0..1)).await?.first().map_or(0, |p| p.sequence);
    let head = tails.head(Area::Readings).await.map_err(|e| format!("head: {e}"))?;
    if head < place { Err(format!("the head is {head}, and a message is at {place}")) } else { Ok(()) }
}

pub(super) async fn lag(b: &Bench) -> Result<(), String> {
    let tails = b.bus.tails.as_ref().ok_or("there are no tails")?;
    let lag = || async { tails.lag(Area::Readings, &b.name).await.map_err(|e| format!("lag: {e}")) };
    if let Some(n) = lag().await? {
        return Err(format!("a tail that nobody opened lags by {n}"));
    }
    b.publish(b.messages(0..8)).await?;
    let mut t = open(&b.bus, spec(b, 0)).await?;
    let got = read(&mut t, 8).await?;
    for (done, want) in [(None, 8), (got.get(2), 5), (got.last(), 0)] {
        t.done(done.map_or(0, |g| g.0)).await.map_err(|e| format!("done: {e}"))?;
        let mut is = None;
        // What a reader says is heard a moment later.
        for _ in 0..20 {
            is = lag().await?;
            if is == Some(want) {
                break;
            }
            b.sleep(50).await;
        }
        if is != Some(want) {
            return Err(format!("the lag is {is:?}, and {want} are not done"));
        }
    }
    Ok(())
}

pub(super) async fn beyond(b: &Bench) -> Result<(), String> {
    let tails = b.bus.tails.as_ref().ok_or("there are no tails")?;
    let head = tails.head(Area::Readings).await.map_err(|e| format!("head: {e}"))?;
    match tails.open(spec(b, head + 1_000_000)).await {
        Err(e) if e.code() == Code::BUS_TRIMMED => Ok(()),
        Err(e) => Err(format!("it was refused with {e}")),
        Ok(_) => Err("it was opened".into()),
    }
}

pub(super) async fn live(b: &Bench) -> Result<(), String> {
    let mut t = open(&b.bus, spec(b, 0)).await?;
    for n in 0..4 {
        let later = async {
            b.sleep(150).await;
            b.publish(b.messages(n..n + 1)).await
        };
        let (got, published) = tokio::join!(t.next(5, Duration::from_secs(10)), later);
        published?;
        let got = got.map_err(|e| format!("next: {e}"))?;
        match got.first().and_then(|s| s.message.as_ref().ok()).map(number).transpose()? {
            Some(x) if x == n && got.len() == 1 => {}
            other => return Err(format!("{other:?} came, where {n} was published")),
        }
    }
    Ok(())
}
