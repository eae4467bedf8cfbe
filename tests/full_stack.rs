//! The main job, as a person runs it: the example as a process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test that runs a program")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn program() -> PathBuf {
    // target/<profile>/deps/full_stack-… -> target/<profile>/examples/full_stack
    let mut p = std::env::current_exe().unwrap();
    p.pop();
    p.pop();
    p.join("examples").join(format!("full_stack{}", std::env::consts::EXE_SUFFIX))
}

/// Runs it in a folder; gives the JSON report and what it printed.
fn run(folder: &Path, args: &[&str]) -> (Value, String) {
    let report = folder.join("report.json");
    let store = format!("sqlite:{}", folder.join("am.db").display());
    let out = Command::new(program())
        .args(["--once", "--quiet", "--store", &store, "--report", report.to_str().unwrap()])
        .args(args)
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(report.exists(), "no report; it said:\n{text}");
    (serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap(), text)
}

fn counts(report: &Value) -> [u64; 5] {
    ["received", "stored", "duplicate", "discarded", "dead_lettered"].map(|k| report["counts"][k].as_u64().unwrap())
}

#[test]
fn custody_p02_p04_a_simulated_stretch_is_accounted_for_and_a_second_run_adds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let day = ["--hours", "0.5", "--speed", "60", "--seed", "11"];
    let (first, text) = run(dir.path(), &day);
    let [received, stored, duplicate, discarded, dead] = counts(&first);
    assert_eq!(received, stored + duplicate + discarded + dead, "{text}");
    assert!(stored > 5_000 && duplicate > 10 && dead > 0, "{text}");
    for fault in ["permission_off", "duplicates", "invalid", "clock_jump"] {
        let f = first["faults"].as_array().unwrap().iter().find(|f| f["fault"] == fault).unwrap();
        assert_eq!(f["matches"], true, "{fault}: {text}");
    }
    for key in ["counts", "by_kind", "rejected", "faults", "activities", "searches", "latency_ms", "bytes_on_disk", "unavailable"] {
        assert!(!first[key].is_null(), "{key} is missing");
    }
    assert!(first["latency_ms"]["accept"]["p50"].as_f64().unwrap() > 0.0);
    assert!(first["by_kind"]["motion.classification.activity"].as_u64().unwrap() > 100, "{text}");
    let rejected: u64 = first["rejected"].as_array().unwrap().iter().map(|r| r["items"].as_u64().unwrap()).sum();
    assert_eq!(rejected, dead);

    let (second, text) = run(dir.path(), &day);
    let [received_again, stored_again, duplicate_again, _, _] = counts(&second);
    assert_eq!(received_again, received, "{text}");
    assert_eq!(stored_again, 0, "{text}");
    assert_eq!(received_again, duplicate_again + second["counts"]["dead_lettered"].as_u64().unwrap());
    assert_eq!(second["by_kind"], first["by_kind"], "{text}");
}

#[test]
fn custody_p04_files_are_taken_in_once_and_what_is_skipped_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("exports");
    std::fs::create_dir(&files).unwrap();
    let points: String =
        (0..50).map(|i| format!("<trkpt lat=\"52.{i:02}\" lon=\"13.4\"><time>2024-05-01T10:00:{i:02}Z</time></trkpt>")).collect();
    std::fs::write(
        files.join("walk.gpx"),
        format!("<gpx creator=\"t\"><trk><trkseg>{points}<trkpt lat=\"99\" lon=\"0\"><time>2024-05-01T11:00:00Z</time></trkpt>"),
    )
    .unwrap();
    std::fs::write(files.join("notes.txt"), "not a track").unwrap();
    let input = ["--input", files.to_str().unwrap()];
    let (first, text) = run(dir.path(), &input);
    assert_eq!(counts(&first)[1], 50, "{text}");
    let walk = &first["input"]["files"]["walk.gpx"];
    assert_eq!(walk["skipped"]["the file ends in the middle"], 1, "{text}");
    assert!(text.contains("latitude is 99"), "{text}");
    assert!(text.contains("a format that cannot be imported"), "{text}");
    let (second, _) = run(dir.path(), &input);
    assert_eq!((counts(&second)[1], counts(&second)[2]), (0, 50));
}

#[test]
fn a_wrong_address_says_what_to_do() {
    let out = Command::new(program()).args(["--store", "mongodb:x", "--once"]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success());
    assert!(text.contains("AM-3009") && text.contains("sqlite:PATH"), "{text}");
}
