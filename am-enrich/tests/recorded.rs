//! The motion flow on recorded movement: four people with a watch, 10 Hz, without gravity, ten seconds each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod signal;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use am_core::Scope;
use am_schema::v1::activity::Class;
use am_store::runner::RunnerOptions;
use signal::{START, activities, blocks, memory, runner};

fn recorded() -> Option<PathBuf> {
    let data =
        std::env::var_os("AM_DATA").map(PathBuf::from).unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    Some(data.join("signals/wrist-motion-10hz.ts")).filter(|f| f.is_file())
}

/// Three axes of acceleration, and what the person did.
fn cases(text: &str) -> Vec<(Vec<[f32; 3]>, String)> {
    let lines = text.lines().skip_while(|l| !l.starts_with("@data")).skip(1).filter(|l| !l.trim().is_empty());
    let case = |line: &str| {
        let mut parts: Vec<&str> = line.split(':').collect();
        let label = parts.pop().unwrap().trim().to_owned();
        let axis = |i: usize| parts[i].split(',').map(|v| v.trim().parse().unwrap()).collect::<Vec<f32>>();
        let (x, y, z) = (axis(0), axis(1), axis(2));
        ((0..x.len()).map(|i| [x[i], y[i], z[i]]).collect(), label)
    };
    lines.map(case).collect()
}

#[tokio::test(start_paused = true)]
async fn standing_walking_and_running_are_recognised_on_recorded_movement() {
    let Some(file) = recorded() else {
        eprintln!("skipped: signals/wrist-motion-10hz.ts is not there; set AM_DATA");
        return;
    };
    let cases = cases(&std::fs::read_to_string(file).unwrap());
    let mut table: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for (i, (rows, label)) in cases.iter().enumerate() {
        let store = memory().await;
        store.scoped(&Scope::local()).put(blocks("watch", START, 10.0, rows, &[100])).await.unwrap();
        runner(&store, RunnerOptions::default()).drain().await.unwrap();
        if std::env::var_os("AM_SHOW").is_some() {
            for (_, w) in signal::windows(&store).await {
                let e = |a: &Option<am_schema::v1::motion_window::Axis>| a.as_ref().unwrap().energy;
                eprintln!(
                    "{i} {label}: I {:.2} steps {:.2} ac {:.2} dom {:.2}@{:.2} jerk {:.2} std {:.2}",
                    (e(&w.x) + e(&w.y) + e(&w.z)).sqrt(),
                    w.step_frequency,
                    w.autocorrelation,
                    w.dominant_power,
                    w.dominant_frequency,
                    w.jerk,
                    w.magnitude.unwrap().std
                );
            }
        }
        let windows = signal::windows(&store).await;
        for ((_, w), a) in windows.iter().zip(activities(&store).await) {
            // Windows that reach beyond the recording are unknown by rule.
            if w.coverage < 0.75 {
                assert_eq!(a.activity(), Class::Unknown);
                continue;
            }
            *table.entry(label.clone()).or_default().entry(a.activity().as_str_name().to_owned()).or_default() += 1;
        }
    }
    let share = |label: &str, class: Class| {
        let of = table.iter().find(|(l, _)| l.eq_ignore_ascii_case(label)).map(|(_, t)| t).unwrap();
        of.get(class.as_str_name()).copied().unwrap_or(0) as f64 / of.values().sum::<usize>() as f64
    };
    let (standing, walking, running) =
        (share("standing", Class::Still), share("walking", Class::Walking), share("running", Class::Running));
    eprintln!("{} recordings: standing {standing:.2}, walking {walking:.2}, running {running:.2}\n{table:#?}", cases.len());
    assert!(standing >= 0.6 && walking >= 0.9 && running >= 0.9, "{table:#?}");
}
