//! Texts with a form: addresses, topics, JSON.

use am_core::Topic;

use super::Item;

/// The longest address, in bytes.
const MAX_URL: usize = 8 << 10;

/// An absolute URL, loosely (RFC 3986: scheme, colon, rest without white space); an empty one is left to the required fields.
pub(super) fn address(item: &mut Item<'_, '_>, name: &str, number: u32) {
    let url = text(item, number);
    if url.len() > MAX_URL {
        item.find(name, format!("{} bytes", url.len()), format!("at most {MAX_URL} bytes"));
    } else if !url.is_empty() && !is_url(url) {
        item.find(name, url, "an absolute URL");
    }
}

fn is_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once(':') else { return false };
    let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let rest_ok = !rest.is_empty() && !rest.chars().any(|c| c.is_control() || c.is_whitespace());
    let needs_host = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let host = rest.strip_prefix("//").map(|r| r.split(['/', '?', '#']).next().unwrap_or_default());
    scheme_ok && rest_ok && (!needs_host || host.is_some_and(|h| !h.is_empty()))
}

/// An IEEE 802 address, six bytes in hexadecimal; empty when the system hides it.
pub(super) fn mac(item: &mut Item<'_, '_>, name: &str, number: u32) {
    let mac = text(item, number);
    let separated =
        |by: char| mac.split(by).count() == 6 && mac.split(by).all(|b| b.len() == 2 && b.bytes().all(|c| c.is_ascii_hexdigit()));
    if !mac.is_empty() && !separated(':') && !separated('-') {
        item.find(name, mac, "six bytes in hexadecimal, such as 0a:1b:2c:3d:4e:5f");
    }
}

/// A topic by its grammar; whether it exists is left open, for newer devices know more of them.
pub(super) fn topic(item: &mut Item<'_, '_>, name: &str, number: u32) {
    let topic = text(item, number);
    if Topic::parse(topic).is_err() {
        item.find(name, topic, "a topic");
    }
}

/// An embedder's payload: JSON that its schema describes, or bytes.
pub(super) fn custom(item: &mut Item<'_, '_>) {
    if item.last(1).is_none() {
        if item.last(2).is_some() && item.kind.json_schema().is_some() {
            item.find("data", "bytes", "JSON text, because the kind has a schema");
        }
        return;
    }
    let value = match crate::json::parse(text(item, 1)) {
        Ok(v) => v,
        Err(f) => return item.find(&join("json", &f.field), f.value, f.rule),
    };
    for f in item.kind.json_schema().map(|s| s.check(&value)).unwrap_or_default() {
        item.find(&join("json", &f.field), f.value, f.rule);
    }
}

fn join(a: &str, b: &str) -> String {
    match b {
        "" => a.to_owned(),
        _ if b.starts_with('[') => format!("{a}{b}"),
        _ => format!("{a}.{b}"),
    }
}

fn text<'a>(item: &Item<'a, '_>, number: u32) -> &'a str {
    std::str::from_utf8(item.bytes_of(number)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::is_url;

    #[test]
    fn urls_need_a_scheme_and_web_addresses_a_host() {
        for ok in ["https://example.org/a?b=c#d", "http://[::1]:8080/", "mailto:a@b.c", "file:///etc/hosts", "chrome://newtab"] {
            assert!(is_url(ok), "{ok}");
        }
        for bad in ["example.org", "https:", "https://", "https:///path", "1http://a", "https://a b", "https://a\n", ":x", "http:a"] {
            assert!(!is_url(bad), "{bad}");
        }
    }
}
