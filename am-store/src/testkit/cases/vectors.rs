//! Vectors of readings.

use am_core::{Code, DeviceId};
use am_schema::Reading;

use crate::model::{
    Generations, Metric, NewVector, Op, Predicate, Value, VectorDelete, VectorFault, VectorHits, VectorModel, VectorOutcome, VectorQuery,
};
use crate::testkit::Seeded;
use crate::testkit::kit::{Fault, HEART, Kit, NOTE, Outcome, fault, holds, refused, same, same_list, scope, t};
use crate::traits::Vectors;

cases! {
    "vectors.models" "P01" "a model is registered once, by its name, and never silently becomes another" => models vectors;
    "vectors.search" "P01" "the hits are those of comparing every vector by hand, by every metric" => search vectors;
    "vectors.replace" "P04" "a vector put again changes nothing, a new one takes its place" => replace vectors;
    "vectors.ties" "P01" "equal scores come in the order of scans, then by part" => ties vectors;
    "vectors.narrowed" "P01" "kinds, devices, times and conditions narrow the hits and change no score" => narrowed vectors;
    "vectors.spans" "P01" "a reading whose span reaches into the time asked for is found" => spans vectors;
    "vectors.superseded" "P05" "the vector of an older generation is found on request only" => superseded vectors;
    "vectors.refused" "P09" "what cannot be a vector is refused item by item, and the others are kept" => refused_items vectors;
    "vectors.unknown_reading" "P05" "a vector belongs to a stored reading" => unknown_reading vectors;
    "vectors.bad_questions" "P09" "a question that cannot be compared is refused" => bad_questions vectors;
    "vectors.tenants" "P08" "nobody finds, replaces or removes the vectors of another scope" => tenants vectors;
    "vectors.delete" "P01" "vectors go by reading, by model of a scope, and with the model" => delete vectors;
    "vectors.fresh" "P11" "the answer says whether it is exact, how many it compared and how far vectors go" => fresh vectors;
    "vectors.reopen" "P01" "vectors and models are there after opening again" => reopen vectors durable;
}

const MODEL: &str = "kit-8";
const DIMENSIONS: u32 = 8;

fn of(kit: &Kit) -> Result<&dyn Vectors, Fault> {
    kit.backend().vectors.as_deref().ok_or_else(|| fault("the backend lost its vectors"))
}

async fn register(kit: &Kit) -> Outcome {
    holds("a new model", of(kit)?.register(VectorModel::new(MODEL, DIMENSIONS, Metric::Cosine)).await?)
}

/// A vector that points mostly along one axis.
fn along(axis: usize, rest: f32) -> Vec<f32> {
    (0..DIMENSIONS as usize).map(|n| if n == axis { 1.0 } else { rest }).collect()
}

fn random(g: &mut Seeded) -> Vec<f32> {
    (0..DIMENSIONS).map(|_| (g.unit() * 2.0 - 1.0) as f32).collect()
}

async fn put(kit: &Kit, items: &[(&Reading, u32, Vec<f32>)]) -> Result<Vec<VectorOutcome>, Fault> {
    let batch = items.iter().map(|(r, part, v)| NewVector::new(r.reference(), v.clone()).part(*part)).collect();
    Ok(of(kit)?.upsert(&kit.ctx(), MODEL, batch).await?)
}

async fn ask(kit: &Kit, q: VectorQuery) -> Result<VectorHits, Fault> {
    let found = of(kit)?.search(&kit.ctx(), &VectorQuery { exact: true, ..q }).await?;
    let falling = found.hits.windows(2).all(|w| matches!(w, [a, b] if a.score >= b.score));
    holds("scores fall", falling)?;
    Ok(found)
}

fn found(hits: &VectorHits) -> Vec<(Reading, u32)> {
    hits.hits.iter().map(|h| (h.stored.reading.clone(), h.part)).collect()
}

async fn hearts(kit: &Kit, n: i64) -> Result<Vec<Reading>, Fault> {
    let all: Vec<Reading> = (0..n).map(|i| kit.heart(i, 60)).collect::<Result<_, _>>()?;
    kit.put_new(&all).await?;
    Ok(all)
}

