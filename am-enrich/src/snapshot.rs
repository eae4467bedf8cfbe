//! The bytes of a processor's state: a version, then numbers in little-endian order.

use am_core::{Code, Error, ReadingId, Result};

/// Writes a state.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new(version: u8) -> Writer {
        Writer(vec![version])
    }

    pub(crate) fn len(&mut self, n: usize) {
        self.0.extend_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
    }

    pub(crate) fn i64(&mut self, v: i64) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }

    pub(crate) fn f32(&mut self, v: f32) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }

    pub(crate) fn id(&mut self, id: ReadingId) {
        self.0.extend_from_slice(id.as_bytes());
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads a state.
pub(crate) struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Begins to read; `None` for the empty bytes of a fresh start.
    pub(crate) fn open(what: &'static str, bytes: &'a [u8], newest: u8) -> Result<Option<Reader<'a>>> {
        let Some((version, rest)) = bytes.split_first() else { return Ok(None) };
        if *version == 0 || *version > newest {
            let text = format!("the state of {what} has version {version}, known are 1 to {newest}");
            return Err(Error::new(Code::STORE_NEWER, text).op("processor.restore"));
        }
        Ok(Some(Reader { what, rest }))
    }

    fn damaged(&self) -> Error {
        Error::new(Code::STORE_CORRUPT, format!("the state of {} is damaged", self.what)).op("processor.restore")
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.damaged())?;
        self.rest = rest;
        Ok(*head)
    }

    /// The number of elements that follow, each of at least `width` bytes.
    pub(crate) fn len(&mut self, width: usize) -> Result<usize> {
        let n = u32::from_le_bytes(self.take()?) as usize;
        if n.saturating_mul(width) > self.rest.len() { Err(self.damaged()) } else { Ok(n) }
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.take()?))
    }

    pub(crate) fn f32(&mut self) -> Result<f32> {
        Ok(f32::from_le_bytes(self.take()?))
    }

    pub(crate) fn id(&mut self) -> Result<ReadingId> {
        Ok(ReadingId::from_bytes(self.take()?))
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.damaged()) }
    }
}
