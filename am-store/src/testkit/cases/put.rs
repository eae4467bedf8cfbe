//! Readings in: once, whole, as they came.

use am_core::{Code, DeviceId, ReadingId, Timestamp};
use am_schema::Reading;

use crate::model::{Ingest, Origin, Provenance, PutOutcome};
use crate::testkit::generate::{Seeded, filled};
use crate::testkit::kit::{HEART, Kit, Outcome, fault, holds, same, same_list, t};

cases! {
    "put.every_kind" "P01" "a reading of every kind comes back as it was put" => every_kind;
    "put.unknown_fields" "P01" "fields of newer clients survive in the body" => unknown_fields;
    "put.again" "P04" "the same reading put again is a duplicate and adds nothing" => again;
    "put.batch_again" "P04" "the same batch in another order adds nothing" => batch_again;
    "put.twice_in_a_batch" "P04" "the same reading twice in one batch is stored once" => twice_in_a_batch;
    "put.interleaved" "P04" "overlapping batches of two senders at once store each reading once" => interleaved;
    "put.conflict" "P02" "of two contents under one key the first stays and the second is a dead letter" => conflict;
    "put.conflict_again" "P04" "the same conflict again adds no second letter" => conflict_again;
    "put.same_id_elsewhere" "P04" "the same id at another time, device or kind is another reading" => same_id_elsewhere;
    "put.empty" "P04" "an empty batch changes nothing" => empty;
    "put.seq" "P01" "the place in the answer is the place in the store" => seq;
    "put.origin" "P01" "origin and batch stay with the reading" => origin;
    "put.provenance" "P01" "who brought a batch can be asked afterwards" => provenance;
    "get.unknown" "P01" "unknown names are answered with nothing, in their place" => unknown;
    "put.extreme_times" "P01" "times before 1970 and far ahead keep their nanoseconds" => extreme_times;
}

async fn every_kind(kit: Kit) -> Outcome {
    let device = DeviceId::new("phone")?;
    let mut all = Vec::new();
    for (n, kind) in kit.catalogue().kinds().enumerate() {
        for seed in 0..2 {
            all.push(filled(kind, &device, t(n as i64 * 10 + seed), seed as u64)?);
        }
    }
    kit.put_new(&all).await?;
    let names: Vec<_> = all.iter().map(Reading::reference).collect();
    let got = kit.backend().readings.get(&kit.ctx(), &names).await?;
    for (want, got) in all.iter().zip(&got) {
        let Some(got) = got else { return Err(fault(format!("{want:?} was stored and is not there"))) };
        same("the reading", &got.reading, want)?;
        same("its lineage", got.reading.lineage(), want.lineage())?;
        same("its end", got.reading.ended_at(), want.ended_at())?;
    }
    same("readings in a scan", kit.all(&kit.ctx()).await?.len(), all.len())
}

async fn unknown_fields(kit: Kit) -> Outcome {
    let plain = kit.heart(1, 60)?;
    let mut wire = plain.to_wire();
    am_schema::wire::put_len(&mut wire, 900, b"from a newer client");
    let now = Kit::now();
    let newer = am_schema::Decoder::new(kit.catalogue().clone()).decode(wire.into(), now)?;
    kit.put_new(std::slice::from_ref(&newer)).await?;
    let got = kit.backend().readings.get(&kit.ctx(), &[newer.reference()]).await?;
    same("the body", got.into_iter().flatten().next().map(|s| s.reading.body().clone()), Some(newer.body().clone()))
}

async fn again(kit: Kit) -> Outcome {
    let r = kit.heart(1, 60)?;
    kit.put_new(std::slice::from_ref(&r)).await?;
    let head = kit.backend().feed.head().await?;
    for _ in 0..3 {
        same_list("outcomes", &kit.put(std::slice::from_ref(&r)).await?.readings, &[PutOutcome::Duplicate])?;
    }
    same("readings", kit.all(&kit.ctx()).await?, vec![r])?;
    same("the head of the feed", kit.backend().feed.head().await?, head)
}

fn hearts(kit: &Kit, n: i64) -> Result<Vec<Reading>, crate::testkit::Fault> {
    (0..n).map(|i| kit.heart(i * 7 % n, 40 + i as i32)).collect()
}

