//! Statistics per bucket, against a plain sum over the readings.

use std::collections::BTreeMap;

use am_core::{Code, DeviceId, Timestamp};
use am_schema::Reading;

use crate::model::{Aggregate, AggregateQuery, Bucket, BucketWidth};
use crate::testkit::generate::Seeded;
use crate::testkit::kit::{Fault, HEART, Kit, NOTE, Outcome, fault, holds, refused, same, t};

const WIDTHS: [BucketWidth; 5] = [BucketWidth::Minute, BucketWidth::FiveMinutes, BucketWidth::Hour, BucketWidth::Day, BucketWidth::Whole];

cases! {
    "aggregate.naive" "P01" "buckets of every width equal a plain sum, with late data in random order" => naive_random;
    "aggregate.tail" "P01" "what was acknowledged a moment ago is in the answer" => tail;
    "aggregate.after_tidy" "P01" "upkeep changes no answer, and later data still counts" => after_tidy;
    "aggregate.first_last" "P01" "first and last are by time, not by arrival" => first_last;
    "aggregate.stddev" "P01" "the standard deviation is that of the sample, also far from zero" => stddev;
    "aggregate.bounds" "P01" "from is rounded down to a bucket, to up; the whole span is not rounded" => bounds;
    "aggregate.devices" "P01" "devices are counted together, or only those asked for" => devices;
    "aggregate.duplicates" "P04" "duplicates and conflicts do not count" => duplicates;
    "aggregate.before_1970" "P01" "buckets before 1970 begin below their readings" => before_1970;
    "aggregate.refused" "P09" "a kind without a number is refused" => no_number;
}

async fn ask(kit: &Kit, from: i64, to: i64, width: BucketWidth) -> Result<Vec<Bucket>, Fault> {
    let q = AggregateQuery::new(kit.kind(HEART)?, t(from), t(to), width);
    Ok(kit.backend().readings.aggregate(&kit.ctx(), &q).await?)
}

/// The plain sum: two passes, no merging.
fn plain(readings: &[Reading], from: Timestamp, to: Timestamp, width: BucketWidth) -> BTreeMap<Timestamp, Vec<(Timestamp, f64)>> {
    let w = width.nanos();
    let round = |ns: i64| ns.div_euclid(w.max(1)) * w.max(1);
    let (lo, hi) = match width {
        BucketWidth::Whole => (from.as_nanos(), to.as_nanos()),
        _ => (round(from.as_nanos()), -round(-to.as_nanos())),
    };
    let mut out: BTreeMap<Timestamp, Vec<(Timestamp, f64)>> = BTreeMap::new();
    for r in readings {
        let ns = r.recorded_at().as_nanos();
        if let (true, Some(v)) = ((lo..hi).contains(&ns), r.scalar()) {
            let start = if width == BucketWidth::Whole { lo } else { round(ns) };
            out.entry(Timestamp::from_nanos(start)).or_default().push((r.recorded_at(), v));
        }
    }
    out
}

fn close(what: &str, got: f64, want: f64) -> Outcome {
    match (got - want).abs() <= 1e-9 * want.abs().max(1.0) * 1e3 {
        true => Ok(()),
        false => Err(fault(format!("{what}: got {got}, wanted {want}"))),
    }
}

fn agree(got: &[Bucket], want: &BTreeMap<Timestamp, Vec<(Timestamp, f64)>>) -> Outcome {
    same("where buckets begin", got.iter().map(|b| b.start).collect::<Vec<_>>(), want.keys().copied().collect())?;
    for (b, values) in got.iter().zip(want.values()) {
        let v = &b.values;
        let numbers = || values.iter().map(|x| x.1);
        let n = values.len() as f64;
        let mean = numbers().sum::<f64>() / n;
        same("the count", v.count, values.len() as u64)?;
        close("the sum", v.sum, numbers().sum())?;
        close("the mean", v.mean(), mean)?;
        same("the least", v.min, numbers().fold(f64::INFINITY, f64::min))?;
        same("the greatest", v.max, numbers().fold(f64::NEG_INFINITY, f64::max))?;
        let var = numbers().map(|x| (x - mean).powi(2)).sum::<f64>();
        close("the squared distances", v.m2, var)?;
        let (first, last) = (values.iter().map(|x| x.0).min(), values.iter().map(|x| x.0).max());
        same("the times of first and last", (Some(v.first.0), Some(v.last.0)), (first, last))?;
        // Of readings at the same time any may be the first or last.
        holds("the first is one of its time", values.contains(&v.first))?;
        holds("the last is one of its time", values.contains(&v.last))?;
    }
    Ok(())
}