async fn models(kit: Kit) -> Outcome {
    let v = of(&kit)?;
    let first = VectorModel::new("org/mini@2", 384, Metric::Cosine).version("2").digest([7; 32]);
    same("new", v.register(first.clone()).await?, true)?;
    same("again", v.register(first.clone()).await?, false)?;
    for other in [
        VectorModel { dimensions: 385, ..first.clone() },
        VectorModel { metric: Metric::Dot, ..first.clone() },
        VectorModel { digest: None, ..first.clone() },
        VectorModel { version: "3".into(), ..first.clone() },
    ] {
        refused("another model of that name", v.register(other).await, Code::CLOCK_CONFLICT)?;
    }
    for (name, dimensions) in [("", 8), ("a b", 8), ("x", 0), ("x", 100_000)] {
        refused("out of range", v.register(VectorModel::new(name, dimensions, Metric::Dot)).await, Code::BAD_QUERY)?;
    }
    let second = VectorModel::new("a-first", 3, Metric::L2);
    v.register(second.clone()).await?;
    same_list("the models by name", &v.models().await?, &[second, first])
}

async fn search(kit: Kit) -> Outcome {
    let v = of(&kit)?;
    let readings = hearts(&kit, 200).await?;
    let mut g = Seeded::new(7);
    let vectors: Vec<Vec<f32>> = readings.iter().map(|_| random(&mut g)).collect();
    let length = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        let name = format!("by-{metric}");
        v.register(VectorModel::new(&name, DIMENSIONS, metric)).await?;
        for (readings, vectors) in readings.chunks(77).zip(vectors.chunks(77)) {
            let batch = readings.iter().zip(vectors).map(|(r, v)| NewVector::new(r.reference(), v.clone())).collect();
            v.upsert(&kit.ctx(), &name, batch).await?;
        }
        for limit in [1, 10, 200, 1_000] {
            let query = random(&mut g);
            let by_hand = |v: &Vec<f32>| {
                let dot: f64 = v.iter().zip(&query).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
                match metric {
                    Metric::Cosine => dot / length(v) / length(&query),
                    Metric::Dot => dot,
                    Metric::L2 => -length(&v.iter().zip(&query).map(|(x, y)| x - y).collect::<Vec<_>>()),
                }
            };
            let mut want: Vec<(f64, &Reading)> = vectors.iter().map(by_hand).zip(&readings).collect();
            want.sort_by(|a, b| b.0.total_cmp(&a.0));
            want.truncate(limit);
            let got = ask(&kit, VectorQuery { limit, ..VectorQuery::new(&name, query.clone()) }).await?.hits;
            let readings: Vec<&Reading> = got.iter().map(|h| &h.stored.reading).collect();
            same_list(&format!("the best {limit} by {metric}"), &readings, &want.iter().map(|w| w.1).collect::<Vec<_>>())?;
            let off = got.iter().zip(&want).map(|(h, w)| (h.score - w.0).abs()).fold(0.0, f64::max);
            holds(&format!("scores by {metric} are the formula's, off by {off}"), off < 1e-5)?;
        }
    }
    Ok(())
}

async fn replace(kit: Kit) -> Outcome {
    register(&kit).await?;
    let all = hearts(&kit, 2).await?;
    let [one, two] = all.as_slice() else { return Err(fault("two readings")) };
    let batch = [(one, 0, along(0, 0.0)), (one, 1, along(1, 0.0)), (two, 0, along(2, 0.0))];
    same_list("new", &put(&kit, &batch).await?, &[VectorOutcome::Added; 3])?;
    same_list("the same again", &put(&kit, &batch).await?, &[VectorOutcome::Replaced; 3])?;
    same("how many", ask(&kit, VectorQuery::new(MODEL, along(0, 0.0))).await?.hits.len(), 3)?;
    same_list("another", &put(&kit, &[(one, 0, along(3, 0.0))]).await?, &[VectorOutcome::Replaced])?;
    let best = ask(&kit, VectorQuery { limit: 1, ..VectorQuery::new(MODEL, along(3, 0.0)) }).await?;
    same_list("the new one is found", &found(&best), &[(one.clone(), 0)])?;
    holds("and is the same as what was put", best.hits.iter().all(|h| (h.score - 1.0).abs() < 1e-6))?;
    let old = ask(&kit, VectorQuery { limit: 1, ..VectorQuery::new(MODEL, along(0, 0.0)) }).await?;
    holds("the old one is not", old.hits.iter().all(|h| h.score.abs() < 1e-6))?;
    let twice = [(two, 5, along(4, 0.0)), (two, 5, along(5, 0.0))];
    same_list("twice in a batch", &put(&kit, &twice).await?, &[VectorOutcome::Added, VectorOutcome::Replaced])?;
    let best = ask(&kit, VectorQuery { limit: 1, ..VectorQuery::new(MODEL, along(5, 0.0)) }).await?;
    same_list("the second of them counts", &found(&best), &[(two.clone(), 5)])
}

