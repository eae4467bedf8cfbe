//! How a person's values are named in Redis.

use am_core::{Scope, Timestamp};
use am_pipeline::bus::subject::token;

/// The keys of one person. All have the same hash tag, so that one script may touch them.
pub(super) struct Names {
    base: String,
}

impl Names {
    /// `<prefix>:{<tenant>.<user>}`; ids are tokens, so that no two people share a name.
    pub(super) fn of(prefix: &str, scope: &Scope) -> Names {
        Names { base: format!("{prefix}:{{{}.{}}}", token(scope.tenant().as_str()), token(scope.user().as_str())) }
    }

    /// Before a value's own key.
    pub(super) fn values(&self) -> String {
        format!("{}:v:", self.base)
    }

    /// A hash: the value `v`, its version `n`, its end `e`.
    pub(super) fn value(&self, key: &str) -> String {
        format!("{}:v:{key}", self.base)
    }

    /// A sorted set of the keys, all with the score 0: in order of bytes.
    pub(super) fn index(&self) -> String {
        format!("{}:keys", self.base)
    }

    /// A sorted set of the keys that end, by when.
    pub(super) fn ends(&self) -> String {
        format!("{}:ends", self.base)
    }
}

/// A time as 20 digits, so that texts are ordered as the times are. Before 1970 is 1970.
pub(super) fn digits(at: Timestamp) -> String {
    format!("{:020}", at.as_nanos().max(0))
}

/// The two ends of the names that begin with a prefix and come after another, for `ZRANGEBYLEX`.
pub(super) fn range(prefix: &str, after: Option<&str>) -> (Vec<u8>, Vec<u8>) {
    let from = match after.filter(|a| *a >= prefix) {
        Some(a) => [b"(", a.as_bytes()].concat(),
        None if prefix.is_empty() => b"-".to_vec(),
        None => [b"[", prefix.as_bytes()].concat(),
    };
    // No text in UTF-8 has a byte 255, so this is behind all that begin so.
    let to = if prefix.is_empty() { b"+".to_vec() } else { [b"(", prefix.as_bytes(), &[255]].concat() };
    (from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_who_look_alike_have_names_of_their_own() {
        let of = |t, u| Names::of("am", &Scope::new(t, u).unwrap()).value("device:status:watch");
        assert_eq!(of("acme", "ada"), "am:{acme.ada}:v:device:status:watch");
        let alike = [("a", "b.c"), ("a.b", "c"), ("a", "b}:v:x{"), ("a", "b"), ("A", "b")].map(|(t, u)| of(t, u));
        let different: std::collections::BTreeSet<_> = alike.iter().collect();
        assert_eq!(different.len(), alike.len(), "{alike:?}");
    }

    #[test]
    fn digits_are_ordered_as_the_times_are() {
        let at = |n| digits(Timestamp::from_nanos(n));
        assert!(at(9) < at(10) && at(10) < at(i64::MAX) && at(-5) == at(0));
        assert_eq!(at(i64::MAX).len(), 20);
    }

    #[test]
    fn a_range_holds_what_begins_with_the_prefix_and_comes_after() {
        assert_eq!(range("", None), (b"-".to_vec(), b"+".to_vec()));
        assert_eq!(range("a/", None), (b"[a/".to_vec(), b"(a/\xff".to_vec()));
        assert_eq!(range("a/", Some("a/1")).0, b"(a/1".to_vec());
        assert_eq!(range("b", Some("a")).0, b"[b".to_vec());
    }
}
