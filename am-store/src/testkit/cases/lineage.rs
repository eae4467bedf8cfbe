//! Where derived readings come from, and what came of raw ones.

use std::sync::Arc;

use am_core::Code;
use am_schema::{Inputs, Reading};

use crate::Store;
use crate::testkit::kit::{Fault, Kit, Outcome, fault, holds, refused, same, same_list, t};

cases! {
    "lineage.inputs" "P05" "a derived reading names its inputs, processor and version" => inputs;
    "lineage.outputs" "P05" "a reading knows what was made from it, all generations, by time" => outputs;
    "lineage.span" "P05" "a reading within a summed-up span knows what was made from it" => span;
    "lineage.chain" "P05" "a chain of derivations can be walked up and down" => chain;
    "lineage.limit" "P09" "questions to the lineage keep to their limit" => limit;
}

fn hearts(kit: &Kit, n: i64) -> Result<Vec<Reading>, Fault> {
    (0..n).map(|i| kit.heart(i, 60 + (i % 60) as i32)).collect()
}

async fn inputs(kit: Kit) -> Outcome {
    let raw = hearts(&kit, 5)?;
    kit.put_new(&raw).await?;
    let d = kit.derived("7", &raw, (0, 60), 0.5, "x")?;
    kit.derive("sleep", std::slice::from_ref(&d)).await?;
    let Some(l) = kit.backend().derivations.inputs(&kit.ctx(), &d.reference()).await? else { return Err(fault("no lineage")) };
    same("processor and version", (l.processor.as_str(), l.version.as_str()), ("kit.predict", "7"))?;
    same(
        "inputs",
        l.inputs.iter().map(|i| i.reading_id.clone()).collect::<Vec<_>>(),
        raw.iter().map(|r| r.id().as_bytes().to_vec()).collect(),
    )?;
    same("the whole lineage", Some(&l), d.lineage().map(|l| l.as_ref()))?;
    let Some(first) = raw.first() else { return Ok(()) };
    same("of a raw reading", kit.backend().derivations.inputs(&kit.ctx(), &first.reference()).await?, None)
}

async fn outputs(kit: Kit) -> Outcome {
    let raw = hearts(&kit, 6)?;
    kit.put_new(&raw).await?;
    let (left, right) = (raw.get(..4).unwrap_or_default(), raw.get(2..).unwrap_or_default());
    let late = kit.derived("1", right, (60, 120), 0.5, "late")?;
    let old = kit.derived("1", left, (0, 60), 0.5, "old")?;
    let new = kit.derived("2", left, (0, 60), 0.6, "new")?;
    for d in [&late, &old, &new] {
        kit.derive("sleep", std::slice::from_ref(d)).await?;
    }
    let mut of_both = vec![late.clone(), old.clone(), new.clone()];
    of_both.sort_by_key(crate::cursor::Place::of);
    let mut of_left = vec![old, new];
    of_left.sort_by_key(crate::cursor::Place::of);
    for (n, want) in [(0, of_left), (2, of_both.clone()), (3, of_both), (5, vec![late])] {
        let Some(r) = raw.get(n) else { continue };
        let got = kit.backend().derivations.outputs(&kit.ctx(), &r.reference(), 100).await?;
        same_list(&format!("made from reading {n}"), &got.into_iter().map(|s| s.reading).collect::<Vec<_>>(), &want)?;
    }
    let stranger = kit.heart(9_999, 60)?;
    same("made from an unknown one", kit.backend().derivations.outputs(&kit.ctx(), &stranger.reference(), 100).await?.len(), 0)
}

async fn span(kit: Kit) -> Outcome {
    let raw = hearts(&kit, 200)?;
    kit.put_new(&raw).await?;
    let part = raw.get(50..150).unwrap_or_default();
    let d = kit.derived("1", part, (0, 3_600), 0.5, "many")?;
    let summed = d.lineage().is_some_and(|l| l.inputs.len() == 1 && l.inputs.iter().all(|i| i.count == 100));
    holds("the kit's own lineage is a span", summed)?;
    kit.derive("sleep", std::slice::from_ref(&d)).await?;
    for (n, made) in [(0, false), (49, false), (50, true), (100, true), (149, true), (150, false), (199, false)] {
        let Some(r) = raw.get(n) else { continue };
        let got = kit.backend().derivations.outputs(&kit.ctx(), &r.reference(), 10).await?;
        same(&format!("made from reading {n}"), got.len(), usize::from(made))?;
    }
    Ok(())
}

async fn chain(kit: Kit) -> Outcome {
    let store = Store::of(kit.backend().clone(), Arc::new(kit.clock().clone()), kit.catalogue().clone());
    let ada = store.scoped(kit.ctx().scope());
    let raw = hearts(&kit, 100)?;
    kit.put_new(&raw).await?;
    let (left, right) = (raw.get(..20).unwrap_or_default(), raw.get(20..).unwrap_or_default());
    let (a, b) = (kit.derived("1", left, (0, 60), 0.1, "a")?, kit.derived("1", right, (60, 120), 0.2, "b")?);
    let top = kit.derived_in("1", Inputs::of([&a, &b]).span(t(0), t(120)), 500, 0.3, "top")?;
    kit.derive("sleep", &[a.clone(), b.clone()]).await?;
    kit.derive("rest", std::slice::from_ref(&top)).await?;
    let up = ada.ancestors(&top.reference(), 1_000).await?;
    same(
        "how far each is",
        (up.steps.iter().filter(|s| s.depth == 1).count(), up.steps.iter().filter(|s| s.depth == 2).count()),
        (2, 100),
    )?;
    holds("everything is there", up.steps.iter().all(|s| s.stored.is_some()) && !up.cut_short && up.expired.is_empty())?;
    for r in [raw.first(), raw.last()].into_iter().flatten() {
        let down = ada.descendants(&r.reference(), 1_000).await?;
        same("what came of a raw one", down.steps.iter().map(|s| s.depth).collect::<Vec<_>>(), vec![1, 2])?;
        same("at the end", down.steps.last().map(|s| s.name.clone()), Some(top.reference()))?;
    }
    let some = ada.ancestors(&top.reference(), 10).await?;
    same("a walk that is cut short", (some.steps.len(), some.cut_short), (10, true))
}

async fn limit(kit: Kit) -> Outcome {
    let raw = hearts(&kit, 1)?;
    kit.put_new(&raw).await?;
    let all: Vec<Reading> = (0..9).map(|n| kit.derived("1", &raw, (n * 60, n * 60 + 60), 0.1, "x")).collect::<Result<_, _>>()?;
    kit.derive("sleep", &all).await?;
    let Some(r) = raw.first() else { return Ok(()) };
    let got = kit.backend().derivations.outputs(&kit.ctx(), &r.reference(), 4).await?;
    same_list("the first four", &got.into_iter().map(|s| s.reading).collect::<Vec<_>>(), all.get(..4).unwrap_or_default())?;
    for limit in [0, 10_001] {
        refused(
            &format!("a limit of {limit}"),
            kit.backend().derivations.outputs(&kit.ctx(), &r.reference(), limit).await,
            Code::BAD_QUERY,
        )?;
    }
    Ok(())
}
