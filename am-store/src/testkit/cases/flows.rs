//! Flows: cursors, state, and the one commit.

use am_core::Code;
use am_pipeline::DeadLetter;
use am_schema::Reading;

use crate::model::{Derived, FlowCommit, Origin, PutOutcome, StateChange};
use crate::testkit::kit::{Fault, Kit, Outcome, fault, holds, refused, same, same_list};
use crate::traits::FlowState;

cases! {
    "flow.begins" "P01" "a new flow begins at the start of the feed" => begins;
    "flow.commit" "P01" "derived readings, state and cursor come with one commit" => commit;
    "flow.stale" "P01" "a commit for an older epoch is refused and leaves nothing" => stale;
    "flow.race" "P01" "of two commits for the same epoch exactly one is taken" => race;
    "flow.without_lineage" "P05" "a derived reading without lineage is refused, and the whole commit with it" => without_lineage;
    "flow.again" "P04" "the same derived reading committed again adds nothing" => again;
    "flow.conflict" "P02" "another content under a derived key is a dead letter of its person" => conflict;
    "flow.dead_letters" "P02" "dead letters of a commit are kept with it" => dead_letters;
    "flow.state" "P01" "state is kept, changed and removed key by key" => state;
    "flow.reset" "P05" "a reset forgets the state, names the version and goes back" => reset;
    "flow.reset_fences" "P01" "a commit from before a reset is refused" => reset_fences;
    "flow.beyond_head" "P01" "a cursor beyond the head is refused, so that nothing is ever skipped" => beyond_head;
    "flow.on_the_feed" "P01" "derived readings are on the feed for other flows" => on_the_feed;
    "flow.apart" "P01" "flows do not share cursor, epoch or state" => apart;
    "flow.origin" "P01" "what comes of backfill is backfill" => origin;
    "flow.two_people" "P08" "one commit derives for two people, each in their own scope" => two_people;
}

async fn inputs(kit: &Kit) -> Result<Vec<Reading>, Fault> {
    let all: Vec<Reading> = (0..6).map(|n| kit.heart(n * 10, 60 + n as i32)).collect::<Result<_, _>>()?;
    kit.put_new(&all).await?;
    Ok(all)
}

fn of(kit: &Kit, at: &FlowState, derived: &[Reading]) -> FlowCommit {
    let scope = kit.ctx().scope().clone();
    FlowCommit {
        flow: "sleep".into(),
        epoch: at.epoch,
        cursor: at.cursor,
        derived: derived.iter().map(|r| Derived::live(scope.clone(), r.clone())).collect(),
        ..Default::default()
    }
}

async fn origin(kit: Kit) -> Outcome {
    let raw = inputs(&kit).await?;
    let derived = kit.derived("1", &raw, (0, 60), 0.5, "light")?;
    let at = kit.backend().flows.load("sleep").await?;
    let mut c = of(&kit, &at, std::slice::from_ref(&derived));
    c.derived.iter_mut().for_each(|d| d.origin = Origin::Backfill);
    kit.backend().flows.commit(c).await?;
    let found = kit.backend().readings.get(&kit.ctx(), &[derived.reference()]).await?;
    same("the origin", found.first().and_then(|s| s.as_ref()).map(|s| s.origin), Some(Origin::Backfill))
}

fn change(key: &str, value: Option<&[u8]>) -> StateChange {
    StateChange { key: key.into(), value: value.map(<[u8]>::to_vec) }
}

async fn begins(kit: Kit) -> Outcome {
    inputs(&kit).await?;
    let at = kit.backend().flows.load("sleep").await?;
    same("cursor, version and state", (at.cursor, at.version, at.state), (0, String::new(), vec![]))
}

