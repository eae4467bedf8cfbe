//! How far a reader of a log has come, durably.

use std::path::{Path, PathBuf};

use am_core::{Code, Error, Result};

use crate::record;

/// The file of a cursor.
pub(super) fn path_of(folder: &Path, name: &str) -> Result<PathBuf> {
    if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        return Err(Error::new(Code::BAD_ID, format!("{name:?} is not a cursor's name: letters, digits, - and _")).op("log.source"));
    }
    Ok(folder.join(format!("{name}.cursor")))
}

/// The number of the next record to hand over; 0 of a cursor that is not there.
pub(super) fn load(path: &Path) -> Result<u64> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let damaged = || Error::new(Code::STORE_CORRUPT, format!("{} is not a cursor", path.display())).op("log.source");
            let payload = record::Reader::new(&bytes).next(path)?.ok_or_else(damaged)?;
            Ok(u64::from_le_bytes(payload.try_into().map_err(|_| damaged())?))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(Error::io("log.source", path.display(), e)),
    }
}

/// Keeps the number durably.
pub(super) fn store(path: &Path, next: u64) -> Result<()> {
    let mut buf = Vec::new();
    record::put(&mut buf, &next.to_le_bytes());
    record::replace(path, &buf).map(|_| ())
}

/// The lowest cursor of a folder; `None` when there is none.
pub(super) fn lowest(folder: &Path) -> Result<Option<u64>> {
    let mut found = None;
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io("log.trim", folder.display(), e))? {
        let path = entry.map_err(|e| Error::io("log.trim", folder.display(), e))?.path();
        if path.extension().is_some_and(|e| e == "cursor") {
            let next = load(&path)?;
            found = Some(found.map_or(next, |f: u64| f.min(next)));
        }
    }
    Ok(found)
}
