//! The protobuf wire format, walked in place (Protocol Buffers, "Encoding").

use bytes::BufMut;

/// One field as it stands in the bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Field<'a> {
    /// The field number.
    pub number: u32,
    /// Its value.
    pub value: Value<'a>,
    /// Where the tag begins.
    pub start: usize,
    /// Where the value ends.
    pub end: usize,
}

/// A value by wire type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 5.
    Fixed32(u32),
    /// Wire type 2.
    Len(&'a [u8]),
}

/// The bytes are not protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Where it went wrong.
    pub at: usize,
    /// What is wrong there.
    pub why: &'static str,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", self.why, self.at)
    }
}

/// Walks the fields of one message.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    buf: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// Of a message's bytes.
    pub fn new(buf: &'a [u8]) -> Self {
        Fields { buf, at: 0 }
    }

    /// The next field, or `None` at the end.
    ///
    /// # Errors
    /// [`Malformed`] where the bytes stop being protobuf; the walk is over then.
    #[allow(clippy::should_implement_trait, reason = "fallible walk, not an iterator")]
    pub fn next(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        self.step()
    }

    /// As [`Fields::next`], for the loops that every reading runs through.
    #[inline(always)]
    pub(crate) fn step(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        let start = self.at;
        let Some(first) = self.buf.get(start) else { return Ok(None) };
        let tag = if *first < 0x80 {
            self.at += 1;
            u64::from(*first)
        } else {
            self.varint()?
        };
        let number = tag >> 3;
        if number == 0 || number > 0x1fff_ffff {
            return Err(Malformed { at: start, why: "field number out of range" });
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.fixed()?)),
            5 => Value::Fixed32(u32::from_le_bytes(self.fixed()?)),
            2 => {
                let at = self.at;
                let n = self.varint()?;
                let rest = self.buf.get(self.at..).unwrap_or_default();
                match usize::try_from(n).ok().and_then(|n| rest.get(..n)) {
                    Some(bytes) => {
                        self.at += bytes.len();
                        Value::Len(bytes)
                    }
                    None => return Err(Malformed { at, why: "length beyond the end" }),
                }
            }
            _ => return Err(Malformed { at: start, why: "unknown wire type" }),
        };
        Ok(Some(Field { number: number as u32, value, start, end: self.at }))
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match self.buf.get(self.at) {
            Some(b) if *b < 0x80 => {
                self.at += 1;
                Ok(u64::from(*b))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let rest = self.buf.get(self.at..).unwrap_or_default();
        match read_varint(rest) {
            Some((v, n)) => {
                self.at += n;
                Ok(v)
            }
            None => Err(Malformed { at: self.at, why: "broken varint" }),
        }
    }

    #[inline(always)]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        match self.buf.get(self.at..).and_then(|r| r.first_chunk::<N>()) {
            Some(b) => {
                self.at += N;
                Ok(*b)
            }
            None => Err(Malformed { at: self.at, why: "value beyond the end" }),
        }
    }
}

/// A varint at the start of `b`: its value and length. `None` when it is cut off or longer than 10 bytes.
#[inline]
pub fn read_varint(b: &[u8]) -> Option<(u64, usize)> {
    let first = *b.first()?;
    if first < 0x80 {
        return Some((u64::from(first), 1));
    }
    let mut v = u64::from(first & 0x7f);
    for (i, byte) in b.iter().enumerate().take(10).skip(1) {
        let low = u64::from(byte & 0x7f);
        if i == 9 && low > 1 {
            return None;
        }
        v |= low << (7 * i);
        if *byte < 0x80 {
            return Some((v, i + 1));
        }
    }
    None
}

/// Writes a varint.
#[inline]
pub fn put_varint(out: &mut impl BufMut, mut v: u64) {
    while v >= 0x80 {
        out.put_u8(v as u8 | 0x80);
        v >>= 7;
    }
    out.put_u8(v as u8);
}

