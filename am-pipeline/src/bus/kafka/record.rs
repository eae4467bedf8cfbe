//! A message as a record of Kafka, and back.
//!
//! The key decides the partition: `tenant/user/device`, so that a device keeps its order. Ids may hold slashes, so what counts are the
//! headers.

use am_core::{DeviceId, Scope, TraceParent};
use bytes::Bytes;
use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, OwnedHeaders};

use super::topics;
use crate::bus::{Foreign, Message};

const TENANT: &str = "am-tenant";
const USER: &str = "am-user";
const DEVICE: &str = "am-device";
const ID: &str = "am-id";
const TRACE: &str = "traceparent";
/// What is repeated of a foreign key or header at most.
const SHOWN: usize = 64;

/// The partition's key. Without a device, all of a person's are together.
pub(super) fn key(message: &Message) -> String {
    let (tenant, user) = (message.scope.tenant(), message.scope.user());
    match &message.device {
        Some(device) => format!("{tenant}/{user}/{device}"),
        None => format!("{tenant}/{user}/"),
    }
}

pub(super) fn headers(message: &Message) -> OwnedHeaders {
    let mut out = OwnedHeaders::new_with_capacity(5);
    let trace = message.trace.is_some().then(|| message.trace.to_string());
    for (key, value) in [
        (TENANT, Some(message.scope.tenant().as_str())),
        (USER, Some(message.scope.user().as_str())),
        (DEVICE, message.device.as_ref().map(DeviceId::as_str)),
        (ID, Some(message.id.as_str())),
        (TRACE, trace.as_deref()),
    ] {
        if let Some(value) = value {
            out = out.insert(Header { key, value: Some(value) });
        }
    }
    out
}

/// What a record says; what AM did not write is foreign.
pub(super) fn read(prefix: &str, record: &BorrowedMessage<'_>) -> Result<Message, Foreign> {
    let body = record.payload().map(Bytes::copy_from_slice).unwrap_or_default();
    let header = |name: &str| {
        let found = record.headers()?.iter().find(|h| h.key == name)?;
        std::str::from_utf8(found.value?).ok()
    };
    compose(prefix, record.topic(), header, body)
}

fn compose<'a>(prefix: &str, topic: &str, header: impl Fn(&str) -> Option<&'a str>, body: Bytes) -> Result<Message, Foreign> {
    let foreign = |why: String| Foreign { subject: topic.to_owned(), why, body: body.clone() };
    let required = |name: &str| header(name).ok_or_else(|| foreign(format!("it has no header {name}")));
    let odd = |name: &str, value: &str| {
        let shown: String = value.chars().take(SHOWN).collect();
        foreign(format!("its header {name} is {shown:?}"))
    };
    let (area, name) = topics::parse(prefix, topic).ok_or_else(|| foreign("its topic is none of AM's".into()))?;
    let (tenant, user, id) = (required(TENANT)?, required(USER)?, required(ID)?);
    let scope = Scope::new(tenant, user).map_err(|_| odd("am-tenant or am-user", &format!("{tenant}, {user}")))?;
    if !id_like(id) {
        return Err(odd(ID, id));
    }
    let device = match header(DEVICE) {
        Some(device) => Some(DeviceId::new(device).map_err(|_| odd(DEVICE, device))?),
        None => None,
    };
    // A trace that cannot be read is none, as the standard asks.
    let trace = header(TRACE).and_then(TraceParent::parse).unwrap_or_default();
    Ok(Message { area, scope, topic: name.to_owned(), device, id: id.to_owned(), trace, body })
}

/// Whether a message may have this id.
pub(super) fn id_like(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Area;
    use std::collections::HashMap;

    fn written(m: &Message) -> HashMap<String, String> {
        let text = |v: Option<&[u8]>| String::from_utf8(v.unwrap().to_vec()).unwrap();
        headers(m).iter().map(|h| (h.key.to_owned(), text(h.value))).collect()
    }

    #[test]
    fn a_message_survives_its_record_whatever_its_ids_are() {
        for (tenant, user, device) in
            [("acme", "ada", Some("watch")), ("a/b", "c", Some("d/e")), ("a", "b/c", None), ("ä", "=", Some("😀"))]
        {
            let m = Message {
                area: Area::Readings,
                scope: Scope::new(tenant, user).unwrap(),
                topic: "device.sensor.gps.raw".into(),
                device: device.map(|d| DeviceId::new(d).unwrap()),
                id: "abc-1".into(),
                trace: TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap(),
                body: Bytes::from_static(b"x"),
            };
            let headers = written(&m);
            let back = compose("p.", "p.device.sensor.gps.raw", |n| headers.get(n).map(String::as_str), m.body.clone());
            assert_eq!(back.unwrap(), m);
        }
    }

    #[test]
    fn what_am_did_not_write_is_foreign_and_says_why() {
        let ours = [(TENANT, "a"), (USER, "b"), (ID, "i")];
        let with = |change: &[(&'static str, Option<&'static str>)]| {
            let mut h: HashMap<&str, &'static str> = ours.into_iter().collect();
            for (name, value) in change {
                match value {
                    Some(v) => h.insert(name, v),
                    None => h.remove(name),
                };
            }
            compose("", "a.b.raw", move |n| h.get(n).copied(), Bytes::from_static(b"x"))
        };
        assert!(with(&[]).is_ok());
        for (change, why) in [
            ([(TENANT, None)], "no header am-tenant"),
            ([(USER, Some("with space"))], "with space"),
            ([(ID, Some("not.an.id"))], "am-id"),
            ([(DEVICE, Some(""))], "am-device"),
        ] {
            let f = with(&change).unwrap_err();
            assert!(f.why.contains(why) && f.body == Bytes::from_static(b"x"), "{f:?}");
        }
        assert!(compose("", "orders", |_| Some("a"), Bytes::new()).unwrap_err().why.contains("topic"));
    }
}
