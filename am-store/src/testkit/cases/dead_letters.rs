//! What could not be taken in: kept, listed, repaired, resolved.

use std::sync::Arc;

use am_core::{Code, Ctx};
use am_pipeline::DeadLetter;
use am_schema::{Decoder, Finding};
use bytes::Bytes;

use crate::model::{Ingest, Origin};
use crate::testkit::kit::{Fault, Kit, Outcome, fault, holds, refused, same, same_list};
use crate::traits::{DeadLetterQuery, Resolution};
use crate::{Repair, Replayed, Store};

cases! {
    "letters.with_the_batch" "P02" "what could not become a reading is kept with its batch, bytes and findings" => with_the_batch;
    "letters.once" "P04" "the same letter parked again is one letter" => once;
    "letters.pages" "P02" "letters are listed by id, page by page" => pages;
    "letters.stage" "P02" "letters can be asked for by stage" => stage;
    "letters.resolve" "P02" "a resolved letter leaves the list and stays on record" => resolve;
    "letters.amend" "P02" "a letter takes on what is wrong now, and keeps its item" => amend;
    "letters.replay" "P02" "a repaired letter is taken in as a replay, once" => replay;
    "letters.replay_fails" "P02" "a letter that fails again stays, with the new finding" => replay_fails;
    "letters.unknown" "P09" "an unknown letter is not found" => unknown;
}

/// A heart rate that no heart has.
fn bad_wire(kit: &Kit, n: i64) -> Result<Vec<u8>, Fault> {
    let good = kit.heart(n, 60)?;
    let mut wire = Vec::new();
    am_schema::wire::put_len(&mut wire, 1, b"watch");
    am_schema::wire::put_timestamp(&mut wire, 3, good.recorded_at());
    am_schema::wire::put_len(&mut wire, 5, good.kind().topic().as_bytes());
    let mut payload = Vec::new();
    am_schema::wire::put_int(&mut payload, 1, 5_000);
    am_schema::wire::put_len(&mut wire, good.kind().field(), &payload);
    Ok(wire)
}

fn letter(kit: &Kit, n: i64) -> Result<DeadLetter, Fault> {
    let wire = Bytes::from(bad_wire(kit, n)?);
    match Decoder::new(kit.catalogue().clone()).decode(wire, Kit::now()) {
        Err(r) => Ok(DeadLetter::rejected(kit.ctx().scope().clone(), kit.ctx().now(), r)),
        Ok(r) => Err(fault(format!("{r:?} should have been refused"))),
    }
}

async fn list(kit: &Kit, query: DeadLetterQuery) -> Result<Vec<String>, Fault> {
    Ok(kit.backend().dead_letters.list(&kit.ctx(), &query).await?.into_iter().map(|r| r.letter.id).collect())
}

async fn with_the_batch(kit: Kit) -> Outcome {
    let l = letter(&kit, 1)?;
    let batch = Ingest { readings: vec![kit.heart(2, 60)?], rejected: vec![l.clone()], ..Default::default() };
    let out = kit.backend().readings.put(&kit.ctx(), batch).await?;
    same("the answer", out.parked, vec![l.id.clone()])?;
    let row = kit.backend().dead_letters.get(&kit.ctx(), &l.id).await?;
    let Some(row) = row else { return Err(fault("the letter is not there")) };
    same("the letter", &row.letter, &l)?;
    holds("it says which field, value and rule", row.letter.findings.iter().any(|f| f.field.contains("bpm") && f.value == "5000"))?;
    same("its end", row.resolution, None)
}

async fn once(kit: Kit) -> Outcome {
    let l = letter(&kit, 1)?;
    for _ in 0..2 {
        kit.backend().dead_letters.park(&kit.ctx(), vec![l.clone(), l.clone()]).await?;
        let batch = Ingest { rejected: vec![l.clone()], ..Default::default() };
        same("the answer", kit.backend().readings.put(&kit.ctx(), batch).await?.parked, vec![l.id.clone()])?;
    }
    same("letters", list(&kit, Default::default()).await?, vec![l.id])
}

async fn pages(kit: Kit) -> Outcome {
    let mut letters: Vec<DeadLetter> = (0..23).map(|n| letter(&kit, n)).collect::<Result<_, _>>()?;
    kit.backend().dead_letters.park(&kit.ctx(), letters.clone()).await?;
    letters.sort_by(|a, b| a.id.cmp(&b.id));
    let want: Vec<String> = letters.into_iter().map(|l| l.id).collect();
    same_list("all", &list(&kit, Default::default()).await?, &want)?;
    let mut got = Vec::new();
    for _ in 0..6 {
        let page = list(&kit, DeadLetterQuery { after: got.last().cloned(), limit: 5, ..Default::default() }).await?;
        holds("at most five", page.len() <= 5)?;
        got.extend(page);
    }
    same_list("page by page", &got, &want)
}

async fn stage(kit: Kit) -> Outcome {
    let r = kit.heart(1, 60)?;
    let e = am_core::Error::new(Code::PROCESSOR_FAILED, "no");
    let of = |stage: &str| DeadLetter::failed(kit.ctx().scope().clone(), kit.ctx().now(), stage, &r, &e, 1);
    let (a, b) = (of("motion.window"), of("audio.vad"));
    kit.backend().dead_letters.park(&kit.ctx(), vec![a.clone(), b.clone(), letter(&kit, 2)?]).await?;
    for (stage, want) in [("motion.window", vec![a.id]), ("audio.vad", vec![b.id]), ("other", vec![])] {
        same(stage, list(&kit, DeadLetterQuery { stage: Some(stage.into()), ..Default::default() }).await?, want)?;
    }
    same("all", list(&kit, Default::default()).await?.len(), 3)
}

