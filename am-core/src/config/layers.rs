//! Variables and flags as paths into the tree.

use std::ffi::OsString;
use std::sync::Arc;

use super::parse::MAX_TEXT;
use super::problem::{Origin, Problem};

/// What the variables of a configuration begin with.
pub(super) const PREFIX: &str = "AM__";
/// The deepest key.
const MAX_DEPTH: usize = 32;

/// One value for one key.
#[derive(Debug, PartialEq)]
pub(super) struct Setting {
    pub(super) origin: Origin,
    pub(super) path: Vec<String>,
    pub(super) text: String,
}

/// `AM__SECTION__KEY` with its value; `None` when the variable is not ours.
pub(super) fn variable(name: OsString, value: OsString) -> Option<Result<Setting, Problem>> {
    if !name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
        return None;
    }
    let shown: Arc<str> = Arc::from(name.to_string_lossy());
    let origin = Origin::Variable(shown);
    let bad = |message: &str| Some(Err(Problem { origin: origin.clone(), key: String::new(), message: message.into() }));
    let (Ok(name), Ok(text)) = (name.into_string(), value.into_string()) else {
        return bad("name and value must be UTF-8");
    };
    let path: Vec<String> = name.trim_start_matches(PREFIX).split("__").map(str::to_lowercase).collect();
    if name.len() == PREFIX.len() || path.iter().any(String::is_empty) {
        return bad("the form is AM__SECTION__KEY, with two underscores between the parts");
    }
    if path.len() > MAX_DEPTH {
        return bad("the key has too many parts");
    }
    if text.len() > MAX_TEXT {
        return bad("the value is too long");
    }
    Some(Ok(Setting { origin, path, text }))
}

/// `section.key=value`, number `n` of the command line.
pub(super) fn flag(n: usize, flag: &str) -> Result<Setting, Problem> {
    let nth = |message: String| Problem { origin: Origin::Flag(Arc::from(format!("number {n}"))), key: String::new(), message };
    // Without a key the text may be anything, a password included: it is not repeated.
    let (key, text) = flag_key(flag).map_err(nth)?;
    let origin = Origin::Flag(Arc::from(key.join(".")));
    let bad = |message: &str| Problem { origin: origin.clone(), key: String::new(), message: message.into() };
    if key.len() > MAX_DEPTH {
        return Err(bad("the key has too many parts"));
    }
    if text.len() > MAX_TEXT {
        return Err(bad("the value is too long"));
    }
    Ok(Setting { path: key, text: text.to_owned(), origin })
}

/// Splits a flag into its key's parts and the text behind the first `=` outside quotes.
fn flag_key(flag: &str) -> Result<(Vec<String>, &str), String> {
    let form = || "the form is section.key=value".to_owned();
    let mut parts = Vec::new();
    let mut rest = flag.trim_start();
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or("a quoted part of the key does not end")?,
            None => rest.split_at(rest.find(['.', '=']).ok_or_else(form)?),
        };
        let (part, after) = (part.trim(), after.trim_start());
        if part.is_empty() {
            return Err("a part of the key is empty; ".to_owned() + &form());
        }
        parts.push(part.to_owned());
        match after.strip_prefix('=') {
            Some(text) => return Ok((parts, text)),
            None => rest = after.strip_prefix('.').ok_or_else(form)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_split_at_dots_and_at_the_first_equals_sign() {
        let split = |s| flag_key(s).map(|(k, v)| (k.join("|"), v.to_owned()));
        assert_eq!(split("server.grpc.port=1=2"), Ok(("server|grpc|port".into(), "1=2".into())));
        assert_eq!(split("keep.\"device.gps.raw\".days=3"), Ok(("keep|device.gps.raw|days".into(), "3".into())));
        assert_eq!(split("a="), Ok(("a".into(), String::new())));
        for bad in ["", "a", "a.b", ".a=1", "a..b=1", "=1", "\"a=1", "\"a\"b=1"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_variables_with_the_prefix_are_read() {
        let path = |name: &str| variable(name.into(), "v".into()).map(|r| r.map(|s| s.path.join(".")).map_err(|p| p.message));
        assert_eq!(path("AM__SERVER__GRPC_PORT"), Some(Ok("server.grpc_port".into())));
        assert_eq!(path("AM_KILL_LOOPS"), None);
        assert_eq!(path("PATH"), None);
        for bad in ["AM__", "AM____A", "AM__A__", "AM__A____B"] {
            assert!(matches!(path(bad), Some(Err(_))), "{bad}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_not_utf8_is_reported_and_not_a_panic() {
        use std::os::unix::ffi::OsStringExt;
        let got = variable("AM__A".into(), OsString::from_vec(vec![0xff])).unwrap();
        assert_eq!(got.unwrap_err().to_string(), "variable AM__A: name and value must be UTF-8");
    }
}
