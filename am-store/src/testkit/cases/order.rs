//! Scans: order, spans and conditions.

use am_core::{DeviceId, Timestamp};
use am_schema::Reading;

use crate::cursor::Place;
use crate::model::{LatestQuery, Op, Order, Predicate, ScanQuery, Value};
use crate::testkit::generate::Seeded;
use crate::testkit::kit::{Fault, HEART, Kit, NOTE, Outcome, STEPS, fault, holds, refused, same, same_list, t};

cases! {
    "scan.order" "P01" "readings come by (recorded_at, kind, device, id), whatever order they arrived in" => order;
    "scan.descending" "P01" "descending is the exact reverse" => descending;
    "scan.kinds_and_devices" "P01" "a scan keeps to the kinds and devices asked for" => kinds_and_devices;
    "scan.half_open" "P01" "from counts, to does not" => half_open;
    "scan.spans" "P01" "a span that reaches into the time asked for counts" => spans;
    "scan.filter" "P01" "conditions on fields and metadata hold for every reading found, and only for those" => filter;
    "scan.limits" "P09" "limits and conditions out of range are refused by name" => limits;
    "latest.each" "P01" "the latest reading of each device and kind, by (kind, device)" => latest_each;
    "latest.late_data" "P01" "late data does not become the latest" => latest_late;
    "latest.at" "P01" "the latest at an earlier time is what was latest then" => latest_at;
}

fn mixed(kit: &Kit) -> Result<Vec<Reading>, Fault> {
    let mut all = Vec::new();
    for n in 0..20i64 {
        all.push(kit.heart_of("watch", t(n / 3), 60 + n as i32, Some(40 - n as u8))?);
        all.push(kit.heart_of("band", t(n / 3), 60 + n as i32, Some(n as u8 + 1))?);
        all.push(kit.note(n / 3, &format!("note {n}"))?);
    }
    // Notes have the same key where time and text id agree; keep one of each.
    all.sort_by_key(Place::of);
    all.dedup_by(|a, b| a.reference() == b.reference());
    Ok(all)
}

async fn filled(kit: &Kit) -> Result<Vec<Reading>, Fault> {
    let sorted = mixed(kit)?;
    let mut arriving = sorted.clone();
    Seeded::new(7).shuffle(&mut arriving);
    for batch in arriving.chunks(11) {
        kit.put_new(batch).await?;
    }
    Ok(sorted)
}

async fn order(kit: Kit) -> Outcome {
    let sorted = filled(&kit).await?;
    same_list("the scan", &kit.all(&kit.ctx()).await?, &sorted)
}

async fn descending(kit: Kit) -> Outcome {
    let mut sorted = filled(&kit).await?;
    sorted.reverse();
    for limit in [1_000, 7] {
        let found = kit.pages(&kit.ctx(), &ScanQuery { order: Order::TimeDescending, limit, ..Default::default() }).await?;
        same_list("the scan", &found.into_iter().map(|s| s.reading).collect::<Vec<_>>(), &sorted)?;
    }
    Ok(())
}

async fn kinds_and_devices(kit: Kit) -> Outcome {
    let sorted = filled(&kit).await?;
    let band = DeviceId::new("band")?;
    let (heart, note) = (kit.kind(HEART)?, kit.kind(NOTE)?);
    for (kinds, devices) in [
        (vec![heart], vec![]),
        (vec![], vec![band.clone()]),
        (vec![heart], vec![band.clone()]),
        (vec![note], vec![band]),
        (vec![heart, note], vec![]),
    ] {
        let q = ScanQuery { kinds: kinds.clone(), devices: devices.clone(), ..Default::default() };
        let found: Vec<Reading> = kit.pages(&kit.ctx(), &q).await?.into_iter().map(|s| s.reading).collect();
        let fits = |r: &&Reading| (kinds.is_empty() || kinds.contains(&r.kind())) && (devices.is_empty() || devices.contains(r.device()));
        let want: Vec<Reading> = sorted.iter().filter(fits).cloned().collect();
        same_list(&format!("kinds {kinds:?} and devices {devices:?}"), &found, &want)?;
    }
    Ok(())
}

async fn half_open(kit: Kit) -> Outcome {
    let all = [kit.heart(1, 60)?, kit.heart(2, 61)?, kit.heart(3, 62)?];
    kit.put_new(&all).await?;
    let q = |from: i64, to: i64| ScanQuery { from: t(from), to: t(to), ..Default::default() };
    for (from, to, n) in [(1, 3, 2), (1, 1, 0), (2, 3, 1), (0, 1, 0), (3, 4, 1)] {
        same(&format!("readings in [{from}, {to})"), kit.pages(&kit.ctx(), &q(from, to)).await?.len(), n)?;
    }
    Ok(())
}