async fn commit(kit: Kit) -> Outcome {
    let raw = inputs(&kit).await?;
    let derived = kit.derived("1", &raw, (0, 60), 0.5, "light")?;
    let at = kit.backend().flows.load("sleep").await?;
    let cursor = kit.backend().feed.head().await?;
    let mut c = of(&kit, &at, std::slice::from_ref(&derived));
    (c.cursor, c.state) = (cursor, vec![change("ada/watch", Some(b"open window"))]);
    let done = kit.backend().flows.commit(c).await?;
    holds("the derived reading is stored", matches!(done.derived.as_slice(), [PutOutcome::Stored(_)]))?;
    let now = kit.backend().flows.load("sleep").await?;
    same("the cursor", now.cursor, cursor)?;
    same("the epoch", now.epoch, done.epoch)?;
    holds("the epoch grew", done.epoch > at.epoch)?;
    same("the state", now.state, vec![("ada/watch".into(), b"open window".to_vec())])?;
    let got = kit.backend().readings.get(&kit.ctx(), &[derived.reference()]).await?.pop().flatten();
    same("the derived reading", got.map(|s| (s.reading, s.batch)), Some((derived, 0)))?;
    let listed = kit.backend().flows.list().await?;
    same("flows", listed.iter().map(|f| (f.flow.as_str(), f.cursor)).collect::<Vec<_>>(), vec![("sleep", cursor)])
}

async fn stale(kit: Kit) -> Outcome {
    let raw = inputs(&kit).await?;
    let at = kit.backend().flows.load("sleep").await?;
    kit.backend().flows.commit(of(&kit, &at, &[])).await?;
    let head = kit.backend().feed.head().await?;
    let before = kit.backend().flows.load("sleep").await?;
    let derived = kit.derived("1", &raw, (0, 60), 0.5, "light")?;
    let mut late = of(&kit, &at, std::slice::from_ref(&derived));
    late.cursor = head;
    late.state = vec![change("k", Some(b"v"))];
    late.dead_letters = vec![letter(&kit, &raw)?];
    refused("a commit for an older epoch", kit.backend().flows.commit(late).await, Code::STALE_COMMIT)?;
    same("the flow", kit.backend().flows.load("sleep").await?, before)?;
    same("the head of the feed", kit.backend().feed.head().await?, head)?;
    same("the derived reading", kit.backend().readings.get(&kit.ctx(), &[derived.reference()]).await?, vec![None])?;
    same("letters", kit.backend().dead_letters.list(&kit.ctx(), &Default::default()).await?.len(), 0)
}

async fn race(kit: Kit) -> Outcome {
    let raw = inputs(&kit).await?;
    let at = kit.backend().flows.load("sleep").await?;
    let (a, b) = (kit.derived("1", &raw, (0, 60), 0.5, "a")?, kit.derived("1", &raw, (60, 120), 0.5, "b")?);
    let (x, y) = tokio::join!(
        kit.backend().flows.commit(of(&kit, &at, std::slice::from_ref(&a))),
        kit.backend().flows.commit(of(&kit, &at, std::slice::from_ref(&b)))
    );
    let stored = kit.backend().readings.get(&kit.ctx(), &[a.reference(), b.reference()]).await?;
    let there: Vec<bool> = stored.iter().map(Option::is_some).collect();
    same("who was taken and what is there", (x.is_ok(), y.is_ok()), (there == [true, false], there == [false, true]))?;
    holds("one was taken", x.is_ok() != y.is_ok())
}

async fn without_lineage(kit: Kit) -> Outcome {
    let raw = inputs(&kit).await?;
    let at = kit.backend().flows.load("sleep").await?;
    let good = kit.derived("1", &raw, (0, 60), 0.5, "light")?;
    let mut c = of(&kit, &at, &[good.clone(), kit.heart(500, 61)?]);
    c.state = vec![change("k", Some(b"v"))];
    refused("a reading without lineage", kit.backend().flows.commit(c).await, Code::MISSING_LINEAGE)?;
    same("the good one", kit.backend().readings.get(&kit.ctx(), &[good.reference()]).await?, vec![None])?;
    same("the flow", kit.backend().flows.load("sleep").await?, at)
}

async fn again(kit: Kit) -> Outcome {
    let raw = inputs(&kit).await?;
    let derived = kit.derived("1", &raw, (0, 60), 0.5, "light")?;
    kit.derive("sleep", std::slice::from_ref(&derived)).await?;
    let head = kit.backend().feed.head().await?;
    let done = kit.derive("sleep", &[derived.clone(), derived]).await?;
    same_list("outcomes", &done.derived, &[PutOutcome::Duplicate, PutOutcome::Duplicate])?;
    same("superseded", done.superseded, vec![])?;
    same("the head of the feed", kit.backend().feed.head().await?, head)
}

