//! Slots and their generations: better versions take over, and the old stay comparable.

use am_schema::{Inputs, Reading};

use crate::model::{AggregateQuery, BucketWidth, FeedEvent, Generations, LatestQuery, PutOutcome, ScanQuery, TextQuery};
use crate::testkit::kit::{Fault, Kit, Outcome, SCORE, fault, holds, same, same_list, t};

cases! {
    "generation.newest" "P05" "reads give the newest generation of a slot, and all on request" => newest;
    "generation.numbers" "P05" "the store numbers the generations of a slot from 0" => numbers;
    "generation.feed" "P05" "the generation that gave way is told on the feed" => on_the_feed;
    "generation.aggregate" "P05" "statistics count the newest generation, before and after upkeep" => aggregate;
    "generation.text" "P05" "search finds the newest generation only" => text;
    "generation.latest" "P05" "the latest reading is of the newest generation" => latest;
    "generation.late_input" "P05" "late input re-derives the slot that it touches" => late_input;
    "generation.other_slots" "P05" "another span, device or ordinal is another slot" => other_slots;
    "generation.old_again" "P04" "an old generation derived again changes nothing" => old_again;
    "generation.in_one_commit" "P05" "two generations in one commit: the second is read" => in_one_commit;
}

fn slot(r: &Reading) -> Result<[u8; 16], Fault> {
    let l = r.lineage().ok_or_else(|| fault("no lineage"))?;
    <[u8; 16]>::try_from(l.slot.as_slice()).map_err(|_| fault("the slot has not 16 bytes"))
}

/// Three versions of one derivation, committed one after the other.
async fn three(kit: &Kit) -> Result<Vec<Reading>, Fault> {
    let raw: Vec<Reading> = (0..6).map(|n| kit.heart(n * 10, 60)).collect::<Result<_, _>>()?;
    kit.put_new(&raw).await?;
    let mut all = Vec::new();
    for (n, label) in ["meadow", "harbour", "canyon"].into_iter().enumerate() {
        let d = kit.derived(&format!("{}", n + 1), &raw, (0, 60), 0.25 * (n as f64 + 1.0), label)?;
        let done = kit.derive("sleep", std::slice::from_ref(&d)).await?;
        holds("a new version is stored", matches!(done.derived.as_slice(), [PutOutcome::Stored(_)]))?;
        same("how many gave way", done.superseded.len(), n.min(1))?;
        all.push(d);
    }
    Ok(all)
}

async fn newest(kit: Kit) -> Outcome {
    let mut all = three(&kit).await?;
    let q = ScanQuery { kinds: vec![kit.kind(SCORE)?], ..Default::default() };
    let found = kit.pages(&kit.ctx(), &q).await?;
    same("by default", found.iter().map(|s| &s.reading).collect::<Vec<_>>(), all.last().into_iter().collect())?;
    let found = kit.pages(&kit.ctx(), &ScanQuery { generations: Generations::All, limit: 1, ..q }).await?;
    all.sort_by_key(crate::cursor::Place::of);
    same_list("on request", &found.into_iter().map(|s| s.reading).collect::<Vec<_>>(), &all)?;
    let names: Vec<_> = all.iter().map(Reading::reference).collect();
    let got = kit.backend().readings.get(&kit.ctx(), &names).await?;
    holds("old ones can be had by name", got.iter().all(Option::is_some))
}

async fn numbers(kit: Kit) -> Outcome {
    let all = three(&kit).await?;
    let Some(first) = all.first() else { return Err(fault("nothing was derived")) };
    let got = kit.backend().derivations.generations(&kit.ctx(), &slot(first)?).await?;
    same_list(
        "oldest first",
        &got.iter().map(|s| (s.generation, s.reading.clone())).collect::<Vec<_>>(),
        &(0..).zip(all.clone()).collect::<Vec<_>>(),
    )?;
    same("an unknown slot", kit.backend().derivations.generations(&kit.ctx(), &[0; 16]).await?.len(), 0)?;
    // A runner that counts by itself agrees with the store.
    let said = kit.derived_in("9", Inputs::of(&[kit.heart(0, 60)?]).span(t(0), t(60)).generation(3), 0, 0.9, "said")?;
    kit.derive("sleep", std::slice::from_ref(&said)).await?;
    let got = kit.backend().derivations.generations(&kit.ctx(), &slot(&said)?).await?;
    same("the fourth", got.last().map(|s| (s.generation, s.reading.clone())), Some((3, said)))
}

async fn on_the_feed(kit: Kit) -> Outcome {
    let all = three(&kit).await?;
    let feed = kit.feed(None, 0, vec![kit.kind(SCORE)?], 2).await?;
    let gave_way: Vec<_> = feed
        .iter()
        .filter_map(|e| if let FeedEvent::Superseded { old, slot } = &e.event { Some((old.recorded_at, old.id, *slot)) } else { None })
        .collect();
    let want: Vec<_> = all.iter().take(2).map(|r| Ok((r.recorded_at(), r.id(), slot(r)?))).collect::<Result<_, Fault>>()?;
    same_list("what gave way", &gave_way, &want)?;
    let puts = feed.iter().filter(|e| matches!(e.event, FeedEvent::Put(_))).count();
    same("what was stored", puts, 3)
}

