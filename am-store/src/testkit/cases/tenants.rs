//! Tenants never meet: every question asked from another scope.

use am_core::Scope;
use am_pipeline::DeadLetter;
use am_schema::Reading;

use crate::model::{AggregateQuery, BucketWidth, Generations, Ingest, LatestQuery, PutOutcome, ScanQuery, TextQuery};
use crate::testkit::kit::{Fault, HEART, Kit, Outcome, holds, refused, same, scope, t};
use crate::traits::{Counts, DeadLetterQuery, Resolution};

cases! {
    "tenant.reads" "P08" "no question from another scope finds a reading" => reads;
    "tenant.lineage" "P08" "no lineage is told to another scope" => lineage;
    "tenant.letters" "P08" "dead letters are neither seen nor settled from another scope" => letters;
    "tenant.words" "P08" "another person's words change nobody's ranking" => words;
    "tenant.same_key" "P08" "the same reading of two people is two readings" => same_key;
    "tenant.odd_ids" "P08" "scopes that look alike when joined are apart" => odd_ids;
}

/// Another user, the same user of another tenant, and a stranger.
fn others() -> [Scope; 3] {
    [scope("acme", "bob"), scope("globex", "ada"), scope("nobody", "nowhere")]
}

struct Filled {
    raw: Vec<Reading>,
    derived: Reading,
    batch: u64,
}

async fn filled(kit: &Kit) -> Result<Filled, Fault> {
    let mut raw: Vec<Reading> = (0..70).map(|n| kit.heart(n, 60)).collect::<Result<_, _>>()?;
    raw.push(kit.note(1, "a secret garden")?);
    let out = kit.put(&raw).await?;
    let derived = kit.derived("1", &raw, (0, 60), 0.5, "secret")?;
    kit.derive("sleep", std::slice::from_ref(&derived)).await?;
    // Bob has readings too, so that his streams exist.
    kit.put_as(&kit.ctx_of(scope("acme", "bob")), &[kit.heart(100_000, 60)?]).await?;
    Ok(Filled { raw, derived, batch: out.batch })
}

async fn reads(kit: Kit) -> Outcome {
    let f = filled(&kit).await?;
    let names: Vec<_> = f.raw.iter().chain([&f.derived]).map(Reading::reference).collect();
    let within = ScanQuery { from: t(-10), to: t(1_000), generations: Generations::All, ..Default::default() };
    for who in others() {
        let ctx = kit.ctx_of(who.clone());
        let b = kit.backend();
        holds("get", b.readings.get(&ctx, &names).await?.iter().all(Option::is_none))?;
        same("scan", b.readings.scan(&ctx, &within).await?.items.len(), 0)?;
        same(
            "scan of a kind",
            b.readings.scan(&ctx, &ScanQuery { kinds: vec![kit.kind(HEART)?], ..within.clone() }).await?.items.len(),
            0,
        )?;
        same("latest", b.readings.latest(&ctx, &LatestQuery { at: t(1_000), ..Default::default() }).await?.len(), 0)?;
        for width in [BucketWidth::Minute, BucketWidth::Day, BucketWidth::Whole] {
            let q = AggregateQuery::new(kit.kind(HEART)?, t(0), t(1_000), width);
            same("aggregate", b.readings.aggregate(&ctx, &q).await?.len(), 0)?;
        }
        same("provenance", b.readings.provenance(&ctx, f.batch).await?, None)?;
        same("search", b.text.search(&ctx, &TextQuery::new("secret garden")).await?.hits.len(), 0)?;
        let feed = kit.feed(Some(&who), 0, vec![], 512).await?;
        holds("feed", feed.iter().all(|e| e.scope == who))?;
        holds("kinds", b.maintenance.by_kind(&ctx).await?.iter().all(|k| k.readings <= 1))?;
        holds("devices", b.devices.list(&ctx).await?.is_empty())?;
        if who != scope("acme", "bob") {
            same("counts", b.maintenance.counts(&ctx).await?, Counts::default())?;
        }
    }
    // A cursor of ada's opens nothing either.
    let page = kit.backend().readings.scan(&kit.ctx(), &ScanQuery { limit: 5, ..within.clone() }).await?;
    for who in others() {
        let q = ScanQuery { limit: 5, cursor: page.cursor.clone(), ..within.clone() };
        if let Ok(page) = kit.backend().readings.scan(&kit.ctx_of(who), &q).await {
            same("scan with another's cursor", page.items.len(), 0)?;
        }
    }
    Ok(())
}

