//! Ids, and the scope that every call carries.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Code, Error, Result, Timestamp};

/// The longest id text, in bytes.
const MAX_ID: usize = 128;

fn check_id(what: &'static str, s: &str) -> Result<()> {
    let bad = |why: String| Err(Error::new(Code::BAD_ID, format!("{what} {why}")));
    if s.is_empty() {
        return bad("is empty".into());
    }
    if s.len() > MAX_ID {
        return bad(format!("has {} bytes, more than {MAX_ID}", s.len()));
    }
    match s.chars().find(|c| c.is_control() || c.is_whitespace()) {
        Some(c) => bad(format!("has the character {c:?}")),
        None => Ok(()),
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text: 1–128 bytes, no white space, no control characters.
            ///
            /// # Errors
            /// `BAD_ID` names what is wrong.
            pub fn new(s: impl AsRef<str>) -> Result<Self> {
                check_id($what, s.as_ref())?;
                Ok($name(Arc::from(s.as_ref())))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(s: String) -> Result<Self> {
                $name::new(s)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.to_string()
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;
            fn from_str(s: &str) -> Result<Self> {
                $name::new(s)
            }
        }
    };
}

text_id!(
    /// An organisation; `local` on a machine with one user.
    TenantId, "the tenant id"
);
text_id!(
    /// A person within a tenant.
    UserId, "the user id"
);
text_id!(
    /// A device or an account that readings come from. Cheap to clone.
    DeviceId, "the device id"
);

/// Whose data a call is about. No API takes a query without one (P08).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Scope {
    tenant: TenantId,
    user: UserId,
}

impl Scope {
    /// A scope of checked ids.
    ///
    /// # Errors
    /// `BAD_ID` when one of the texts is not an id.
    pub fn new(tenant: impl AsRef<str>, user: impl AsRef<str>) -> Result<Self> {
        Ok(Scope { tenant: TenantId::new(tenant)?, user: UserId::new(user)? })
    }

    /// A scope of ids that are already checked.
    pub fn of(tenant: TenantId, user: UserId) -> Self {
        Scope { tenant, user }
    }

    /// `local/me`: the only person on this machine.
    pub fn local() -> Self {
        Scope { tenant: TenantId(Arc::from("local")), user: UserId(Arc::from("me")) }
    }

    /// The tenant.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The user.
    pub fn user(&self) -> &UserId {
        &self.user
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.user)
    }
}

/// The id of one reading: a UUID (RFC 9562).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadingId([u8; 16]);

impl ReadingId {
    /// Any 16 bytes.
    pub const fn from_bytes(b: [u8; 16]) -> Self {
        ReadingId(b)
    }

    /// A version 7 id: milliseconds of `at`, then random bits.
    ///
    /// # Errors
    /// `INTERNAL` when the machine gives no randomness.
    pub fn v7(at: Timestamp) -> Result<Self> {
        let mut b = [0u8; 16];
        getrandom::fill(&mut b).map_err(|e| Error::new(Code::INTERNAL, format!("no randomness: {e}")))?;
        Ok(Self::v7_from(at, b))
    }

    /// A version 7 id from `at` and the caller's random bytes; the first six bytes and the version and variant bits are overwritten.
    pub fn v7_from(at: Timestamp, random: [u8; 16]) -> Self {
        let ms = at.as_millisecond().max(0).to_be_bytes();
        let mut b = random;
        b[..6].copy_from_slice(&ms[2..]);
        ReadingId(stamp(b, 7))
    }

    /// A version 8 id from the first 16 bytes of a digest.
    pub fn v8_from(digest: &[u8; 32]) -> Self {
        let mut b = [0u8; 16];
        b.copy_from_slice(&digest[..16]);
        ReadingId(stamp(b, 8))
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The version field: 7 for clients' own ids, 8 for derived ones.
    pub const fn version(&self) -> u8 {
        self.0[6] >> 4
    }

    /// Parses the 36-character form, upper or lower case.
    ///
    /// # Errors
    /// `BAD_ID` when it is anything else.
    pub fn parse(s: &str) -> Result<Self> {
        Self::parse_ascii(s.as_bytes()).ok_or_else(|| Error::new(Code::BAD_ID, "the reading id is not a UUID"))
    }

    /// As [`ReadingId::parse`], without an error value.
    pub fn parse_ascii(s: &[u8]) -> Option<Self> {
        let s: &[u8; 36] = s.try_into().ok()?;
        if s[8] != b'-' || s[13] != b'-' || s[18] != b'-' || s[23] != b'-' {
            return None;
        }
        let mut out = [0u8; 16];
        let starts = [0usize, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
        let mut bad = 0u8;
        for (o, i) in out.iter_mut().zip(starts) {
            let (h, l) = (HEX[s[i] as usize], HEX[s[i + 1] as usize]);
            bad |= h | l;
            *o = (h << 4) | (l & 15);
        }
        (bad < 16).then_some(ReadingId(out))
    }

    /// The lower-case 36-character form, without allocating.
    pub fn to_ascii(self) -> [u8; 36] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut out = [b'-'; 36];
        let mut at = 0;
        for (i, b) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                at += 1;
            }
            out[at] = DIGITS[(b >> 4) as usize];
            out[at + 1] = DIGITS[(b & 15) as usize];
            at += 2;
        }
        out
    }
}

const fn stamp(mut b: [u8; 16], version: u8) -> [u8; 16] {
    b[6] = (b[6] & 0x0f) | (version << 4);
    b[8] = (b[8] & 0x3f) | 0x80;
    b
}

/// 0–15 for a hexadecimal digit, 255 otherwise.
static HEX: [u8; 256] = {
    let mut t = [255u8; 256];
    let mut i = 0;
    while i < 10 {
        t[b'0' as usize + i] = i as u8;
        i += 1;
    }
    let mut i = 0;
    while i < 6 {
        t[b'a' as usize + i] = 10 + i as u8;
        t[b'A' as usize + i] = 10 + i as u8;
        i += 1;
    }
    t
};

impl fmt::Display for ReadingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_ascii()).unwrap_or_default())
    }
}

impl fmt::Debug for ReadingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for ReadingId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReadingId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let s = std::borrow::Cow::<'de, str>::deserialize(d)?;
        ReadingId::parse(&s).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_reading_id_survives_its_text(b: [u8; 16]) {
            let id = ReadingId::from_bytes(b);
            prop_assert_eq!(ReadingId::parse(&id.to_string()).unwrap(), id);
            prop_assert_eq!(ReadingId::parse(&id.to_string().to_uppercase()).unwrap(), id);
        }

        #[test]
        fn no_text_makes_the_id_parser_panic(s in ".{0,40}") {
            let _ = ReadingId::parse(&s);
        }
    }

    #[test]
    fn v7_ids_sort_by_time_and_carry_version_and_variant() {
        let a = ReadingId::v7_from(Timestamp::from_nanos(1_000_000_000_000_000_000), [255; 16]);
        let b = ReadingId::v7_from(Timestamp::from_nanos(1_000_000_000_001_000_000), [0; 16]);
        assert!(a < b);
        assert_eq!((a.version(), a.as_bytes()[8] >> 6), (7, 2));
    }

    #[test]
    fn ids_refuse_what_would_break_keys_and_logs() {
        for bad in ["", " ", "a b", "a\nb", "a\0b", &"x".repeat(129)] {
            assert_eq!(DeviceId::new(bad).unwrap_err().code(), Code::BAD_ID, "{bad:?}");
        }
        assert_eq!(DeviceId::new("Pixel-8/öäü").unwrap().as_str(), "Pixel-8/öäü");
    }
}
