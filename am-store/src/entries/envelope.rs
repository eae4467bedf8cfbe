//! What one entry holds: a value with its version and its end.

use am_core::{Code, Error, Result, Timestamp};
use bytes::{BufMut, Bytes, BytesMut};

/// The first byte, so that a new format can come beside this one.
const FORMAT: u8 = 1;
/// Format, version, end, length of the name, length of the key.
const HEAD: usize = 1 + 8 + 8 + 2 + 2;
/// Bytes of a value that go into its own entry; a bus takes 900 KiB in all.
pub(super) const OWN: usize = 800 << 10;
/// The end of what has none.
const NEVER: i64 = i64::MAX;

/// A value as it lies in an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    /// 1 after the first write.
    pub(super) version: u64,
    /// Not there from then on.
    pub(super) end: Option<Timestamp>,
    /// The key, because names do not always tell it.
    pub(super) key: String,
    /// The name of the entry with the rest; empty when everything is here.
    pub(super) rest: String,
    /// The value, or its first [`OWN`] bytes.
    pub(super) value: Bytes,
}

impl Envelope {
    pub(super) fn alive(&self, now: Timestamp) -> bool {
        self.end.is_none_or(|end| end > now)
    }

    pub(super) fn write(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEAD + self.key.len() + self.rest.len() + self.value.len());
        out.put_u8(FORMAT);
        out.put_u64(self.version);
        out.put_i64(self.end.map_or(NEVER, Timestamp::as_nanos));
        // Keys have at most 512 bytes, names too.
        out.put_u16(self.key.len() as u16);
        out.put_u16(self.rest.len() as u16);
        out.put_slice(self.key.as_bytes());
        out.put_slice(self.rest.as_bytes());
        out.put_slice(&self.value);
        out.freeze()
    }

    /// # Errors
    /// `STORE_CORRUPT` for what another program wrote there, `STORE_NEWER` for a format of a later version of AM.
    pub(super) fn read(name: &str, bytes: &Bytes) -> Result<Envelope> {
        // Formats are numbered; what begins with a letter is a text of somebody else.
        if bytes.first().is_some_and(|format| (FORMAT + 1..b' ').contains(format)) {
            return Err(Error::new(Code::STORE_NEWER, format!("the entry {name} has a format of a newer version")).op("entries.read"));
        }
        parse(bytes).ok_or_else(|| corrupt(name, "is not a value of AM"))
    }
}

pub(super) fn corrupt(name: &str, why: &str) -> Error {
    Error::new(Code::STORE_CORRUPT, format!("the entry {name} {why}")).op("entries.read")
}

fn parse(bytes: &Bytes) -> Option<Envelope> {
    let number = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
    let length = |at: usize| Some(usize::from(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    if bytes.first() != Some(&FORMAT) {
        return None;
    }
    let (version, end) = (number(1)?, number(9)? as i64);
    let (key, rest) = (HEAD..HEAD + length(17)?, length(19)?);
    let rest = key.end..key.end + rest;
    let text = |range: std::ops::Range<usize>| Some(std::str::from_utf8(bytes.get(range)?).ok()?.to_owned());
    let value = bytes.len().checked_sub(rest.end).map(|_| bytes.slice(rest.end..))?;
    let end = (end != NEVER).then(|| Timestamp::from_nanos(end));
    Some(Envelope { version, end, key: text(key)?, rest: text(rest)?, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(version: u64, end in proptest::option::of(0..i64::MAX), key in ".{1,80}", rest in "[a-z.]{0,40}", value: Vec<u8>) {
            let e = Envelope { version, end: end.map(Timestamp::from_nanos), key, rest, value: value.into() };
            prop_assert_eq!(Envelope::read("n", &e.write()).unwrap(), e);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), tame: bool) {
            if let Some(first) = bytes.first_mut().filter(|_| tame) {
                *first = FORMAT;
            }
            let _ = Envelope::read("n", &bytes.into());
        }
    }

    #[test]
    fn a_newer_format_and_foreign_bytes_are_told_apart() {
        assert_eq!(Envelope::read("n", &Bytes::from_static(&[9, 0])).unwrap_err().code(), Code::STORE_NEWER);
        assert_eq!(Envelope::read("n", &Bytes::from_static(&[0, 9])).unwrap_err().code(), Code::STORE_CORRUPT);
        assert_eq!(Envelope::read("n", &Bytes::new()).unwrap_err().code(), Code::STORE_CORRUPT);
    }
}
