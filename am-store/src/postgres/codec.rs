//! Rows to readings and back.

use am_core::{Code, DeviceId, Error, Result};
use am_schema::{Kind, Reading};
use bytes::Bytes;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::errors::{Failure, damaged};
use super::types::{At, Id, Micros};
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

fn origin(flags: i64) -> Origin {
    Origin::from_u8((flags & 3) as u8)
}

fn generation(flags: i64) -> u32 {
    (flags >> GENERATION_SHIFT) as u32
}

/// Appends the stored form of a body.
pub(super) fn write_body(reading: &Reading, out: &mut Vec<u8>) {
    out.push(PLAIN);
    out.extend_from_slice(reading.body());
}

/// The stored form of a body.
pub(super) fn stored_body(reading: &Reading) -> Vec<u8> {
    let mut out = Vec::with_capacity(reading.body().len() + 1);
    write_body(reading, &mut out);
    out
}

/// Whether the stored form of a body is this reading's.
pub(super) fn same_body(stored: &[u8], reading: &Reading) -> bool {
    matches!(stored.split_first(), Some((&PLAIN, body)) if body == &reading.body()[..])
}

/// The body within its stored form.
pub(super) fn read_body(stored: &[u8]) -> Result<Bytes> {
    match stored.split_first() {
        Some((&PLAIN, body)) => Ok(Bytes::copy_from_slice(body)),
        Some((n, _)) => {
            Err(Error::new(Code::STORE_NEWER, format!("a stored body has format {n}, this version reads format {PLAIN}"))
                .op("postgres.read"))
        }
        None => Err(damaged("an empty body")),
    }
}

/// A row of `reading`.
pub(super) struct Row {
    pub seq: Seq,
    pub at: At,
    pub id: Id,
    pub batch: i64,
    pub flags: i64,
    pub stream: i32,
    pub body: Bytes,
}

/// The columns that [`Row::read`] expects.
pub(super) const COLUMNS: &str = "seq, at, ns, id, batch, flags, stream, body";

impl Row {
    /// From the columns of [`COLUMNS`].
    pub(super) fn read(r: &PgRow) -> std::result::Result<Row, Failure> {
        Ok(Row {
            seq: r.try_get_unchecked::<i64, _>(0)? as Seq,
            at: At { micros: r.try_get_unchecked::<Micros, _>(1)?, nanos: r.try_get_unchecked(2)? },
            id: r.try_get_unchecked(3)?,
            batch: r.try_get_unchecked(4)?,
            flags: r.try_get_unchecked(5)?,
            stream: r.try_get_unchecked(6)?,
            body: read_body(r.try_get_unchecked::<&[u8], _>(7)?)?,
        })
    }

    pub(super) fn key(&self) -> ReadingKey {
        ReadingKey { stream: StreamId(self.stream as u32), recorded_at: self.at.time(), id: self.id.reading() }
    }

    /// The reading it holds.
    pub(super) fn reading(self, kind: Kind, device: &DeviceId) -> Result<Reading> {
        let id = self.id.reading();
        Reading::from_parts(kind, device.clone(), self.at.time(), id, self.body).map_err(|e| damaged(format_args!("{kind} {id}")).source(e))
    }

    /// The reading with all that the store knows of it.
    pub(super) fn stored(self, kind: Kind, device: &DeviceId) -> Result<Stored> {
        let (seq, flags, batch, key) = (self.seq, self.flags, self.batch, self.key());
        Ok(Stored::new(seq, key, origin(flags), batch as u64, generation(flags), self.reading(kind, device)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_another_format_is_refused_by_name() {
        let e = read_body(&[1, 2, 3]).unwrap_err();
        assert_eq!(e.code(), Code::STORE_NEWER);
        assert!(e.message().contains("format 1"), "{e}");
        assert_eq!(read_body(&[]).unwrap_err().code(), Code::STORE_CORRUPT);
        assert_eq!(&read_body(&[0, 7, 8]).unwrap()[..], &[7, 8]);
    }

    #[test]
    fn origin_and_generation_share_the_flags() {
        for (o, g) in [(Origin::Live, 0), (Origin::Replay, 1), (Origin::Backfill, u32::MAX)] {
            let f = i64::from(o as u8) | SUPERSEDED | SPAN | (i64::from(g) << GENERATION_SHIFT);
            assert_eq!((origin(f), generation(f)), (o, g));
        }
    }
}
