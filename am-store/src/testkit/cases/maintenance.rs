//! The balance of custody, numbers, closing.

use am_core::Code;
use am_pipeline::DeadLetter;
use am_schema::{Decoder, Reading};

use crate::model::{DiscardReason, Ingest, Origin, Provenance, PutOutcome};
use crate::testkit::generate::Seeded;
use crate::testkit::kit::{Fault, HEART, Kit, NOTE, Outcome, fault, holds, refused, same, scope, t};
use crate::traits::Counts;

cases! {
    "counts.balance" "P02" "received = stored + duplicate + discarded + dead-lettered after every random batch" => balance;
    "counts.again" "P04" "sending everything again only counts duplicates" => again;
    "counts.apart" "P08" "the balance is a person's own" => apart;
    "counts.derived" "P02" "what flows derive and park is not received" => derived;
    "counts.flow" "P02" "what a flow made elsewhere is stored by the same rules, and is not received" => flow;
    "kinds.count" "P01" "how many readings there are of each kind" => by_kind;
    "stats.head" "P01" "the store's numbers know the head of the feed" => stats;
    "tidy.harmless" "P01" "upkeep changes no reading, entry or letter" => tidy;
    "close.refuses" "P01" "a closed store refuses calls, and wakes who waits" => close;
}

fn broken(kit: &Kit, n: u64) -> Result<DeadLetter, Fault> {
    match Decoder::new(kit.catalogue().clone()).decode(format!("broken {n}").into_bytes().into(), Kit::now()) {
        Err(r) => Ok(DeadLetter::rejected(kit.ctx().scope().clone(), kit.ctx().now(), r)),
        Ok(_) => Err(fault("nonsense was decoded")),
    }
}

fn random_batch(kit: &Kit, g: &mut Seeded) -> Result<Ingest, Fault> {
    let mut batch = Ingest::default();
    for _ in 0..g.below(12) {
        let (at, bpm, id) = (g.below(20) as i64, 60 + g.below(3) as i32, g.below(4) as u8);
        batch.readings.push(kit.heart_of("watch", t(at), bpm, Some(id))?);
    }
    for _ in 0..g.below(3) {
        batch.rejected.push(broken(kit, g.below(10))?);
    }
    if g.below(3) == 0 {
        batch.discarded = vec![(DiscardReason::Filter, g.below(5) as u32), (DiscardReason::Consent, 1)];
    }
    Ok(batch)
}

async fn counts(kit: &Kit) -> Result<Counts, Fault> {
    Ok(kit.backend().maintenance.counts(&kit.ctx()).await?)
}

async fn balance(kit: Kit) -> Outcome {
    let mut g = Seeded::new(2);
    let mut want = Counts::default();
    for _ in 0..40 {
        let batch = random_batch(&kit, &mut g)?;
        let before = counts(&kit).await?;
        let (items, discarded) = (batch.readings.len() + batch.rejected.len(), batch.discarded.iter().map(|d| u64::from(d.1)).sum::<u64>());
        let out = kit.backend().readings.put(&kit.ctx(), batch).await?;
        let now = counts(&kit).await?;
        want.received += items as u64 + discarded;
        want.discarded += discarded;
        want.stored += out.readings.iter().filter(|o| matches!(o, PutOutcome::Stored(_))).count() as u64;
        holds(&format!("the balance: {now:?}"), now.balanced())?;
        same("received, stored and discarded", (now.received, now.stored, now.discarded), (want.received, want.stored, want.discarded))?;
        holds("nothing is taken back", now.duplicate >= before.duplicate && now.dead_lettered >= before.dead_lettered)?;
    }
    let all = crate::traits::DeadLetterQuery { limit: 1_000, ..Default::default() };
    let letters = kit.backend().dead_letters.list(&kit.ctx(), &all).await?.len() as u64;
    same("dead-lettered and the letters there are", counts(&kit).await?.dead_lettered, letters)?;
    same("stored and the readings there are", counts(&kit).await?.stored, kit.all(&kit.ctx()).await?.len() as u64)
}

async fn again(kit: Kit) -> Outcome {
    let mut g = Seeded::new(3);
    let batches: Vec<Ingest> = (0..10).map(|_| random_batch(&kit, &mut g)).collect::<Result<_, _>>()?;
    for b in &batches {
        kit.backend().readings.put(&kit.ctx(), b.clone()).await?;
    }
    let (before, head) = (counts(&kit).await?, kit.backend().feed.head().await?);
    let mut items = 0;
    for b in batches.iter().rev() {
        items += (b.readings.len() + b.rejected.len()) as u64;
        kit.backend().readings.put(&kit.ctx(), Ingest { discarded: vec![], ..b.clone() }).await?;
    }
    let want = Counts { received: before.received + items, duplicate: before.duplicate + items, ..before };
    same("the balance", counts(&kit).await?, want)?;
    same("the head of the feed", kit.backend().feed.head().await?, head)
}

async fn apart(kit: Kit) -> Outcome {
    kit.put(&[kit.heart(1, 60)?, kit.heart(1, 60)?]).await?;
    let bob = kit.ctx_of(scope("acme", "bob"));
    same("bob's", kit.backend().maintenance.counts(&bob).await?, Counts::default())?;
    kit.put_as(&bob, &[kit.heart(1, 60)?]).await?;
    same("bob's", kit.backend().maintenance.counts(&bob).await?, Counts { received: 1, stored: 1, ..Default::default() })?;
    same("ada's", counts(&kit).await?, Counts { received: 2, stored: 1, duplicate: 1, ..Default::default() })
}

