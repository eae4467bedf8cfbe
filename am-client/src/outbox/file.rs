//! An outbox in a folder: segments of records, appended, synced and removed whole.

use std::collections::VecDeque;
use std::sync::Arc;

use am_core::{BoxFuture, Code, Error, Result};
use bytes::Bytes;

use super::segment::{self, HEADER, PREFIX, Parsed};
use super::{Disk, DiskFile, OutboxStats, OutboxStore};

/// Where settled numbers are kept. Losing it means sending again, never losing.
const CURSOR: &str = "settled";

/// How large an outbox may get.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct OutboxLimits {
    /// Bytes in all.
    pub max_bytes: u64,
    /// A new segment begins after so many bytes.
    pub segment_bytes: u64,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        OutboxLimits { max_bytes: 1 << 30, segment_bytes: 4 << 20 }
    }
}

impl OutboxLimits {
    /// With another size in all.
    pub fn max_bytes(max_bytes: u64) -> Self {
        OutboxLimits { max_bytes, segment_bytes: (max_bytes / 8).clamp(4 << 10, 4 << 20) }
    }
}

/// One file.
struct Segment {
    first: u64,
    /// One beyond the last number.
    end: u64,
    bytes: u64,
    file: Arc<dyn DiskFile>,
    synced: bool,
}

/// A durable outbox in a folder. A record that was torn by a power cut is cut off; one that was damaged later is set aside and counted.
pub struct FileOutbox {
    disk: Arc<dyn Disk>,
    limits: OutboxLimits,
    segments: VecDeque<Segment>,
    settled: u64,
    durable: u64,
    damaged: u64,
    /// Where the last read ended: number of the next item, and its offset in its segment.
    reader: (u64, u64),
    folder_dirty: bool,
}

impl FileOutbox {
    /// Opens what is there, or begins anew.
    ///
    /// # Errors
    /// `IO` when the files cannot be read or written.
    pub fn open(disk: Arc<dyn Disk>, limits: OutboxLimits) -> Result<Self> {
        let mut firsts: Vec<u64> = disk.list()?.iter().filter_map(|n| segment::parse_name(n)).collect();
        firsts.sort_unstable();
        let mut out =
            FileOutbox { disk, limits, segments: VecDeque::new(), settled: 0, durable: 0, damaged: 0, reader: (0, 0), folder_dirty: true };
        out.settled = out.read_cursor();
        let newest = firsts.last().copied();
        for first in firsts {
            out.load(first, Some(first) == newest)?;
        }
        out.settled = out.settled.max(out.segments.front().map_or(0, |s| s.first.saturating_sub(1)));
        // A cut may have taken unsynced items that were settled already: their numbers must not be given out again.
        if out.segments.back().is_none_or(|s| s.end <= out.settled) {
            let next = out.settled + 1;
            out.begin_segment(next)?;
        }
        // What was found may only be in the page cache: a process that died did not sync it.
        for s in &out.segments {
            s.file.sync()?;
        }
        out.disk.sync_folder()?;
        out.folder_dirty = false;
        for s in &mut out.segments {
            s.synced = true;
        }
        out.durable = out.stats().last;
        Ok(out)
    }

    /// Scans one segment; cuts off a torn end, sets a damaged rest aside.
    fn load(&mut self, first: u64, newest: bool) -> Result<()> {
        let name = segment::name(first);
        let file = self.disk.open(&name, false)?;
        let len = file.size()?;
        let mut head = [0; HEADER];
        let got = file.read_at(0, &mut head)?;
        if got < HEADER || segment::parse_header(&head) != Some(first) {
            // A segment is created, synced and named before anything goes in: without a header it holds nothing that was acknowledged,
            // unless the disk damaged it later.
            if len > HEADER as u64 {
                self.set_aside(&name, len)?;
            } else {
                self.disk.remove(&name)?;
            }
            return Ok(());
        }
        let (mut seq, mut at) = (first, HEADER as u64);
        let mut window = 1 << 20;
        let mut buf = Vec::new();
        while at < len {
            buf.resize((len - at).min(window) as usize, 0);
            let got = file.read_at(at, &mut buf)?;
            let mut used = 0;
            let stop = loop {
                match segment::parse(buf.get(used..got).unwrap_or_default(), seq) {
                    Parsed::Record(_, n) => {
                        used += n;
                        seq += 1;
                    }
                    // The window ends within a record: go on behind what was read, or with a window that holds it.
                    Parsed::Need(_) if used > 0 => break false,
                    Parsed::Need(n) if n > got && at + n as u64 <= len => {
                        window = n as u64;
                        break false;
                    }
                    _ => break true,
                }
            };
            at += used as u64;
            if stop {
                break;
            }
        }
        if at < len {
            if !newest {
                self.damaged += len - at;
                self.copy_aside(&name, &*file, at, len)?;
            }
            file.truncate(at)?;
            file.sync()?;
        }
        self.segments.push_back(Segment { first, end: seq, bytes: at, file, synced: false });
        Ok(())
    }

