//! Times, ids and texts as PostgreSQL keeps them.
//!
//! A time is a `timestamptz`, which has microseconds, and the nanoseconds beyond them beside it: what SQL can work with, and exact.

use std::borrow::Cow;

use am_core::{ReadingId, Timestamp};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

/// Microseconds from 1970 to 2000, where PostgreSQL begins to count.
const EPOCH: i64 = 946_684_800_000_000;
const TIMESTAMPTZ: PgTypeInfo = PgTypeInfo::with_oid(Oid(1184));
const TIMESTAMPTZ_ARRAY: PgTypeInfo = PgTypeInfo::with_oid(Oid(1185));
const UUID: PgTypeInfo = PgTypeInfo::with_oid(Oid(2950));
const UUID_ARRAY: PgTypeInfo = PgTypeInfo::with_oid(Oid(2951));

/// A `timestamptz`: microseconds since 2000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Micros(pub i64);

/// A time as the pair of columns that keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct At {
    pub micros: Micros,
    /// Nanoseconds beyond the microseconds, 0 to 999.
    pub nanos: i16,
}

impl At {
    pub(super) fn of(t: Timestamp) -> At {
        Self::of_nanos(t.as_nanos())
    }

    pub(super) fn of_nanos(n: i64) -> At {
        At { micros: Micros(n.div_euclid(1_000) - EPOCH), nanos: n.rem_euclid(1_000) as i16 }
    }

    pub(super) fn nanos(self) -> i64 {
        // Wider on the way: the microsecond that the least time falls into begins below it.
        let n = (i128::from(self.micros.0) + i128::from(EPOCH)) * 1_000 + i128::from(self.nanos);
        n.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    pub(super) fn time(self) -> Timestamp {
        Timestamp::from_nanos(self.nanos())
    }
}

/// A `uuid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id(pub [u8; 16]);

impl Id {
    pub(super) const LEAST: Id = Id([0; 16]);
    pub(super) const MOST: Id = Id([0xff; 16]);

    pub(super) fn of(id: ReadingId) -> Id {
        Id(*id.as_bytes())
    }

    pub(super) fn reading(self) -> ReadingId {
        ReadingId::from_bytes(self.0)
    }
}

impl Type<Postgres> for Micros {
    fn type_info() -> PgTypeInfo {
        TIMESTAMPTZ
    }
}

impl PgHasArrayType for Micros {
    fn array_type_info() -> PgTypeInfo {
        TIMESTAMPTZ_ARRAY
    }
}

impl Encode<'_, Postgres> for Micros {
    fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buf.extend_from_slice(&self.0.to_be_bytes());
        Ok(IsNull::No)
    }

    fn size_hint(&self) -> usize {
        8
    }
}

impl Decode<'_, Postgres> for Micros {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match (value.format(), value.as_bytes()?.first_chunk::<8>()) {
            (PgValueFormat::Binary, Some(b)) => Ok(Micros(i64::from_be_bytes(*b))),
            _ => Err("not a timestamptz in binary form".into()),
        }
    }
}

impl Type<Postgres> for Id {
    fn type_info() -> PgTypeInfo {
        UUID
    }
}

impl PgHasArrayType for Id {
    fn array_type_info() -> PgTypeInfo {
        UUID_ARRAY
    }
}

impl Encode<'_, Postgres> for Id {
    fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buf.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn size_hint(&self) -> usize {
        16
    }
}

impl Decode<'_, Postgres> for Id {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match (value.format(), value.as_bytes()?.first_chunk::<16>()) {
            (PgValueFormat::Binary, Some(b)) => Ok(Id(*b)),
            _ => Err("not a uuid in binary form".into()),
        }
    }
}

/// Stands before a digit for what a text of PostgreSQL cannot hold: `0` for NUL, `1` for itself. A character of private use.
const ESCAPE: char = '\u{F8FE}';

/// A text without NUL that [`plain`] turns back.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => out.extend([ESCAPE, '0']),
            ESCAPE => out.extend([ESCAPE, '1']),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The text that was [`escaped`].
pub(super) fn plain(text: String) -> String {
    if !text.contains(ESCAPE) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ESCAPE => out.push(if chars.next() == Some('0') { '\0' } else { ESCAPE }),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_nanosecond_comes_back_and_keeps_its_order(a in any::<i64>(), b in any::<i64>()) {
            prop_assert_eq!(At::of_nanos(a).nanos(), a);
            prop_assert_eq!(At::of_nanos(a).cmp(&At::of_nanos(b)), a.cmp(&b));
        }

        #[test]
        fn any_text_comes_back_without_a_nul_on_the_way(s in "[a-c\0\u{F8FE}01]{0,12}") {
            let kept = escaped(&s).into_owned();
            prop_assert!(!kept.contains('\0'));
            prop_assert_eq!(plain(kept), s);
        }
    }
}
