//! Cases for sources.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use am_core::Ctx;
use am_schema::ReadingRef;

use super::{Verdict, ctx, cut};
use crate::{Outcome, Settled, Source, Token};

/// How long a source may take for one poll before a case is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a source handed over, by reading; items that are no readings go by their token.
type Seen = HashMap<Key, usize>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Reading(ReadingRef),
    Rejected(Token),
}

/// Runs the cases for sources. `make` gives a source that will hand over exactly `expected` items and then end.
pub async fn source<S, F>(make: impl Fn() -> F, expected: usize) -> Vec<Verdict>
where
    S: Source,
    F: Future<Output = S>,
{
    vec![
        Verdict::of("source.all", "each item is handed over once, then the source is at its end", all(&make, expected).await),
        Verdict::of("source.room", "a poll gives no more than there is room for", room(&make, expected).await),
        Verdict::of("source.tokens", "items that are open at the same time have different tokens", tokens(&make).await),
        Verdict::of("source.cancel", "a poll dropped at any await loses and repeats nothing", cancel(&make, expected).await),
        Verdict::of("source.retry", "an item that is to be tried again comes again", retry(&make, expected).await),
        Verdict::of("source.slow", "a consumer that settles late and out of order gets everything once", slow(&make, expected).await),
    ]
}

async fn patient<T>(ctx: &Ctx, work: impl Future<Output = T>) -> Result<T, String> {
    tokio::select! {
        v = work => Ok(v),
        () = ctx.clock().sleep(PATIENCE) => Err(format!("it took longer than {PATIENCE:?}")),
    }
}

/// Polls until there is something; `None` at the end.
async fn next<S: Source>(s: &mut S, ctx: &Ctx, room: usize) -> Result<Option<Vec<(Token, Key)>>, String> {
    loop {
        let polled = patient(ctx, s.poll(ctx, room)).await?.map_err(|e| format!("poll: {e}"))?;
        let Some(polled) = polled else { return Ok(None) };
        if polled.items.len() > room {
            return Err(format!("{} items for a room of {room}", polled.items.len()));
        }
        if !polled.items.is_empty() {
            let key = |a: crate::Arrival| match a.item {
                Ok(r) => (a.token, Key::Reading(r.reference())),
                Err(_) => (a.token, Key::Rejected(a.token)),
            };
            return Ok(Some(polled.items.into_iter().map(key).collect()));
        }
    }
}

async fn settle<S: Source>(s: &mut S, ctx: &Ctx, tokens: &[Token], outcome: &Outcome) -> Result<(), String> {
    let outcomes: Vec<Settled> = tokens.iter().map(|t| Settled { token: *t, outcome: outcome.clone() }).collect();
    patient(ctx, s.settle(ctx, &outcomes)).await?.map_err(|e| format!("settle: {e}"))
}

fn once(seen: &Seen, expected: usize) -> Result<(), String> {
    if let Some((key, n)) = seen.iter().find(|(_, n)| **n != 1) {
        return Err(format!("{key:?} was handed over {n} times"));
    }
    if seen.len() == expected { Ok(()) } else { Err(format!("{} of {expected} items were handed over", seen.len())) }
}

fn note(seen: &mut Seen, items: &[(Token, Key)]) -> Vec<Token> {
    items.iter().for_each(|(_, k)| *seen.entry(k.clone()).or_default() += 1);
    items.iter().map(|(t, _)| *t).collect()
}

async fn all<S: Source, F: Future<Output = S>>(make: &impl Fn() -> F, expected: usize) -> Result<(), String> {
    let (ctx, mut s, mut seen) = (ctx(), make().await, Seen::new());
    while let Some(items) = next(&mut s, &ctx, 16).await? {
        let tokens = note(&mut seen, &items);
        settle(&mut s, &ctx, &tokens, &Outcome::Delivered).await?;
    }
    once(&seen, expected)
}

