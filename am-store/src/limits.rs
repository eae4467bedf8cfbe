//! What a question may ask for: checked by the [`crate::Store`] handle for all backends, and usable by backends themselves.

use am_core::{Code, Error, Result};
use am_schema::Kind;

use crate::model::{AggregateQuery, BucketWidth, FeedQuery, NewVector, Op, Predicate, ScanQuery, TextQuery, Value, VectorQuery};
use crate::predicate::has_field;

/// The most readings of one page.
pub const MAX_SCAN: usize = 100_000;
/// The most entries of one read of the feed.
pub const MAX_FEED: usize = 4_096;
/// The most hits of one search.
pub const MAX_HITS: usize = 1_000;
/// The most bytes of a search's text.
pub const MAX_SEARCH_BYTES: usize = 4_096;
/// The most buckets of one aggregate.
pub const MAX_BUCKETS: u64 = 1_000_000;
/// The most outputs or generations of one question to the lineage.
pub const MAX_OUTPUTS: usize = 10_000;
/// The most dead letters of one page.
pub const MAX_LETTERS: usize = 1_000;
/// The most keys of one page of the key-value space.
pub const MAX_KEYS: usize = 10_000;
/// The most bytes of a key-value key.
pub const MAX_KEY_BYTES: usize = 512;
/// The most bytes of a key-value value.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// The most names of one `get`.
pub const MAX_NAMES: usize = 100_000;
/// The most models whose vectors a store keeps.
pub const MAX_MODELS: usize = 64;
/// The most dimensions of a vector: what an index of pgvector can hold.
pub const MAX_DIMENSIONS: u32 = 4_000;
/// The highest number of a part of a reading.
pub const MAX_PART: u32 = 65_535;
/// The most vectors of one batch.
pub const MAX_VECTORS: usize = 10_000;
/// The most bytes of the vectors of one batch.
pub const MAX_VECTOR_BYTES: usize = 64 << 20;
/// How deep conditions may nest.
pub const MAX_DEPTH: usize = 32;
/// The most conditions of one filter.
pub const MAX_CONDITIONS: usize = 1_000;

pub(crate) fn bad(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Code::BAD_QUERY, why).op("store.query")
}

fn within(what: &str, n: usize, max: usize) -> Result<()> {
    match (1..=max).contains(&n) {
        true => Ok(()),
        false => Err(bad(format!("the limit of {what} is {n}, expected 1 to {max}"))),
    }
}

/// Limit and conditions of a scan.
///
/// # Errors
/// `BAD_QUERY` names what is out of range.
pub fn scan(q: &ScanQuery) -> Result<()> {
    within("a scan", q.limit, MAX_SCAN)?;
    if q.from > q.to {
        return Err(bad(format!("the scan begins at {} and ends before, at {}", q.from, q.to)));
    }
    predicate(&q.filter, &q.kinds)
}

/// The conditions of a filter over some kinds; over all when empty.
///
/// # Errors
/// `BAD_QUERY` names the condition that cannot be decided.
pub fn predicate(p: &Predicate, kinds: &[Kind]) -> Result<()> {
    let mut count = 0;
    condition(p, kinds, 0, &mut count)
}

fn condition(p: &Predicate, kinds: &[Kind], depth: usize, count: &mut usize) -> Result<()> {
    *count += 1;
    if depth > MAX_DEPTH || *count > MAX_CONDITIONS {
        return Err(bad(format!("the filter has more than {MAX_CONDITIONS} conditions or is nested deeper than {MAX_DEPTH}")));
    }
    match p {
        Predicate::And(list) | Predicate::Or(list) => list.iter().try_for_each(|p| condition(p, kinds, depth + 1, count)),
        Predicate::Not(p) => condition(p, kinds, depth + 1, count),
        Predicate::Field { path, op, value } => {
            if !kinds.is_empty() && !kinds.iter().any(|k| has_field(*k, path)) {
                return Err(bad(format!("none of the kinds asked for has the field {path:?}")));
            }
            match value {
                Value::Number(n) if n.is_nan() => Err(bad(format!("{path} is compared with a number that is none"))),
                Value::Number(_) | Value::Bool(_) if *op == Op::Contains => Err(bad(format!("{path}: only texts contain something"))),
                Value::Bool(_) if !matches!(op, Op::Eq | Op::Ne) => Err(bad(format!("{path}: true and false have no order"))),
                _ => Ok(()),
            }
        }
        Predicate::True | Predicate::Device(_) | Predicate::Kind(_) | Predicate::Time { .. } | Predicate::Metadata { .. } => Ok(()),
    }
}

