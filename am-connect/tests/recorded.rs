//! Files of real devices, where they are at hand: `../shared/data` beside the project, or `AM_DATA`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use am_connect::{FolderImport, ImportOptions, Imported};
use am_schema::{Reading, v1};

fn data() -> Option<PathBuf> {
    let path =
        std::env::var_os("AM_DATA").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    if !path.is_dir() {
        println!("skipped: no recorded files at {}", path.display());
        return None;
    }
    Some(path)
}

fn import(path: PathBuf) -> (Vec<Reading>, am_connect::ImportReport) {
    let mut i = FolderImport::open(&path, ImportOptions::default()).unwrap();
    let mut readings = Vec::new();
    for item in i.by_ref() {
        if let Imported::Reading(r) = item {
            readings.push(r);
        }
    }
    (readings, i.report().clone())
}

#[test]
fn tracks_of_real_programs_are_read_and_what_is_skipped_is_said() {
    let Some(data) = data() else { return };
    let (readings, report) = import(data.join("gps"));
    assert_eq!(report.files.len(), 5);
    for (name, f) in &report.files {
        println!("{name}: {:?} skipped {:?}", f.readings, f.skipped);
        assert!(f.format.is_some(), "{name}");
    }
    assert!(!readings.is_empty() && report.readings() == readings.len() as u64);
}

#[test]
fn a_run_agrees_with_the_makers_own_table_of_it() {
    let Some(data) = data() else { return };
    let (readings, _) = import(data.join("health/garmin-fenix-5-run.fit"));
    let csv = std::fs::read_to_string(data.join("health/garmin-fenix-5-run-records.csv")).unwrap();
    let mut lines = csv.lines();
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    println!("{head:?}");
    let rows = lines.filter(|l| !l.trim().is_empty()).count();
    let mut by_kind: BTreeMap<&str, usize> = BTreeMap::new();
    for r in &readings {
        *by_kind.entry(r.kind().topic()).or_default() += 1;
    }
    println!("{by_kind:?} of {rows} rows");
    let hearts: Vec<i32> = readings.iter().filter(|r| r.kind().field() == 10).map(|r| r.payload::<v1::HeartRate>().unwrap().bpm).collect();
    let column = head.iter().position(|h| h.contains("heart_rate") || h.contains("hr"));
    if let Some(c) = column {
        let theirs: Vec<i32> = csv
            .lines()
            .skip(1)
            .filter_map(|l| l.split(',').nth(c)?.trim().trim_matches('"').parse::<f64>().ok())
            .map(|v| v as i32)
            .collect();
        assert_eq!(hearts, theirs);
    }
    assert!(by_kind.values().sum::<usize>() >= rows);
}

#[test]
fn a_truncated_file_gives_what_was_whole_and_says_so() {
    let Some(data) = data() else { return };
    let (_, report) = import(data.join("health/activity-unexpected-eof.fit"));
    let f = report.files.values().next().unwrap();
    println!("{f:?}");
    assert_eq!(f.skipped.get("the file ends in the middle"), Some(&1));
}
