//! The motion flow over a store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod signal;

use std::collections::BTreeMap;

use am_core::Scope;
use am_enrich::motion::{ACTIVITY, WINDOWED};
use am_schema::v1::activity::Class;
use am_store::model::Generations;
use am_store::runner::{FlowRunner, RunnerOptions};
use proptest::prelude::*;
use signal::{Movement, START, activities, all, block, blocks, memory, runner, windows};

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(work)
}

#[test]
fn still_walking_running_and_riding_are_told_apart_with_and_without_gravity() {
    wait(async {
        for (movement, class) in [
            (Movement::Still, Class::Still),
            (Movement::Walking, Class::Walking),
            (Movement::Running, Class::Running),
            (Movement::Vehicle, Class::Vehicle),
        ] {
            for (seed, gravity) in [(1, true), (2, false), (3, true)] {
                let store = memory().await;
                let rows = signal::signal(movement, 50.0, 50 * 120, gravity, seed);
                store.scoped(&Scope::local()).put(blocks("phone", START, 50.0, &rows, &[3_000])).await.unwrap();
                runner(&store, RunnerOptions::default()).drain().await.unwrap();
                let found = activities(&store).await;
                let right = found.iter().filter(|a| a.activity() == class).count();
                assert!(found.len() == 48 && right >= 45, "{movement:?}, gravity {gravity}: {right} of {}", found.len());
                assert!(found.iter().all(|a| (0.0..=1.0).contains(&a.confidence) && a.margin <= a.confidence));
            }
        }
    });
}

#[test]
fn custody_p05_every_derived_reading_names_its_inputs_and_they_lead_back_to_the_blocks() {
    wait(async {
        let store = memory().await;
        let mine = store.scoped(&Scope::local());
        let rows = signal::signal(Movement::Walking, 50.0, 50 * 60, true, 4);
        let raw = blocks("phone", START, 50.0, &rows, &[370]);
        mine.put(raw.clone()).await.unwrap();
        runner(&store, RunnerOptions::default()).drain().await.unwrap();
        let windowed = all(&store, WINDOWED, Generations::All).await;
        // From half a window before the first sample to the end.
        assert_eq!(windowed.len(), 24);
        for w in &windowed {
            let (from, to) = (w.reading.recorded_at(), w.reading.ended_at().unwrap());
            let named: Vec<Vec<u8>> = w.reading.lineage().unwrap().inputs.iter().map(|i| i.reading_id.clone()).collect();
            let touching = raw.iter().filter(|b| {
                let end = b.recorded_at().shifted(b.payload::<am_schema::v1::SampleBlock>().unwrap().count as i64 * 20_000_000);
                b.recorded_at() < to && end > from
            });
            assert_eq!(named, touching.map(|b| b.id().as_bytes().to_vec()).collect::<Vec<_>>());
            assert!(mine.inputs(&w.reading.reference()).await.unwrap().is_some());
        }
        for a in all(&store, ACTIVITY, Generations::All).await {
            let lineage = a.reading.lineage().unwrap().clone();
            assert!((1..=3).contains(&lineage.inputs.len()) && lineage.processor == "motion.activity");
            for i in &lineage.inputs {
                assert!(windowed.iter().any(|w| w.reading.id().as_bytes().as_slice() == i.reading_id));
            }
        }
        let made = mine.outputs(&raw[1].reference(), 100).await.unwrap();
        assert!(!made.is_empty() && made.iter().all(|m| m.reading.kind().topic() == WINDOWED));
    });
}

#[test]
fn a_late_block_fills_its_windows_anew_and_the_end_is_as_if_it_had_come_in_time() {
    wait(async {
        let rows = signal::signal(Movement::Walking, 50.0, 50 * 60, true, 5);
        let raw = blocks("phone", START, 50.0, &rows, &[500]);
        let (mut in_time, mut late) = (raw.clone(), raw);
        let straggler = late.remove(2);
        late.push(straggler);
        let mut ends = Vec::new();
        for order in [&mut in_time, &mut late] {
            let store = memory().await;
            for b in order.iter() {
                store.scoped(&Scope::local()).put(vec![b.clone()]).await.unwrap();
                runner(&store, RunnerOptions::default()).drain().await.unwrap();
            }
            let slots = |rows: &[am_store::model::Stored]| {
                let mut s: Vec<Vec<u8>> = rows.iter().map(|r| r.reading.lineage().unwrap().slot.clone()).collect();
                s.sort();
                s
            };
            let mut newest = Vec::new();
            for topic in [WINDOWED, ACTIVITY] {
                let rows = all(&store, topic, Generations::Newest).await;
                let mut unique = slots(&rows);
                unique.dedup();
                assert_eq!(unique, slots(&rows), "one reading per slot");
                newest.extend(rows.into_iter().map(|s| s.reading));
            }
            let again = all(&store, WINDOWED, Generations::All).await.iter().filter(|s| s.generation > 0).count();
            ends.push((newest, again));
        }
        assert_eq!(ends[0].1, 0);
        // The block of 10 s reaches into five windows; three of them lie in it whole and had nothing before.
        assert_eq!(ends[1].1, 2);
        assert_eq!(ends[0].0, ends[1].0);
    });
}

