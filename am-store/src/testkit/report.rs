//! What came out of a run.

use std::fmt;

use super::Case;

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It holds.
    Passed,
    /// It does not; with the difference.
    Failed(String),
    /// The backend does not claim it; with the reason.
    NotApplicable(&'static str),
}

/// A case and how it ended.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The case.
    pub case: Case,
    /// How it ended.
    pub result: Ending,
}

/// A run of the kit.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// The backend's name.
    pub backend: &'static str,
    /// Whether it claims to keep things when it is opened again.
    pub durable: bool,
    /// Every case that was tried.
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// True when nothing failed, and something was tried.
    pub fn passed(&self) -> bool {
        self.failed().next().is_none() && self.verdicts.iter().any(|v| v.result == Ending::Passed)
    }

    /// The ids of the cases that failed.
    pub fn failed(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.verdicts.iter().filter(|v| matches!(v.result, Ending::Failed(_))).map(|v| v.case.id)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |is: fn(&Ending) -> bool| self.verdicts.iter().filter(|v| is(&v.result)).count();
        let passed = count(|r| *r == Ending::Passed);
        let skipped = count(|r| matches!(r, Ending::NotApplicable(_)));
        let failed = count(|r| matches!(r, Ending::Failed(_)));
        let life = if self.durable { "durable" } else { "volatile" };
        writeln!(f, "{} ({life}): {passed} passed, {failed} failed, {skipped} not applicable", self.backend)?;
        for v in &self.verdicts {
            match &v.result {
                Ending::Passed => {}
                Ending::NotApplicable(why) => writeln!(f, "  -  {} {}: {why}", v.case.promise, v.case.id)?,
                Ending::Failed(difference) => {
                    writeln!(f, "FAIL {} {}: {}", v.case.promise, v.case.id, v.case.what)?;
                    difference.lines().try_for_each(|l| writeln!(f, "       {l}"))?;
                }
            }
        }
        Ok(())
    }
}