async fn lineage(kit: Kit) -> Outcome {
    let f = filled(&kit).await?;
    let slot = f.derived.lineage().and_then(|l| <[u8; 16]>::try_from(l.slot.as_slice()).ok()).unwrap_or_default();
    same("ada's own", kit.backend().derivations.generations(&kit.ctx(), &slot).await?.len(), 1)?;
    for who in others() {
        let ctx = kit.ctx_of(who);
        let d = &kit.backend().derivations;
        same("inputs", d.inputs(&ctx, &f.derived.reference()).await?, None)?;
        for r in f.raw.iter().take(3) {
            same("outputs", d.outputs(&ctx, &r.reference(), 10).await?.len(), 0)?;
        }
        same("generations", d.generations(&ctx, &slot).await?.len(), 0)?;
    }
    Ok(())
}

async fn letters(kit: Kit) -> Outcome {
    let r = kit.heart(1, 60)?;
    let e = am_core::Error::new(am_core::Code::PROCESSOR_FAILED, "no");
    let l = DeadLetter::failed(kit.ctx().scope().clone(), kit.ctx().now(), "x", &r, &e, 1);
    kit.backend().dead_letters.park(&kit.ctx(), vec![l.clone()]).await?;
    for who in others() {
        let ctx = kit.ctx_of(who);
        let d = &kit.backend().dead_letters;
        same("list", d.list(&ctx, &DeadLetterQuery { resolved: true, ..Default::default() }).await?.len(), 0)?;
        same("get", d.get(&ctx, &l.id).await?, None)?;
        refused("resolve", d.resolve(&ctx, &l.id, Resolution::Dropped).await, am_core::Code::NOT_FOUND)?;
    }
    same("ada's", kit.backend().dead_letters.get(&kit.ctx(), &l.id).await?.and_then(|r| r.resolution), None)
}

async fn words(kit: Kit) -> Outcome {
    let texts = ["red kite over the hill", "the red door", "a kite festival with many many kites and long words"];
    for (n, text) in texts.iter().enumerate() {
        kit.put_new(&[kit.note(n as i64, text)?]).await?;
    }
    let ask = async || kit.backend().text.search(&kit.ctx(), &TextQuery::new("red kite")).await;
    let before: Vec<(f64, Reading)> = ask().await?.hits.into_iter().map(|h| (h.score, h.stored.reading)).collect();
    let bob = kit.ctx_of(scope("acme", "bob"));
    let loud: Vec<Reading> = (0..30).map(|n| kit.note(n, &format!("kite kite red {n}"))).collect::<Result<_, _>>()?;
    kit.put_as(&bob, &loud).await?;
    let after: Vec<(f64, Reading)> = ask().await?.hits.into_iter().map(|h| (h.score, h.stored.reading)).collect();
    same("ada's hits and scores", after, before)
}

async fn same_key(kit: Kit) -> Outcome {
    let r = kit.heart_of("watch", t(1), 60, Some(1))?;
    let other = kit.heart_of("watch", t(1), 90, Some(1))?;
    kit.put_new(std::slice::from_ref(&r)).await?;
    for who in others() {
        let ctx = kit.ctx_of(who);
        let out = kit.put_as(&ctx, std::slice::from_ref(&other)).await?;
        holds("it is new there", matches!(out.readings.as_slice(), [PutOutcome::Stored(_)]))?;
        same("what is read", kit.all(&ctx).await?, vec![other.clone()])?;
    }
    same("ada's", kit.all(&kit.ctx()).await?, vec![r])
}

async fn odd_ids(kit: Kit) -> Outcome {
    let alike = [scope("a", "b/c"), scope("a/b", "c"), scope("a%", "b_"), scope("a", "b"), scope("A", "b"), scope("ä", "b")];
    for (n, who) in alike.iter().enumerate() {
        let ctx = kit.ctx_of(who.clone());
        let batch = Ingest { readings: vec![kit.heart(n as i64, 60)?], ..Default::default() };
        kit.backend().readings.put(&ctx, batch).await?;
        kit.backend().key_value.put(&ctx, "k", vec![n as u8], None).await?;
    }
    for (n, who) in alike.iter().enumerate() {
        let ctx = kit.ctx_of(who.clone());
        same(&format!("readings of {who}"), kit.all(&ctx).await?, vec![kit.heart(n as i64, 60)?])?;
        same("its value", kit.backend().key_value.get(&ctx, "k").await?.map(|v| v.value), Some(vec![n as u8]))?;
    }
    Ok(())
}
