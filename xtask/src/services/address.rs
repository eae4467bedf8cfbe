//! Addresses as they stand in the variables.

/// Where a server is and how to speak to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Empty for Kafka's bare `host:port`.
    pub(super) scheme: String,
    /// `host:port`, as sockets want it.
    pub(super) socket: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// What stands behind the host, without its parameters.
    pub(super) path: Option<String>,
}

impl Address {
    /// Reads `scheme://user:password@host:port/path?parameters`, of which only the host is needed.
    pub(super) fn parse(text: &str, usual_port: u16) -> Result<Self, String> {
        let (scheme, rest) = text.trim().split_once("://").unwrap_or(("", text.trim()));
        let rest = rest.split('?').next().unwrap_or_default();
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority),
        };
        let (user, password) = match login.map(|l| l.split_once(':').unwrap_or((l, ""))) {
            Some((user, password)) => (decoded(user), decoded(password)),
            None => (None, None),
        };
        // `[::1]` has colons of its own.
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        let socket = if has_port { host.to_owned() } else { format!("{host}:{usual_port}") };
        match socket.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Address { scheme: scheme.into(), socket, user, password, path: decoded(path) })
            }
            // The text may hold a password.
            _ => Err("the address is not of the form scheme://host:port".into()),
        }
    }

    /// The addresses of a list separated by commas.
    pub(super) fn parse_all(text: &str, usual_port: u16) -> Result<Vec<Self>, String> {
        text.split(',').filter(|part| !part.trim().is_empty()).map(|part| Self::parse(part, usual_port)).collect()
    }
}

/// A part of a URL with its `%xx` resolved; none when it is empty.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(out).ok().filter(|s| !s.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_port_and_login_are_found() {
        for (text, scheme, socket, user, password) in [
            ("postgres://postgres@127.0.0.1:21000/postgres", "postgres", "127.0.0.1:21000", Some("postgres"), None),
            ("postgres://a%40b:p%3Aq@db/x?sslmode=require", "postgres", "db:5", Some("a@b"), Some("p:q")),
            ("redis://:secret@[::1]:7000/0", "redis", "[::1]:7000", None, Some("secret")),
            ("nats://[::1]", "nats", "[::1]:5", None, None),
            ("broker:9092", "", "broker:9092", None, None),
            ("100%@h:1", "", "h:1", Some("100%"), None),
        ] {
            let a = Address::parse(text, 5).unwrap();
            assert_eq!((a.scheme.as_str(), a.socket.as_str()), (scheme, socket), "{text}");
            assert_eq!((a.user.as_deref(), a.password.as_deref()), (user, password), "{text}");
        }
        let path = |text: &str| Address::parse(text, 5).unwrap().path;
        assert_eq!((path("postgres://h/d%20b?x=/y"), path("postgres://h/"), path("h:1")), (Some("d b".into()), None, None));
        assert_eq!(Address::parse_all("nats://a,nats://b:6,", 5).unwrap().len(), 2);
    }

    #[test]
    fn a_broken_address_is_refused_without_repeating_its_password() {
        for text in ["", "postgres://", "postgres://me:secret@", "h:port", "nats://me:secret@h:99999"] {
            assert!(!Address::parse(text, 5).unwrap_err().contains("secret"), "{text}");
        }
    }
}