async fn batch_again(kit: Kit) -> Outcome {
    let mut batch = hearts(&kit, 100)?;
    kit.put_new(&batch).await?;
    let before = kit.all(&kit.ctx()).await?;
    Seeded::new(4).shuffle(&mut batch);
    let out = kit.put(&batch).await?;
    holds("every one is a duplicate", out.readings.iter().all(|o| *o == PutOutcome::Duplicate))?;
    same_list("readings", &kit.all(&kit.ctx()).await?, &before)
}

async fn twice_in_a_batch(kit: Kit) -> Outcome {
    let (a, b) = (kit.heart(1, 60)?, kit.heart(2, 61)?);
    let out = kit.put(&[a.clone(), b.clone(), a.clone()]).await?;
    holds("the first is stored", matches!(out.readings.first(), Some(PutOutcome::Stored(_))))?;
    same("the second", out.readings.get(2), Some(&PutOutcome::Duplicate))?;
    same_list("readings", &kit.all(&kit.ctx()).await?, &[a, b])
}

async fn interleaved(kit: Kit) -> Outcome {
    let all = hearts(&kit, 60)?;
    let (left, right) = (all.get(..40).unwrap_or_default(), all.get(20..).unwrap_or_default());
    let (mut stored, mut duplicate) = (0, 0);
    for (a, b) in left.chunks(7).zip(right.chunks(7)) {
        let (x, y) = tokio::join!(kit.put(a), kit.put(b));
        for o in x?.readings.into_iter().chain(y?.readings) {
            match o {
                PutOutcome::Stored(_) => stored += 1,
                PutOutcome::Duplicate => duplicate += 1,
                other => return Err(fault(format!("an equal reading was answered {other:?}"))),
            }
        }
    }
    same("stored and duplicate", (stored, duplicate), (60, 20))?;
    same("readings", kit.all(&kit.ctx()).await?.len(), 60)
}

fn rivals(kit: &Kit) -> Result<(Reading, Reading), crate::testkit::Fault> {
    Ok((kit.heart_of("watch", t(5), 60, Some(9))?, kit.heart_of("watch", t(5), 90, Some(9))?))
}

async fn conflict(kit: Kit) -> Outcome {
    let (first, second) = rivals(&kit)?;
    kit.put_new(std::slice::from_ref(&first)).await?;
    let out = kit.put(&[kit.heart(8, 70)?, second.clone()]).await?;
    let Some(PutOutcome::Conflict(id)) = out.readings.get(1) else {
        return Err(fault(format!("a conflict was answered {:?}", out.readings.get(1))));
    };
    same(
        "the one that stays",
        kit.backend().readings.get(&kit.ctx(), &[first.reference()]).await?.pop().flatten().map(|s| s.reading),
        Some(first),
    )?;
    let Some(row) = kit.backend().dead_letters.get(&kit.ctx(), id).await? else {
        return Err(fault("the second is not among the dead letters"));
    };
    same("the letter's code", row.letter.code, Code::CLOCK_CONFLICT)?;
    same("the letter's bytes", row.letter.wire.to_vec(), second.to_wire())?;
    same("the letter's id of the reading", row.letter.reading_id, Some(second.id()))?;
    same("readings", kit.all(&kit.ctx()).await?.len(), 2)
}

async fn conflict_again(kit: Kit) -> Outcome {
    let (first, second) = rivals(&kit)?;
    kit.put_new(std::slice::from_ref(&first)).await?;
    let one = kit.put(std::slice::from_ref(&second)).await?;
    let two = kit.put(&[second.clone(), first, second]).await?;
    same("the answer", two.readings.first(), one.readings.first())?;
    same("letters", kit.backend().dead_letters.list(&kit.ctx(), &Default::default()).await?.len(), 1)
}

async fn same_id_elsewhere(kit: Kit) -> Outcome {
    let steps = {
        let b = Reading::builder(kit.kind("device.health.steps.raw")?, DeviceId::new("watch")?, t(5)).ended_at(t(6));
        b.payload(&am_schema::v1::Steps { count: 1 }).id(ReadingId::from_bytes([9; 16])).build()?
    };
    let all = [
        kit.heart_of("watch", t(5), 60, Some(9))?,
        kit.heart_of("watch", t(6), 60, Some(9))?,
        kit.heart_of("phone", t(5), 60, Some(9))?,
        steps,
    ];
    kit.put_new(&all).await?;
    same("readings", kit.all(&kit.ctx()).await?.len(), 4)
}

