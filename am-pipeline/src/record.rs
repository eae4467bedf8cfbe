//! Checksummed records in append-only files: `length u32 | crc32 u32 | payload`, little-endian.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use am_core::{Code, Error, Result};

const HEAD: usize = 8;

/// How far behind an unreadable record others are looked for, to tell damage from a torn end.
const SEARCH: usize = 256 << 10;

/// Appends one record to a buffer.
pub(crate) fn put(buf: &mut Vec<u8>, payload: &[u8]) {
    buf.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    buf.extend_from_slice(&crc32(payload).to_le_bytes());
    buf.extend_from_slice(payload);
}

/// Reads records one after another.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    /// How far the bytes are whole records.
    pub(crate) fn good(&self) -> u64 {
        self.at as u64
    }

    /// The next payload; `None` at the end or before a torn last record.
    ///
    /// # Errors
    /// `STORE_CORRUPT` when a whole record has a wrong checksum and others follow it.
    pub(crate) fn next(&mut self, path: &Path) -> Result<Option<&'a [u8]>> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if let Some(payload) = whole(rest) {
            self.at += HEAD + payload.len();
            return Ok(Some(payload));
        }
        // A cut tears the last write; whole records behind it mean that something else happened.
        let damaged = (1..rest.len().min(SEARCH)).any(|skip| rest.get(skip..).and_then(whole).is_some());
        if damaged {
            let message = format!("{}: the record at byte {} is damaged", path.display(), self.at);
            return Err(Error::new(Code::STORE_CORRUPT, message).op("record.read"));
        }
        Ok(None)
    }
}

/// The payload of the record at the start of the bytes, if it is whole. A length of zero is what a file system leaves where data was
/// not written before the cut.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let (head, body) = bytes.split_first_chunk::<HEAD>()?;
    let [a, b, c, d, e, f, g, h] = *head;
    let (len, crc) = (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]));
    let payload = body.get(..len).filter(|_| len > 0)?;
    (crc32(payload) == crc).then_some(payload)
}

/// Syncs the folder that a file lies in, so that its name survives a power cut.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let sync = |folder: &Path| File::open(folder)?.sync_all();
    if cfg!(unix) { sync(folder).map_err(|e| Error::io("record.sync", folder.display(), e)) } else { Ok(()) }
}

/// Puts new content in a file's place: the old or the new one is there after a power cut, never a mixture. Returns it open for writing.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<File> {
    let fresh = PathBuf::from(format!("{}.new", path.display()));
    let io = |e| Error::io("record.replace", fresh.display(), e);
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&fresh).map_err(io)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(io)?;
    std::fs::rename(&fresh, path).map_err(io)?;
    sync_folder(path)?;
    Ok(file)
}

/// CRC-32 (ISO-HDLC, polynomial 0xEDB88320 reflected).
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut t = [0u32; 256];
        let mut i = 0;
        while i < 256 {
            let mut c = i as u32;
            let mut k = 0;
            while k < 8 {
                c = if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 };
                k += 1;
            }
            t[i] = c;
            i += 1;
        }
        t
    };
    !bytes.iter().fold(!0u32, |c, b| TABLE[((c ^ u32::from(*b)) & 0xFF) as usize] ^ (c >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_standard_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_torn_end_is_cut_off_and_damage_before_it_is_an_error() {
        let mut buf = Vec::new();
        for p in [&b"one"[..], b"two", b"three"] {
            put(&mut buf, p);
        }
        let path = Path::new("x");
        for cut in 0..buf.len() {
            let mut r = Reader::new(&buf[..cut]);
            let mut n = 0;
            while r.next(path).unwrap().is_some() {
                n += 1;
            }
            assert_eq!(n, [11, 22].iter().filter(|end| cut >= **end).count());
        }
        buf[9] ^= 1;
        assert_eq!(Reader::new(&buf).next(path).unwrap_err().code(), Code::STORE_CORRUPT);
    }
}
