//! The format of a segment: a header, then records; nothing is ever changed in place.
//!
//! `AMOB` 01 00 00 00, first number (u64); then per record: length (u32), CRC-32 of number and bytes (u32), the bytes. All little-endian.

/// Bytes of the header.
pub(super) const HEADER: usize = 16;
/// Bytes in front of each record.
pub(super) const PREFIX: usize = 8;
/// The longest record; longer lengths on disk are damage.
pub(super) const MAX_RECORD: usize = 16 << 20;

const MAGIC: [u8; 8] = *b"AMOB\x01\0\0\0";

/// The header of a segment that begins with this number.
pub(super) fn header(first: u64) -> [u8; HEADER] {
    let mut h = [0; HEADER];
    h[..8].copy_from_slice(&MAGIC);
    h[8..].copy_from_slice(&first.to_le_bytes());
    h
}

/// The first number of a segment; `None` when the header is damaged.
pub(super) fn parse_header(b: &[u8]) -> Option<u64> {
    let (magic, rest) = b.split_at_checked(8)?;
    (magic == MAGIC).then(|| rest.first_chunk::<8>().map(|c| u64::from_le_bytes(*c)))?
}

/// The file's name.
pub(super) fn name(first: u64) -> String {
    format!("{first:020}.seg")
}

/// The first number in a file's name.
pub(super) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

/// Writes one record.
pub(super) fn put(out: &mut Vec<u8>, seq: u64, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(&checksum(seq, bytes).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// What stands at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<'a> {
    /// A record and the bytes it takes.
    Record(&'a [u8], usize),
    /// More bytes are needed: so many in all.
    Need(usize),
    /// Not a record.
    Damaged,
}

/// Reads the record with this number.
pub(super) fn parse(b: &[u8], seq: u64) -> Parsed<'_> {
    let Some((prefix, rest)) = b.split_first_chunk::<PREFIX>() else { return Parsed::Need(PREFIX) };
    let [l0, l1, l2, l3, c0, c1, c2, c3] = *prefix;
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if len > MAX_RECORD || len == 0 {
        return Parsed::Damaged;
    }
    match rest.get(..len) {
        None => Parsed::Need(PREFIX + len),
        Some(bytes) if checksum(seq, bytes) == u32::from_le_bytes([c0, c1, c2, c3]) => Parsed::Record(bytes, PREFIX + len),
        Some(_) => Parsed::Damaged,
    }
}

fn checksum(seq: u64, bytes: &[u8]) -> u32 {
    let mut h = crc32fast::Hasher::new();
    h.update(&seq.to_le_bytes());
    h.update(bytes);
    h.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_is_read_back_and_any_flip_is_noticed(seq: u64, bytes in prop::collection::vec(any::<u8>(), 1..200), flip: prop::sample::Index, bit in 0u8..8) {
            let mut out = Vec::new();
            put(&mut out, seq, &bytes);
            prop_assert_eq!(parse(&out, seq), Parsed::Record(&bytes, out.len()));
            let i = flip.index(out.len());
            out[i] ^= 1 << bit;
            prop_assert!(!matches!(parse(&out, seq), Parsed::Record(b, _) if b == &bytes[..]));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(b in prop::collection::vec(any::<u8>(), 0..64), seq: u64) {
            let _ = parse(&b, seq);
            let _ = parse_header(&b);
        }
    }

    #[test]
    fn names_and_headers_carry_the_first_number() {
        assert_eq!(parse_name(&name(42)), Some(42));
        assert_eq!(parse_header(&header(7)), Some(7));
        assert_eq!(parse_name("42.seg"), None);
    }
}
