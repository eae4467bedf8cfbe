//! Files as the outbox needs them; a test puts a disk under it that loses what was not synced.

use std::fs::{File, OpenOptions};
use std::io::Write;
#[cfg(not(unix))]
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use am_core::{Error, Result};

/// A folder of files.
pub trait Disk: Send + Sync {
    /// The names of the files in it.
    fn list(&self) -> Result<Vec<String>>;
    /// Opens a file for appending and reading; creates it when `create`.
    fn open(&self, name: &str, create: bool) -> Result<Arc<dyn DiskFile>>;
    /// Removes a file; its absence is fine.
    fn remove(&self, name: &str) -> Result<()>;
    /// Renames a file, replacing another.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Makes creations, removals and renames survive a power cut.
    fn sync_folder(&self) -> Result<()>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Adds bytes at the end; all of them or an error.
    fn append(&self, bytes: &[u8]) -> Result<()>;
    /// Fills the buffer from an offset; gives how much there was.
    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize>;
    /// Its length.
    fn size(&self) -> Result<u64>;
    /// Cuts it off.
    fn truncate(&self, len: u64) -> Result<()>;
    /// Makes its content survive a power cut.
    fn sync(&self) -> Result<()>;
}

/// The machine's own files.
pub struct StdDisk {
    folder: PathBuf,
    _lock: File,
}

impl StdDisk {
    /// Opens or creates a folder, for this process alone.
    ///
    /// # Errors
    /// `STORE_LOCKED` when another process holds it, `IO` when it cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        let io = |e| Error::io("outbox.open", folder.display(), e);
        std::fs::create_dir_all(folder).map_err(io)?;
        let lock = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(folder.join("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(Error::new(
                    am_core::Code::STORE_LOCKED,
                    format!("the outbox {} is in use by another process", folder.display()),
                )
                .op("outbox.open"));
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(io(e)),
        }
        let disk = StdDisk { folder: folder.to_owned(), _lock: lock };
        if let Some(parent) = folder.parent() {
            sync_folder(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
        }
        Ok(disk)
    }
}

fn sync_folder(path: &Path) -> Result<()> {
    let io = |e| Error::io("outbox.sync_folder", path.display(), e);
    #[cfg(unix)]
    File::open(path).map_err(io)?.sync_all().map_err(io)?;
    #[cfg(not(unix))]
    let _ = io;
    Ok(())
}

impl Disk for StdDisk {
    fn list(&self) -> Result<Vec<String>> {
        let io = |e| Error::io("outbox.list", self.folder.display(), e);
        std::fs::read_dir(&self.folder).map_err(io)?.map(|e| Ok(e.map_err(io)?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn open(&self, name: &str, create: bool) -> Result<Arc<dyn DiskFile>> {
        let path = self.folder.join(name);
        let file = OpenOptions::new()
            .create(create)
            .append(true)
            .read(true)
            .open(&path)
            .map_err(|e| Error::io("outbox.open", path.display(), e))?;
        Ok(Arc::new(StdFile { path, file }))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.folder.join(name);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("outbox.remove", path.display(), e)),
            _ => Ok(()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let path = self.folder.join(from);
        std::fs::rename(&path, self.folder.join(to)).map_err(|e| Error::io("outbox.rename", path.display(), e))
    }

    fn sync_folder(&self) -> Result<()> {
        sync_folder(&self.folder)
    }
}

struct StdFile {
    path: PathBuf,
    file: File,
}

impl StdFile {
    fn io(&self, op: &'static str) -> impl Fn(std::io::Error) -> Error + '_ {
        move |e| Error::io(op, self.path.display(), e)
    }
}

impl DiskFile for StdFile {
    fn append(&self, bytes: &[u8]) -> Result<()> {
        (&self.file).write_all(bytes).map_err(self.io("outbox.append"))
    }

    #[cfg(unix)]
    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize> {
        use std::os::unix::fs::FileExt;
        let mut got = 0;
        while let Some(rest) = buf.get_mut(got..).filter(|r| !r.is_empty()) {
            match self.file.read_at(rest, at + got as u64) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.io("outbox.read")(e)),
            }
        }
        Ok(got)
    }

    #[cfg(not(unix))]
    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize> {
        let mut f = File::open(&self.path).map_err(self.io("outbox.read"))?;
        f.seek(SeekFrom::Start(at)).map_err(self.io("outbox.read"))?;
        let mut got = 0;
        while let Some(rest) = buf.get_mut(got..).filter(|r| !r.is_empty()) {
            match f.read(rest).map_err(self.io("outbox.read"))? {
                0 => break,
                n => got += n,
            }
        }
        Ok(got)
    }

    fn size(&self) -> Result<u64> {
        self.file.metadata().map(|m| m.len()).map_err(self.io("outbox.len"))
    }

    fn truncate(&self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(self.io("outbox.truncate"))
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(self.io("outbox.sync"))
    }
}