async fn naive_random(kit: Kit) -> Outcome {
    for seed in 0..3u64 {
        let mut g = Seeded::new(seed + 1);
        let mut all = kit.all(&kit.ctx()).await?;
        for round in 0..4 {
            let batch: Vec<Reading> = (0..50)
                .map(|_| {
                    kit.heart_of(
                        "watch",
                        Timestamp::from_nanos(t(g.below(200_000) as i64).as_nanos() + g.below(1_000_000_000) as i64),
                        30 + g.below(200) as i32,
                        None,
                    )
                })
                .collect::<Result<_, _>>()?;
            kit.put(&batch).await?;
            all.extend(batch);
            all.sort_by_key(crate::cursor::Place::of);
            all.dedup_by(|a, b| a.reference() == b.reference());
            if round % 2 == seed as i64 % 2 {
                kit.backend().maintenance.tidy().await?;
            }
            for width in WIDTHS {
                let (a, b) = (g.below(200_000) as i64, g.below(200_000) as i64);
                let (from, to) = (a.min(b), a.max(b) + 1);
                let got = ask(&kit, from, to, width).await?;
                agree(&got, &plain(&all, t(from), t(to), width)).map_err(|e| fault(format!("{width:?} of [{from}, {to}): {e}")))?;
            }
        }
    }
    Ok(())
}

async fn tail(kit: Kit) -> Outcome {
    let mut sum = 0.0;
    for n in 0..20i64 {
        let bpm = 60 + n as i32;
        sum += f64::from(bpm);
        kit.put_new(&[kit.heart(n * 40 % 600, bpm)?]).await?;
        for width in WIDTHS {
            let got = ask(&kit, 0, 86_400, width).await?;
            let total: (u64, f64) = got.iter().fold((0, 0.0), |(c, s), b| (c + b.values.count, s + b.values.sum));
            same(&format!("{width:?} after {} readings", n + 1), total, (n as u64 + 1, sum))?;
        }
        if n == 9 {
            kit.backend().maintenance.tidy().await?;
        }
    }
    Ok(())
}

async fn after_tidy(kit: Kit) -> Outcome {
    let mut all: Vec<Reading> = (0..200).map(|n| kit.heart(n * 97 % 7_000, 50 + (n % 90) as i32)).collect::<Result<_, _>>()?;
    kit.put_new(&all).await?;
    let before = ask(&kit, 0, 7_200, BucketWidth::FiveMinutes).await?;
    kit.backend().maintenance.tidy().await?;
    kit.backend().maintenance.tidy().await?;
    agree(&before, &plain(&all, t(0), t(7_200), BucketWidth::FiveMinutes))?;
    agree(&ask(&kit, 0, 7_200, BucketWidth::FiveMinutes).await?, &plain(&all, t(0), t(7_200), BucketWidth::FiveMinutes))?;
    let late: Vec<Reading> = (0..50).map(|n| kit.heart(7_001 + n * 3, 200)).collect::<Result<_, _>>()?;
    kit.put_new(&late).await?;
    all.extend(late);
    for width in WIDTHS {
        agree(&ask(&kit, 0, 7_200, width).await?, &plain(&all, t(0), t(7_200), width))?;
    }
    let stats = kit.backend().maintenance.stats().await?;
    holds("rollups are never ahead of the feed", stats.rolled_up_to <= stats.head)
}

async fn first_last(kit: Kit) -> Outcome {
    for (at, bpm) in [(30, 70), (10, 50), (50, 90), (20, 60), (40, 80)] {
        kit.put_new(&[kit.heart(at, bpm)?]).await?;
        kit.backend().maintenance.tidy().await?;
    }
    for width in WIDTHS {
        let got = ask(&kit, 0, 60, width).await?;
        let Some(b) = got.first() else { return Err(fault("no bucket")) };
        same("first", b.values.first, (t(10), 50.0))?;
        same("last", b.values.last, (t(50), 90.0))?;
    }
    Ok(())
}