async fn ties(kit: Kit) -> Outcome {
    register(&kit).await?;
    let mut all: Vec<Reading> = (0..30).map(|n| kit.heart(100 - n, 60)).collect::<Result<_, _>>()?;
    for device in ["band", "watch"] {
        for id in [9, 3] {
            all.push(kit.heart_of(device, t(200), 61, Some(id))?);
        }
    }
    all.push(kit.note(200, "at the same time")?);
    kit.put_new(&all).await?;
    let batch: Vec<_> = all.iter().flat_map(|r| [(r, 2, along(0, 0.5)), (r, 1, along(0, 0.5))]).collect();
    put(&kit, &batch).await?;
    all.sort_by_key(crate::cursor::Place::of);
    let want: Vec<(Reading, u32)> = all.iter().flat_map(|r| [(r.clone(), 1), (r.clone(), 2)]).collect();
    for limit in [1, 7, 64, 1_000] {
        let got = ask(&kit, VectorQuery { limit, ..VectorQuery::new(MODEL, along(0, 0.0)) }).await?;
        same_list(&format!("the first {limit}"), &found(&got), want.get(..limit.min(want.len())).unwrap_or_default())?;
    }
    Ok(())
}

async fn narrowed(kit: Kit) -> Outcome {
    register(&kit).await?;
    let mut all = Vec::new();
    for n in 0..40 {
        all.push(kit.heart_of(if n % 3 == 0 { "band" } else { "watch" }, t(n), 50 + n as i32, None)?);
        all.push(kit.note(n, "a note")?);
    }
    kit.put_new(&all).await?;
    let mut g = Seeded::new(3);
    let batch: Vec<_> = all.iter().map(|r| (r, 0, random(&mut g))).collect();
    put(&kit, &batch).await?;
    let query = VectorQuery { limit: 1_000, ..VectorQuery::new(MODEL, random(&mut g)) };
    let every = ask(&kit, query.clone()).await?.hits;
    same("everywhere", every.len(), all.len())?;
    let (heart, note, band) = (kit.kind(HEART)?, kit.kind(NOTE)?, DeviceId::new("band")?);
    let fast = Predicate::Field { path: "bpm".into(), op: Op::Ge, value: Value::Number(70.0) };
    for (what, q) in [
        ("a kind", VectorQuery { kinds: vec![note], ..query.clone() }),
        ("a device", VectorQuery { devices: vec![band], ..query.clone() }),
        ("a time", VectorQuery { from: t(10), to: t(20), ..query.clone() }),
        ("no time", VectorQuery { from: t(10), to: t(10), ..query.clone() }),
        ("a condition", VectorQuery { filter: fast.clone(), ..query.clone() }),
        ("a condition, the best three", VectorQuery { filter: fast, limit: 3, from: t(5), ..query.clone() }),
        ("a kind and device without readings", VectorQuery { kinds: vec![heart], devices: vec![DeviceId::new("none")?], ..query.clone() }),
    ] {
        let fits = |r: &Reading| {
            (q.kinds.is_empty() || q.kinds.contains(&r.kind()))
                && (q.devices.is_empty() || q.devices.contains(r.device()))
                && r.recorded_at() >= q.from
                && r.recorded_at() < q.to
                && q.filter.matches(r)
        };
        let want: Vec<_> = every.iter().filter(|h| fits(&h.stored.reading)).take(q.limit).cloned().collect();
        same_list(what, &ask(&kit, q.clone()).await?.hits, &want)?;
    }
    Ok(())
}