async fn room<S: Source, F: Future<Output = S>>(make: &impl Fn() -> F, expected: usize) -> Result<(), String> {
    for room in [1, 2, 7, expected.max(1) * 2] {
        let (ctx, mut s, mut seen) = (ctx(), make().await, Seen::new());
        while let Some(items) = next(&mut s, &ctx, room).await? {
            let tokens = note(&mut seen, &items);
            settle(&mut s, &ctx, &tokens, &Outcome::Delivered).await?;
        }
        once(&seen, expected).map_err(|e| format!("room {room}: {e}"))?;
    }
    Ok(())
}

async fn tokens<S: Source, F: Future<Output = S>>(make: &impl Fn() -> F) -> Result<(), String> {
    let (ctx, mut s) = (ctx(), make().await);
    let mut open = std::collections::HashSet::new();
    for _ in 0..3 {
        for (token, _) in next(&mut s, &ctx, 4).await?.unwrap_or_default() {
            if !open.insert(token) {
                return Err(format!("{token:?} stands for two open items"));
            }
        }
    }
    Ok(())
}

async fn cancel<S: Source, F: Future<Output = S>>(make: &impl Fn() -> F, expected: usize) -> Result<(), String> {
    for polls in 1..6 {
        let (ctx, mut s, mut seen) = (ctx(), make().await, Seen::new());
        loop {
            // Dropped after so many polls; then once to its end, so that the source gets on.
            let dropped = cut(s.poll(&ctx, 8), polls).await;
            let items = match dropped {
                Some(Ok(None)) => break,
                Some(Ok(Some(polled))) => {
                    let key = |a: crate::Arrival| match a.item {
                        Ok(r) => (a.token, Key::Reading(r.reference())),
                        Err(_) => (a.token, Key::Rejected(a.token)),
                    };
                    polled.items.into_iter().map(key).collect()
                }
                Some(Err(e)) => return Err(format!("poll: {e}")),
                None => match next(&mut s, &ctx, 8).await? {
                    Some(items) => items,
                    None => break,
                },
            };
            let tokens = note(&mut seen, &items);
            settle(&mut s, &ctx, &tokens, &Outcome::Delivered).await?;
        }
        once(&seen, expected).map_err(|e| format!("dropped after {polls} polls: {e}"))?;
    }
    Ok(())
}

async fn retry<S: Source, F: Future<Output = S>>(make: &impl Fn() -> F, expected: usize) -> Result<(), String> {
    let (ctx, mut s, mut seen, mut delivered) = (ctx(), make().await, Seen::new(), Seen::new());
    while let Some(items) = next(&mut s, &ctx, 8).await? {
        // Every second item is sent back once.
        let is_back = |i: usize, k: &Key| i.is_multiple_of(2) && !seen.contains_key(k);
        let (mut back, mut done) = (Vec::new(), Vec::new());
        for (i, (token, key)) in items.iter().enumerate() {
            if is_back(i, key) {
                back.push(*token);
            } else {
                done.push(*token);
                *delivered.entry(key.clone()).or_default() += 1;
            }
        }
        note(&mut seen, &items);
        settle(&mut s, &ctx, &done, &Outcome::Delivered).await?;
        settle(&mut s, &ctx, &back, &Outcome::Retry(None)).await?;
    }
    once(&delivered, expected)
}

async fn slow<S: Source, F: Future<Output = S>>(make: &impl Fn() -> F, expected: usize) -> Result<(), String> {
    let (ctx, mut s, mut seen, mut open) = (ctx(), make().await, Seen::new(), Vec::new());
    while seen.len() < expected {
        let Some(items) = next(&mut s, &ctx, 5).await? else { break };
        open.extend(note(&mut seen, &items));
    }
    open.reverse();
    for token in open {
        settle(&mut s, &ctx, &[token], &Outcome::Delivered).await?;
    }
    if next(&mut s, &ctx, 5).await?.is_some() {
        return Err("it hands over more than there is".into());
    }
    once(&seen, expected)
}
