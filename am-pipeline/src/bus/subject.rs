//! Subjects: `am.<r|w|e>.<tenant>.<user>.<topic>`.

use am_core::{Code, Error, Result, Scope};

use super::Area;

/// Marks a token that is not the id itself but its base64url form.
const ENCODED: char = '=';
const LONGEST_PLAIN: usize = 64;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// An id as one token: itself when it is 1 to 64 of `[A-Za-z0-9_-]`, else `=` and its base64url form without padding, so that no two
/// ids share a token.
pub fn token(id: &str) -> String {
    let plain = !id.is_empty() && id.len() <= LONGEST_PLAIN && id.bytes().all(|b| ALPHABET.contains(&b));
    if plain { id.to_owned() } else { format!("{ENCODED}{}", base64url(id.as_bytes())) }
}

/// The id that a token stands for; `None` when it is none that [`token`] writes.
pub fn untoken(token: &str) -> Option<String> {
    let id = match token.strip_prefix(ENCODED) {
        Some(text) => String::from_utf8(unbase64url(text)?).ok()?,
        None => token.to_owned(),
    };
    (self::token(&id) == token).then_some(id)
}

/// Bytes as base64url without padding (RFC 4648, section 5).
pub fn base64url(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().enumerate().fold(0u32, |n, (i, b)| n | u32::from(*b) << (16 - 8 * i));
        for i in 0..=chunk.len() {
            out.push(char::from(ALPHABET[(n >> (18 - 6 * i) & 63) as usize]));
        }
    }
    out
}

fn unbase64url(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    for chunk in text.as_bytes().chunks(4) {
        if chunk.len() == 1 {
            return None;
        }
        let mut n = 0u32;
        for (i, c) in chunk.iter().enumerate() {
            n |= u32::try_from(ALPHABET.iter().position(|a| a == c)?).ok()? << (18 - 6 * i);
        }
        out.extend_from_slice(n.to_be_bytes().get(1..chunk.len())?);
    }
    Some(out)
}

/// The first part of every subject, unless a bus is told another one.
pub const ROOT: &str = "am";

/// The subject of a message.
pub fn subject(area: Area, scope: &Scope, topic: &str) -> String {
    subject_in(ROOT, area, scope, topic)
}

/// The subject of a message on a bus whose subjects begin with `root`.
pub fn subject_in(root: &str, area: Area, scope: &Scope, topic: &str) -> String {
    format!("{root}.{}.{}.{}.{topic}", area.letter(), token(scope.tenant().as_str()), token(scope.user().as_str()))
}

/// The subjects of some topics of one person or of everybody; of all topics when there are none.
pub fn filters(area: Area, scope: Option<&Scope>, topics: &[String]) -> Vec<String> {
    filters_in(ROOT, area, scope, topics)
}

/// The same on a bus whose subjects begin with `root`.
pub fn filters_in(root: &str, area: Area, scope: Option<&Scope>, topics: &[String]) -> Vec<String> {
    let whose = scope.map_or_else(|| "*.*".to_owned(), |s| format!("{}.{}", token(s.tenant().as_str()), token(s.user().as_str())));
    let of = |topic: &str| format!("{root}.{}.{whose}.{topic}", area.letter());
    match topics {
        [] => vec![of(">")],
        some => some.iter().map(|t| of(t)).collect(),
    }
}

/// What a subject says.
///
/// # Errors
/// `PROTOCOL` says which part is not as it should be.
pub fn parse(subject: &str) -> Result<(Area, Scope, &str)> {
    parse_in(ROOT, subject)
}

/// What a subject says on a bus whose subjects begin with `wanted`.
///
/// # Errors
/// `PROTOCOL` says which part is not as it should be.
pub fn parse_in<'a>(wanted: &str, subject: &'a str) -> Result<(Area, Scope, &'a str)> {
    let bad = |why: &str| Error::new(Code::PROTOCOL, format!("{subject:?} is not a subject of AM: {why}")).op("bus.subject");
    let mut parts = subject.splitn(5, '.');
    let (root, area, tenant, user, topic) = (parts.next(), parts.next(), parts.next(), parts.next(), parts.next());
    if root != Some(wanted) {
        return Err(bad("it begins with something else"));
    }
    let area = Area::ALL.into_iter().find(|a| Some(a.letter()) == area).ok_or_else(|| bad("the second part is none of r, w and e"))?;
    let id = |part: Option<&str>, what| part.and_then(untoken).ok_or_else(|| bad(what));
    let scope = Scope::new(id(tenant, "there is no tenant")?, id(user, "there is no user")?).map_err(|e| bad(e.message()))?;
    let topic = topic.filter(|t| !t.is_empty()).ok_or_else(|| bad("there is no topic"))?;
    Ok((area, scope, topic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_subject_names_area_scope_and_topic() {
        let scope = Scope::new("acme", "ada@example.org").unwrap();
        let s = subject(Area::Readings, &scope, "device.sensor.gps.raw");
        assert_eq!(s, "am.r.acme.=YWRhQGV4YW1wbGUub3Jn.device.sensor.gps.raw");
        assert_eq!(parse(&s).unwrap(), (Area::Readings, scope, "device.sensor.gps.raw"));
        for bad in ["", "am", "am.r.a.b", "am.r.a.b.", "am.x.a.b.t", "xm.r.a.b.t", "am.r..b.t", "am.r.=.b.t", "am.r.=YQ.b.t", "am.r.=!.b.t"]
        {
            assert_eq!(parse(bad).unwrap_err().code(), Code::PROTOCOL, "{bad}");
        }
        assert_eq!(filters(Area::Errors, None, &[]), ["am.e.*.*.>"]);
        assert_eq!(filters(Area::Readings, None, &["a.b.raw".into()]), ["am.r.*.*.a.b.raw"]);
        assert_eq!(filters(Area::Readings, Some(&Scope::local()), &[]), ["am.r.local.me.>"]);
    }

    proptest! {
        #[test]
        fn every_id_survives_its_token_and_no_token_has_a_separator(id in "[^\\s\\p{Cc}]{1,40}") {
            let t = token(&id);
            prop_assert!(!t.contains(['.', '*', '>', ' ']));
            prop_assert_eq!(untoken(&t), Some(id));
        }

        #[test]
        fn different_ids_have_different_tokens(a in "[=A-Za-z0-9_-]{1,6}", b in "[=A-Za-z0-9_-]{1,6}") {
            prop_assert_eq!(token(&a) == token(&b), a == b);
        }

        #[test]
        fn no_text_makes_the_parser_panic(s in ".{0,60}") {
            let _ = parse(&s);
        }
    }
}
