//! The bytes that the nodes' states are made of: a version, then length-prefixed parts.

use am_core::{Code, Error, Result, Timestamp};

/// Writes a state.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(version: u8) -> Writer {
        Writer(vec![version])
    }

    pub(super) fn number(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    pub(super) fn time(&mut self, t: Timestamp) {
        self.0.extend_from_slice(&t.as_nanos().to_le_bytes());
    }

    pub(super) fn bytes(&mut self, b: &[u8]) {
        self.number(b.len() as u64);
        self.0.extend_from_slice(b);
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Reads a state that [`Writer`] wrote.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// `None` of no bytes: a fresh start.
    pub(super) fn new(node: &str, version: u8, state: &'a [u8]) -> Result<Option<Reader<'a>>> {
        match state.split_first() {
            None => Ok(None),
            Some((v, rest)) if *v == version => Ok(Some(Reader(rest))),
            Some((v, _)) => {
                let message = format!("the state of a {node} has version {v}, this program reads {version}");
                Err(Error::new(Code::UNDECODABLE, message).op("processor.restore"))
            }
        }
    }

    pub(super) fn number(&mut self) -> Result<u64> {
        let (head, rest) = self.0.split_first_chunk::<8>().ok_or_else(cut)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*head))
    }

    pub(super) fn time(&mut self) -> Result<Timestamp> {
        Ok(Timestamp::from_nanos(self.number()? as i64))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let n = usize::try_from(self.number()?).map_err(|_| cut())?;
        let (head, rest) = self.0.split_at_checked(n).ok_or_else(cut)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| cut())
    }
}

fn cut() -> Error {
    Error::new(Code::UNDECODABLE, "the state is cut off or damaged").op("processor.restore")
}
