//! The answer to a batch or group, built item by item.

use am_core::{Code, Error};
use am_schema::Rejected;
use am_schema::v1::{self, Outcome};

/// Bytes of findings in one answer; what is beyond names index and code alone, so that answers stay below the message limit.
const DETAIL_BYTES: usize = 1 << 20;

/// Findings told of one item.
const FINDINGS: usize = 4;

/// What became of the items.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) outcomes: Vec<i32>,
    pub(crate) errors: Vec<v1::ItemError>,
    pub(crate) retry_after_ms: u32,
    detail: usize,
}

impl Answer {
    /// So many items, all rejected until something better is known.
    pub(crate) fn rejected(items: usize) -> Self {
        Answer { outcomes: vec![Outcome::Rejected as i32; items], ..Answer::default() }
    }

    /// None was taken in: the first error says why for all.
    pub(crate) fn retry(items: usize, e: &Error, after_ms: u32) -> Self {
        let mut a = Answer { outcomes: vec![Outcome::Retry as i32; items], retry_after_ms: after_ms.max(1), ..Answer::default() };
        a.push(0, u32::from(e.code().number()), "", "", "", format!("{e}. {}", e.code().info().next_step));
        a
    }

    pub(crate) fn set(&mut self, place: usize, outcome: Outcome) {
        if let Some(o) = self.outcomes.get_mut(place) {
            *o = outcome as i32;
        }
    }

    /// Says why an item was rejected, one error for each finding.
    pub(crate) fn finding(&mut self, index: u32, r: &Rejected) {
        let code = u32::from(r.code.number());
        for f in r.findings.iter().take(FINDINGS) {
            self.push(index, code, &f.field, &f.value, &f.rule, f.to_string());
        }
        if let Some(more) = r.findings.len().checked_sub(FINDINGS + 1) {
            self.push(index, code, "", "", "", format!("and {} more findings; the dead letter has all", more + 1));
        }
    }

    /// Rejects an item for another reason.
    pub(crate) fn error(&mut self, place: usize, code: Code, field: &str, value: &str, rule: &str, message: String) {
        self.set(place, Outcome::Rejected);
        self.push(place as u32, u32::from(code.number()), field, value, rule, message);
    }

    /// Says why an item was left out.
    pub(crate) fn note(&mut self, place: usize, rule: &str, message: &str) {
        self.push(place as u32, 0, "", "", rule, message.to_owned());
    }

    fn push(&mut self, index: u32, code: u32, field: &str, value: &str, rule: &str, message: String) {
        self.detail += field.len() + value.len() + rule.len() + message.len() + 16;
        let mut e = v1::ItemError { index, code, ..Default::default() };
        if self.detail <= DETAIL_BYTES {
            (e.field, e.value, e.rule, e.message) = (field.to_owned(), value.to_owned(), rule.to_owned(), message);
        } else if self.errors.last().is_some_and(|last| last.index == index) {
            return;
        }
        self.errors.push(e);
    }

    pub(crate) fn batch(self, batch_id: String) -> v1::BatchResponse {
        v1::BatchResponse { batch_id, outcomes: self.outcomes, errors: self.errors, retry_after_ms: self.retry_after_ms }
    }

    pub(crate) fn group(self, first: u64) -> v1::DataResponse {
        v1::DataResponse { first, outcomes: self.outcomes, errors: self.errors, retry_after_ms: self.retry_after_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use am_schema::Finding;
    use prost::Message;

    #[test]
    fn custody_p10_ten_thousand_long_findings_still_fit_a_message() {
        let mut a = Answer::rejected(10_000);
        let f = Finding::new("f".repeat(200), "v".repeat(80), "r".repeat(200));
        let r = Rejected::new(Code::INVALID_ITEM, vec![f; 9], Default::default());
        (0..10_000).for_each(|i| a.finding(i, &r));
        let last = a.errors.last().unwrap();
        assert_eq!((last.index, last.code), (9_999, 1_001));
        assert_eq!(a.errors.iter().filter(|e| e.index == 0).count(), 5);
        assert!(a.errors[4].message.contains("5 more"));
        assert!(a.batch("b".into()).encoded_len() < 3 << 20);
    }
}