    fn set_aside(&mut self, name: &str, len: u64) -> Result<()> {
        self.damaged += len;
        self.disk.rename(name, &format!("{name}.damaged"))
    }

    fn copy_aside(&self, name: &str, file: &dyn DiskFile, from: u64, to: u64) -> Result<()> {
        let aside = self.disk.open(&format!("{name}.damaged"), true)?;
        let mut buf = vec![0; 64 << 10];
        let mut at = from;
        while at < to {
            let n = file.read_at(at, &mut buf)?;
            if n == 0 {
                break;
            }
            aside.append(buf.get(..n.min((to - at) as usize)).unwrap_or_default())?;
            at += n as u64;
        }
        aside.sync()
    }

    fn begin_segment(&mut self, first: u64) -> Result<()> {
        let name = segment::name(first);
        self.disk.remove(&name)?;
        let file = self.disk.open(&name, true)?;
        file.append(&segment::header(first))?;
        self.segments.push_back(Segment { first, end: first, bytes: HEADER as u64, file, synced: false });
        self.folder_dirty = true;
        Ok(())
    }

    fn read_cursor(&self) -> u64 {
        let mut b = [0; 12];
        let read = self.disk.open(CURSOR, false).and_then(|f| f.read_at(0, &mut b));
        let [n @ .., c0, c1, c2, c3] = b;
        match read {
            Ok(12) if crc32fast::hash(&n) == u32::from_le_bytes([c0, c1, c2, c3]) => u64::from_le_bytes(n),
            _ => 0,
        }
    }

    fn write_cursor(&self) -> Result<()> {
        let n = self.settled.to_le_bytes();
        let tmp = format!("{CURSOR}.tmp");
        self.disk.remove(&tmp)?;
        let f = self.disk.open(&tmp, true)?;
        f.append(&n)?;
        f.append(&crc32fast::hash(&n).to_le_bytes())?;
        self.disk.rename(&tmp, CURSOR)
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }
}

impl OutboxStore for FileOutbox {
    fn append(&mut self, items: &[&[u8]]) -> Result<u64> {
        let size: usize = items.iter().map(|i| i.len() + PREFIX).sum();
        if let Some(big) = items.iter().find(|i| i.len() > segment::MAX_RECORD || i.is_empty()) {
            return Err(Error::new(Code::TOO_LARGE, format!("an item of {} bytes; 1 to {} can be kept", big.len(), segment::MAX_RECORD))
                .op("outbox.append"));
        }
        let held = self.bytes();
        if held + size as u64 > self.limits.max_bytes {
            return Err(Error::new(Code::OUTBOX_FULL, format!("the outbox holds {held} bytes of at most {}", self.limits.max_bytes))
                .op("outbox.append"));
        }
        if self.segments.back().is_none_or(|s| s.bytes >= self.limits.segment_bytes) {
            let next = self.stats().last + 1;
            self.begin_segment(next)?;
        }
        let Some(s) = self.segments.back_mut() else {
            return Err(Error::new(Code::INTERNAL, "no segment to append to").op("outbox.append"));
        };
        let mut buf = Vec::with_capacity(size);
        for (seq, item) in (s.end..).zip(items) {
            segment::put(&mut buf, seq, item);
        }
        if let Err(e) = s.file.append(&buf) {
            // Whatever part was written must not stand before the next record.
            s.file.truncate(s.bytes)?;
            return Err(Error::new(Code::OUTBOX_IO, e.message().to_owned()).op("outbox.append").source(e));
        }
        s.bytes += size as u64;
        s.end += items.len() as u64;
        s.synced = false;
        Ok(s.end - 1)
    }

