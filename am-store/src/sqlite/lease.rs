//! One writer per file: an advisory lock on a file beside it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use am_core::{Code, Error, Result};

/// The right to write, held until it is dropped or the process ends.
pub(super) struct Lease {
    _locked: File,
}

/// Where the lease of a database lies.
pub(super) fn path_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

impl Lease {
    /// Takes the lease, or says who has it.
    pub(super) fn take(database: &Path) -> Result<Lease> {
        let path = path_of(database);
        let io = |e| Error::io("sqlite.open", path.display(), e);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(database, &mut file)),
            Err(TryLockError::Error(e)) => return Err(io(e)),
        }
        // The pid is a courtesy to whoever is refused; the lock itself decides.
        file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(io)?;
        Ok(Lease { _locked: file })
    }
}

fn held(database: &Path, file: &mut File) -> Error {
    let mut pid = String::new();
    let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(16).read_to_string(&mut pid));
    let pid = if pid.is_empty() { "unknown".to_owned() } else { pid };
    Error::new(Code::STORE_LOCKED, format!("{} is held by process {pid}", database.display()))
        .op("sqlite.open")
        .with("pid", pid)
        .with("path", database.display())
}