async fn derived(kit: Kit) -> Outcome {
    let raw = [kit.heart(1, 60)?];
    kit.put(&raw).await?;
    let before = counts(&kit).await?;
    kit.derive("sleep", &[kit.derived("1", &raw, (0, 60), 0.5, "a")?]).await?;
    kit.derive("sleep", &[kit.derived("1", &raw, (0, 60), 0.9, "b")?]).await?;
    kit.backend().dead_letters.park(&kit.ctx(), vec![broken(&kit, 1)?]).await?;
    same("the balance", counts(&kit).await?, before)
}

async fn flow(kit: Kit) -> Outcome {
    let raw = [kit.heart(0, 60)?, kit.heart(10, 61)?];
    kit.put_new(&raw).await?;
    let before = counts(&kit).await?;
    let (old, new) = (kit.derived("1", &raw, (0, 60), 0.5, "old")?, kit.derived("2", &raw, (0, 60), 0.6, "new")?);
    let provenance = Provenance { origin: Origin::Backfill, ..Default::default() };
    let letter = broken(&kit, 1)?;
    let batch = |readings: &[Reading]| Ingest {
        provenance: provenance.clone(),
        readings: readings.to_vec(),
        rejected: vec![letter.clone()],
        flow: Some("sleep".into()),
        ..Default::default()
    };
    let r = &kit.backend().readings;
    for n in 0..2 {
        let out = r.put(&kit.ctx(), batch(&[old.clone(), new.clone()])).await?;
        let stored = out.readings.iter().filter(|o| matches!(o, PutOutcome::Stored(_))).count();
        same("stored the first time only", (stored, out.batch), (if n == 0 { 2 } else { 0 }, 0))?;
    }
    same("the balance", counts(&kit).await?, before)?;
    let found = r.get(&kit.ctx(), &[old.reference(), new.reference()]).await?;
    let seen: Vec<_> = found.iter().flatten().map(|s| (s.origin, s.batch, s.generation)).collect();
    same("origin, batch and generation", seen, vec![(Origin::Backfill, 0, 0), (Origin::Backfill, 0, 1)])?;
    same("letters", kit.backend().dead_letters.list(&kit.ctx(), &Default::default()).await?.len(), 1)?;
    refused("a raw reading in a flow's batch", r.put(&kit.ctx(), batch(&[kit.heart(20, 60)?])).await, Code::MISSING_LINEAGE)
}

async fn by_kind(kit: Kit) -> Outcome {
    let raw: Vec<Reading> = (0..5).map(|n| kit.heart(n, 60)).collect::<Result<_, _>>()?;
    kit.put(&raw).await?;
    kit.put(&[kit.note(1, "one")?, kit.heart_of("band", t(1), 60, None)?]).await?;
    for version in ["1", "2"] {
        kit.derive("sleep", &[kit.derived(version, &raw, (0, 60), 0.5, "a")?]).await?;
    }
    let got = kit.backend().maintenance.by_kind(&kit.ctx()).await?;
    let want = vec![(HEART, 6), (NOTE, 1), (crate::testkit::kit::SCORE, 2)];
    let mut want: Vec<(String, u64)> = want.into_iter().map(|(t, n)| (t.to_owned(), n)).collect();
    want.sort();
    same("kinds", got.into_iter().map(|k| (k.topic, k.readings)).collect::<Vec<_>>(), want)
}

async fn stats(kit: Kit) -> Outcome {
    same("an empty store", kit.backend().maintenance.stats().await?.head, 0)?;
    kit.put(&[kit.heart(1, 60)?, kit.heart(2, 60)?]).await?;
    let stats = kit.backend().maintenance.stats().await?;
    same("the head", stats.head, kit.backend().feed.head().await?)?;
    kit.backend().maintenance.tidy().await?;
    let stats = kit.backend().maintenance.stats().await?;
    same("rolled up after upkeep", stats.rolled_up_to, stats.head)?;
    Ok(kit.backend().maintenance.ready().await?)
}

async fn tidy(kit: Kit) -> Outcome {
    let mut g = Seeded::new(5);
    for _ in 0..5 {
        kit.backend().readings.put(&kit.ctx(), random_batch(&kit, &mut g)?).await?;
    }
    let look = async || -> Result<_, Fault> {
        let letters = kit.backend().dead_letters.list(&kit.ctx(), &Default::default()).await?;
        Ok((kit.all(&kit.ctx()).await?, kit.feed(None, 0, vec![], 512).await?, letters, counts(&kit).await?))
    };
    let before = look().await?;
    for _ in 0..3 {
        kit.backend().maintenance.tidy().await?;
    }
    same("readings, feed, letters and balance", look().await?, before)
}

async fn close(kit: Kit) -> Outcome {
    kit.put(&[kit.heart(1, 60)?]).await?;
    let head = kit.backend().feed.head().await?;
    let feed = kit.backend().feed.clone();
    let (woken, closed) = tokio::join!(feed.wait(head), kit.backend().maintenance.close());
    closed?;
    holds("who waits is told", woken.is_err())?;
    refused("put", kit.put(&[kit.heart(2, 60)?]).await, Code::CLOSED)?;
    refused("scan", kit.backend().readings.scan(&kit.ctx(), &Default::default()).await, Code::CLOSED)?;
    refused("load", kit.backend().flows.load("x").await, Code::CLOSED)?;
    refused("ready", kit.backend().maintenance.ready().await, Code::CLOSED)?;
    Ok(kit.backend().maintenance.close().await?)
}
