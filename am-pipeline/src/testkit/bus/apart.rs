//! Tenants never meet (P08).

use am_core::Scope;

use super::bench::{Bench, drain, number, once};
use super::tails;
use crate::bus::{Message, TailSpec};

/// People whose ids a careless bus would mix up: separators, wildcards, prefixes of each other, the encoded form of another id, case.
fn people(b: &Bench) -> Result<Vec<Scope>, String> {
    let n = &b.name;
    let tenants = ["a", "a.b", "A", "=YQ", "*", ">", "ä", "a/b"].map(str::to_owned);
    let long = "x".repeat(100);
    let users = [n.clone(), format!("{n}."), format!("{n}.*"), format!("{n}>"), format!("={n}"), format!("{long}{}", &n[n.len() - 8..])];
    let pairs = tenants.iter().flat_map(|t| users.iter().map(move |u| Scope::new(t, u)));
    pairs.collect::<Result<_, _>>().map_err(|e| e.to_string())
}

async fn publish(b: &Bench, people: &[Scope]) -> Result<(), String> {
    // The same id for everybody: content may well be the same.
    let messages = (0..).zip(people).map(|(n, s)| Message { scope: s.clone(), id: b.name.clone(), ..b.message(n) });
    b.publish(messages.collect()).await.map(drop)
}

pub(super) async fn group(b: &Bench) -> Result<(), String> {
    let people = people(b)?;
    publish(b, &people).await?;
    for (n, scope) in (0..).zip(&people) {
        let mut c = b.join(b.named(&format!("-{n}")).scope(scope.clone())).await.map_err(|e| format!("{scope}: {e}"))?;
        once(&drain(&mut c, 60).await?, n..n + 1).map_err(|e| format!("{scope}: {e}"))?;
    }
    Ok(())
}

pub(super) async fn tail(b: &Bench) -> Result<(), String> {
    let people = people(b)?;
    publish(b, &people).await?;
    for (n, scope) in (0..).zip(&people).step_by(3) {
        let spec = TailSpec { scope: Some(scope.clone()), ..tails::spec(b, 0) };
        let mut t = tails::open(&b.bus, spec).await.map_err(|e| format!("{scope}: {e}"))?;
        let got = t.next(50, std::time::Duration::from_millis(500)).await.map_err(|e| format!("next: {e}"))?;
        let got: Vec<u64> = got.iter().filter_map(|s| s.message.as_ref().ok()).map(number).collect::<Result<_, _>>()?;
        if got != [n] {
            return Err(format!("{scope} got {got:?} instead of {n}"));
        }
    }
    Ok(())
}
