//! The change feed.

use std::pin::pin;

use am_schema::Reading;

use crate::model::{FeedEntry, FeedEvent, FeedQuery, Seq};
use crate::testkit::kit::{Fault, HEART, Kit, NOTE, Outcome, STEPS, fault, holds, same, same_list, scope};
use crate::testkit::poll::{let_go_after, ready_now};

cases! {
    "feed.order" "P01" "every stored reading is on the feed once, in the order of its places" => order;
    "feed.pages" "P01" "reads of any size join to the whole feed" => pages;
    "feed.kinds" "P01" "a consumer of some kinds sees those, and gets past the others" => kinds;
    "feed.no_late_entry" "P01" "no entry appears before a place that was read" => no_late_entry;
    "feed.duplicates" "P04" "what adds nothing is not on the feed" => duplicates;
    "feed.two_consumers" "P01" "two consumers read the same feed, each at its own pace" => two_consumers;
    "feed.wait" "P01" "waiting ends when something is stored, at once when it already was" => wait;
    "feed.scope" "P08" "a consumer of one person sees that person's entries" => one_scope;
    "feed.end" "P01" "a read at the head, or beyond it, is empty and stays there" => end;
    "feed.limit" "P09" "limits out of range are refused" => limit;
}

fn put_of(e: &FeedEntry) -> Option<&Reading> {
    match &e.event {
        FeedEvent::Put(s) => Some(&s.reading),
        _ => None,
    }
}

fn hearts(kit: &Kit, from: i64, n: i64) -> Result<Vec<Reading>, Fault> {
    (from..from + n).map(|i| kit.heart(i, 50 + (i % 100) as i32)).collect()
}

async fn order(kit: Kit) -> Outcome {
    let mut all = hearts(&kit, 0, 40)?;
    all.reverse();
    let mut seqs = Vec::new();
    for batch in all.chunks(7) {
        seqs.extend(kit.put_new(batch).await?);
    }
    let feed = kit.feed(None, 0, vec![], 512).await?;
    same_list("places", &feed.iter().map(|e| e.seq).collect::<Vec<_>>(), &seqs)?;
    same_list("readings", &feed.iter().filter_map(put_of).cloned().collect::<Vec<_>>(), &all)?;
    holds("an entry says whose it is", feed.iter().all(|e| e.scope == *kit.ctx().scope()))?;
    let stored = feed.iter().filter_map(|e| if let FeedEvent::Put(s) = &e.event { Some((e.seq, s.seq)) } else { None });
    holds("an entry and its reading have one place", stored.clone().all(|(a, b)| a == b))?;
    same("the head", kit.backend().feed.head().await?, seqs.last().copied().unwrap_or(0))
}

async fn pages(kit: Kit) -> Outcome {
    kit.put_new(&hearts(&kit, 0, 50)?).await?;
    let whole = kit.feed(None, 0, vec![], 4_096).await?;
    for limit in [1, 3, 49, 50, 51] {
        same_list(&format!("reads of {limit}"), &kit.feed(None, 0, vec![], limit).await?, &whole)?;
    }
    let middle = whole.get(20).map(|e| e.seq).unwrap_or_default();
    same_list("from the middle", &kit.feed(None, middle, vec![], 7).await?, whole.get(21..).unwrap_or_default())
}

async fn kinds(kit: Kit) -> Outcome {
    for n in 0..30 {
        kit.put_new(&hearts(&kit, n * 10, 3)?).await?;
        if n % 10 == 0 {
            kit.put_new(&[kit.note(n, "rare")?]).await?;
        }
    }
    let (note, steps) = (kit.kind(NOTE)?, kit.kind(STEPS)?);
    let whole = kit.feed(None, 0, vec![], 512).await?;
    let want: Vec<FeedEntry> = whole.into_iter().filter(|e| put_of(e).is_some_and(|r| r.kind() == note)).collect();
    same("notes on the feed", want.len(), 3)?;
    for limit in [1, 2, 100] {
        same_list("the notes", &kit.feed(None, 0, vec![note], limit).await?, &want)?;
        same_list("notes or steps", &kit.feed(None, 0, vec![steps, note], limit).await?, &want)?;
        same("steps", kit.feed(None, 0, vec![steps], limit).await?.len(), 0)?;
    }
    Ok(())
}

async fn no_late_entry(kit: Kit) -> Outcome {
    let mut read: Vec<FeedEntry> = Vec::new();
    let mut after: Seq = 0;
    let devices = ["a", "b", "c", "d"];
    for round in 0..12i64 {
        let batch = |d: usize| {
            let device = devices.get(d).copied().unwrap_or("a");
            let at = |n: i64| crate::testkit::kit::t((100 - round) * 10 + n);
            (0..5).map(|n| kit.heart_of(device, at(n), 60, None)).collect::<Result<Vec<_>, _>>()
        };
        let (a, b, c, d) = (batch(0)?, batch(1)?, batch(2)?, batch(3)?);
        let reader = async {
            let page = kit.backend().feed.read(None, &FeedQuery { limit: 9, ..FeedQuery::after(after, vec![]) }).await?;
            Ok::<_, Fault>(page)
        };
        let (x, y, z, w, page) = tokio::join!(kit.put(&a), kit.put(&b), kit.put(&c), kit.put(&d), reader);
        [x, y, z, w].into_iter().collect::<Result<Vec<_>, _>>()?;
        let page = page?;
        after = page.next;
        read.extend(page.entries);
    }
    read.extend(kit.feed(None, after, vec![], 512).await?);
    same_list("what was read along the way and what is there", &read, &kit.feed(None, 0, vec![], 512).await?)?;
    same("entries", read.len(), 240)
}

