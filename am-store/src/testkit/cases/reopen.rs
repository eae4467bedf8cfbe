//! Stores that outlive the process.

use am_core::DeviceId;
use am_schema::Reading;

use crate::model::{AggregateQuery, BucketWidth, Derived, FlowCommit, Ingest, Provenance, PutOutcome, StateChange, TextQuery};
use crate::testkit::kit::{Fault, HEART, Kit, Outcome, holds, same, same_list, t};
use crate::traits::{ApiKey, DeviceRow};

cases! {
    "reopen.readings" "P01" "every acknowledged reading is there after opening again, exactly once" => readings durable;
    "reopen.feed" "P01" "the feed goes on where it was, no place is used again" => feed durable;
    "reopen.flows" "P01" "cursor, epoch and state of flows are there" => flows durable;
    "reopen.rest" "P01" "letters, values, devices, keys, counts and provenance are there" => rest durable;
    "reopen.answers" "P01" "statistics, search and lineage answer the same" => answers durable;
    "reopen.again" "P04" "what was put before opening again is a duplicate after it" => again durable;
}

fn hearts(kit: &Kit, from: i64, n: i64) -> Result<Vec<Reading>, Fault> {
    (from..from + n).map(|i| kit.heart(i * 13, 50 + (i % 100) as i32)).collect()
}

async fn readings(mut kit: Kit) -> Outcome {
    let mut all = Vec::new();
    for round in 0..4 {
        let batch = hearts(&kit, round * 100, 30)?;
        kit.put_new(&batch).await?;
        all.extend(batch);
        kit.reopen().await?;
        all.sort_by_key(crate::cursor::Place::of);
        same_list(&format!("after opening {} times", round + 2), &kit.all(&kit.ctx()).await?, &all)?;
    }
    Ok(())
}

async fn feed(mut kit: Kit) -> Outcome {
    kit.put_new(&hearts(&kit, 0, 10)?).await?;
    let before = kit.feed(None, 0, vec![], 512).await?;
    kit.reopen().await?;
    same_list("the feed", &kit.feed(None, 0, vec![], 512).await?, &before)?;
    let head = kit.backend().feed.head().await?;
    let seqs = kit.put_new(&hearts(&kit, 100, 3)?).await?;
    holds("new places are behind the old", seqs.iter().all(|s| *s > head))?;
    let mut feed = kit.backend().feed.clone();
    feed.wait(head).await?;
    kit.reopen().await?;
    feed = kit.backend().feed.clone();
    feed.wait(head).await?;
    same("entries", kit.feed(None, 0, vec![], 512).await?.len(), 13)
}

async fn flows(mut kit: Kit) -> Outcome {
    let raw = hearts(&kit, 0, 5)?;
    kit.put_new(&raw).await?;
    let at = kit.backend().flows.load("sleep").await?;
    let commit = FlowCommit {
        flow: "sleep".into(),
        epoch: at.epoch,
        cursor: 3,
        state: vec![StateChange { key: "k".into(), value: Some(b"window".to_vec()) }],
        derived: vec![Derived::live(kit.ctx().scope().clone(), kit.derived("1", &raw, (0, 60), 0.5, "x")?)],
        dead_letters: vec![],
    };
    kit.backend().flows.commit(commit).await?;
    let before = kit.backend().flows.load("sleep").await?;
    kit.reopen().await?;
    same("the flow", kit.backend().flows.load("sleep").await?, before)?;
    let reset = kit.backend().flows.reset("sleep", "2", 0).await?;
    kit.reopen().await?;
    same("after a reset", kit.backend().flows.load("sleep").await?, reset)
}