async fn aggregate(kit: Kit) -> Outcome {
    three(&kit).await?;
    for round in 0..2 {
        for width in [BucketWidth::Minute, BucketWidth::Day, BucketWidth::Whole] {
            let q = AggregateQuery::new(kit.kind(SCORE)?, t(0), t(86_400), width);
            let got = kit.backend().readings.aggregate(&kit.ctx(), &q).await?;
            same(
                &format!("{width:?}, upkeep {round}"),
                got.iter().map(|b| (b.values.count, b.values.sum)).collect::<Vec<_>>(),
                vec![(1, 0.75)],
            )?;
        }
        kit.backend().maintenance.tidy().await?;
    }
    let better = kit.derived_in("4", Inputs::of(&[kit.heart(0, 60)?]).span(t(0), t(60)), 0, 1.0, "better")?;
    kit.derive("sleep", &[better]).await?;
    for _ in 0..2 {
        let q = AggregateQuery::new(kit.kind(SCORE)?, t(0), t(3_600), BucketWidth::Hour);
        let got = kit.backend().readings.aggregate(&kit.ctx(), &q).await?;
        same("after rollups held the old one", got.iter().map(|b| (b.values.count, b.values.max)).collect::<Vec<_>>(), vec![(1, 1.0)])?;
        kit.backend().maintenance.tidy().await?;
    }
    Ok(())
}

async fn text(kit: Kit) -> Outcome {
    let all = three(&kit).await?;
    for (word, want) in [("meadow", None), ("harbour", None), ("canyon", all.last()), ("sleep", all.last())] {
        let hits = kit.backend().text.search(&kit.ctx(), &TextQuery::new(word)).await?.hits;
        same(word, hits.iter().map(|h| &h.stored.reading).collect::<Vec<_>>(), want.into_iter().collect())?;
    }
    Ok(())
}

async fn latest(kit: Kit) -> Outcome {
    let all = three(&kit).await?;
    let got = kit.backend().readings.latest(&kit.ctx(), &LatestQuery { kinds: vec![kit.kind(SCORE)?], ..Default::default() }).await?;
    same("the latest", got.iter().map(|s| &s.reading).collect::<Vec<_>>(), all.last().into_iter().collect())
}

async fn late_input(kit: Kit) -> Outcome {
    let mut raw = vec![kit.heart(0, 60)?, kit.heart(20, 62)?];
    kit.put_new(&raw).await?;
    let early = kit.derived("1", &raw, (0, 60), 0.4, "early")?;
    kit.derive("sleep", std::slice::from_ref(&early)).await?;
    let late = kit.heart(10, 90)?;
    kit.put_new(std::slice::from_ref(&late)).await?;
    raw.push(late.clone());
    let again = kit.derived("1", &raw, (0, 60), 0.8, "again")?;
    same("the slot", slot(&early)?, slot(&again)?)?;
    let done = kit.derive("sleep", std::slice::from_ref(&again)).await?;
    same("what gave way", done.superseded.iter().map(|k| k.id).collect::<Vec<_>>(), vec![early.id()])?;
    let made = kit.backend().derivations.outputs(&kit.ctx(), &late.reference(), 10).await?;
    same("made from the late one", made.into_iter().map(|s| s.reading).collect::<Vec<_>>(), vec![again])
}

async fn other_slots(kit: Kit) -> Outcome {
    let raw = [kit.heart(0, 60)?];
    kit.put_new(&raw).await?;
    let all: Vec<Reading> = (0..5).map(|n| kit.derived("1", &raw, (n * 60, n * 60 + 60), 0.1, "x")).collect::<Result<_, _>>()?;
    let done = kit.derive("sleep", &all).await?;
    same("what gave way", done.superseded.len(), 0)?;
    let found = kit.pages(&kit.ctx(), &ScanQuery { kinds: vec![kit.kind(SCORE)?], ..Default::default() }).await?;
    same("read by default", found.len(), 5)
}

async fn old_again(kit: Kit) -> Outcome {
    let all = three(&kit).await?;
    let head = kit.backend().feed.head().await?;
    let done = kit.derive("sleep", all.get(..1).unwrap_or_default()).await?;
    same_list("the outcome", &done.derived, &[PutOutcome::Duplicate])?;
    same("the head of the feed", kit.backend().feed.head().await?, head)?;
    latest_is(&kit, all.last()).await
}

async fn in_one_commit(kit: Kit) -> Outcome {
    let raw = [kit.heart(0, 60)?];
    kit.put_new(&raw).await?;
    let (a, b) = (kit.derived("1", &raw, (0, 60), 0.1, "old")?, kit.derived("2", &raw, (0, 60), 0.2, "new")?);
    let done = kit.derive("sleep", &[a.clone(), b.clone()]).await?;
    same("what gave way", done.superseded.iter().map(|k| k.id).collect::<Vec<_>>(), vec![a.id()])?;
    latest_is(&kit, Some(&b)).await
}

async fn latest_is(kit: &Kit, want: Option<&Reading>) -> Outcome {
    let found = kit.pages(&kit.ctx(), &ScanQuery { kinds: vec![kit.kind(SCORE)?], ..Default::default() }).await?;
    same("what is read", found.iter().map(|s| &s.reading).collect::<Vec<_>>(), want.into_iter().collect())
}
