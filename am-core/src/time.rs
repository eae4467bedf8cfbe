//! Points in time.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Code, Error, Result};

/// Nanoseconds since 1970-01-01T00:00:00Z, without leap seconds; 1677-09-21 to 2262-04-11.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest one that can be held.
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// The latest one that can be held.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// From nanoseconds since 1970.
    pub const fn from_nanos(ns: i64) -> Self {
        Timestamp(ns)
    }

    /// From whole seconds since 1970, clamped to the range.
    pub const fn from_second(s: i64) -> Self {
        Timestamp(s.saturating_mul(1_000_000_000))
    }

    /// From milliseconds since 1970, clamped to the range.
    pub const fn from_millisecond(ms: i64) -> Self {
        Timestamp(ms.saturating_mul(1_000_000))
    }

    /// From the two fields of a `google.protobuf.Timestamp`; `None` outside of the range or when `nanos` is not 0–999,999,999.
    pub const fn from_parts(seconds: i64, nanos: i32) -> Option<Self> {
        if nanos < 0 || nanos > 999_999_999 {
            return None;
        }
        match seconds.checked_mul(1_000_000_000) {
            Some(ns) => match ns.checked_add(nanos as i64) {
                Some(ns) => Some(Timestamp(ns)),
                None => None,
            },
            None => None,
        }
    }

    /// Nanoseconds since 1970.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970, rounded down.
    pub const fn as_millisecond(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Seconds since 1970, rounded down.
    pub const fn as_second(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// The nanoseconds after [`Timestamp::as_second`], 0–999,999,999.
    pub const fn subsec_nanos(self) -> i32 {
        self.0.rem_euclid(1_000_000_000) as i32
    }

    /// Later by `d`, clamped to the range.
    #[must_use]
    pub fn saturating_add(self, d: Duration) -> Self {
        Timestamp(self.0.saturating_add(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Earlier by `d`, clamped to the range.
    #[must_use]
    pub fn saturating_sub(self, d: Duration) -> Self {
        Timestamp(self.0.saturating_sub(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Shifted by signed nanoseconds, clamped to the range.
    #[must_use]
    pub const fn shifted(self, ns: i64) -> Self {
        Timestamp(self.0.saturating_add(ns))
    }

    /// The time from `earlier` to this, or zero when it is not earlier.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(u64::try_from(i128::from(self.0) - i128::from(earlier.0)).unwrap_or(0))
    }

    /// The start of the bucket of `width` that this falls into, counted from 1970.
    #[must_use]
    pub fn floor(self, width: Duration) -> Self {
        let w = i64::try_from(width.as_nanos()).unwrap_or(i64::MAX).max(1);
        Timestamp(self.0.saturating_sub(self.0.rem_euclid(w)))
    }

    /// Parses RFC 3339; a leap second (`:60`) becomes the last nanosecond-free second before it.
    ///
    /// # Errors
    /// `BAD_TIME` when it is not RFC 3339 with an offset, or out of range.
    pub fn parse(s: &str) -> Result<Self> {
        let bad = |why: String| Error::new(Code::BAD_TIME, format!("{why}: expected RFC 3339, such as 2026-03-01T08:00:00Z"));
        let t: jiff::Timestamp = s.parse().map_err(|e: jiff::Error| bad(e.to_string()))?;
        i64::try_from(t.as_nanosecond()).map(Timestamp).map_err(|_| bad("outside of 1678 to 2262".into()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(t) => write!(f, "{t}"),
            Err(_) => write!(f, "{}ns", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let s = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Timestamp::parse(&s).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_timestamp_survives_its_text_and_its_parts(ns: i64) {
            let t = Timestamp::from_nanos(ns);
            prop_assert_eq!(Timestamp::parse(&t.to_string()).unwrap(), t);
            prop_assert_eq!(Timestamp::from_parts(t.as_second(), t.subsec_nanos()), Some(t));
        }

        #[test]
        fn floor_is_at_most_one_width_before(ns in -1_000_000_000_000_000_000i64..1_000_000_000_000_000_000, w in 1u64..100_000_000_000_000) {
            let t = Timestamp::from_nanos(ns);
            let f = t.floor(Duration::from_nanos(w));
            prop_assert!(f <= t && t.since(f) < Duration::from_nanos(w));
        }
    }

    #[test]
    fn odd_times_are_read_or_refused_clearly() {
        assert_eq!(Timestamp::parse("1890-01-01T00:00:00Z").unwrap().as_second(), -2_524_521_600);
        assert_eq!(Timestamp::parse("2016-12-31T23:59:60Z").unwrap(), Timestamp::parse("2016-12-31T23:59:59Z").unwrap());
        for bad in ["", "2026", "2026-03-01T08:00:00", "2300-01-01T00:00:00Z", "1600-01-01T00:00:00Z", "yesterday"] {
            assert_eq!(Timestamp::parse(bad).unwrap_err().code(), Code::BAD_TIME, "{bad}");
        }
        assert_eq!(Timestamp::from_parts(0, -1), None);
        assert_eq!(Timestamp::from_parts(i64::MAX, 0), None);
    }
}