async fn spans(kit: Kit) -> Outcome {
    register(&kit).await?;
    let (long, early, late) = (kit.steps(0, 600, 100)?, kit.heart(10, 60)?, kit.heart(500, 60)?);
    kit.put_new(&[long.clone(), early.clone(), late.clone()]).await?;
    put(&kit, &[(&long, 0, along(0, 0.0)), (&early, 0, along(0, 0.1)), (&late, 0, along(0, 0.2))]).await?;
    for (from, to, want) in [(400, 700, vec![&long, &late]), (600, 700, vec![]), (0, 20, vec![&long, &early])] {
        let got = ask(&kit, VectorQuery { from: t(from), to: t(to), ..VectorQuery::new(MODEL, along(0, 0.0)) }).await?;
        let got: Vec<&Reading> = got.hits.iter().map(|h| &h.stored.reading).collect();
        same_list(&format!("from {from} to {to}"), &got, &want)?;
    }
    Ok(())
}

async fn superseded(kit: Kit) -> Outcome {
    register(&kit).await?;
    let raw = hearts(&kit, 6).await?;
    let mut all = Vec::new();
    for version in ["1", "2", "3"] {
        let d = kit.derived(version, &raw, (0, 60), 0.5, version)?;
        kit.derive("sleep", std::slice::from_ref(&d)).await?;
        // The oldest is the most alike.
        put(&kit, &[(&d, 0, along(0, 0.1 * all.len() as f32))]).await?;
        all.push((d, 0));
    }
    let newest = ask(&kit, VectorQuery::new(MODEL, along(0, 0.0))).await?;
    same_list("by default", &found(&newest), all.get(2..).unwrap_or_default())?;
    let query = VectorQuery { generations: Generations::All, ..VectorQuery::new(MODEL, along(0, 0.0)) };
    same_list("on request", &found(&ask(&kit, query).await?), &all)
}

async fn refused_items(kit: Kit) -> Outcome {
    register(&kit).await?;
    let all = hearts(&kit, 2).await?;
    let [one, two] = all.as_slice() else { return Err(fault("two readings")) };
    let with = |at: usize, x: f32| {
        let mut v = along(0, 0.1);
        if let Some(slot) = v.get_mut(at) {
            *slot = x;
        }
        v
    };
    let out = put(
        &kit,
        &[
            (one, 0, vec![1.0; 7]),
            (one, 0, vec![]),
            (one, 0, with(3, f32::NAN)),
            (one, 0, with(7, f32::NEG_INFINITY)),
            (one, 0, vec![0.0; 8]),
            (one, 65_536, along(0, 0.0)),
            (two, 65_535, along(0, 0.0)),
        ],
    )
    .await?;
    let want = [
        VectorOutcome::Refused(VectorFault::Dimensions { got: 7, want: DIMENSIONS }),
        VectorOutcome::Refused(VectorFault::Dimensions { got: 0, want: DIMENSIONS }),
        VectorOutcome::Refused(VectorFault::Value { at: 3 }),
        VectorOutcome::Refused(VectorFault::Value { at: 7 }),
        VectorOutcome::Refused(VectorFault::NoDirection),
        VectorOutcome::Refused(VectorFault::Part(65_536)),
        VectorOutcome::Added,
    ];
    same_list("item by item", &out, &want)?;
    same_list("what was taken", &found(&ask(&kit, VectorQuery::new(MODEL, along(0, 0.0))).await?), &[(two.clone(), 65_535)])?;
    let many = vec![NewVector::new(one.reference(), along(0, 0.0)); crate::limits::MAX_VECTORS + 1];
    refused("too many at once", of(&kit)?.upsert(&kit.ctx(), MODEL, many).await, Code::TOO_LARGE)?;
    let item = NewVector::new(one.reference(), along(0, 0.0));
    refused("an unknown model", of(&kit)?.upsert(&kit.ctx(), "nobody", vec![item]).await, Code::NOT_FOUND)?;
    same("nothing at all", of(&kit)?.upsert(&kit.ctx(), MODEL, vec![]).await?.len(), 0)
}

