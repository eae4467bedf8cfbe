//! Work that is let go of half-way: whole or not at all.

use am_core::{CancelToken, Code};
use am_schema::Reading;

use crate::model::{Derived, FlowCommit, PutOutcome, ScanQuery, StateChange};
use crate::testkit::kit::{Fault, Kit, Outcome, SCORE, fault, holds, refused, same};
use crate::testkit::poll::let_go_after;

cases! {
    "cancel.put" "P01" "a put that is dropped at any await is stored whole or not at all, and again adds nothing" => put;
    "cancel.commit" "P01" "a commit that is dropped at any await happened whole or not at all" => commit;
    "cancel.wait" "P01" "a wait that is dropped takes nothing with it" => wait;
    "cancel.token" "P01" "a cancelled or late call is refused before it changes anything" => token;
}

/// How often a future is polled before it is let go of, at most.
const POLLS: usize = 12;

async fn put(kit: Kit) -> Outcome {
    for polls in 0..POLLS {
        let batch: Vec<Reading> = (0..40).map(|n| kit.heart(polls as i64 * 100 + n, 60 + (n % 20) as i32)).collect::<Result<_, _>>()?;
        let finished = let_go_after(polls, kit.put(&batch)).await;
        let out = kit.put(&batch).await?;
        let stored = out.readings.iter().filter(|o| matches!(o, PutOutcome::Stored(_))).count();
        let duplicate = out.readings.iter().filter(|o| **o == PutOutcome::Duplicate).count();
        match (stored, duplicate) {
            (40, 0) if finished.is_none() => {}
            (0, 40) => {}
            _ => return Err(fault(format!("let go of after {polls} polls, {duplicate} of 40 were there and {stored} were not"))),
        }
        let names: Vec<_> = batch.iter().map(Reading::reference).collect();
        holds("all are there now", kit.backend().readings.get(&kit.ctx(), &names).await?.iter().all(Option::is_some))?;
    }
    same("readings", kit.all(&kit.ctx()).await?.len(), POLLS * 40)?;
    same("entries", kit.feed(None, 0, vec![], 512).await?.len(), POLLS * 40)?;
    let c = kit.backend().maintenance.counts(&kit.ctx()).await?;
    holds(&format!("the balance: {c:?}"), c.balanced() && c.stored == POLLS as u64 * 40)
}

async fn commit(kit: Kit) -> Outcome {
    let raw = [kit.heart(0, 60)?];
    kit.put_new(&raw).await?;
    let scope = kit.ctx().scope().clone();
    for polls in 0..POLLS {
        let at = kit.backend().flows.load("sleep").await?;
        let span = (polls as i64 * 60, polls as i64 * 60 + 60);
        let derived = kit.derived("1", &raw, span, 0.5, "x")?;
        let make = || FlowCommit {
            flow: "sleep".into(),
            epoch: at.epoch,
            cursor: 1,
            state: vec![StateChange { key: "k".into(), value: Some(polls.to_string().into_bytes()) }],
            derived: vec![Derived::live(scope.clone(), derived.clone())],
            dead_letters: vec![],
        };
        let finished = let_go_after(polls, kit.backend().flows.commit(make())).await;
        let again = kit.backend().flows.commit(make()).await;
        match (&finished, &again) {
            (Some(Ok(_)), Err(e)) | (None, Err(e)) if e.code() == Code::STALE_COMMIT => {}
            (None, Ok(_)) => {}
            _ => return Err(fault(format!("let go of after {polls} polls: {finished:?}, then {again:?}"))),
        }
        let now = kit.backend().flows.load("sleep").await?;
        same("the state", now.state, vec![("k".into(), polls.to_string().into_bytes())])?;
        same("the epoch", now.epoch, at.epoch + 1)?;
        same("the derived reading", count(&kit).await?, polls + 1)?;
    }
    Ok(())
}

async fn count(kit: &Kit) -> Result<usize, Fault> {
    Ok(kit.pages(&kit.ctx(), &ScanQuery { kinds: vec![kit.kind(SCORE)?], ..Default::default() }).await?.len())
}

async fn wait(kit: Kit) -> Outcome {
    let feed = kit.backend().feed.clone();
    for n in 0..50 {
        holds("nothing is there", let_go_after(1, feed.wait(n)).await.is_none())?;
        kit.put_new(&[kit.heart(n as i64, 60)?]).await?;
    }
    Ok(feed.wait(49).await?)
}

async fn token(kit: Kit) -> Outcome {
    let token = CancelToken::new();
    token.cancel();
    let cancelled = kit.ctx().with_cancel(token);
    refused("a cancelled put", kit.put_as(&cancelled, &[kit.heart(1, 60)?]).await, Code::CANCELLED)?;
    let late = kit.ctx().with_timeout(std::time::Duration::ZERO);
    refused("a late put", kit.put_as(&late, &[kit.heart(1, 60)?]).await, Code::TIMED_OUT)?;
    refused("a cancelled scan", kit.backend().readings.scan(&cancelled, &ScanQuery::default()).await, Code::CANCELLED)?;
    same("the head of the feed", kit.backend().feed.head().await?, 0)
}