async fn spans(kit: Kit) -> Outcome {
    let all = [kit.steps(0, 100, 10)?, kit.steps(50, 60, 5)?, kit.steps(100, 160, 7)?, kit.heart(55, 60)?];
    kit.put_new(&all).await?;
    for (from, to, starts) in
        [(55, 56, vec![0, 50, 55]), (60, 100, vec![0]), (99, 101, vec![0, 100]), (100, 101, vec![100]), (160, 200, vec![]), (0, 1, vec![0])]
    {
        let q = ScanQuery { from: t(from), to: t(to), ..Default::default() };
        for order in [Order::TimeAscending, Order::TimeDescending] {
            let found = kit.pages(&kit.ctx(), &ScanQuery { order, limit: 1, ..q.clone() }).await?;
            let mut got: Vec<Timestamp> = found.iter().map(|s| s.reading.recorded_at()).collect();
            got.sort_unstable();
            same_list(&format!("spans in [{from}, {to})"), &got, &starts.iter().map(|s| t(*s)).collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

async fn filter(kit: Kit) -> Outcome {
    let mut all: Vec<Reading> = (0..50).map(|n| kit.heart(n, 40 + n as i32)).collect::<Result<_, _>>()?;
    all.push(kit.note(7, "tea with honey")?);
    all.push(kit.steps(10, 20, 45)?);
    kit.put_new(&all).await?;
    let field = |path: &str, op, value| Predicate::Field { path: path.into(), op, value };
    let n = Value::Number;
    let filters = [
        field("bpm", Op::Ge, n(70.0)),
        field("bpm", Op::Ne, n(45.0)),
        Predicate::Not(Box::new(field("bpm", Op::Eq, n(45.0)))),
        field("text", Op::Contains, Value::Text("honey".into())),
        Predicate::Or(vec![field("count", Op::Eq, n(45.0)), field("bpm", Op::Eq, n(45.0))]),
        Predicate::And(vec![field("bpm", Op::Gt, n(50.0)), Predicate::Time { from: t(0), to: t(20) }]),
        Predicate::And(vec![Predicate::Kind(vec![kit.kind(STEPS)?]), Predicate::Device(vec![DeviceId::new("phone")?])]),
        Predicate::Or(vec![]),
        Predicate::And(vec![]),
    ];
    all.sort_by_key(Place::of);
    for f in filters {
        let want: Vec<Reading> = all.iter().filter(|r| f.matches(r)).cloned().collect();
        let found = kit.pages(&kit.ctx(), &ScanQuery { filter: f.clone(), limit: 9, ..Default::default() }).await?;
        same_list(&format!("{f:?}"), &found.into_iter().map(|s| s.reading).collect::<Vec<_>>(), &want)?;
    }
    Ok(())
}

async fn limits(kit: Kit) -> Outcome {
    kit.put_new(&[kit.heart(1, 60)?]).await?;
    let bad = am_core::Code::BAD_QUERY;
    for limit in [0, 100_001] {
        let q = ScanQuery { limit, ..Default::default() };
        refused(&format!("a scan of {limit}"), kit.backend().readings.scan(&kit.ctx(), &q).await, bad)?;
    }
    let nan = Predicate::Field { path: "bpm".into(), op: Op::Eq, value: Value::Number(f64::NAN) };
    refused("a comparison with NaN", kit.backend().readings.scan(&kit.ctx(), &ScanQuery { filter: nan, ..Default::default() }).await, bad)?;
    let q = ScanQuery { limit: 100_000, ..Default::default() };
    same("the largest page", kit.backend().readings.scan(&kit.ctx(), &q).await?.items.len(), 1)
}

async fn latest(kit: &Kit, q: LatestQuery) -> Result<Vec<Reading>, Fault> {
    Ok(kit.backend().readings.latest(&kit.ctx(), &q).await?.into_iter().map(|s| s.reading).collect())
}

async fn latest_each(kit: Kit) -> Outcome {
    let sorted = filled(&kit).await?;
    let mut want: Vec<Reading> = Vec::new();
    for r in &sorted {
        want.retain(|w| (w.kind(), w.device()) != (r.kind(), r.device()));
        want.push(r.clone());
    }
    want.sort_by_key(|r| (r.kind(), r.device().clone()));
    same_list("the latest", &latest(&kit, LatestQuery::default()).await?, &want)?;
    let heart = kit.kind(HEART)?;
    want.retain(|r| r.kind() == heart);
    same_list("of one kind", &latest(&kit, LatestQuery { kinds: vec![heart], ..Default::default() }).await?, &want)?;
    let band = DeviceId::new("band")?;
    want.retain(|r| *r.device() == band);
    holds("the band has a latest", want.len() == 1)?;
    same_list("of one device", &latest(&kit, LatestQuery { devices: vec![band], ..Default::default() }).await?, &want)
}

async fn latest_late(kit: Kit) -> Outcome {
    let new = kit.heart(100, 70)?;
    kit.put_new(std::slice::from_ref(&new)).await?;
    kit.put_new(&[kit.heart(50, 60)?]).await?;
    same_list("the latest", &latest(&kit, LatestQuery::default()).await?, std::slice::from_ref(&new))?;
    let newer = kit.heart(101, 71)?;
    kit.put_new(std::slice::from_ref(&newer)).await?;
    same_list("the latest", &latest(&kit, LatestQuery::default()).await?, &[newer])
}

async fn latest_at(kit: Kit) -> Outcome {
    let all: Vec<Reading> = (0..10).map(|n| kit.heart(n * 10, 60 + n as i32)).collect::<Result<_, _>>()?;
    kit.put_new(&all).await?;
    for (at, index) in [(0, Some(0)), (9, Some(0)), (10, Some(1)), (95, Some(9)), (-1, None)] {
        let got = latest(&kit, LatestQuery { at: t(at), ..Default::default() }).await?;
        let want: Vec<Reading> = index.and_then(|i: usize| all.get(i)).into_iter().cloned().collect();
        if got != want {
            return Err(fault(format!("the latest at {at} is {got:?}, wanted {want:?}")));
        }
    }
    Ok(())
}
