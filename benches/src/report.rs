//! The table and its JSON form.

use crate::harness::{Row, Target};

/// Aligned columns: id, what, ours, baseline, unit, ratio, target, ok; the notes follow.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut lines = vec![["id", "what", "ours", "baseline", "unit", "ratio", "target", "ok"].map(String::from)];
    for r in rows {
        lines.push([
            r.id.to_owned(),
            r.what.clone(),
            number(r.ours),
            number(r.baseline),
            r.unit.to_owned(),
            number(r.ratio()),
            target(r.target),
            r.ok().map_or("–", |ok| if ok { "yes" } else { "NO" }).to_owned(),
        ]);
    }
    let width: Vec<usize> = (0..8).map(|c| lines.iter().filter_map(|l| l.get(c)).map(|s| s.chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for line in &lines {
        let cells = line.iter().zip(&width).enumerate().map(|(c, (s, w))| match c {
            2 | 3 | 5 => format!("{s:>w$}"),
            _ => format!("{s:<w$}"),
        });
        out += cells.collect::<Vec<_>>().join("  ").trim_end();
        out.push('\n');
    }
    for r in rows.iter().filter(|r| !r.note.is_empty()) {
        out += &format!("{}  {}: {}\n", r.id, r.what, r.note);
    }
    out
}

fn number(v: f64) -> String {
    match v.abs() {
        _ if v.is_nan() => "–".into(),
        0.0 => "0".into(),
        1000.0.. => format!("{v:.0}"),
        10.0.. => format!("{v:.1}"),
        ..0.1 => format!("{v:.5}"),
        _ => format!("{v:.3}"),
    }
}

fn target(t: Target) -> String {
    match t {
        Target::AtLeast(b) => format!("≥ {b}"),
        Target::AtMost(b) => format!("≤ {b}"),
        Target::RatioAtLeast(b) => format!("≥ {b}×"),
        Target::RatioAtMost(b) => format!("≤ {b}×"),
        Target::Nothing => "–".into(),
    }
}

/// The rows with the machine and the date.
pub(crate) fn json(rows: &[Row], quick: bool) -> String {
    let value = |v: f64| if v.is_finite() { serde_json::json!(v) } else { serde_json::Value::Null };
    let rows: Vec<_> = rows
        .iter()
        .map(|r| {
            serde_json::json!({
                "id": r.id, "what": r.what, "ours": value(r.ours), "baseline": value(r.baseline), "unit": r.unit,
                "ratio": value(r.ratio()), "target": target(r.target), "ok": r.ok(), "note": r.note,
            })
        })
        .collect();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let date = am_core::SystemTicks::now(&am_core::SystemTicks::default()).to_string();
    let all = serde_json::json!({ "machine": { "cpu": cpu(), "cores": cores }, "date": date, "quick": quick, "rows": rows });
    format!("{all:#}\n")
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|l| l.starts_with("model name")).and_then(|l| l.split_once(':')).map(|(_, v)| v.trim().to_owned());
    model.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}