/// Writes a length-delimited field.
#[inline]
pub fn put_len(out: &mut impl BufMut, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

/// Writes a varint field.
#[inline]
pub fn put_int(out: &mut impl BufMut, number: u32, v: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, v);
}

/// The seconds and nanoseconds of an encoded `google.protobuf.Timestamp`, unchecked in range.
pub fn read_timestamp(b: &[u8]) -> Result<(i64, i32), Malformed> {
    let (mut s, mut n) = (0i64, 0i32);
    let mut f = Fields::new(b);
    while let Some(field) = f.step()? {
        match (field.number, field.value) {
            (1, Value::Varint(v)) => s = v as i64,
            (2, Value::Varint(v)) => n = v as i32,
            (1 | 2, _) => return Err(Malformed { at: field.start, why: "timestamp field of another type" }),
            _ => {}
        }
    }
    Ok((s, n))
}

/// Writes a `google.protobuf.Timestamp` field.
pub fn put_timestamp(out: &mut impl BufMut, number: u32, t: am_core::Timestamp) {
    let mut b = [0u8; 24];
    let mut rest = &mut b[..];
    if t.as_second() != 0 {
        put_int(&mut rest, 1, t.as_second() as u64);
    }
    if t.subsec_nanos() != 0 {
        put_int(&mut rest, 2, t.subsec_nanos() as u64);
    }
    let left = rest.len();
    put_len(out, number, b.get(..24 - left).unwrap_or_default());
}

/// Whether bytes are ASCII without NUL, eight at a time: true for most texts, which need no closer look then.
#[inline]
pub(crate) fn is_plain(b: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    // A byte has its high bit set here when it is not ASCII, or when it is 0.
    let odd = |v: u64| (v | v.wrapping_sub(ONES)) & HIGH;
    let (words, rest) = b.as_chunks::<8>();
    let mut any = 0;
    for w in words {
        any |= odd(u64::from_le_bytes(*w));
    }
    for byte in rest {
        any |= odd(ONES << 8 | u64::from(*byte));
    }
    any == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn plain_texts_are_ascii_without_nul(b in proptest::collection::vec(prop_oneof![9 => 1u8..128, 1 => any::<u8>()], 0..40)) {
            prop_assert_eq!(is_plain(&b), b.is_ascii() && !b.contains(&0));
        }

        #[test]
        fn varints_and_timestamps_survive(v: u64, ns: i64, rest: u8) {
            let mut out = Vec::new();
            put_varint(&mut out, v);
            let n = out.len();
            out.push(rest);
            prop_assert_eq!(read_varint(&out), Some((v, n)));
            prop_assert_eq!(read_varint(&out[..n - 1]), None);
            let t = am_core::Timestamp::from_nanos(ns);
            let mut out = Vec::new();
            put_timestamp(&mut out, 3, t);
            let field = Fields::new(&out).next().unwrap().unwrap();
            let Value::Len(b) = field.value else { panic!("a message") };
            let (s, n) = read_timestamp(b).unwrap();
            prop_assert_eq!(am_core::Timestamp::from_parts(s, n), Some(t));
        }

        #[test]
        fn a_walk_ends_at_the_end_or_says_where_it_broke(b: Vec<u8>) {
            let mut f = Fields::new(&b);
            let mut at = 0;
            loop {
                match f.next() {
                    Ok(Some(x)) => { prop_assert!(x.start == at && x.end > at && x.end <= b.len()); at = x.end; }
                    Ok(None) => { prop_assert_eq!(at, b.len()); break; }
                    Err(m) => { prop_assert!(m.at >= at && m.at <= b.len()); break; }
                }
            }
        }
    }

    #[test]
    fn overlong_and_overflowing_varints_are_broken() {
        assert_eq!(read_varint(&[0xff; 10]), None);
        assert_eq!(read_varint(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]), Some((1 << 63, 10)));
        assert_eq!(read_varint(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02]), None);
        assert_eq!(read_varint(&[]), None);
    }
}