    fn sync(&mut self) -> BoxFuture<'static, Result<u64>> {
        let through = self.stats().last;
        let files: Vec<Arc<dyn DiskFile>> = self.segments.iter().filter(|s| !s.synced).map(|s| s.file.clone()).collect();
        let folder = std::mem::take(&mut self.folder_dirty).then(|| self.disk.clone());
        let newest = self.segments.back().map(|s| s.first);
        for s in &mut self.segments {
            // Only finished segments stay clean; the newest may grow while it is being synced.
            s.synced = Some(s.first) != newest;
        }
        Box::pin(async move {
            for f in files {
                f.sync()?;
            }
            if let Some(d) = folder {
                d.sync_folder()?;
            }
            Ok(through)
        })
    }

    fn synced(&mut self, through: Option<u64>) {
        match through {
            Some(n) => self.durable = self.durable.max(n),
            None => {
                self.folder_dirty = true;
                self.segments.iter_mut().for_each(|s| s.synced = false);
            }
        }
    }

    fn read(&mut self, after: u64, max_items: usize, max_bytes: usize) -> Result<Vec<(u64, Bytes)>> {
        let mut out = Vec::new();
        let mut want = after.max(self.settled) + 1;
        let mut bytes = 0;
        for s in &self.segments {
            if s.end <= want {
                continue;
            }
            let (mut seq, mut at) = match self.reader {
                // The last read ended within this segment.
                (n, at) if n == want && want > s.first => (n, at),
                _ => (s.first, HEADER as u64),
            };
            let mut buf = vec![0; (s.bytes.saturating_sub(at)).min(max_bytes.max(64 << 10) as u64) as usize];
            while seq < s.end {
                if out.len() >= max_items || (bytes >= max_bytes && !out.is_empty()) {
                    self.reader = (seq, at);
                    return Ok(out);
                }
                let got = s.file.read_at(at, &mut buf)?;
                let shared = Bytes::copy_from_slice(buf.get(..got).unwrap_or_default());
                let mut used = 0;
                while seq < s.end && out.len() < max_items && (bytes < max_bytes || out.is_empty()) {
                    match segment::parse(shared.get(used..).unwrap_or_default(), seq) {
                        Parsed::Record(b, n) => {
                            if seq >= want {
                                bytes += b.len();
                                out.push((seq, shared.slice(used + PREFIX..used + n)));
                                want = seq + 1;
                            }
                            used += n;
                            seq += 1;
                        }
                        Parsed::Need(n) => {
                            if used == 0 {
                                if n as u64 > s.bytes - at {
                                    return Err(damaged(s.first, seq));
                                }
                                buf.resize(n, 0);
                            }
                            break;
                        }
                        Parsed::Damaged => return Err(damaged(s.first, seq)),
                    }
                }
                at += used as u64;
            }
            self.reader = (seq, at);
        }
        Ok(out)
    }

    fn settle(&mut self, through: u64) -> Result<()> {
        let through = through.min(self.stats().last);
        if through <= self.settled {
            return Ok(());
        }
        self.settled = through;
        if self.segments.back().is_some_and(|s| s.end <= through + 1 && s.bytes >= self.limits.segment_bytes) {
            self.begin_segment(through + 1)?;
        }
        let mut gone = Vec::new();
        while self.segments.len() > 1 && self.segments.front().is_some_and(|s| s.end <= through + 1) {
            gone.extend(self.segments.pop_front());
        }
        if !gone.is_empty() {
            // The successor's name carries the numbers on; it must be there before the past goes.
            if let Some(s) = self.segments.front() {
                s.file.sync()?;
            }
            self.disk.sync_folder()?;
            for s in gone {
                self.disk.remove(&segment::name(s.first))?;
            }
        }
        self.write_cursor()
    }

    fn stats(&self) -> OutboxStats {
        OutboxStats {
            last: self.segments.back().map_or(self.settled, |s| s.end - 1),
            settled: self.settled,
            durable: self.durable,
            bytes: self.bytes(),
            damaged: self.damaged,
        }
    }
}

fn damaged(first: u64, seq: u64) -> Error {
    Error::new(Code::OUTBOX_IO, format!("item {seq} in segment {} cannot be read back", segment::name(first))).op("outbox.read")
}