async fn stddev(kit: Kit) -> Outcome {
    let all: Vec<Reading> = [299, 300, 299, 300].iter().enumerate().map(|(n, bpm)| kit.heart(n as i64, *bpm)).collect::<Result<_, _>>()?;
    for r in &all {
        kit.put_new(std::slice::from_ref(r)).await?;
    }
    let got = ask(&kit, 0, 60, BucketWidth::Minute).await?;
    let Some(b) = got.first() else { return Err(fault("no bucket")) };
    close("the standard deviation", b.values.stddev(), (1.0f64 / 3.0).sqrt())?;
    kit.put_new(&[kit.heart(4_000, 60)?]).await?;
    let got = ask(&kit, 3_960, 4_020, BucketWidth::Minute).await?;
    same("of one reading", got.first().map(|b| b.values.stddev()), Some(0.0))
}

async fn bounds(kit: Kit) -> Outcome {
    let all: Vec<Reading> = (0..10).map(|n| kit.heart(n * 30, 60)).collect::<Result<_, _>>()?;
    kit.put_new(&all).await?;
    let count = |b: &[Bucket]| b.iter().map(|b| b.values.count).sum::<u64>();
    same("minutes around [70, 130)", count(&ask(&kit, 70, 130, BucketWidth::Minute).await?), 4)?;
    same("the whole of [70, 130)", count(&ask(&kit, 70, 130, BucketWidth::Whole).await?), 2)?;
    same("where the whole begins", ask(&kit, 70, 130, BucketWidth::Whole).await?.first().map(|b| b.start), Some(t(70)))?;
    same("an empty span", ask(&kit, 70, 70, BucketWidth::Whole).await?, vec![])?;
    same("a span without readings", ask(&kit, 5_000, 9_000, BucketWidth::Minute).await?, vec![])?;
    let q = AggregateQuery::new(kit.kind(HEART)?, Timestamp::MIN, Timestamp::MAX, BucketWidth::Day);
    same("of all times", count(&kit.backend().readings.aggregate(&kit.ctx(), &q).await?), 10)
}

async fn devices(kit: Kit) -> Outcome {
    let (watch, band) = (kit.heart_of("watch", t(1), 60, None)?, kit.heart_of("band", t(2), 100, None)?);
    kit.put_new(&[watch.clone(), band.clone()]).await?;
    let mut q = AggregateQuery::new(kit.kind(HEART)?, t(0), t(60), BucketWidth::Minute);
    agree(&kit.backend().readings.aggregate(&kit.ctx(), &q).await?, &plain(&[watch, band.clone()], t(0), t(60), BucketWidth::Minute))?;
    q.devices = vec![DeviceId::new("band")?];
    agree(&kit.backend().readings.aggregate(&kit.ctx(), &q).await?, &plain(&[band], t(0), t(60), BucketWidth::Minute))?;
    q.devices = vec![DeviceId::new("nobody")?];
    same("of an unknown device", kit.backend().readings.aggregate(&kit.ctx(), &q).await?, vec![])
}

async fn duplicates(kit: Kit) -> Outcome {
    let r = kit.heart_of("watch", t(1), 60, Some(1))?;
    let rival = kit.heart_of("watch", t(1), 200, Some(1))?;
    kit.put(&[r.clone(), r.clone(), rival.clone()]).await?;
    kit.backend().maintenance.tidy().await?;
    kit.put(&[rival, r.clone()]).await?;
    let got = ask(&kit, 0, 60, BucketWidth::Hour).await?;
    same("the bucket", got.first().map(|b| b.values), Some(Aggregate::of(t(1), 60.0)))
}

async fn before_1970(kit: Kit) -> Outcome {
    let all: Vec<Reading> = [-1i64, -60_000_000_000, -60_000_000_001, -86_400_000_000_000]
        .iter()
        .map(|ns| kit.heart_of("watch", Timestamp::from_nanos(*ns), 60, None))
        .collect::<Result<_, _>>()?;
    kit.put_new(&all).await?;
    let (from, to) = (Timestamp::from_second(-200_000), Timestamp::from_second(1));
    for width in WIDTHS {
        let q = AggregateQuery::new(kit.kind(HEART)?, from, to, width);
        agree(&kit.backend().readings.aggregate(&kit.ctx(), &q).await?, &plain(&all, from, to, width))?;
    }
    Ok(())
}

async fn no_number(kit: Kit) -> Outcome {
    let q = AggregateQuery::new(kit.kind(NOTE)?, t(0), t(60), BucketWidth::Minute);
    refused("notes", kit.backend().readings.aggregate(&kit.ctx(), &q).await, Code::BAD_QUERY)
}
