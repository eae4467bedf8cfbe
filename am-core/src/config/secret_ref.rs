//! Secrets are named in a configuration, never written into it.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Code, Error, Result, Secret};

/// Where a secret is kept: `file:/path` or `env:NAME`. A configuration that holds the secret itself is refused.
///
/// ```
/// use am_core::config::SecretRef;
/// let key = SecretRef::parse("env:API_KEY")?;
/// let secret = key.resolve(|r| match r {
///     SecretRef::Env(name) if name == "API_KEY" => Ok("s3cret".to_owned()),
///     _ => Err("not found".to_owned()),
/// })?;
/// assert_eq!((secret.expose().as_str(), secret.to_string().as_str()), ("s3cret", "***"));
/// # Ok::<(), am_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecretRef {
    /// The text of a file, without the line end.
    File(String),
    /// The value of a variable of the environment.
    Env(String),
}

const FORM: &str = "a secret is given as file:/path or env:NAME, never as the value itself";

impl SecretRef {
    /// Reads a reference.
    ///
    /// # Errors
    /// `BAD_CONFIG` for anything else; the message never repeats the text, because it may be the secret.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::new(Code::BAD_CONFIG, FORM).op("config.secret");
        match text.trim().split_once(':') {
            Some(("file", path)) if !path.is_empty() && !path.contains(['\n', '\0']) => Ok(SecretRef::File(path.to_owned())),
            Some(("env", name)) if !name.is_empty() && !name.contains(['=', '\0', ' ', '\n']) => Ok(SecretRef::Env(name.to_owned())),
            _ => Err(bad()),
        }
    }

    /// Fetches the secret through `look_up`, which does the reading, and takes one line end off its end.
    ///
    /// # Errors
    /// `BAD_CONFIG` names the reference when the look-up fails or the secret is empty.
    pub fn resolve(&self, look_up: impl FnOnce(&SecretRef) -> std::result::Result<String, String>) -> Result<Secret<String>> {
        let bad = |why: &str| Error::new(Code::BAD_CONFIG, format!("the secret {self} cannot be read: {why}")).op("config.secret");
        let mut text = look_up(self).map_err(|why| bad(&why))?;
        let line = text.strip_suffix('\n').map(|t| t.strip_suffix('\r').unwrap_or(t)).unwrap_or(&text).len();
        text.truncate(line);
        if text.is_empty() { Err(bad("it is empty")) } else { Ok(Secret::new(text)) }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::File(path) => write!(f, "file:{path}"),
            SecretRef::Env(name) => write!(f, "env:{name}"),
        }
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        // Not `deserialize_str`: formats then word the error themselves, and some repeat the value.
        d.deserialize_any(Quiet)
    }
}

/// Refuses whatever is not a reference without repeating it, as serde's own messages would.
struct Quiet;

macro_rules! refuse {
    ($($visit:ident: $t:ty),*) => { $(
        fn $visit<E: de::Error>(self, _: $t) -> std::result::Result<SecretRef, E> {
            Err(E::custom(FORM))
        }
    )* };
}

impl Visitor<'_> for Quiet {
    type Value = SecretRef;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("file:/path or env:NAME")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<SecretRef, E> {
        SecretRef::parse(text).map_err(|e| E::custom(e.message()))
    }

    refuse!(visit_bool: bool, visit_i64: i64, visit_i128: i128, visit_u64: u64, visit_u128: u128, visit_f64: f64, visit_char: char, visit_bytes: &[u8]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_references_are_taken_and_a_literal_is_never_repeated() {
        assert_eq!(SecretRef::parse("file:/run/key").unwrap(), SecretRef::File("/run/key".into()));
        assert_eq!(SecretRef::parse(" env:KEY ").unwrap().to_string(), "env:KEY");
        for literal in ["hunter2", "file:", "env:", "env:A B", "http://u:hunter2@x", "", "vault:hunter2"] {
            let e = SecretRef::parse(literal).unwrap_err();
            assert!(e.message().contains("file:/path") && !e.to_string().contains("hunter2"), "{e}");
        }
        for json in ["\"hunter2\"", "4242", "-4242", "42.42", "true", "[4242]", "{\"hunter2\":4242}", "18446744073709551615"] {
            let e = serde_json::from_str::<SecretRef>(json).unwrap_err().to_string();
            assert!(!e.contains("hunter2") && !e.contains("42") && !e.contains("true") && !e.contains("1844"), "{e}");
        }
    }

    #[test]
    fn a_resolved_secret_loses_one_line_end_and_an_empty_one_is_refused() {
        let r = SecretRef::parse("file:/run/key").unwrap();
        for (text, want) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a ")] {
            assert_eq!(r.resolve(|_| Ok(text.into())).unwrap().expose(), want);
        }
        assert!(r.resolve(|_| Ok("\n".into())).unwrap_err().to_string().contains("file:/run/key cannot be read: it is empty"));
        assert!(r.resolve(|_| Err("no such file".into())).unwrap_err().to_string().contains("no such file"));
    }
}