async fn empty(kit: Kit) -> Outcome {
    let out = kit.put(&[]).await?;
    same("outcomes", out.readings.len() + out.parked.len(), 0)?;
    same("the head of the feed", kit.backend().feed.head().await?, 0)?;
    same("received", kit.backend().maintenance.counts(&kit.ctx()).await?.received, 0)
}

async fn seq(kit: Kit) -> Outcome {
    let batch = hearts(&kit, 20)?;
    let seqs = kit.put_new(&batch).await?;
    holds("places grow within a batch", seqs.windows(2).all(|w| matches!(w, [a, b] if a < b)))?;
    let names: Vec<_> = batch.iter().map(Reading::reference).collect();
    let got = kit.backend().readings.get(&kit.ctx(), &names).await?;
    same_list("places", &got.iter().flatten().map(|s| s.seq).collect::<Vec<_>>(), &seqs)?;
    same("the head", kit.backend().feed.head().await?, seqs.last().copied().unwrap_or_default())?;
    let keys_agree = got.iter().flatten().all(|s| s.key.recorded_at == s.reading.recorded_at() && s.key.id == s.reading.id());
    holds("keys name their readings", keys_agree)
}

async fn origin(kit: Kit) -> Outcome {
    for (n, origin) in [Origin::Live, Origin::Backfill, Origin::Replay].into_iter().enumerate() {
        let r = kit.heart(n as i64, 60)?;
        let provenance = Provenance { origin, ..Default::default() };
        let out = kit.backend().readings.put(&kit.ctx(), Ingest { provenance, readings: vec![r.clone()], ..Default::default() }).await?;
        let got = kit.backend().readings.get(&kit.ctx(), &[r.reference()]).await?.pop().flatten();
        same("origin and batch", got.map(|s| (s.origin, s.batch, s.generation)), Some((origin, out.batch, 0)))?;
    }
    Ok(())
}

async fn provenance(kit: Kit) -> Outcome {
    let provenance = Provenance {
        client: "am-client".into(),
        client_version: "1.2".into(),
        batch_id: "b-7".into(),
        key_id: "k1".into(),
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
        received_at: Timestamp::from_nanos(1_772_409_600_123_456_789),
        sent_at: Some(Timestamp::from_nanos(-5)),
        boot_id: "boot".into(),
        monotonic_ns: 1 << 60,
        origin: Origin::Backfill,
    };
    let first = kit.put(&[kit.heart(1, 60)?]).await?;
    let batch = Ingest { provenance: provenance.clone(), readings: vec![kit.heart(2, 60)?], ..Default::default() };
    let second = kit.backend().readings.put(&kit.ctx(), batch).await?;
    holds("batches have numbers of their own", first.batch != second.batch)?;
    same("the second batch", kit.backend().readings.provenance(&kit.ctx(), second.batch).await?, Some(provenance))?;
    same("the first batch", kit.backend().readings.provenance(&kit.ctx(), first.batch).await?, Some(Provenance::default()))?;
    same("an unknown batch", kit.backend().readings.provenance(&kit.ctx(), 999_999).await?, None)
}

async fn unknown(kit: Kit) -> Outcome {
    let (here, gone) = (kit.heart(1, 60)?, kit.heart(2, 61)?);
    kit.put_new(std::slice::from_ref(&here)).await?;
    let got = kit.backend().readings.get(&kit.ctx(), &[gone.reference(), here.reference(), gone.reference()]).await?;
    let there: Vec<bool> = got.iter().map(Option::is_some).collect();
    same_list("what is there", &there, &[false, true, false])?;
    same("no names", kit.backend().readings.get(&kit.ctx(), &[]).await?.len(), 0)
}

async fn extreme_times(kit: Kit) -> Outcome {
    let kind = kit.kind(HEART)?;
    let times = [i64::MIN + 1, -2_524_521_600_000_000_001, -1, 0, 1, 4_102_444_800_999_999_999, i64::MAX - 1];
    let device = DeviceId::new("watch")?;
    let payload = am_schema::v1::HeartRate { bpm: 60, ..Default::default() };
    let all: Vec<Reading> = times
        .iter()
        .map(|ns| Reading::builder(kind, device.clone(), Timestamp::from_nanos(*ns)).payload(&payload).build())
        .collect::<Result<_, _>>()?;
    kit.put_new(&all).await?;
    same_list("readings", &kit.all(&kit.ctx()).await?, &all)
}
