//! A folder of exports, file by file.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use am_core::{Error, Result};

use crate::formats::{Format, fit::FitImport, gpx::GpxImport};
use crate::imported::{ImportOptions, Imported, Importer, Skip};
use crate::report::ImportReport;

/// The deepest folder that is entered.
const MAX_DEPTH: usize = 16;
/// The most files that are listed.
const MAX_FILES: usize = 1_000_000;

/// Goes through a file or a folder in order of name; readings and skips of all files as one stream.
pub struct FolderImport {
    root: PathBuf,
    options: ImportOptions,
    files: std::vec::IntoIter<PathBuf>,
    current: Option<(String, Box<dyn Importer>)>,
    report: ImportReport,
    total: usize,
    done: usize,
}

impl FolderImport {
    /// Lists the files.
    ///
    /// # Errors
    /// `IO` when the folder cannot be read.
    pub fn open(root: &Path, options: ImportOptions) -> Result<Self> {
        let mut files = Vec::new();
        if root.is_dir() {
            list(root, 0, &mut files)?;
        } else {
            std::fs::metadata(root).map_err(|e| Error::io("import.open", root.display(), e))?;
            files.push(root.to_owned());
        }
        files.sort();
        let total = files.len();
        Ok(FolderImport {
            root: root.to_owned(),
            options,
            files: files.into_iter(),
            current: None,
            report: ImportReport::default(),
            total,
            done: 0,
        })
    }

    /// How many files were begun, of how many.
    pub fn progress(&self) -> (usize, usize) {
        (self.done, self.total)
    }

    /// What it came to so far.
    pub fn report(&self) -> &ImportReport {
        &self.report
    }

    /// Opens the next file; gives a skip when it cannot be used.
    fn begin(&mut self, path: &Path) -> Option<Imported> {
        self.done += 1;
        let name = path.strip_prefix(&self.root).ok().filter(|p| !p.as_os_str().is_empty()).unwrap_or(path).display().to_string();
        let skip = |reason: String| Imported::Skipped(Skip { file: name.clone(), place: String::new(), reason });
        let opened = File::open(path).and_then(|mut f| {
            let mut head = [0u8; 512];
            let n = f.read(&mut head)?;
            f.seek(SeekFrom::Start(0))?;
            Ok((f, Format::detect(head.get(..n).unwrap_or_default())))
        });
        let (file, format) = match opened {
            Ok(x) => x,
            Err(e) => {
                self.report.file(&name, None);
                return Some(skip(format!("cannot be read: {e}")));
            }
        };
        self.report.file(&name, format);
        let input = BufReader::with_capacity(64 << 10, file);
        let importer: Box<dyn Importer> = match format {
            Some(Format::Gpx) => Box::new(GpxImport::new(&name, input, &self.options)),
            Some(Format::Fit) => Box::new(FitImport::new(&name, input, &self.options)),
            None => return Some(skip("a format that cannot be imported (known: GPX, FIT)".into())),
        };
        self.current = Some((name, importer));
        None
    }
}

impl Iterator for FolderImport {
    type Item = Imported;

    fn next(&mut self) -> Option<Imported> {
        loop {
            if let Some((name, importer)) = &mut self.current {
                if let Some(item) = importer.next() {
                    self.report.note(name, &item);
                    return Some(item);
                }
                self.current = None;
            }
            let path = self.files.next()?;
            if let Some(skip) = self.begin(&path) {
                if let Imported::Skipped(s) = &skip {
                    self.report.note(&s.file.clone(), &skip);
                }
                return Some(skip);
            }
        }
    }
}

fn list(dir: &Path, depth: usize, out: &mut Vec<PathBuf>) -> Result<()> {
    let io = |e| Error::io("import.list", dir.display(), e);
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let kind = entry.file_type().map_err(io)?;
        if out.len() >= MAX_FILES {
            return Ok(());
        }
        if kind.is_dir() && depth < MAX_DEPTH {
            list(&entry.path(), depth + 1, out)?;
        } else if kind.is_file() && !entry.file_name().to_string_lossy().starts_with('.') {
            out.push(entry.path());
        }
    }
    Ok(())
}
