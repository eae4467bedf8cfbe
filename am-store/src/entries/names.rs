//! How a person's values are named on a bus.

use am_core::Scope;
use am_pipeline::bus::subject::{base64url, token};

/// Before the names of values, and of the rest of those that one entry cannot hold: buses keep entries of other programs too.
const VALUES: &str = "kv";
const RESTS: &str = "kv-rest";
/// The longest segment of a key that is written out. With both ids at their longest, a name then has less than the 512 bytes that a
/// bus takes.
const LONGEST: usize = 120;
/// Marks a segment that only stands for a key, which is in the value then. No token begins so.
const DIGEST: &str = "==";

/// A key as one segment: readable where it can be, else a digest.
fn segment(key: &str) -> String {
    let plain = token(key);
    if plain.len() <= LONGEST {
        return plain;
    }
    let digest = blake3::derive_key("am 2026 entries key v1", key.as_bytes());
    format!("{DIGEST}{}", base64url(&digest))
}

/// Where all values of a person are.
pub(super) fn person(scope: &Scope) -> String {
    format!("{VALUES}.{}.{}", token(scope.tenant().as_str()), token(scope.user().as_str()))
}

/// Where a value is.
pub(super) fn value(scope: &Scope, key: &str) -> String {
    format!("{}.{}", person(scope), segment(key))
}

/// Where the rests of a value are.
pub(super) fn rests(scope: &Scope, key: &str) -> String {
    format!("{RESTS}.{}.{}.{}", token(scope.tenant().as_str()), token(scope.user().as_str()), segment(key))
}

/// The key that a name of [`value`] stands for, when it is written out in it.
pub(super) fn key(name: &str) -> Option<String> {
    am_pipeline::bus::subject::untoken(name.rsplit('.').next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_lead_back_to_their_keys_where_they_can() {
        let longest = "ж".repeat(64);
        let scope = Scope::new(&longest, &longest).unwrap();
        for key_text in ["k", "device:status:watch", "ключ/with spaces😀", &"k".repeat(512), &"😀".repeat(128)] {
            let name = value(&scope, key_text);
            let rest = format!("{}.0123456789abcdef", rests(&scope, key_text));
            assert!(name.len() <= 512 && rest.len() <= 512, "{} {}", name.len(), rest.len());
            assert!(
                name.split('.')
                    .chain(rest.split('.'))
                    .all(|s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"_=-".contains(&b)))
            );
            let written_out = key(&name);
            assert!(written_out.is_none_or(|k| k == key_text), "{name}");
        }
        assert_eq!(value(&Scope::local(), "k"), "kv.local.me.k");
        assert_ne!(value(&Scope::local(), &"a".repeat(500)), value(&Scope::local(), &"a".repeat(501)));
    }
}
