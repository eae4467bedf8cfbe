//! Where a scan goes on: the last key that was given, and which query gave it.

use am_core::{DeviceId, ReadingId, Result, Timestamp};
use am_schema::{Catalogue, Kind, Reading};

use crate::limits::bad;
use crate::model::{Cursor, ScanQuery};

/// The version byte of a cursor.
const VERSION: u8 = 1;

/// A place in the order of scans.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When.
    pub recorded_at: Timestamp,
    /// What.
    pub kind: Kind,
    /// From where.
    pub device: DeviceId,
    /// Which.
    pub id: ReadingId,
}

impl Place {
    /// Of a reading.
    pub fn of(r: &Reading) -> Self {
        Place { recorded_at: r.recorded_at(), kind: r.kind(), device: r.device().clone(), id: r.id() }
    }
}

/// What makes a query the same when it goes on: all but the limit and the cursor.
fn fingerprint(q: &ScanQuery) -> [u8; 8] {
    let mut h = blake3::Hasher::new_derive_key("am 2026 scan cursor v1");
    let text = format!("{:?}|{:?}|{}|{}|{:?}|{:?}|{:?}", q.kinds, q.devices, q.from, q.to, q.filter, q.order, q.generations);
    h.update(text.as_bytes());
    h.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}

/// The cursor that goes on after `last`.
pub fn encode(q: &ScanQuery, last: &Place) -> Cursor {
    let mut out = vec![VERSION];
    out.extend(fingerprint(q));
    out.extend(last.recorded_at.as_nanos().to_le_bytes());
    out.extend(last.id.as_bytes());
    out.push(last.device.as_str().len() as u8);
    out.extend(last.device.as_str().as_bytes());
    out.extend(last.kind.topic().as_bytes());
    Cursor(out)
}

/// The place where a query's cursor goes on, if it has one.
///
/// # Errors
/// `BAD_QUERY` for a cursor of another query, or none of ours.
pub fn decode(q: &ScanQuery, catalogue: &Catalogue) -> Result<Option<Place>> {
    let Some(Cursor(b)) = &q.cursor else { return Ok(None) };
    let parsed = (|| {
        let (version, b) = b.split_first()?;
        let (print, b) = b.split_first_chunk::<8>()?;
        let (at, b) = b.split_first_chunk::<8>()?;
        let (id, b) = b.split_first_chunk::<16>()?;
        let (n, b) = b.split_first()?;
        let (device, topic) = b.split_at_checked(*n as usize)?;
        let device = DeviceId::new(std::str::from_utf8(device).ok()?).ok()?;
        let kind = catalogue.get(std::str::from_utf8(topic).ok()?)?;
        let place = Place { recorded_at: Timestamp::from_nanos(i64::from_le_bytes(*at)), kind, device, id: ReadingId::from_bytes(*id) };
        (*version == VERSION).then_some((*print, place))
    })();
    match parsed {
        Some((print, place)) if print == fingerprint(q) => Ok(Some(place)),
        Some(_) => Err(bad("the cursor belongs to another query; begin again without it")),
        None => Err(bad("the cursor is not one that a scan gave")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Order;

    #[test]
    fn a_cursor_survives_only_with_its_own_query() {
        let catalogue = Catalogue::builtin();
        let kind = catalogue.get("device.health.heartrate.raw").unwrap();
        let place =
            Place {
                recorded_at: Timestamp::from_nanos(-5), kind, device: DeviceId::new("ä").unwrap(), id: ReadingId::from_bytes([7; 16])
            };
        let mut q = ScanQuery { limit: 3, ..Default::default() };
        q.cursor = Some(encode(&q, &place));
        assert_eq!(decode(&ScanQuery { limit: 9, ..q.clone() }, &catalogue).unwrap(), Some(place));
        assert!(decode(&ScanQuery { order: Order::TimeDescending, ..q.clone() }, &catalogue).is_err());
        let whole = q.cursor.clone().unwrap().0;
        for n in 0..whole.len() {
            q.cursor = Some(Cursor(whole.get(..n).unwrap().to_vec()));
            assert!(decode(&q, &catalogue).is_err(), "{n} bytes");
        }
    }
}
