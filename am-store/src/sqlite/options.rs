//! How to open a store.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// When SQLite waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Synchronous {
    /// At every commit: what was acknowledged survives a power cut.
    #[default]
    Full,
    /// Never: a power cut may take acknowledged readings or the whole file. Only to measure what durability costs.
    Off,
}

/// Options of the SQLite backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// The database file. `PATH.lock`, `PATH-wal` and `PATH-shm` lie beside it.
    pub path: PathBuf,
    /// Reads only, and follows what another process writes.
    pub read_only: bool,
    /// When to wait for the disk.
    pub synchronous: Synchronous,
    /// Page cache of the writer in MiB; all readers together have as much again.
    pub cache_mib: u32,
    /// At most so many readings in one transaction.
    pub group_max_readings: usize,
    /// Connections that read, 1 to 16.
    pub readers: usize,
    /// Name of a registered SQLite VFS; tests put faults under the store with it.
    #[doc(hidden)]
    #[serde(skip)]
    pub vfs: Option<String>,
    /// Bytes per page of a new file; measurements vary it.
    #[doc(hidden)]
    #[serde(skip)]
    pub page_size: Option<u32>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        SqliteOptions {
            path: PathBuf::from("am.db"),
            read_only: false,
            synchronous: Synchronous::Full,
            cache_mib: 16,
            group_max_readings: 10_000,
            readers: 4,
            vfs: None,
            page_size: None,
        }
    }
}

impl SqliteOptions {
    /// The defaults for a file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        SqliteOptions { path: path.into(), ..Default::default() }
    }
}
