//! Whose turn it is to read a tail: the highest name wins.

use std::sync::atomic::{AtomicU64, Ordering};

use am_core::{Code, Error, Result, Timestamp};
use async_nats::jetstream::ErrorCode;
use serde::Deserialize;

use super::api::{Api, Nothing, refusal};

const OP: &str = "bus.tail";
/// Consumers of a stream that are looked at.
const MOST: usize = 100_000;

/// One reader's turn at a tail, as the end of its consumer's name: a number, a part of its own, and how often it began again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    base: String,
    rank: Rank,
    round: u64,
}

/// Compared as a whole: a later opener has a higher number, and of two at the same moment the own part decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(u64, u64);

#[derive(Deserialize)]
struct Page {
    total: usize,
    consumers: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Deleted {}

impl Turn {
    /// A turn above all there are.
    pub(super) async fn above(api: &Api, stream: &str, base: &str, now: Timestamp) -> Result<Turn> {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let number = others(api, stream, base).await?.iter().map(|(rank, _)| rank.0).max().unwrap_or(0) + 1;
        // Apart from every other opener: time, process and a counter, mixed.
        let mut h = blake3::Hasher::new();
        h.update(&now.as_nanos().to_le_bytes()).update(&std::process::id().to_le_bytes());
        h.update(&CALLS.fetch_add(1, Ordering::Relaxed).to_le_bytes()).update(api.js.client().new_inbox().as_bytes());
        let own = h.finalize().as_bytes().iter().take(8).fold(0u64, |n, b| n << 8 | u64::from(*b));
        Ok(Turn { base: base.to_owned(), rank: Rank(number, own), round: 0 })
    }

    /// The consumer of whoever reads now.
    pub(super) async fn highest(api: &Api, stream: &str, base: &str) -> Result<Option<String>> {
        Ok(others(api, stream, base).await?.into_iter().max_by_key(|(rank, _)| *rank).map(|(_, name)| name))
    }

    /// The same turn with another consumer.
    pub(super) fn again(&self) -> Turn {
        Turn { round: self.round + 1, ..self.clone() }
    }

    /// The name of the consumer.
    pub(super) fn name(&self) -> String {
        format!("{}-{:08x}{:016x}{:08x}", self.base, self.rank.0, self.rank.1, self.round)
    }

    /// Whether someone has a higher turn.
    pub(super) async fn is_over(&self, api: &Api, stream: &str) -> Result<bool> {
        Ok(others(api, stream, &self.base).await?.iter().any(|(rank, _)| *rank > self.rank))
    }

    /// Removes every other consumer of the tail; false, with the own one removed, when someone has a higher turn.
    pub(super) async fn take_over(&self, api: &Api, stream: &str) -> Result<bool> {
        let all = others(api, stream, &self.base).await?;
        let over = all.iter().any(|(rank, _)| *rank > self.rank);
        let own = self.name();
        for (rank, name) in all {
            let goes = if over { name == own } else { name != own && rank <= self.rank };
            if goes {
                match api.ask::<Deleted>(OP, format!("CONSUMER.DELETE.{stream}.{name}"), &Nothing {}).await? {
                    Err(e) if e.error_code() != ErrorCode::CONSUMER_NOT_FOUND => return Err(refusal(OP, &e)),
                    _ => {}
                }
            }
        }
        Ok(!over)
    }
}

/// The rank in a consumer's name, when it is one of this tail's.
fn rank_of(base: &str, name: &str) -> Option<Rank> {
    let text = name.strip_prefix(base)?.strip_prefix('-')?;
    if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let number = |from, to| u64::from_str_radix(text.get(from..to)?, 16).ok();
    Some(Rank(number(0, 8)?, number(8, 24)?))
}

/// The consumers of a tail.
async fn others(api: &Api, stream: &str, base: &str) -> Result<Vec<(Rank, String)>> {
    let (mut found, mut offset) = (Vec::new(), 0);
    loop {
        let page: Page = api.must(OP, format!("CONSUMER.NAMES.{stream}"), &serde_json::json!({ "offset": offset })).await?;
        let names = page.consumers.unwrap_or_default();
        offset += names.len();
        let last = names.is_empty() || offset >= page.total;
        found.extend(names.into_iter().filter_map(|n| Some((rank_of(base, &n)?, n))));
        if last {
            return Ok(found);
        }
        if offset > MOST {
            return Err(Error::new(Code::BUS_MISMATCH, format!("{stream} has more than {MOST} consumers")).op(OP));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_its_rank_back_and_another_tails_name_none() {
        let t = Turn { base: "am-tail-motion".into(), rank: Rank(7, u64::MAX - 1), round: 3 };
        assert_eq!(rank_of("am-tail-motion", &t.name()), Some(t.rank));
        assert_eq!(rank_of("am-tail-motion", &t.again().name()), Some(t.rank));
        assert_eq!(rank_of("am-tail-mot", &t.name()), None);
        assert_eq!(rank_of("am-tail-motion", "am-tail-motion-fast-0000000700000000000000010000000a"), None);
        assert!(Rank(8, 0) > Rank(7, u64::MAX));
    }
}