async fn conflict(kit: Kit) -> Outcome {
    let raw = inputs(&kit).await?;
    let first = kit.derived("1", &raw, (0, 60), 0.5, "light")?;
    let second = kit.derived("1", &raw, (0, 60), 0.9, "deep")?;
    same("the kit's own ids", first.reference(), second.reference())?;
    kit.derive("sleep", std::slice::from_ref(&first)).await?;
    let done = kit.derive("sleep", std::slice::from_ref(&second)).await?;
    let [PutOutcome::Conflict(id)] = done.derived.as_slice() else {
        return Err(fault(format!("a conflict was answered {:?}", done.derived)));
    };
    let row = kit.backend().dead_letters.get(&kit.ctx(), id).await?;
    same("the letter", row.map(|r| (r.letter.code, r.letter.wire.to_vec())), Some((Code::CLOCK_CONFLICT, second.to_wire())))?;
    let got = kit.backend().readings.get(&kit.ctx(), &[first.reference()]).await?.pop().flatten();
    same("the one that stays", got.map(|s| s.reading), Some(first))
}

fn letter(kit: &Kit, raw: &[Reading]) -> Result<DeadLetter, Fault> {
    let r = raw.first().ok_or_else(|| fault("no reading"))?;
    let e = am_core::Error::new(Code::PROCESSOR_FAILED, "the model gave up");
    Ok(DeadLetter::failed(kit.ctx().scope().clone(), kit.ctx().now(), "kit.predict", r, &e, 3))
}

async fn dead_letters(kit: Kit) -> Outcome {
    let raw = inputs(&kit).await?;
    let l = letter(&kit, &raw)?;
    let at = kit.backend().flows.load("sleep").await?;
    let mut c = of(&kit, &at, &[]);
    c.dead_letters = vec![l.clone()];
    kit.backend().flows.commit(c).await?;
    let row = kit.backend().dead_letters.get(&kit.ctx(), &l.id).await?;
    same("the letter", row.map(|r| r.letter), Some(l))
}

