//! Reading and writing of bytes, variable-length integers and bit streams.

/// What is wrong with the bytes at hand; the caller adds where.
pub(super) type Res<T> = Result<T, &'static str>;

/// Maps a signed number to an unsigned one with small magnitudes first: 0, -1, 1, -2, 2 …
pub(super) const fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub(super) const fn unzigzag(z: u64) -> i64 {
    ((z >> 1) as i64) ^ -((z & 1) as i64)
}

/// Appends a LEB128 number.
pub(super) fn put_varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// Takes bytes from the front of a slice.
pub(super) struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Bytes { rest }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, n: usize) -> Res<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or("it ends too early")?;
        self.rest = tail;
        Ok(head)
    }

    pub(super) fn u8(&mut self) -> Res<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Res<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or("it ends too early")?;
        self.rest = tail;
        Ok(*head)
    }

    pub(super) fn varint(&mut self) -> Res<u64> {
        let mut v = 0u64;
        for shift in (0..64).step_by(7) {
            let b = self.u8()?;
            if shift == 63 && b > 1 {
                return Err("a number has more than 64 bits");
            }
            v |= u64::from(b & 0x7f) << shift;
            if b < 0x80 {
                return Ok(v);
            }
        }
        Err("a number has more than 64 bits")
    }

    /// A count that may not exceed `max`.
    pub(super) fn count(&mut self, max: usize, message: &'static str) -> Res<usize> {
        usize::try_from(self.varint()?).ok().filter(|n| *n <= max).ok_or(message)
    }

    pub(super) fn signed(&mut self) -> Res<i64> {
        Ok(unzigzag(self.varint()?))
    }
}

/// Writes bits, least significant first.
#[derive(Default)]
pub(super) struct BitWriter {
    out: Vec<u8>,
    acc: u64,
    used: u32,
}

impl BitWriter {
    /// Appends the low `n` bits of `v`, `n` ≤ 64.
    pub(super) fn put(&mut self, v: u64, n: u32) {
        if n > 32 {
            self.put_short(v & 0xffff_ffff, 32);
            self.put_short(v >> 32, n - 32);
        } else {
            self.put_short(v, n);
        }
    }

    fn put_short(&mut self, v: u64, n: u32) {
        self.acc |= (v & ((1u64 << n) - 1)) << self.used;
        self.used += n;
        while self.used >= 8 {
            self.out.push(self.acc as u8);
            self.acc >>= 8;
            self.used -= 8;
        }
    }

    /// The bytes, the last one filled with zero bits.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.used > 0 {
            self.out.push(self.acc as u8);
        }
        self.out
    }
}

/// Reads bits, least significant first. Past the end it reads zeros and [`BitReader::finish`] fails.
pub(super) struct BitReader<'a> {
    data: &'a [u8],
    next: usize,
    acc: u64,
    have: u32,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        BitReader { data, next: 0, acc: 0, have: 0 }
    }

    /// Makes at least 56 bits available.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        if let Some(Some(word)) = self.data.get(self.next..).map(|d| d.first_chunk::<8>()) {
            self.acc |= u64::from_le_bytes(*word) << self.have;
            self.next += ((63 - self.have) >> 3) as usize;
            self.have |= 56;
        } else {
            self.refill_slowly();
        }
    }

    #[cold]
    #[inline(never)]
    fn refill_slowly(&mut self) {
        while self.have < 56 {
            self.acc |= u64::from(self.data.get(self.next).copied().unwrap_or(0)) << self.have;
            self.next += 1;
            self.have += 8;
        }
    }

    /// The bits at hand, without taking them.
    #[inline(always)]
    pub(super) fn peek(&self) -> u64 {
        self.acc
    }

    /// Drops `n` ≤ 56 bits that [`BitReader::refill`] made available.
    #[inline(always)]
    pub(super) fn skip(&mut self, n: u32) {
        self.acc >>= n;
        self.have -= n;
    }

    /// Takes `n` ≤ 56 bits that [`BitReader::refill`] made available.
    #[inline(always)]
    pub(super) fn take(&mut self, n: u32) -> u64 {
        let v = self.acc & ((1u64 << n) - 1);
        self.skip(n);
        v
    }

    /// Takes `n` ≤ 64 bits, refilling as needed.
    pub(super) fn get(&mut self, n: u32) -> u64 {
        self.refill();
        if n <= 32 {
            return self.take(n);
        }
        let low = self.take(32);
        self.refill();
        low | self.take(n - 32) << 32
    }

    /// How many bytes were touched.
    pub(super) fn finish(self) -> Res<usize> {
        let bits = self.next as u64 * 8 - u64::from(self.have);
        let bytes = bits.div_ceil(8) as usize;
        if bytes <= self.data.len() { Ok(bytes) } else { Err("it ends too early") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_varints_come_back_as_written() {
        let mut w = BitWriter::default();
        for n in 0..=64u32 {
            w.put(u64::MAX / 3, n);
        }
        let bytes = w.finish();
        let mut r = BitReader::new(&bytes);
        for n in 0..=64u32 {
            let mask = if n == 64 { u64::MAX } else { (1 << n) - 1 };
            assert_eq!(r.get(n), (u64::MAX / 3) & mask, "{n} bits");
        }
        assert_eq!(r.finish(), Ok(bytes.len()));

        for v in [0, 1, 127, 128, 1 << 35, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, v);
            assert_eq!(Bytes::new(&out).varint(), Ok(v));
        }
        for v in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(v)), v);
        }
    }

    #[test]
    fn reading_past_the_end_is_an_error() {
        let mut r = BitReader::new(&[0xff]);
        r.get(9);
        assert!(r.finish().is_err());
        assert!(Bytes::new(&[0x80]).varint().is_err());
        assert!(Bytes::new(&[0xff; 11]).varint().is_err());
    }
}