async fn unknown_reading(kit: Kit) -> Outcome {
    register(&kit).await?;
    let (there, never) = (kit.heart(1, 60)?, kit.heart(2, 60)?);
    let strange = kit.heart_of("band", t(1), 60, None)?;
    kit.put_new(std::slice::from_ref(&there)).await?;
    let items = [(&never, 0, along(0, 0.0)), (&there, 0, along(0, 0.0)), (&strange, 0, along(0, 0.0))];
    let missing = VectorOutcome::Refused(VectorFault::UnknownReading);
    same_list("item by item", &put(&kit, &items).await?, &[missing, VectorOutcome::Added, missing])?;
    kit.put_new(std::slice::from_ref(&never)).await?;
    same_list("nothing was kept for later", &found(&ask(&kit, VectorQuery::new(MODEL, along(0, 0.0))).await?), &[(there, 0)])?;
    same_list("once it is stored", &put(&kit, &[(&never, 0, along(0, 0.0))]).await?, &[VectorOutcome::Added])
}

async fn bad_questions(kit: Kit) -> Outcome {
    register(&kit).await?;
    let good = VectorQuery::new(MODEL, along(0, 0.0));
    let v = of(&kit)?;
    let unknown = VectorQuery { model: "nobody".into(), ..good.clone() };
    refused("an unknown model", v.search(&kit.ctx(), &unknown).await, Code::NOT_FOUND)?;
    for (what, q) in [
        ("other dimensions", VectorQuery { vector: vec![1.0; 9], ..good.clone() }),
        ("not a number", VectorQuery { vector: vec![f32::NAN; 8], ..good.clone() }),
        ("no direction", VectorQuery { vector: vec![0.0; 8], ..good.clone() }),
        ("a limit of 0", VectorQuery { limit: 0, ..good.clone() }),
        ("a limit of 1,001", VectorQuery { limit: 1_001, ..good.clone() }),
        ("a time backwards", VectorQuery { from: t(1), to: t(0), ..good.clone() }),
    ] {
        refused(what, v.search(&kit.ctx(), &q).await, Code::BAD_QUERY)?;
    }
    same("an empty store", v.search(&kit.ctx(), &good).await?.hits.len(), 0)
}

async fn tenants(kit: Kit) -> Outcome {
    register(&kit).await?;
    let mine = hearts(&kit, 5).await?;
    put(&kit, &mine.iter().map(|r| (r, 0, along(0, 0.1))).collect::<Vec<_>>()).await?;
    let v = of(&kit)?;
    let names: Vec<_> = mine.iter().map(Reading::reference).collect();
    let query = VectorQuery { limit: 100, exact: true, ..VectorQuery::new(MODEL, along(0, 0.0)) };
    for who in [scope("acme", "bob"), scope("globex", "ada"), scope("acm", "eada"), scope("nobody", "nowhere")] {
        let ctx = kit.ctx_of(who.clone());
        // They have a reading of their own, under the very name of one of ada's.
        kit.put_as(&ctx, mine.get(..1).unwrap_or_default()).await?;
        same("hits", v.search(&ctx, &query).await?.hits.len(), 0)?;
        let batch = names.iter().map(|n| NewVector::new(n.clone(), along(1, 0.0))).collect();
        let out = v.upsert(&ctx, MODEL, batch).await?;
        same("their own reading alone takes a vector", out.iter().filter(|o| **o == VectorOutcome::Added).count(), 1)?;
        same("their own hit", v.search(&ctx, &query).await?.hits.len(), 1)?;
        let delete = VectorDelete::Readings { names: names.clone(), model: None };
        same("removed by name", v.delete(&ctx, &delete).await?, 1)?;
        same("removed by model", v.delete(&ctx, &VectorDelete::Model(MODEL.into())).await?, 0)?;
    }
    let after = v.search(&kit.ctx(), &query).await?;
    holds("ada's are as they were", after.hits.len() == 5 && after.hits.iter().all(|h| h.score > 0.9))
}

