//! Rows to readings and back.

use am_core::{Code, DeviceId, Error, ReadingId, Result, Timestamp};
use am_schema::{Kind, Reading};
use bytes::Bytes;

use super::errors::damaged;
use crate::model::{Origin, ReadingKey, Seq, Stored, StreamId};

/// The body is the reading's own bytes. Other first bytes are kept for sealed bodies.
const PLAIN: u8 = 0;
/// The flag of a derived reading that gave way to a newer generation.
pub(super) const SUPERSEDED: i64 = 4;
/// The flag of a reading with an end.
pub(super) const SPAN: i64 = 8;
const GENERATION_SHIFT: u32 = 8;

/// Flags of a new row: origin in bits 0 and 1, generation from bit 8 on.
pub(super) fn flags(origin: Origin, reading: &Reading, generation: u32) -> i64 {
    i64::from(origin as u8) | if reading.ended_at().is_some() { SPAN } else { 0 } | (i64::from(generation) << GENERATION_SHIFT)
}

/// The origin within the flags.
pub(super) fn origin(flags: i64) -> Origin {
    Origin::from_u8((flags & 3) as u8)
}

/// The generation within the flags.
pub(super) fn generation(flags: i64) -> u32 {
    (flags >> GENERATION_SHIFT) as u32
}

/// Writes the stored form of a body.
pub(super) fn write_body(reading: &Reading, out: &mut Vec<u8>) {
    out.clear();
    out.push(PLAIN);
    out.extend_from_slice(reading.body());
}

/// Whether the stored form of a body is this reading's.
pub(super) fn same_body(stored: &[u8], reading: &Reading) -> bool {
    matches!(stored.split_first(), Some((&PLAIN, body)) if body == &reading.body()[..])
}

/// The body within its stored form.
pub(super) fn read_body(stored: Vec<u8>) -> Result<Bytes> {
    match stored.first() {
        Some(&PLAIN) => Ok(Bytes::from(stored).slice(1..)),
        Some(n) => {
            Err(Error::new(Code::STORE_NEWER, format!("a stored body has format {n}, this version reads format {PLAIN}")).op("sqlite.read"))
        }
        None => Err(damaged("an empty body")),
    }
}

/// A row of `reading`, without its stream.
pub(super) struct Row {
    pub seq: Seq,
    pub at: i64,
    pub id: [u8; 16],
    pub batch: i64,
    pub flags: i64,
    pub body: Vec<u8>,
}

/// The columns that [`Row::read`] expects.
pub(super) const COLUMNS: &str = "seq, at, id, batch, flags, body";

impl Row {
    /// From the columns of [`COLUMNS`].
    pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
        Ok(Row {
            seq: row.get::<_, i64>(0)? as Seq,
            at: row.get(1)?,
            id: row.get(2)?,
            batch: row.get(3)?,
            flags: row.get(4)?,
            body: row.get(5)?,
        })
    }

    /// The reading it holds.
    pub(super) fn reading(self, kind: Kind, device: &DeviceId) -> Result<Reading> {
        let id = ReadingId::from_bytes(self.id);
        Reading::from_parts(kind, device.clone(), Timestamp::from_nanos(self.at), id, read_body(self.body)?)
            .map_err(|e| damaged(format_args!("{kind} {id}")).source(e))
    }

    /// The reading with all that the store knows of it.
    pub(super) fn stored(self, stream: i64, kind: Kind, device: &DeviceId) -> Result<Stored> {
        let (seq, flags, batch) = (self.seq, self.flags, self.batch);
        let key =
            ReadingKey { stream: StreamId(stream as u32), recorded_at: Timestamp::from_nanos(self.at), id: ReadingId::from_bytes(self.id) };
        Ok(Stored::new(seq, key, origin(flags), batch as u64, generation(flags), self.reading(kind, device)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_another_format_is_refused_by_name() {
        let e = read_body(vec![1, 2, 3]).unwrap_err();
        assert_eq!(e.code(), Code::STORE_NEWER);
        assert!(e.message().contains("format 1"), "{e}");
        assert_eq!(read_body(vec![]).unwrap_err().code(), Code::STORE_CORRUPT);
        assert_eq!(&read_body(vec![0, 7, 8]).unwrap()[..], &[7, 8]);
    }

    #[test]
    fn origin_and_generation_share_the_flags() {
        for (o, g) in [(Origin::Live, 0), (Origin::Replay, 1), (Origin::Backfill, u32::MAX)] {
            let f = i64::from(o as u8) | SUPERSEDED | SPAN | (i64::from(g) << GENERATION_SHIFT);
            assert_eq!((origin(f), generation(f)), (o, g));
        }
    }
}
