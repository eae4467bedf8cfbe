//! A message as NATS carries it: a subject, some headers, the body.

use am_core::{Code, DeviceId, Error, Result, Scope, TraceParent};
use async_nats::HeaderMap;
use bytes::Bytes;

use crate::bus::subject::{base64url, parse_in, subject_in, token, untoken};
use crate::bus::{Foreign, Message};

/// The server drops a message whose id it saw within the duplicate window.
const ID: &str = "Nats-Msg-Id";
/// The server refuses a message that another stream would take.
const STREAM: &str = "Nats-Expected-Stream";
const TRACE: &str = "traceparent";
const DEVICE: &str = "Am-Device";
/// Parts the message's id from the mark of its person.
const AT: char = '@';
/// The longest id of a message.
const LONGEST_ID: usize = 64;

/// Bytes that subject and headers may need besides the body; what is longer would not be one of AM's ids.
pub(super) const HEAD: usize = 1 << 10;

/// Marks a person in the id: the server compares ids within a stream, and two people may well send the same content.
fn mark(scope: &Scope) -> String {
    let mut h = blake3::Hasher::new_derive_key("am 2026 bus message id v1");
    h.update(scope.tenant().as_str().as_bytes()).update(&[0]).update(scope.user().as_str().as_bytes());
    base64url(h.finalize().as_bytes().get(..9).unwrap_or_default())
}

/// Subject and headers of a message.
///
/// # Errors
/// `BAD_ID` when its id is none.
pub(super) fn seal(root: &str, stream: &str, m: &Message) -> Result<(String, HeaderMap)> {
    let is_id = (1..=LONGEST_ID).contains(&m.id.len()) && m.id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !is_id {
        return Err(Error::new(Code::BAD_ID, format!("{:?} is not the id of a message", m.id)).op("bus.publish"));
    }
    if m.topic.is_empty() || m.topic.split('.').any(|s| s.is_empty() || s.contains(['*', '>']) || s.contains(char::is_whitespace)) {
        return Err(Error::new(Code::BAD_TOPIC, format!("{:?} cannot be part of a subject", m.topic)).op("bus.publish"));
    }
    let mut h = HeaderMap::new();
    h.insert(ID, format!("{}{AT}{}", m.id, mark(&m.scope)));
    h.insert(STREAM, stream);
    if m.trace.is_some() {
        h.insert(TRACE, m.trace.to_string());
    }
    if let Some(device) = &m.device {
        h.insert(DEVICE, token(device.as_str()));
    }
    Ok((subject_in(root, m.area, &m.scope, &m.topic), h))
}

/// What was sealed. A message of another program under one of AM's subjects is one too; it gets an id from its place.
pub(super) fn open(
    root: &str,
    subject: &str,
    headers: Option<&HeaderMap>,
    body: Bytes,
    place: u64,
) -> std::result::Result<Message, Foreign> {
    let foreign = |why: String, body| Err(Foreign { subject: subject.to_owned(), why, body });
    let (area, scope, topic) = match parse_in(root, subject) {
        Ok(parts) => parts,
        Err(e) => return foreign(e.message().to_owned(), body),
    };
    let header = |name: &str| headers.and_then(|h| h.get(name)).map(|v| v.as_str());
    let device = match header(DEVICE).map(|t| (t, untoken(t).and_then(|d| DeviceId::new(d).ok()))) {
        None => None,
        Some((_, Some(device))) => Some(device),
        Some((text, None)) => return foreign(format!("{DEVICE} {text:?} is not a device"), body),
    };
    let id = header(ID).map_or_else(|| format!("place-{place}"), |v| v.split(AT).next().unwrap_or_default().to_owned());
    let trace = header(TRACE).and_then(TraceParent::parse).unwrap_or_default();
    Ok(Message { area, topic: topic.to_owned(), scope, device, id, trace, body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Area;

    fn message() -> Message {
        Message {
            area: Area::Readings,
            scope: Scope::new("acme", "ada@example.org").unwrap(),
            topic: "device.health.heartrate.raw".into(),
            device: Some(DeviceId::new("Uhr·ü.1").unwrap()),
            id: "abc_-9".into(),
            trace: TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap(),
            body: Bytes::from_static(b"body"),
        }
    }

    #[test]
    fn a_message_survives_and_two_people_never_share_an_id() {
        let m = message();
        let (subject, h) = seal("am", "am-readings", &m).unwrap();
        assert_eq!(open("am", &subject, Some(&h), m.body.clone(), 7).unwrap(), m);
        let other = Message { scope: Scope::new("acme", "bob").unwrap(), ..m.clone() };
        let (_, h2) = seal("am", "am-readings", &other).unwrap();
        assert_ne!(h.get(ID), h2.get(ID));
        assert!(seal("am", "s", &Message { id: "a b".into(), ..message() }).is_err());
        assert!(seal("am", "s", &Message { topic: "a.>".into(), ..message() }).is_err());
    }

    #[test]
    fn what_is_not_ours_says_why_and_keeps_its_bytes() {
        let body = Bytes::from_static(b"?");
        let foreign = open("am", "am.r.tenant", None, body.clone(), 1).unwrap_err();
        assert_eq!((foreign.subject.as_str(), foreign.body), ("am.r.tenant", body.clone()));
        let mut h = HeaderMap::new();
        h.insert(DEVICE, "=!!");
        assert!(open("am", "am.r.a.b.c.d", Some(&h), body.clone(), 1).unwrap_err().why.contains("device"));
        assert_eq!(open("am", "am.r.a.b.c.d", None, body, 9).unwrap().id, "place-9");
    }
}