async fn resolve(kit: Kit) -> Outcome {
    let (a, b) = (letter(&kit, 1)?, letter(&kit, 2)?);
    kit.backend().dead_letters.park(&kit.ctx(), vec![a.clone(), b.clone()]).await?;
    kit.backend().dead_letters.resolve(&kit.ctx(), &a.id, Resolution::Dropped).await?;
    same("open", list(&kit, Default::default()).await?, vec![b.id.clone()])?;
    same("on record", list(&kit, DeadLetterQuery { resolved: true, ..Default::default() }).await?.len(), 2)?;
    let row = kit.backend().dead_letters.get(&kit.ctx(), &a.id).await?;
    same("how and when", row.and_then(|r| r.resolution), Some((Resolution::Dropped, kit.ctx().now())))?;
    kit.backend().dead_letters.park(&kit.ctx(), vec![a]).await?;
    same("open after it was parked again", list(&kit, Default::default()).await?, vec![b.id])
}

async fn amend(kit: Kit) -> Outcome {
    let l = letter(&kit, 1)?;
    kit.backend().dead_letters.park(&kit.ctx(), vec![l.clone()]).await?;
    let findings = vec![Finding::new("device_id", "", "1 to 128 bytes")];
    let now = DeadLetter {
        code: Code::TOO_LARGE,
        findings: findings.clone(),
        message: "now this".into(),
        attempts: 4,
        wire: Bytes::from_static(b"other"),
        ..l.clone()
    };
    kit.backend().dead_letters.amend(&kit.ctx(), now).await?;
    let row = kit.backend().dead_letters.get(&kit.ctx(), &l.id).await?;
    let want = DeadLetter { code: Code::TOO_LARGE, findings, message: "now this".into(), attempts: 4, ..l };
    same("the letter", row.map(|r| r.letter), Some(want))
}

fn ada(kit: &Kit) -> crate::ScopedStore {
    let ctx: Ctx = kit.ctx();
    Store::of(kit.backend().clone(), Arc::new(kit.clock().clone()), kit.catalogue().clone()).within(ctx)
}

async fn replay(kit: Kit) -> Outcome {
    let l = letter(&kit, 1)?;
    kit.backend().dead_letters.park(&kit.ctx(), vec![l.clone()]).await?;
    let repaired = kit.heart(1, 50)?;
    let done = ada(&kit).replay(&l.id, Repair::Wire(repaired.to_wire().into())).await?;
    same("how it ended", done, Replayed::Stored)?;
    let got = kit.backend().readings.get(&kit.ctx(), &[repaired.reference()]).await?.pop().flatten();
    same("the reading", got.map(|s| (s.reading, s.origin)), Some((repaired.clone(), Origin::Replay)))?;
    let row = kit.backend().dead_letters.get(&kit.ctx(), &l.id).await?;
    same("the letter", row.and_then(|r| r.resolution).map(|r| r.0), Some(Resolution::Replayed))?;
    refused("a second replay", ada(&kit).replay(&l.id, Repair::Wire(repaired.to_wire().into())).await, Code::BAD_QUERY)?;
    same("readings", kit.all(&kit.ctx()).await?.len(), 1)
}

async fn replay_fails(kit: Kit) -> Outcome {
    let l = letter(&kit, 1)?;
    kit.backend().dead_letters.park(&kit.ctx(), vec![l.clone()]).await?;
    let mut worse = bad_wire(&kit, 1)?;
    am_schema::wire::put_len(&mut worse, 1, b"two words");
    let Replayed::Failed(now) = ada(&kit).replay(&l.id, Repair::Wire(worse.into())).await? else {
        return Err(fault("a broken item was taken in"));
    };
    holds("the new finding is told", now.findings.iter().any(|f| f.field == "device_id"))?;
    let row = kit.backend().dead_letters.get(&kit.ctx(), &l.id).await?;
    let Some(row) = row else { return Err(fault("the letter is gone")) };
    same("the letter's findings", &row.letter.findings, &now.findings)?;
    same("tries", row.letter.attempts, 2)?;
    same("the item", &row.letter.wire, &l.wire)?;
    same("its end", row.resolution, None)?;
    holds("as it is, it fails again", matches!(ada(&kit).replay(&l.id, Repair::AsIs).await?, Replayed::Failed(_)))?;
    same("readings", kit.all(&kit.ctx()).await?.len(), 0)
}

async fn unknown(kit: Kit) -> Outcome {
    let id = letter(&kit, 1)?.id;
    same("an unknown letter", kit.backend().dead_letters.get(&kit.ctx(), &id).await?, None)?;
    refused("resolving it", kit.backend().dead_letters.resolve(&kit.ctx(), &id, Resolution::Dropped).await, Code::NOT_FOUND)?;
    refused("amending it", kit.backend().dead_letters.amend(&kit.ctx(), letter(&kit, 1)?).await, Code::NOT_FOUND)?;
    refused("replaying it", ada(&kit).replay(&id, Repair::AsIs).await, Code::NOT_FOUND)
}