#[test]
fn gaps_lower_the_coverage_and_too_little_is_unknown() {
    wait(async {
        let store = memory().await;
        let rows = signal::signal(Movement::Still, 50.0, 50 * 30, true, 6);
        let mut raw = blocks("phone", START, 50.0, &rows, &[550]);
        // An hour later one second, then nothing until the next day.
        raw.push(block("phone", START + 3_600_000_000_000, 20_000_000, &rows[..50]));
        raw.push(block("phone", START + 86_400_000_000_000, 20_000_000, &rows[..50]));
        store.scoped(&Scope::local()).put(raw).await.unwrap();
        runner(&store, RunnerOptions::default()).drain().await.unwrap();
        let (w, a) = (windows(&store).await, activities(&store).await);
        assert_eq!((w.len(), a.len()), (15, 15), "windows without samples are not made");
        for ((_, w), a) in w.iter().zip(&a) {
            let wanted = if w.coverage >= 0.75 { Class::Still } else { Class::Unknown };
            assert_eq!(a.activity(), wanted, "coverage {}", w.coverage);
        }
        assert_eq!(w.last().unwrap().1.coverage, 0.2);
    });
}

#[test]
fn another_configuration_derives_the_same_slots_anew_and_both_generations_stay() {
    wait(async {
        let store = memory().await;
        let mine = store.scoped(&Scope::local());
        let rows = signal::signal(Movement::Running, 50.0, 50 * 30, false, 7);
        mine.put(blocks("watch", START, 50.0, &rows, &[300])).await.unwrap();
        FlowRunner::new(&store, signal::flow("1", "2.5s"), RunnerOptions::default()).unwrap().drain().await.unwrap();
        let first = all(&store, WINDOWED, Generations::Newest).await;
        // Every second of the new windows lies where an old one lay.
        FlowRunner::new(&store, signal::flow("2", "5s"), RunnerOptions::default()).unwrap().drain().await.unwrap();
        let mut compared = 0;
        for old in &first {
            let slot: [u8; 16] = old.reading.lineage().unwrap().slot.as_slice().try_into().unwrap();
            let generations = mine.generations(&slot).await.unwrap();
            if let [a, b] = generations.as_slice() {
                assert!(a.generation < b.generation && a.reading.id() != b.reading.id());
                assert_eq!(a.reading.payload_bytes(), b.reading.payload_bytes());
                compared += 1;
            }
        }
        assert_eq!(compared, 6);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn where_blocks_and_steps_begin_makes_no_difference(
        lengths in prop::collection::vec(1usize..700, 1..6), batch in 1usize..40, puts in 1usize..9, seed in 0u64..1_000
    ) {
        wait(async {
            let rows = signal::signal(Movement::Walking, 50.0, 1_500, seed % 2 == 0, seed);
            let mut seen: Option<BTreeMap<i64, am_schema::v1::MotionWindow>> = None;
            for lengths in [&[1_500][..], &lengths] {
                let store = memory().await;
                let raw = blocks("phone", START + 123_456_789, 50.0, &rows, lengths);
                for some in raw.chunks(puts) {
                    store.scoped(&Scope::local()).put(some.to_vec()).await.unwrap();
                    if batch % 2 == 0 {
                        runner(&store, RunnerOptions::default().batch(batch)).drain().await.unwrap();
                    }
                }
                runner(&store, RunnerOptions::default().batch(batch)).drain().await.unwrap();
                let found: BTreeMap<i64, _> = windows(&store).await.into_iter().collect();
                assert!(found.len() >= 11, "{}", found.len());
                assert_eq!(*seen.get_or_insert(found.clone()), found);
            }
        });
    }
}
