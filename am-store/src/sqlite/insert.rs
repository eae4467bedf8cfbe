//! One reading into its tables, within the writer's transaction.

use std::collections::HashMap;

use am_core::{DeviceId, ReadingId, Timestamp};
use am_schema::{Catalogue, Kind, Reading, v1};
use rusqlite::{CachedStatement, Connection, OptionalExtension};

use super::codec::{self, COLUMNS, Row, SUPERSEDED};
use super::errors::{Failure, damaged};
use super::rollup::Addition;
use super::streams::{Interned, Stream};
use super::writer::Session;
use crate::model::{Origin, ReadingKey, Seq, StreamId};
use crate::text::Document;

const INSERT: &str =
    "INSERT INTO reading (seq, stream, at, id, batch, flags, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";

/// What became of a reading.
pub(super) enum Inserted {
    /// It has this place; the older generation of its slot gave way.
    Stored(Seq, Option<ReadingKey>),
    /// It is there already.
    Duplicate,
    /// Its key is there with other content.
    Conflict,
}

/// Inserts readings; holds what consecutive ones share.
pub(super) struct Inserter<'s> {
    conn: &'s Connection,
    ids: &'s mut Interned,
    catalogue: &'s Catalogue,
    head: &'s mut Seq,
    scratch: &'s mut Vec<u8>,
    insert: CachedStatement<'s>,
    pending: &'s mut Option<Addition>,
    recent: Option<(i64, Kind, DeviceId, Stream)>,
    /// Texts and words that came to each scope.
    corpus: HashMap<i64, (i64, i64)>,
}

impl<'s> Inserter<'s> {
    pub(super) fn new(session: &'s mut Session) -> rusqlite::Result<Self> {
        let Session { conn, ids, catalogue, head, scratch, pending, .. } = session;
        let conn: &Connection = conn;
        let insert = conn.prepare_cached(INSERT)?;
        Ok(Inserter { conn, ids, catalogue, head, scratch, insert, pending, recent: None, corpus: HashMap::new() })
    }

    /// Inserts one reading of a scope, with its words.
    pub(super) fn insert(
        &mut self,
        scope: i64,
        reading: &Reading,
        words: Option<&Document>,
        origin: Origin,
        batch: u64,
    ) -> Result<Inserted, Failure> {
        let mut stream = match &self.recent {
            Some((sc, k, d, s)) if *sc == scope && *k == reading.kind() && d == reading.device() => *s,
            _ => self.ids.stream(self.conn, scope, reading.kind(), reading.device())?,
        };
        let at = reading.recorded_at().as_nanos();
        let older = match reading.lineage() {
            Some(l) => self.newest_of(&l.slot, stream.id)?,
            None => None,
        };
        let said = reading.lineage().map_or(0, |l| l.generation);
        let generation = older.map_or(said, |(g, _)| said.max(g.saturating_add(1)));
        codec::write_body(reading, self.scratch);
        let seq = *self.head + 1;
        let flags = codec::flags(origin, reading, generation);
        let id = reading.id();
        let n = self.insert.execute((seq as i64, stream.id, at, id.as_bytes(), batch as i64, flags, &self.scratch[..]))?;
        if n == 0 {
            return self.compare(stream.id, at, id, reading);
        }
        *self.head = seq;
        if let Some(p) = self.pending {
            p.add(stream.id, reading.kind(), reading.recorded_at(), reading.scalar());
        }
        if let Some(end) = reading.ended_at() {
            let span = end.as_nanos().saturating_sub(at);
            if span > stream.span {
                self.ids.widen_span(self.conn, &mut stream, reading.kind(), reading.device(), span)?;
            }
        }
        self.recent = Some((scope, reading.kind(), reading.device().clone(), stream));
        if let Some(doc) = words {
            self.index(scope, seq, doc)?;
        }
        let mut superseded = None;
        if let Some(lineage) = reading.lineage() {
            self.conn.prepare_cached("INSERT INTO derived (slot, stream, generation, seq) VALUES (?1, ?2, ?3, ?4)")?.execute((
                &lineage.slot,
                stream.id,
                generation,
                seq as i64,
            ))?;
            self.inputs(scope, seq, lineage)?;
            if let Some((_, old)) = older {
                superseded = Some(self.supersede(scope, old, &stream, reading, &lineage.slot)?);
            }
        }
        Ok(Inserted::Stored(seq, superseded))
    }

    /// Writes what was summed up; to be called once at the end.
    pub(super) fn finish(self) -> rusqlite::Result<()> {
        for (scope, (texts, words)) in self.corpus {
            self.conn
                .prepare_cached(
                    "INSERT INTO corpus (scope, texts, words) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET texts = texts + excluded.texts, words = words + excluded.words",
                )?
                .execute((scope, texts, words))?;
        }
        Ok(())
    }