async fn delete(kit: Kit) -> Outcome {
    register(&kit).await?;
    let v = of(&kit)?;
    let other = VectorModel::new("other", DIMENSIONS, Metric::Dot);
    v.register(other.clone()).await?;
    let all = hearts(&kit, 6).await?;
    let fill = async || -> Outcome {
        put(&kit, &all.iter().flat_map(|r| [(r, 0, along(0, 0.1)), (r, 7, along(0, 0.2))]).collect::<Vec<_>>()).await?;
        let batch = all.iter().map(|r| NewVector::new(r.reference(), along(0, 0.1))).collect();
        v.upsert(&kit.ctx(), "other", batch).await?;
        Ok(())
    };
    let count = async |model: &str| -> Result<usize, Fault> {
        Ok(ask(&kit, VectorQuery { limit: 100, ..VectorQuery::new(model, along(0, 0.0)) }).await?.hits.len())
    };
    fill().await?;
    let two: Vec<_> = all.iter().take(2).map(Reading::reference).collect();
    let of_model = VectorDelete::Readings { names: two.clone(), model: Some(MODEL.into()) };
    same("two readings of a model, all parts", v.delete(&kit.ctx(), &of_model).await?, 4)?;
    same("what is left", (count(MODEL).await?, count("other").await?), (8, 6))?;
    same("again", v.delete(&kit.ctx(), &of_model).await?, 0)?;
    let of_all = VectorDelete::Readings { names: two, model: None };
    same("two readings of all models", v.delete(&kit.ctx(), &of_all).await?, 2)?;
    same("what is left", (count(MODEL).await?, count("other").await?), (8, 4))?;
    fill().await?;
    same("a model", v.delete(&kit.ctx(), &VectorDelete::Model(MODEL.into())).await?, 12)?;
    same("what is left", (count(MODEL).await?, count("other").await?), (0, 6))?;
    same("the model stays", v.models().await?.len(), 2)?;
    for which in [VectorDelete::Model("nobody".into()), VectorDelete::Readings { names: vec![], model: Some("nobody".into()) }] {
        refused("an unknown model", v.delete(&kit.ctx(), &which).await, Code::NOT_FOUND)?;
    }
    same("a model for good", v.retire("other").await?, true)?;
    same("again", v.retire("other").await?, false)?;
    refused("nothing is found in it", v.search(&kit.ctx(), &VectorQuery::new("other", along(0, 0.0))).await, Code::NOT_FOUND)?;
    v.register(VectorModel { dimensions: 3, ..other }).await?;
    let fresh = v.search(&kit.ctx(), &VectorQuery::new("other", vec![1.0; 3])).await?;
    same("another model may have the name now", fresh.hits.len(), 0)?;
    same("the readings stay", kit.all(&kit.ctx()).await?.len(), 6)
}

async fn fresh(kit: Kit) -> Outcome {
    register(&kit).await?;
    let query = VectorQuery { limit: 3, ..VectorQuery::new(MODEL, along(0, 0.0)) };
    let none = ask(&kit, query.clone()).await?;
    same("before the first", (none.exact, none.searched.unwrap_or(0), none.indexed_to), (true, 0, 0))?;
    let all: Vec<Reading> = (0..10).map(|n| kit.heart(n, 60)).collect::<Result<_, _>>()?;
    let seqs = kit.put_new(&all).await?;
    for (r, seq) in all.iter().zip(&seqs).take(8) {
        put(&kit, &[(r, 0, along(0, 0.1))]).await?;
        same("how far", ask(&kit, query.clone()).await?.indexed_to, *seq)?;
    }
    let got = ask(&kit, query.clone()).await?;
    same("an exact answer", (got.exact, got.searched, got.hits.len()), (true, Some(8), 3))?;
    let got = of(&kit)?.search(&kit.ctx(), &VectorQuery { exact: false, ..query }).await?;
    holds("what is not exact does not say that it is", got.exact == got.searched.is_some())
}

async fn reopen(mut kit: Kit) -> Outcome {
    register(&kit).await?;
    let all = hearts(&kit, 20).await?;
    let mut g = Seeded::new(11);
    put(&kit, &all.iter().map(|r| (r, 0, random(&mut g))).collect::<Vec<_>>()).await?;
    let query = VectorQuery { limit: 20, ..VectorQuery::new(MODEL, random(&mut g)) };
    let (models, before) = (of(&kit)?.models().await?, ask(&kit, query.clone()).await?);
    kit.reopen().await?;
    same_list("the models", &of(&kit)?.models().await?, &models)?;
    let after = ask(&kit, query).await?;
    same_list("the hits", &after.hits, &before.hits)?;
    same("how far", after.indexed_to, before.indexed_to)?;
    same_list("again", &put(&kit, &[(all.first().ok_or_else(|| fault("none"))?, 0, along(0, 0.0))]).await?, &[VectorOutcome::Replaced])
}
