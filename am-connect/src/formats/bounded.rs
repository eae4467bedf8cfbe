//! A reader that refuses endless pieces.

use std::io::{BufRead, Error, ErrorKind, Read, Result};

/// Fails once more than `limit` bytes were taken since [`Bounded::reset`]: one tag or text of a file has no business being larger.
pub(super) struct Bounded<R> {
    inner: R,
    limit: usize,
    taken: usize,
}

impl<R> Bounded<R> {
    pub(super) fn new(inner: R, limit: usize) -> Self {
        Bounded { inner, limit, taken: 0 }
    }

    /// Begins a new piece.
    pub(super) fn reset(&mut self) {
        self.taken = 0;
    }
}

impl<R: BufRead> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let n = self.inner.read(buf)?;
        self.taken += n;
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Bounded<R> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        if self.taken > self.limit {
            return Err(Error::new(ErrorKind::InvalidData, format!("one piece is larger than {} bytes", self.limit)));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.taken += n;
        self.inner.consume(n);
    }
}
