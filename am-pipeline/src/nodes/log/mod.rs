//! A log of readings in a folder: append-only segments, read by any number of cursors.
//!
//! A segment is named by the number of its first record, `00000000000000000042.log`; its records are encoded `am.v1.Reading`s. A cursor
//! is a file `NAME.cursor` with the number of the next record to hand over; it moves when readings are settled.

mod cursor;
mod segment;
mod sink;
mod source;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use am_core::Result;
use am_schema::Catalogue;
use parking_lot::Mutex;

pub use sink::LogSink;
pub use source::LogSource;

use segment::Writer;

/// How a log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogOptions {
    /// A segment is closed when it has so many bytes.
    pub segment_bytes: u64,
    /// How many of the last readings are remembered, so that writing one again adds nothing.
    pub remembered: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions { segment_bytes: 64 << 20, remembered: 65_536 }
    }
}

impl LogOptions {
    /// Closes segments at so many bytes.
    #[must_use]
    pub fn segment_bytes(mut self, n: u64) -> Self {
        self.segment_bytes = n.max(1);
        self
    }
}

/// A log that is open for writing. Cheap to clone; one process at a time may have it open.
#[derive(Clone)]
pub struct Log {
    folder: PathBuf,
    catalogue: Catalogue,
    writer: Arc<Mutex<Writer>>,
}

impl Log {
    /// Opens or makes the log in a folder. What a power cut tore at its end was never acknowledged and is cut off.
    ///
    /// # Errors
    /// `IO` when files cannot be opened, `STORE_CORRUPT` when the last segment is damaged before its end.
    pub fn open(folder: impl AsRef<Path>, catalogue: Catalogue, options: LogOptions) -> Result<Log> {
        let folder = folder.as_ref().to_owned();
        let writer = Writer::open(&folder, &catalogue, options)?;
        Ok(Log { folder, catalogue, writer: Arc::new(Mutex::new(writer)) })
    }

    /// A sink that appends to it.
    pub fn sink(&self) -> LogSink {
        LogSink::new(self.writer.clone())
    }

    /// A source that hands over what was not settled under this cursor's name, then follows the log; with `follow` false it is at its
    /// end when it has handed over everything.
    ///
    /// # Errors
    /// When the name is not a plain word, or the cursor's file cannot be read.
    pub fn source(&self, cursor: &str, follow: bool) -> Result<LogSource> {
        LogSource::open(&self.folder, cursor, self.catalogue.clone(), follow, self.writer.clone())
    }

    /// Removes segments that all cursors have passed; returns how many.
    ///
    /// # Errors
    /// When a cursor cannot be read or a file cannot be removed.
    pub fn trim(&self) -> Result<usize> {
        let Some(passed) = cursor::lowest(&self.folder)? else { return Ok(0) };
        segment::remove_before(&self.folder, passed)
    }
}
