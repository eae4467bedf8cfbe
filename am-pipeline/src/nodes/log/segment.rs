//! The segments of a log.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use am_core::{Error, Result, Timestamp};
use am_schema::{Catalogue, Decoder, Reading, ReadingRef};
use bytes::Bytes;

use super::LogOptions;
use crate::record;

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error {
    let place = path.display().to_string();
    move |e| Error::io("log", &place, e)
}

/// The first numbers and paths of the segments, in order.
pub(super) fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io(folder))? {
        let path = entry.map_err(io(folder))?.path();
        let is_segment = path.extension().is_some_and(|e| e == "log");
        if let (true, Some(first)) = (is_segment, path.file_stem().and_then(|s| s.to_str()?.parse().ok())) {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found)
}

fn path_of(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.log"))
}

/// Removes segments whose records all have lower numbers.
pub(super) fn remove_before(folder: &Path, number: u64) -> Result<usize> {
    let segments = list(folder)?;
    let mut removed = 0;
    for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
        if next.0 <= number {
            std::fs::remove_file(&segment.1).map_err(io(&segment.1))?;
            removed += 1;
        }
    }
    if removed > 0 {
        record::sync_folder(&path_of(folder, 0))?;
    }
    Ok(removed)
}

/// All whole records of a segment from a byte offset on, and where they end.
pub(super) fn read(path: &Path, from: u64, at_most: u64) -> Result<Vec<u8>> {
    let mut file = File::open(path).map_err(io(path))?;
    file.seek(SeekFrom::Start(from)).map_err(io(path))?;
    let mut bytes = Vec::new();
    file.take(at_most).read_to_end(&mut bytes).map_err(io(path))?;
    Ok(bytes)
}

/// Appends to the last segment.
pub(super) struct Writer {
    folder: PathBuf,
    options: LogOptions,
    file: File,
    path: PathBuf,
    /// Length of the last segment's whole records.
    end: u64,
    /// Number of the next record.
    pub(super) next: u64,
    recent: HashSet<ReadingRef>,
    order: VecDeque<ReadingRef>,
}

impl Writer {
    pub(super) fn open(folder: &Path, catalogue: &Catalogue, options: LogOptions) -> Result<Writer> {
        std::fs::create_dir_all(folder).map_err(io(folder))?;
        record::sync_folder(folder)?;
        let (first, path) = list(folder)?.pop().unwrap_or_else(|| (0, path_of(folder, 0)));
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io(&path))?;
        record::sync_folder(&path)?;
        let (recent, order) = (HashSet::new(), VecDeque::new());
        let mut w = Writer { folder: folder.to_owned(), options, file, path, end: 0, next: first, recent, order };
        let bytes = read(&w.path, 0, u64::MAX)?;
        let mut reader = record::Reader::new(&bytes);
        let mut decoder = Decoder::new(catalogue.clone()).trusted();
        while let Some(wire) = reader.next(&w.path)? {
            w.next += 1;
            if let Ok(r) = decoder.decode(Bytes::copy_from_slice(wire), Timestamp::MAX) {
                w.remember(r.reference());
            }
        }
        w.end = reader.good();
        w.file.set_len(w.end).map_err(io(&w.path))?;
        Ok(w)
    }

    fn remember(&mut self, key: ReadingRef) {
        if self.recent.insert(key.clone()) {
            self.order.push_back(key);
        }
        while self.order.len() > self.options.remembered {
            if let Some(old) = self.order.pop_front() {
                self.recent.remove(&old);
            }
        }
    }

    /// Appends what is not there yet; durable when it returns.
    pub(super) fn append(&mut self, readings: &[Reading]) -> Result<()> {
        if self.end >= self.options.segment_bytes {
            let path = path_of(&self.folder, self.next);
            let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(io(&path))?;
            record::sync_folder(&path)?;
            (self.file, self.path, self.end) = (file, path, 0);
        }
        let (mut buf, mut keys, mut wire) = (Vec::new(), Vec::new(), Vec::new());
        let mut fresh: HashSet<ReadingRef> = HashSet::new();
        for r in readings {
            let key = r.reference();
            if self.recent.contains(&key) || !fresh.insert(key.clone()) {
                continue;
            }
            wire.clear();
            r.encode(&mut wire);
            record::put(&mut buf, &wire);
            keys.push(key);
        }
        let write = |file: &mut File| {
            file.seek(SeekFrom::Start(self.end))?;
            file.write_all(&buf)?;
            file.sync_data()
        };
        if let Err(e) = write(&mut self.file) {
            // What is half written must not stand before the next record.
            let _ = self.file.set_len(self.end);
            return Err(io(&self.path)(e));
        }
        self.end += buf.len() as u64;
        self.next += keys.len() as u64;
        keys.into_iter().for_each(|k| self.remember(k));
        Ok(())
    }

    /// Where the last segment's durable records end: readers must not go beyond.
    pub(super) fn durable(&self) -> (&Path, u64) {
        (&self.path, self.end)
    }
}
