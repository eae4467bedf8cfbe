//! Scans that go on where they stopped.

use std::collections::BTreeSet;

use am_core::Code;
use am_schema::Reading;

use crate::cursor::Place;
use crate::model::{Cursor, Order, ScanQuery};
use crate::testkit::generate::Seeded;
use crate::testkit::kit::{Fault, HEART, Kit, Outcome, fault, holds, refused, same, same_list, t};

cases! {
    "page.whole" "P01" "pages of any size join to the whole scan" => whole;
    "page.ties" "P01" "a page may end within readings of the same time" => ties;
    "page.while_writing" "P01" "paging skips and repeats nothing that was there, while writes go on" => while_writing;
    "page.last" "P01" "the last page says that it is the last" => last;
    "page.strange_cursor" "P09" "a cursor that no scan gave, or another one, is refused" => strange_cursor;
}

fn readings(kit: &Kit) -> Result<Vec<Reading>, Fault> {
    let devices = ["watch", "band", "phone"];
    let all = (0..90u8).map(|n| {
        let device = devices.get(usize::from(n) % 3).copied().unwrap_or("watch");
        kit.heart_of(device, t(i64::from(n) / 10), 50 + i32::from(n), Some(200 - n))
    });
    let mut all: Vec<Reading> = all.collect::<Result<_, _>>()?;
    all.sort_by_key(Place::of);
    Ok(all)
}

async fn whole(kit: Kit) -> Outcome {
    let all = readings(&kit)?;
    kit.put_new(&all).await?;
    for limit in [1, 2, 7, 30, 89, 90, 91] {
        let found = kit.pages(&kit.ctx(), &ScanQuery { limit, ..Default::default() }).await?;
        same_list(&format!("pages of {limit}"), &found.into_iter().map(|s| s.reading).collect::<Vec<_>>(), &all)?;
    }
    Ok(())
}

async fn ties(kit: Kit) -> Outcome {
    let mut all: Vec<Reading> = (1..40u8).map(|n| kit.heart_of("watch", t(5), 60, Some(n))).collect::<Result<_, _>>()?;
    let mut shuffled = all.clone();
    Seeded::new(1).shuffle(&mut shuffled);
    kit.put_new(&shuffled).await?;
    for order in [Order::TimeAscending, Order::TimeDescending] {
        let found = kit.pages(&kit.ctx(), &ScanQuery { limit: 4, order, ..Default::default() }).await?;
        same_list("pages of 4", &found.into_iter().map(|s| s.reading).collect::<Vec<_>>(), &all)?;
        all.reverse();
    }
    Ok(())
}

async fn while_writing(kit: Kit) -> Outcome {
    let all = readings(&kit)?;
    kit.put_new(&all).await?;
    for order in [Order::TimeAscending, Order::TimeDescending] {
        let mut query = ScanQuery { limit: 8, order, ..Default::default() };
        let mut seen: Vec<Reading> = Vec::new();
        let mut n = 0i64;
        loop {
            let page = kit.backend().readings.scan(&kit.ctx(), &query).await?;
            seen.extend(page.items.into_iter().map(|s| s.reading));
            // Before, at and behind the place where the scan stands.
            let device = if order == Order::TimeAscending { "newcomer" } else { "late" };
            let new = [-100 - n, n % 9, 1_000 + n].into_iter().enumerate();
            let new: Vec<Reading> =
                new.map(|(i, at)| kit.heart_of(device, t(at), 99, Some((n * 3) as u8 + i as u8))).collect::<Result<_, _>>()?;
            kit.put_new(&new).await?;
            n += 1;
            match page.cursor {
                Some(c) => query.cursor = Some(c),
                None => break,
            }
            if n > 80 {
                return Err(fault("the scan never ends"));
            }
        }
        let distinct: BTreeSet<Place> = seen.iter().map(Place::of).collect();
        same("readings that came twice", seen.len() - distinct.len(), 0)?;
        let missing = all.iter().filter(|r| !distinct.contains(&Place::of(r))).count();
        same("readings that were there and did not come", missing, 0)?;
    }
    Ok(())
}

async fn last(kit: Kit) -> Outcome {
    let all = readings(&kit)?;
    let scan = |limit| ScanQuery { limit, ..Default::default() };
    holds("an empty store has no next page", kit.backend().readings.scan(&kit.ctx(), &scan(5)).await?.cursor.is_none())?;
    kit.put_new(all.get(..6).unwrap_or_default()).await?;
    for (limit, more) in [(5, true), (6, false), (7, false)] {
        let page = kit.backend().readings.scan(&kit.ctx(), &scan(limit)).await?;
        same(&format!("another page after {limit} of 6"), page.cursor.is_some(), more)?;
    }
    Ok(())
}

async fn strange_cursor(kit: Kit) -> Outcome {
    kit.put_new(&readings(&kit)?).await?;
    let query = ScanQuery { limit: 5, ..Default::default() };
    let Some(cursor) = kit.backend().readings.scan(&kit.ctx(), &query).await?.cursor else { return Err(fault("no next page")) };
    let heart = kit.kind(HEART)?;
    let others = [
        ScanQuery { cursor: Some(Cursor(b"nonsense".to_vec())), ..query.clone() },
        ScanQuery { cursor: Some(Cursor(Vec::new())), ..query.clone() },
        ScanQuery { cursor: Some(cursor.clone()), kinds: vec![heart], ..query.clone() },
        ScanQuery { cursor: Some(cursor), order: Order::TimeDescending, ..query },
    ];
    for q in others {
        refused(&format!("{:?}", q.cursor), kit.backend().readings.scan(&kit.ctx(), &q).await, Code::BAD_QUERY)?;
    }
    Ok(())
}