async fn duplicates(kit: Kit) -> Outcome {
    let all = hearts(&kit, 0, 10)?;
    kit.put_new(&all).await?;
    let before = kit.feed(None, 0, vec![], 512).await?;
    kit.put(&all).await?;
    let rival = kit.heart_of("watch", crate::testkit::kit::t(1), 99, all.get(1).map(|_| 1))?;
    kit.put_new(std::slice::from_ref(&rival)).await?;
    let conflict = kit.heart_of("watch", crate::testkit::kit::t(1), 98, Some(1))?;
    kit.put(&[conflict]).await?;
    same("new entries", kit.feed(None, before.last().map_or(0, |e| e.seq), vec![], 512).await?.len(), 1)
}

async fn two_consumers(kit: Kit) -> Outcome {
    let (mut fast, mut slow): (Vec<FeedEntry>, Vec<FeedEntry>) = (Vec::new(), Vec::new());
    let (mut f, mut s) = (0, 0);
    for round in 0..10 {
        kit.put_new(&hearts(&kit, round * 10, 7)?).await?;
        let a = kit.backend().feed.read(None, &FeedQuery::after(f, vec![])).await?;
        f = a.next;
        fast.extend(a.entries);
        let b = kit.backend().feed.read(None, &FeedQuery { limit: 2, ..FeedQuery::after(s, vec![]) }).await?;
        s = b.next;
        slow.extend(b.entries);
    }
    slow.extend(kit.feed(None, s, vec![], 3).await?);
    fast.extend(kit.feed(None, f, vec![], 512).await?);
    same("entries", fast.len(), 70)?;
    same_list("both consumers", &slow, &fast)
}

async fn wait(kit: Kit) -> Outcome {
    let feed = kit.backend().feed.clone();
    holds("nothing is there yet", !ready_now(feed.wait(0)).await)?;
    {
        let mut waiting = pin!(feed.wait(0));
        if let_go_after(1, waiting.as_mut()).await.is_some() {
            return Err(fault("waiting ended before anything was stored"));
        }
        kit.put_new(&hearts(&kit, 0, 3)?).await?;
        waiting.await?;
    }
    let head = feed.head().await?;
    feed.wait(head - 1).await?;
    holds("nothing is behind the head", !ready_now(feed.wait(head)).await)?;
    let more = hearts(&kit, 10, 1)?;
    let (woken, put) = tokio::join!(feed.wait(head), kit.put(&more));
    put?;
    Ok(woken?)
}

async fn one_scope(kit: Kit) -> Outcome {
    let bob = kit.ctx_of(scope("acme", "bob"));
    let (mine, his) = (hearts(&kit, 0, 10)?, hearts(&kit, 0, 10)?);
    for (a, b) in mine.chunks(3).zip(his.chunks(3)) {
        kit.put(a).await?;
        kit.put_as(&bob, b).await?;
    }
    for limit in [1, 4, 100] {
        let feed = kit.feed(Some(bob.scope()), 0, vec![kit.kind(HEART)?], limit).await?;
        holds("only bob's", feed.iter().all(|e| e.scope == *bob.scope()))?;
        same_list("his readings", &feed.iter().filter_map(put_of).cloned().collect::<Vec<_>>(), &his)?;
    }
    same("a stranger's", kit.feed(Some(&scope("acme", "carol")), 0, vec![], 10).await?.len(), 0)?;
    same("everybody's", kit.feed(None, 0, vec![], 10).await?.len(), 20)
}

async fn end(kit: Kit) -> Outcome {
    let empty = kit.backend().feed.read(None, &FeedQuery::after(0, vec![])).await?;
    same("an empty feed", (empty.entries.len(), empty.next, empty.head), (0, 0, 0))?;
    kit.put_new(&hearts(&kit, 0, 3)?).await?;
    let head = kit.backend().feed.head().await?;
    let page = kit.backend().feed.read(None, &FeedQuery::after(head, vec![])).await?;
    same("at the head", (page.entries.len(), page.next, page.head), (0, head, head))?;
    let beyond = kit.backend().feed.read(None, &FeedQuery::after(head + 50, vec![])).await?;
    same("beyond the head", beyond.entries.len(), 0)
}

async fn limit(kit: Kit) -> Outcome {
    for limit in [0, 4_097] {
        let got = kit.backend().feed.read(None, &FeedQuery { limit, ..FeedQuery::after(0, vec![]) }).await;
        crate::testkit::kit::refused(&format!("a read of {limit}"), got, am_core::Code::BAD_QUERY)?;
    }
    Ok(())
}