async fn rest(mut kit: Kit) -> Outcome {
    let r = kit.heart_of("watch", t(1), 60, Some(1))?;
    let rival = kit.heart_of("watch", t(1), 61, Some(1))?;
    let provenance = Provenance { client: "kit".into(), sent_at: Some(t(3)), ..Default::default() };
    let batch = Ingest { provenance: provenance.clone(), readings: vec![r, rival], ..Default::default() };
    let out = kit.backend().readings.put(&kit.ctx(), batch).await?;
    let Some(PutOutcome::Conflict(letter)) = out.readings.get(1).cloned() else {
        return Err(crate::testkit::kit::fault("no conflict"));
    };
    kit.backend().key_value.put(&kit.ctx(), "k", b"v".to_vec(), Some(std::time::Duration::from_secs(100))).await?;
    let device = DeviceRow {
        device: DeviceId::new("watch")?,
        name: "w".into(),
        model: String::new(),
        os: String::new(),
        app_version: String::new(),
        kinds: vec![(HEART.into(), 5)],
        registered_at: t(1),
    };
    kit.backend().devices.register(&kit.ctx(), device.clone()).await?;
    let key = ApiKey {
        id: "k1".into(),
        hash: [1; 32],
        scope: kit.ctx().scope().clone(),
        device: None,
        expires_at: None,
        revoked_at: None,
        created_at: t(1),
    };
    kit.backend().devices.add_key(key.clone()).await?;
    let counts = kit.backend().maintenance.counts(&kit.ctx()).await?;
    kit.reopen().await?;
    let b = kit.backend();
    holds("the letter", b.dead_letters.get(&kit.ctx(), &letter).await?.is_some())?;
    same("the value", b.key_value.get(&kit.ctx(), "k").await?.map(|v| (v.value, v.version)), Some((b"v".to_vec(), 1)))?;
    same("the devices", b.devices.list(&kit.ctx()).await?, vec![device])?;
    same("the key", b.devices.key("k1").await?, Some(key))?;
    same("the counts", b.maintenance.counts(&kit.ctx()).await?, counts)?;
    same("the provenance", b.readings.provenance(&kit.ctx(), out.batch).await?, Some(provenance))?;
    kit.clock().advance(std::time::Duration::from_secs(100));
    same("the value when its time is over", kit.backend().key_value.get(&kit.ctx(), "k").await?, None)
}

async fn answers(mut kit: Kit) -> Outcome {
    let raw = hearts(&kit, 0, 50)?;
    kit.put_new(&raw).await?;
    kit.put_new(&[kit.note(1, "the red kite")?, kit.note(2, "a kite")?]).await?;
    for version in ["1", "2"] {
        kit.derive("sleep", &[kit.derived(version, &raw, (0, 600), 0.5, "kite")?]).await?;
    }
    let heart = kit.kind(HEART)?;
    let look = async |kit: &Kit| -> Result<_, Fault> {
        let hits = kit.backend().text.search(&kit.ctx(), &TextQuery::new("kite")).await?.hits;
        let q = AggregateQuery::new(heart, t(0), t(86_400), BucketWidth::Minute);
        let made = match raw.first() {
            Some(r) => kit.backend().derivations.outputs(&kit.ctx(), &r.reference(), 10).await?.len(),
            None => 0,
        };
        Ok((kit.backend().readings.aggregate(&kit.ctx(), &q).await?, hits, made))
    };
    let before = look(&kit).await?;
    kit.reopen().await?;
    same("statistics, hits and outputs", look(&kit).await?, before.clone())?;
    kit.backend().maintenance.tidy().await?;
    kit.reopen().await?;
    let after = look(&kit).await?;
    same("hits and outputs after upkeep", (after.1, after.2), (before.1, before.2))?;
    same("counts of the buckets", counts(&after.0), counts(&before.0))
}

fn counts(b: &[crate::model::Bucket]) -> Vec<(am_core::Timestamp, u64, f64, f64)> {
    b.iter().map(|b| (b.start, b.values.count, b.values.min, b.values.max)).collect()
}

async fn again(mut kit: Kit) -> Outcome {
    let all = hearts(&kit, 0, 30)?;
    kit.put_new(&all).await?;
    kit.reopen().await?;
    let out = kit.put(&all).await?;
    holds("duplicates", out.readings.iter().all(|o| *o == PutOutcome::Duplicate))?;
    same("readings", kit.all(&kit.ctx()).await?.len(), 30)
}
