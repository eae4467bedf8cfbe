//! Parts of a run: announced, timed, counted, summed up in a table.

use crate::exec;

/// How a part ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

impl From<Result<(), String>> for Outcome {
    fn from(r: Result<(), String>) -> Self {
        r.map_or_else(Outcome::Failed, |()| Outcome::Passed)
    }
}

/// One part of a run.
pub(crate) struct Part<'a> {
    pub(crate) name: &'static str,
    /// What it does, for the announcement.
    pub(crate) what: String,
    pub(crate) work: Box<dyn FnOnce() -> Outcome + 'a>,
}

impl<'a> Part<'a> {
    pub(crate) fn new(name: &'static str, what: impl Into<String>, work: impl FnOnce() -> Outcome + 'a) -> Self {
        Part { name, what: what.into(), work: Box::new(work) }
    }
}

/// Runs all parts, the later ones also after a failure, and prints the table.
///
/// # Errors
/// Names the parts that failed; nothing when the user stopped the run.
pub(crate) fn run_all(parts: Vec<Part<'_>>) -> Result<(), String> {
    println!("will run {} parts:", parts.len());
    let width = parts.iter().map(|p| p.name.len()).max().unwrap_or(0);
    for p in &parts {
        println!("  {:width$}  {}", p.name, p.what);
    }
    let mut rows = Vec::new();
    for part in parts {
        if exec::stopping() {
            rows.push((part.name, Outcome::Skipped("the run was stopped".into()), 0.0));
            continue;
        }
        println!("\n== {}", part.name);
        let clock = am_core::SystemTicks::default();
        let outcome = (part.work)();
        if let Outcome::Skipped(why) = &outcome {
            println!("skipped {}: {why}", part.name);
        }
        rows.push((part.name, outcome, clock.monotonic().as_secs_f64()));
    }
    print!("\n{}", table(&rows));
    let failed: Vec<&str> = rows.iter().filter(|r| matches!(r.1, Outcome::Failed(_))).map(|r| r.0).collect();
    if failed.is_empty() && !exec::stopping() { Ok(()) } else { Err(String::new()) }
}

/// The table, closed by the line of counts.
fn table(rows: &[(&'static str, Outcome, f64)]) -> String {
    let width = rows.iter().map(|r| r.0.len()).max().unwrap_or(0).max(4);
    let mut out = format!("{:width$}  result   seconds\n", "part");
    for (name, outcome, seconds) in rows {
        let (word, note) = match outcome {
            Outcome::Passed => ("passed", ""),
            Outcome::Failed(why) => ("failed", why.as_str()),
            Outcome::Skipped(why) => ("skipped", why.as_str()),
        };
        let line = format!("{name:width$}  {word:7}  {seconds:7.1}  {}", note.lines().next().unwrap_or_default());
        out.push_str(line.trim_end());
        out.push('\n');
    }
    let count = |word: fn(&Outcome) -> bool| rows.iter().filter(|r| word(&r.1)).count();
    let passed = count(|o| matches!(o, Outcome::Passed));
    let failed = count(|o| matches!(o, Outcome::Failed(_)));
    let skipped = count(|o| matches!(o, Outcome::Skipped(_)));
    out.push_str(&format!("{passed} passed, {failed} failed, {skipped} skipped\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_ends_with_the_counts_alone_on_their_line() {
        let rows = [
            ("rust", Outcome::Passed, 12.34),
            ("wasm", Outcome::Skipped("no target".into()), 0.0),
            ("features", Outcome::Failed("cargo: exit status: 101\nmore".into()), 2.0),
        ];
        let want = "part      result   seconds\n\
                    rust      passed      12.3\n\
                    wasm      skipped      0.0  no target\n\
                    features  failed       2.0  cargo: exit status: 101\n\
                    1 passed, 1 failed, 1 skipped\n";
        assert_eq!(table(&rows), want);
    }

    #[test]
    fn a_failed_part_fails_the_run_but_later_parts_still_run() {
        let ran = std::cell::Cell::new(0);
        let part = |outcome: Outcome| {
            let ran = &ran;
            Part::new("p", "", move || {
                ran.set(ran.get() + 1);
                outcome
            })
        };
        assert!(run_all(vec![part(Outcome::Failed("x".into())), part(Outcome::Passed)]).is_err());
        assert_eq!(ran.get(), 2);
        assert!(run_all(vec![part(Outcome::Skipped("x".into()))]).is_ok());
    }
}
