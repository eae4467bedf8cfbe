//! Times and sizes as people write them: `7d`, `5m`, `100GB`, `1MiB`, or bare numbers of bytes.

/// Durations such as `7d`.
pub(super) mod time {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::options::parse_duration;

    pub(in super::super) fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&super::Shown(*d))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(d)?;
        parse_duration(&text).map_err(|e| D::Error::custom(e.message()))
    }
}

/// Durations that may be left out.
pub(super) mod time_or_none {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::options::parse_duration;

    pub(in super::super) fn serialize<S: Serializer>(d: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        match d {
            Some(d) => s.collect_str(&super::Shown(*d)),
            None => s.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(d)?;
        text.map(|t| parse_duration(&t).map_err(|e| D::Error::custom(e.message()))).transpose()
    }
}

/// Sizes such as `100GB`; powers of ten for `kB`, `MB`, `GB`, `TB`, of two for `KiB`, `MiB`, `GiB`, `TiB`.
pub(super) mod size {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Bytes(u64),
        Text(String),
    }

    pub(in super::super) fn serialize<S: Serializer>(n: &u64, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(*n)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        match Given::deserialize(d)? {
            Given::Bytes(n) => Ok(n),
            Given::Text(t) => super::parse_size(&t).ok_or_else(|| D::Error::custom(format!("{t:?} is not a size such as 1MB or 100GB"))),
        }
    }
}

struct Shown(std::time::Duration);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.0.subsec_nanos(), self.0.as_millis()) {
            (0, _) => write!(f, "{}s", self.0.as_secs()),
            (_, ms) if self.0.as_nanos() == ms * 1_000_000 => write!(f, "{ms}ms"),
            _ => write!(f, "{}ns", self.0.as_nanos()),
        }
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split)?;
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    // The server counts in signed numbers.
    number.parse::<u64>().ok()?.checked_mul(factor).filter(|n| *n <= i64::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, want) in [("100GB", 100_000_000_000), ("1MB", 1_000_000), ("2 MiB", 2 << 20), ("17", 17), ("0B", 0)] {
            assert_eq!(parse_size(text), Some(want), "{text}");
        }
        for bad in ["", "GB", "1.5GB", "-1", "1PB", "99999999999TB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_time_survives_being_written() {
        for d in ["7d", "90s", "250ms", "17ns"] {
            let d = crate::options::parse_duration(d).unwrap();
            assert_eq!(crate::options::parse_duration(&Shown(d).to_string()).unwrap(), d);
        }
    }
}