/// Kind, span and number of buckets of an aggregate.
///
/// # Errors
/// `BAD_QUERY` when the kind has no scalar, the span is empty backwards, or there would be too many buckets.
pub fn aggregate(q: &AggregateQuery) -> Result<()> {
    if q.kind.scalar().is_none() {
        return Err(bad(format!("{} has no number that can be aggregated", q.kind)));
    }
    if q.from > q.to {
        return Err(bad(format!("the aggregate begins at {} and ends before, at {}", q.from, q.to)));
    }
    let span = q.to.as_nanos().abs_diff(q.from.as_nanos());
    // An open end asks for what is there, which is bounded by what was stored.
    let open = q.from == am_core::Timestamp::MIN || q.to == am_core::Timestamp::MAX;
    if q.width != BucketWidth::Whole && !open && span / (q.width.nanos().max(1) as u64) > MAX_BUCKETS {
        return Err(bad(format!("the span has more than {MAX_BUCKETS} buckets; ask for wider ones")));
    }
    Ok(())
}

/// Limit of a read of the feed.
///
/// # Errors
/// `BAD_QUERY` when it is out of range.
pub fn feed(q: &FeedQuery) -> Result<()> {
    within("a read of the feed", q.limit, MAX_FEED)
}

/// Limit and length of a search.
///
/// # Errors
/// `BAD_QUERY` when one is out of range.
pub fn text(q: &TextQuery) -> Result<()> {
    within("a search", q.limit, MAX_HITS)?;
    if q.text.len() > MAX_SEARCH_BYTES {
        return Err(bad(format!("the search has {} bytes, more than {MAX_SEARCH_BYTES}", q.text.len())));
    }
    Ok(())
}

/// Limit, times and conditions of a search for what is alike.
///
/// # Errors
/// `BAD_QUERY` names what is out of range.
pub fn vectors(q: &VectorQuery) -> Result<()> {
    within("a search", q.limit, MAX_HITS)?;
    if q.from > q.to {
        return Err(bad(format!("the search begins at {} and ends before, at {}", q.from, q.to)));
    }
    predicate(&q.filter, &q.kinds)
}

/// Room for one more model beside those that are known.
///
/// # Errors
/// `BAD_QUERY` when there are too many.
pub fn models(known: usize) -> Result<()> {
    match known < MAX_MODELS {
        true => Ok(()),
        false => Err(bad(format!("the store has {known} models already, no more than {MAX_MODELS}; retire one"))),
    }
}

/// Number and size of the vectors of one batch.
///
/// # Errors
/// `TOO_LARGE` when there are too many.
pub fn vector_batch(batch: &[NewVector]) -> Result<()> {
    let bytes: usize = batch.iter().map(|v| v.values.len() * size_of::<f32>()).sum();
    if batch.len() > MAX_VECTORS || bytes > MAX_VECTOR_BYTES {
        let text = format!("{} vectors of {bytes} bytes at once, more than {MAX_VECTORS} or {MAX_VECTOR_BYTES} bytes", batch.len());
        return Err(Error::new(Code::TOO_LARGE, text).op("store.vectors"));
    }
    Ok(())
}

/// Limit of a question to the lineage.
///
/// # Errors
/// `BAD_QUERY` when it is out of range.
pub fn outputs(limit: usize) -> Result<()> {
    within("a question to the lineage", limit, MAX_OUTPUTS)
}

/// Number of names of a `get`.
///
/// # Errors
/// `BAD_QUERY` when there are too many.
pub fn names(n: usize) -> Result<()> {
    if n > MAX_NAMES { Err(bad(format!("{n} names at once, more than {MAX_NAMES}"))) } else { Ok(()) }
}

/// How many dead letters a page holds: 100 when none is said.
pub fn letters(limit: usize) -> usize {
    if limit == 0 { 100 } else { limit.min(MAX_LETTERS) }
}

/// A key of the key-value space.
///
/// # Errors
/// `BAD_QUERY` when it is empty, too long or has a NUL.
pub fn key(key: &str) -> Result<()> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES || key.contains('\0') {
        return Err(bad(format!("the key has {} bytes; expected 1 to {MAX_KEY_BYTES} without NUL", key.len())));
    }
    Ok(())
}

/// A value of the key-value space.
///
/// # Errors
/// `TOO_LARGE` beyond 1 MiB.
pub fn value(value: &[u8]) -> Result<()> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(Error::new(Code::TOO_LARGE, format!("the value has {} bytes, more than {MAX_VALUE_BYTES}", value.len())));
    }
    Ok(())
}

/// The largest page of keys that is asked for.
///
/// # Errors
/// `BAD_QUERY` when it is out of range.
pub fn keys(limit: usize) -> Result<()> {
    within("a list of keys", limit, MAX_KEYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_and_wide_filters_are_refused_before_anything_is_asked() {
        let mut p = Predicate::True;
        for _ in 0..40 {
            p = Predicate::Not(Box::new(p));
        }
        assert_eq!(predicate(&p, &[]).unwrap_err().code(), Code::BAD_QUERY);
        assert!(predicate(&Predicate::Or(vec![Predicate::True; 1_001]), &[]).is_err());
        assert!(predicate(&Predicate::Or(vec![Predicate::True; 900]), &[]).is_ok());
    }

    #[test]
    fn keys_have_1_to_512_bytes() {
        assert!(key("").is_err() && key(&"k".repeat(513)).is_err() && key("a\0").is_err() && key(&"k".repeat(512)).is_ok());
    }
}
