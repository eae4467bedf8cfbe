//! Reads a log from a durable cursor on.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use am_core::{Ctx, Result, Timestamp};
use am_schema::{Catalogue, Decoder};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::cursor;
use super::segment::{self, Writer};
use crate::{Arrival, Origin, Outcome, Polled, Settled, Source, Token, record};

/// How much of a segment is read at once.
const CHUNK: u64 = 4 << 20;
/// How often the end of the log is looked at for more.
const LOOK: Duration = Duration::from_millis(50);

/// Hands over a log's readings in order, from where its cursor stands. Readings settled out of order come again after a crash.
pub struct LogSource {
    folder: PathBuf,
    cursor: PathBuf,
    decoder: Decoder,
    follow: bool,
    writer: Arc<Mutex<Writer>>,
    /// The segment being read, and how far.
    place: Option<(PathBuf, u64)>,
    /// Number of the next record to read.
    next: u64,
    read: VecDeque<(u64, Bytes)>,
    /// Handed over and not settled.
    out: BTreeMap<u64, Bytes>,
    again: VecDeque<u64>,
    stored: u64,
}

impl LogSource {
    pub(super) fn open(folder: &Path, name: &str, catalogue: Catalogue, follow: bool, writer: Arc<Mutex<Writer>>) -> Result<LogSource> {
        let cursor = cursor::path_of(folder, name)?;
        let stored = cursor::load(&cursor)?;
        Ok(LogSource {
            folder: folder.to_owned(),
            cursor,
            decoder: Decoder::new(catalogue).trusted(),
            follow,
            writer,
            place: None,
            next: stored,
            read: VecDeque::new(),
            out: BTreeMap::new(),
            again: VecDeque::new(),
            stored,
        })
    }

    /// Reads on; false when there is nothing more for now.
    fn fill(&mut self) -> Result<bool> {
        if self.place.is_none() && !self.seek()? {
            return Ok(false);
        }
        let Some((path, from)) = self.place.clone() else { return Ok(false) };
        let (last, durable) = {
            let w = self.writer.lock();
            let (last, end) = w.durable();
            (last == path, end)
        };
        let room = if last { durable.saturating_sub(from).min(CHUNK) } else { CHUNK };
        let mut bytes = segment::read(&path, from, room)?;
        let mut used = self.take(&path, &bytes)?;
        if used == 0 && bytes.len() as u64 == CHUNK {
            // One record is longer than a chunk.
            bytes = segment::read(&path, from, if last { durable.saturating_sub(from) } else { u64::MAX })?;
            used = self.take(&path, &bytes)?;
        }
        if used > 0 {
            self.place = Some((path, from + used));
            return Ok(true);
        }
        // At the end of a closed segment the next one goes on.
        self.place = if last { Some((path, from)) } else { None };
        Ok(!last && self.seek()?)
    }

    fn take(&mut self, path: &Path, bytes: &[u8]) -> Result<u64> {
        let mut reader = record::Reader::new(bytes);
        while let Some(wire) = reader.next(path)? {
            self.read.push_back((self.next, Bytes::copy_from_slice(wire)));
            self.next += 1;
        }
        Ok(reader.good())
    }

    /// Finds the segment of the next record and the record in it.
    fn seek(&mut self) -> Result<bool> {
        let segments = segment::list(&self.folder)?;
        let holds = segments.iter().rev().find(|(first, _)| *first <= self.next).or_else(|| segments.first());
        let Some((first, path)) = holds else { return Ok(false) };
        if self.next >= self.writer.lock().next {
            return Ok(false);
        }
        // A trimmed log starts later than the cursor stood.
        self.next = self.next.max(*first);
        let bytes = segment::read(path, 0, u64::MAX)?;
        let mut reader = record::Reader::new(&bytes);
        for _ in *first..self.next {
            reader.next(path)?;
        }
        self.place = Some((path.clone(), reader.good()));
        Ok(true)
    }

    fn arrival(&mut self, number: u64, wire: Bytes) -> Arrival {
        let item = self.decoder.decode(wire.clone(), Timestamp::MAX);
        self.out.insert(number, wire);
        Arrival { token: Token(number), item }
    }
}

#[async_trait]
impl Source for LogSource {
    async fn poll(&mut self, ctx: &Ctx, room: usize) -> Result<Option<Polled>> {
        loop {
            let mut items = Vec::new();
            while items.len() < room {
                let next = match self.again.pop_front() {
                    Some(n) => self.out.get(&n).map(|w| (n, w.clone())),
                    None => self.read.pop_front(),
                };
                match next {
                    Some((n, wire)) => items.push(self.arrival(n, wire)),
                    None if !self.again.is_empty() => {}
                    None => match self.fill() {
                        Ok(true) => {}
                        Ok(false) => break,
                        // What was read before is handed over first; the error shows again.
                        Err(_) if !items.is_empty() => break,
                        Err(e) => return Err(e),
                    },
                }
            }
            match (items.is_empty(), self.follow) {
                (false, _) => return Ok(Some(Polled { items, origin: Origin::Live })),
                (true, false) => return Ok(None),
                (true, true) => ctx.clock().sleep(LOOK).await,
            }
        }
    }

    async fn settle(&mut self, _: &Ctx, outcomes: &[Settled]) -> Result<()> {
        let ended = outcomes.iter().filter(|s| !matches!(s.outcome, Outcome::Retry(_)));
        let gone: Vec<_> = ended.filter_map(|s| self.out.remove(&s.token.0).map(|wire| (s.token.0, wire))).collect();
        // Everything before the first open record is settled.
        let unread = self.read.front().map_or(self.next, |(n, _)| *n);
        let passed = self.out.first_key_value().map_or(unread, |(n, _)| *n);
        if passed > self.stored {
            let path = self.cursor.clone();
            let stored = tokio::task::spawn_blocking(move || cursor::store(&path, passed)).await;
            let stored = stored.unwrap_or_else(|e| Err(am_core::Error::new(am_core::Code::INTERNAL, e.to_string()).op("log.settle")));
            if let Err(e) = stored {
                // The same outcomes are told again.
                self.out.extend(gone);
                return Err(e);
            }
            self.stored = passed;
        }
        self.again.extend(outcomes.iter().filter(|s| matches!(s.outcome, Outcome::Retry(_))).map(|s| s.token.0));
        Ok(())
    }
}