async fn state(kit: Kit) -> Outcome {
    type Held<'a> = Vec<(&'a str, &'a [u8])>;
    let steps: [(Vec<StateChange>, Held<'_>); 4] = [
        (vec![change("b", Some(b"2")), change("a", Some(b"1"))], vec![("a", b"1"), ("b", b"2")]),
        (vec![change("b", Some(b"3")), change("c", Some(&[]))], vec![("a", b"1"), ("b", b"3"), ("c", b"")]),
        (vec![change("a", None), change("zz", None)], vec![("b", b"3"), ("c", b"")]),
        (vec![], vec![("b", b"3"), ("c", b"")]),
    ];
    for (changes, want) in steps {
        let at = kit.backend().flows.load("sleep").await?;
        let mut c = of(&kit, &at, &[]);
        c.state = changes;
        kit.backend().flows.commit(c).await?;
        let mut got = kit.backend().flows.load("sleep").await?.state;
        got.sort();
        same_list("the state", &got, &want.into_iter().map(|(k, v)| (k.to_owned(), v.to_vec())).collect::<Vec<_>>())?;
    }
    Ok(())
}

async fn reset(kit: Kit) -> Outcome {
    let raw = inputs(&kit).await?;
    let at = kit.backend().flows.load("sleep").await?;
    let head = kit.backend().feed.head().await?;
    let mut c = of(&kit, &at, &[kit.derived("1", &raw, (0, 60), 0.5, "light")?]);
    (c.cursor, c.state) = (head, vec![change("k", Some(b"v"))]);
    let done = kit.backend().flows.commit(c).await?;
    let fresh = kit.backend().flows.reset("sleep", "2", 0).await?;
    same("cursor, version and state", (fresh.cursor, fresh.version.as_str(), fresh.state.len()), (0, "2", 0))?;
    holds("the epoch grew", fresh.epoch > done.epoch)?;
    same("what is loaded", kit.backend().flows.load("sleep").await?, fresh.clone())?;
    let listed = kit.backend().flows.list().await?;
    same("flows", listed.iter().map(|f| (f.flow.as_str(), f.version.as_str())).collect::<Vec<_>>(), vec![("sleep", "2")])?;
    let replay = kit.feed(None, fresh.cursor, vec![raw.first().map(Reading::kind).ok_or_else(|| fault("no reading"))?], 512).await?;
    same("readings to derive from again", replay.len(), raw.len())
}

async fn reset_fences(kit: Kit) -> Outcome {
    let raw = inputs(&kit).await?;
    let old = kit.backend().flows.load("sleep").await?;
    kit.backend().flows.reset("sleep", "2", 0).await?;
    let c = of(&kit, &old, &[kit.derived("1", &raw, (0, 60), 0.5, "light")?]);
    refused("a commit from before", kit.backend().flows.commit(c).await, Code::STALE_COMMIT)
}

async fn beyond_head(kit: Kit) -> Outcome {
    inputs(&kit).await?;
    let at = kit.backend().flows.load("sleep").await?;
    let head = kit.backend().feed.head().await?;
    let mut c = of(&kit, &at, &[]);
    c.cursor = head + 1;
    refused("a commit beyond the head", kit.backend().flows.commit(c).await, Code::BAD_QUERY)?;
    refused("a reset beyond the head", kit.backend().flows.reset("sleep", "2", head + 1).await, Code::BAD_QUERY)?;
    same("the flow", kit.backend().flows.load("sleep").await?, at)
}

async fn on_the_feed(kit: Kit) -> Outcome {
    let raw = inputs(&kit).await?;
    let head = kit.backend().feed.head().await?;
    let derived = [kit.derived("1", &raw, (0, 60), 0.5, "a")?, kit.derived("1", &raw, (60, 120), 0.6, "b")?];
    kit.derive("sleep", &derived).await?;
    let feed = kit.feed(None, head, vec![], 512).await?;
    let got = feed.into_iter().filter_map(|e| if let crate::model::FeedEvent::Put(s) = e.event { Some(s.reading) } else { None });
    same_list("new on the feed", &got.collect::<Vec<_>>(), &derived)
}

async fn apart(kit: Kit) -> Outcome {
    inputs(&kit).await?;
    let head = kit.backend().feed.head().await?;
    let (a, b) = (kit.backend().flows.load("a").await?, kit.backend().flows.load("b").await?);
    let commit = |flow: &str, at: &FlowState, cursor, value: &[u8]| FlowCommit {
        flow: flow.into(),
        epoch: at.epoch,
        cursor,
        state: vec![change("k", Some(value))],
        ..Default::default()
    };
    kit.backend().flows.commit(commit("a", &a, head, b"1")).await?;
    kit.backend().flows.commit(commit("b", &b, 1, b"2")).await?;
    kit.backend().flows.reset("a", "2", 2).await?;
    let (a, b) = (kit.backend().flows.load("a").await?, kit.backend().flows.load("b").await?);
    same("a", (a.cursor, a.state), (2, vec![]))?;
    same("b", (b.cursor, b.state, b.version), (1, vec![("k".into(), b"2".to_vec())], String::new()))
}

async fn two_people(kit: Kit) -> Outcome {
    let raw = inputs(&kit).await?;
    let bob = kit.ctx_of(crate::testkit::kit::scope("acme", "bob"));
    let derived = kit.derived("1", &raw, (0, 60), 0.5, "light")?;
    let at = kit.backend().flows.load("sleep").await?;
    let c =
        FlowCommit { derived: vec![Derived::live(bob.scope().clone(), derived.clone())], ..of(&kit, &at, std::slice::from_ref(&derived)) };
    kit.backend().flows.commit(c).await?;
    same("bob's", kit.all(&bob).await?, vec![derived.clone()])?;
    same("ada's", kit.backend().readings.get(&kit.ctx(), &[derived.reference()]).await?, vec![None])
}