    fn compare(&self, stream: i64, at: i64, id: ReadingId, reading: &Reading) -> Result<Inserted, Failure> {
        let mut q = self.conn.prepare_cached("SELECT body FROM reading WHERE stream = ?1 AND at = ?2 AND id = ?3")?;
        let same =
            q.query_row((stream, at, id.as_bytes()), |r| Ok(codec::same_body(r.get_ref(0)?.as_blob().unwrap_or_default(), reading)))?;
        Ok(if same { Inserted::Duplicate } else { Inserted::Conflict })
    }

    /// Generation and place of the newest reading of a slot.
    fn newest_of(&self, slot: &[u8], stream: i64) -> rusqlite::Result<Option<(u32, i64)>> {
        self.conn
            .prepare_cached("SELECT generation, seq FROM derived WHERE slot = ?1 AND stream = ?2 ORDER BY generation DESC LIMIT 1")?
            .query_row((slot, stream), |r| Ok((r.get(0)?, r.get(1)?)))
            .optional()
    }

    fn inputs(&mut self, scope: i64, output: Seq, lineage: &v1::Lineage) -> Result<(), Failure> {
        for (ordinal, input) in (0i64..).zip(&lineage.inputs) {
            // An input of a kind or device that no store can hold cannot be asked for either.
            let (Some(kind), Ok(device)) = (self.catalogue.get(&input.kind), DeviceId::new(&input.device_id)) else { continue };
            let start = input.from.as_ref().and_then(|t| Timestamp::from_parts(t.seconds, t.nanos));
            let end = input.to.as_ref().and_then(|t| Timestamp::from_parts(t.seconds, t.nanos));
            let Some(from) = start.map(Timestamp::as_nanos) else { continue };
            let until = end.map_or(from, Timestamp::as_nanos);
            let mut stream = self.ids.stream(self.conn, scope, kind, &device)?;
            let span = until.saturating_sub(from);
            if span > stream.input_span {
                self.ids.widen_input(self.conn, &mut stream, kind, &device, span)?;
            }
            let id = (input.reading_id.len() == 16).then_some(&input.reading_id);
            self.conn
                .prepare_cached("INSERT INTO lineage (stream, at, output, ordinal, until, id) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                .execute((stream.id, from, output as i64, ordinal, until, id))?;
        }
        // A widened stream may be the one that is remembered.
        self.recent = None;
        Ok(())
    }

    /// Marks the older generation, takes it out of the text index and tells the feed.
    fn supersede(&mut self, scope: i64, old: i64, stream: &Stream, newer: &Reading, slot: &[u8]) -> Result<ReadingKey, Failure> {
        let row = {
            let mut q = self.conn.prepare_cached(&format!("SELECT {COLUMNS} FROM reading WHERE seq = ?1"))?;
            q.query_row([old], Row::read).optional()?.ok_or_else(|| Failure::Damaged(damaged(format_args!("generation at {old}"))))?
        };
        let key = ReadingKey {
            stream: StreamId(stream.id as u32),
            recorded_at: Timestamp::from_nanos(row.at),
            id: ReadingId::from_bytes(row.id),
        };
        let id = row.id;
        if !newer.kind().text_fields().is_empty() {
            let older = row.reading(newer.kind(), newer.device()).map_err(Failure::Damaged)?;
            if let Some(doc) = Document::of(&older) {
                self.unindex(scope, old, &doc)?;
            }
        }
        self.conn.prepare_cached("UPDATE reading SET flags = flags | ?2 WHERE seq = ?1")?.execute((old, SUPERSEDED))?;
        if let Some(p) = self.pending {
            p.lose(stream.id, newer.kind(), key.recorded_at.as_nanos());
        }
        *self.head += 1;
        self.conn.prepare_cached("INSERT INTO event (seq, kind, stream, at, id, slot) VALUES (?1, 1, ?2, ?3, ?4, ?5)")?.execute((
            *self.head as i64,
            stream.id,
            key.recorded_at.as_nanos(),
            &id,
            slot,
        ))?;
        Ok(key)
    }

    fn index(&mut self, scope: i64, seq: Seq, doc: &Document) -> rusqlite::Result<()> {
        let mut put = self.conn.prepare_cached("INSERT INTO posting (scope, term, seq, tf, len) VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for (term, positions) in &doc.positions {
            put.execute((scope, term.as_bytes(), seq as i64, positions.len() as i64, doc.length))?;
        }
        let c = self.corpus.entry(scope).or_default();
        *c = (c.0 + 1, c.1 + i64::from(doc.length));
        Ok(())
    }

    fn unindex(&mut self, scope: i64, seq: i64, doc: &Document) -> rusqlite::Result<()> {
        let mut remove = self.conn.prepare_cached("DELETE FROM posting WHERE scope = ?1 AND term = ?2 AND seq = ?3")?;
        for term in doc.positions.keys() {
            remove.execute((scope, term.as_bytes(), seq))?;
        }
        let c = self.corpus.entry(scope).or_default();
        *c = (c.0 - 1, c.1 - i64::from(doc.length));
        Ok(())
    }
}
