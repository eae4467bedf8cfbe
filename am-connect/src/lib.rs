//! Imports of files that devices and services export, as streams of readings.
//!
//! ```no_run
//! use am_connect::{FolderImport, Imported, ImportOptions};
//! for item in FolderImport::open("exports".as_ref(), ImportOptions::default())? {
//!     match item {
//!         Imported::Reading(r) => drop(r),
//!         Imported::Skipped(s) => drop(s),
//!     }
//! }
//! # Ok::<(), am_core::Error>(())
//! ```
//!
//! Every importer streams: memory does not grow with the file. What cannot be used is said, with place and reason, and the rest goes on.

mod folder;
pub mod formats;
mod imported;
mod report;
mod source;

pub use folder::FolderImport;
pub use formats::Format;
pub use imported::{ImportOptions, Imported, Importer, Skip};
pub use report::{FileReport, ImportReport};
pub use source::ImportSource;
