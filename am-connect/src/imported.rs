//! What comes out of an import.

use am_core::DeviceId;
use am_schema::{Catalogue, Reading};

/// One result of an importer.
#[derive(Debug, Clone)]
pub enum Imported {
    /// A valid reading.
    Reading(Reading),
    /// Something that could not be used.
    Skipped(Skip),
}

/// Why something in a file was not used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Skip {
    /// The file, as found.
    pub file: String,
    /// Where in the file, such as `byte 4711` or `record 12`; empty for the whole file.
    pub place: String,
    /// Why, as a phrase that is equal for equal causes.
    pub reason: String,
}

/// How to import.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ImportOptions {
    /// The kinds that exist.
    pub catalogue: Catalogue,
    /// The device that readings are filed under; without it, the file's own device or program.
    pub device: Option<DeviceId>,
    /// Files larger than this are skipped where a format cannot be streamed, bytes.
    pub max_whole_file: u64,
}

impl Default for ImportOptions {
    fn default() -> Self {
        ImportOptions { catalogue: Catalogue::builtin(), device: None, max_whole_file: 64 << 20 }
    }
}

/// Reads one file. Blocking; ends after the first error that ends the file, which comes as a [`Skip`].
pub trait Importer: Send {
    /// The next result, or `None` at the end.
    fn next(&mut self) -> Option<Imported>;
}
