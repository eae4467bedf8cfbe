//! The state of a flow's parts, as entries of the bus.
//!
//! A part's value is written before the root moves, so each entry holds the value of the step at hand and the one before: which of them
//! counts is said by the root alone.

use am_core::{Code, Error, Result};
use am_pipeline::bus::Entry;
use am_pipeline::bus::subject::base64url;
use bytes::Bytes;
use prost::Message;

/// One part's state. What is under `stamp` counts once the root has committed that stamp, else what was before.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Saved {
    /// The part, such as `acme ada watch motion.window`.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The claim and the number of the step that wrote it.
    #[prost(message, required, tag = "2")]
    pub stamp: Stamp,
    /// The state; absent when the step removed it.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub value: Option<Bytes>,
    /// The state before that step.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub before: Option<Bytes>,
}

/// Names a step: who had claimed the flow, and its how manyeth commit it was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Message, serde::Serialize, serde::Deserialize)]
pub(super) struct Stamp {
    /// Grows with every runner that takes the flow over.
    #[prost(uint64, tag = "1")]
    pub claim: u64,
    /// Grows with every commit under a claim.
    #[prost(uint64, tag = "2")]
    pub step: u64,
}

impl Saved {
    /// From an entry.
    pub(super) fn read(entry: &Entry) -> Result<Saved> {
        let damaged = |e: prost::DecodeError| Error::new(Code::STORE_CORRUPT, format!("an entry of a flow's state: {e}")).op("bus.flows");
        Saved::decode(entry.value.clone()).map_err(damaged)
    }

    /// The value that counts, when `committed` says which stamps do.
    pub(super) fn counting(self, committed: impl Fn(Stamp) -> bool) -> Option<Bytes> {
        if committed(self.stamp) { self.value } else { self.before }
    }
}

/// The name of the entry of a flow.
pub(super) fn root(flow: &str) -> String {
    format!("flow.{}", digest(flow))
}

/// The name of the entry of a part; keys are longer than names of entries may be.
pub(super) fn part(flow: &str, key: &str) -> String {
    format!("{}.{}", root(flow), digest(key))
}

/// 22 letters, digits, `-` and `_` for any text.
pub(super) fn digest(text: &str) -> String {
    base64url(blake3::hash(text.as_bytes()).as_bytes().get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_says_which_value_counts() {
        let saved = Saved {
            key: "k".into(),
            stamp: Stamp { claim: 2, step: 5 },
            value: Some(Bytes::from_static(b"new")),
            before: Some(Bytes::from_static(b"old")),
        };
        let entry = Entry { value: saved.encode_to_vec().into(), revision: 1 };
        let read = || Saved::read(&entry).unwrap();
        assert_eq!(read().counting(|s| s.step <= 5).as_deref(), Some(&b"new"[..]));
        assert_eq!(read().counting(|s| s.step <= 4).as_deref(), Some(&b"old"[..]));
        assert_eq!(Saved::read(&Entry { value: Bytes::from_static(b"\xff"), revision: 1 }).unwrap_err().code(), Code::STORE_CORRUPT);
    }

    #[test]
    fn parts_lie_below_their_flow() {
        let name = part("motion", "acme ada watch motion.window");
        assert!(name.starts_with(&format!("{}.", root("motion"))) && name.len() < 64, "{name}");
    }
}
