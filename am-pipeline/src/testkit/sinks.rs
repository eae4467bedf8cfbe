//! Cases for sinks.

use std::collections::HashMap;
use std::future::Future;

use am_schema::{Reading, ReadingRef};

use super::{Verdict, beats, ctx, cut};
use crate::{Sink, Written};

/// Runs the cases for sinks. `make` gives a fresh, empty sink; `read` gives what it holds, after every write that returned.
pub async fn sink<S, F, R>(make: impl Fn() -> F, read: impl Fn(&S) -> R) -> Vec<Verdict>
where
    S: Sink,
    F: Future<Output = S>,
    R: Future<Output = Vec<Reading>>,
{
    vec![
        Verdict::of("sink.keeps", "what was written is there, with its content", keeps(&make, &read).await),
        Verdict::of("sink.again", "writing the same readings again adds nothing", again(&make, &read).await),
        Verdict::of("sink.cancel", "a write dropped at any await and made again keeps each reading once", cancel(&make, &read).await),
        Verdict::of("sink.empty", "writing nothing is fine", empty(&make, &read).await),
    ]
}

async fn write<S: Sink>(s: &mut S, readings: &[Reading]) -> Result<(), String> {
    match s.write(&ctx(), readings).await.map_err(|e| format!("write: {e}"))? {
        Written::All => Ok(()),
        Written::Partial(failed) => Err(format!("{} readings were refused: {:?}", failed.len(), failed.first())),
    }
}

fn same(held: &[Reading], wanted: &[Reading]) -> Result<(), String> {
    let mut count: HashMap<ReadingRef, usize> = HashMap::new();
    held.iter().for_each(|r| *count.entry(r.reference()).or_default() += 1);
    for r in wanted {
        match count.remove(&r.reference()) {
            Some(1) => {}
            Some(n) => return Err(format!("{r:?} is there {n} times")),
            None => return Err(format!("{r:?} is not there")),
        }
        if !held.contains(r) {
            return Err(format!("{r:?} is there with other content"));
        }
    }
    if count.is_empty() { Ok(()) } else { Err(format!("{} readings were never written", count.len())) }
}

async fn keeps<S: Sink, F: Future<Output = S>, R: Future<Output = Vec<Reading>>>(
    make: &impl Fn() -> F,
    read: &impl Fn(&S) -> R,
) -> Result<(), String> {
    let (mut s, readings) = (make().await, beats(50));
    for batch in readings.chunks(13) {
        write(&mut s, batch).await?;
    }
    same(&read(&s).await, &readings)
}

async fn again<S: Sink, F: Future<Output = S>, R: Future<Output = Vec<Reading>>>(
    make: &impl Fn() -> F,
    read: &impl Fn(&S) -> R,
) -> Result<(), String> {
    let (mut s, readings) = (make().await, beats(20));
    write(&mut s, &readings).await?;
    write(&mut s, readings.get(5..15).unwrap_or_default()).await?;
    let twice: Vec<Reading> = readings.iter().chain(&readings).cloned().collect();
    write(&mut s, &twice).await?;
    same(&read(&s).await, &readings)
}

async fn cancel<S: Sink, F: Future<Output = S>, R: Future<Output = Vec<Reading>>>(
    make: &impl Fn() -> F,
    read: &impl Fn(&S) -> R,
) -> Result<(), String> {
    let readings = beats(30);
    for polls in 1..6 {
        let mut s = make().await;
        for batch in readings.chunks(7) {
            let first = cut(s.write(&ctx(), batch), polls).await;
            if !matches!(first, Some(Ok(Written::All))) {
                write(&mut s, batch).await?;
            }
        }
        same(&read(&s).await, &readings).map_err(|e| format!("dropped after {polls} polls: {e}"))?;
    }
    Ok(())
}

async fn empty<S: Sink, F: Future<Output = S>, R: Future<Output = Vec<Reading>>>(
    make: &impl Fn() -> F,
    read: &impl Fn(&S) -> R,
) -> Result<(), String> {
    let mut s = make().await;
    write(&mut s, &[]).await?;
    same(&read(&s).await, &[])
}
