//! Timestamps as text.

use std::fmt::Write;

use am_core::Timestamp;

/// Writes RFC 3339 in UTC with 0, 3, 6 or 9 decimals, as protobuf's JSON mapping does.
pub(super) fn push_time(out: &mut String, t: Timestamp) {
    let (days, second) = (t.as_second().div_euclid(86_400), t.as_second().rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60);
    let nanos = t.subsec_nanos();
    let _ = match nanos {
        0 => Ok(()),
        n if n % 1_000_000 == 0 => write!(out, ".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => write!(out, ".{:06}", n / 1_000),
        n => write!(out, ".{n:09}"),
    };
    out.push('Z');
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Counted from 0000-03-01, leap days come last in their year, and 400 years always have 146,097 days.
    let d = days + 719_468;
    let (era, day_of_era) = (d.div_euclid(146_097), d.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Five months from March on have 153 days.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year_of_era, month + 3) } else { (year_of_era + 1, month - 9) };
    (era * 400 + year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(t: Timestamp) -> String {
        let mut out = String::new();
        push_time(&mut out, t);
        out
    }

    proptest! {
        #[test]
        fn every_timestamp_survives_its_text(ns: i64) {
            let t = Timestamp::from_nanos(ns);
            prop_assert_eq!(Timestamp::parse(&text(t)).unwrap(), t, "{}", text(t));
        }
    }

    #[test]
    fn decimals_come_in_groups_of_three() {
        for (ns, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (500_000_000, "1970-01-01T00:00:00.500Z"),
            (1_000, "1970-01-01T00:00:00.000001Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(text(Timestamp::from_nanos(ns)), expected);
        }
    }
}
