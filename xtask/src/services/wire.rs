//! One question to a server in its own protocol, and whether its answer shows that it is ready.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::{Value, json};

use super::address::Address;

/// A server on this machine that needs longer to answer is not well.
const PATIENCE: Duration = Duration::from_secs(3);
/// No answer to a question asked here is longer.
const LONGEST: u64 = 1 << 20;

/// Why a server is not ready.
pub(super) type Why = String;

fn connect(socket: &str) -> Result<TcpStream, Why> {
    let why = |e: std::io::Error| format!("{socket}: {e}");
    let mut last = format!("{socket}: no such host");
    for address in socket.to_socket_addrs().map_err(why)? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).map_err(why)?;
                stream.set_write_timeout(Some(PATIENCE)).map_err(why)?;
                return Ok(stream);
            }
            Err(e) => last = why(e),
        }
    }
    Err(last)
}

fn broken(e: std::io::Error) -> Why {
    match e.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("no answer within {} s", PATIENCE.as_secs()),
        ErrorKind::UnexpectedEof => "it closed the connection".into(),
        _ => format!("the connection broke: {e}"),
    }
}

/// PostgreSQL: logs in and asks `select 1`.
pub(super) fn postgres(to: &Address) -> Result<(), Why> {
    let mut stream = connect(&to.socket)?;
    let user = to.user.as_deref().unwrap_or("postgres");
    let database = to.path.as_deref().unwrap_or(user);
    let parameters = format!("user\0{user}\0database\0{database}\0\0");
    let mut startup = frame_length(8 + parameters.len())?;
    startup.extend(196_608_u32.to_be_bytes());
    startup.extend(parameters.as_bytes());
    stream.write_all(&startup).map_err(broken)?;
    loop {
        match pg_message(&mut stream)? {
            (b'R', body) if body.starts_with(&[0, 0, 0, 0]) => {}
            // It wants a password or a certificate: it is there, and the tests will log in.
            (b'R', _) => return Ok(()),
            (b'E', body) => return pg_refusal(&body),
            (b'Z', _) => break,
            _ => {}
        }
    }
    let mut question = vec![b'Q'];
    question.extend(frame_length(4 + 9)?);
    question.extend(b"select 1\0");
    stream.write_all(&question).map_err(broken)?;
    loop {
        match pg_message(&mut stream)? {
            (b'D', _) => return Ok(()),
            (b'E', body) => return pg_refusal(&body),
            (b'Z', _) => return Err("no answer to `select 1`".into()),
            _ => {}
        }
    }
}

fn frame_length(n: usize) -> Result<Vec<u8>, Why> {
    u32::try_from(n).map(|n| n.to_be_bytes().to_vec()).map_err(|e| e.to_string())
}

fn pg_message(stream: &mut TcpStream) -> Result<(u8, Vec<u8>), Why> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).map_err(broken)?;
    let [kind, length @ ..] = head;
    let body = u64::from(u32::from_be_bytes(length).saturating_sub(4));
    let mut bytes = Vec::new();
    stream.take(body.min(LONGEST)).read_to_end(&mut bytes).map_err(broken)?;
    Ok((kind, bytes))
}

/// An error says its code after `C` and its text after `M`. A refused login shows a server that works.
fn pg_refusal(body: &[u8]) -> Result<(), Why> {
    let fields: Vec<&[u8]> = body.split(|b| *b == 0).collect();
    let field = |name: u8| fields.iter().find_map(|f| f.split_first().filter(|(n, _)| **n == name).map(|(_, text)| text));
    let text = |name| String::from_utf8_lossy(field(name).unwrap_or_default()).into_owned();
    if text(b'C').starts_with("28") { Ok(()) } else { Err(text(b'M')) }
}

/// NATS: reads its INFO and asks JetStream about itself; in a cluster only an elected leader answers that.
pub(super) fn nats(to: &Address) -> Result<(), Why> {
    let mut stream = connect(&to.socket)?;
    let mut lines = BufReader::new(stream.try_clone().map_err(broken)?.take(LONGEST));
    let mut next = || {
        let mut line = String::new();
        lines.read_line(&mut line).map_err(broken)?;
        if line.is_empty() { Err("it closed the connection".to_owned()) } else { Ok(line) }
    };
    let first = next()?;
    let info = first.strip_prefix("INFO ").ok_or("it does not speak NATS")?;
    let info: Value = serde_json::from_str(info).map_err(|e| format!("its INFO cannot be read: {e}"))?;
    if info["tls_required"] == true {
        return Ok(());
    }
    if info["jetstream"] != true {
        return Err("JetStream is not enabled".into());
    }
    let mut hello = json!({ "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "lang": "am", "version": "1" });
    if let Some(user) = &to.user {
        hello["user"] = json!(user);
        hello["pass"] = json!(to.password);
    }
    let question = format!("CONNECT {hello}\r\nSUB _INBOX.am.services 1\r\nPUB $JS.API.INFO _INBOX.am.services 0\r\n\r\n");
    stream.write_all(question.as_bytes()).map_err(broken)?;
    loop {
        let line = next()?;
        if line.starts_with("PING") {
            stream.write_all(b"PONG\r\n").map_err(broken)?;
        } else if let Some(why) = line.strip_prefix("-ERR ") {
            return Err(why.trim().trim_matches('\'').to_owned());
        } else if line.starts_with("HMSG ") {
            return Err("JetStream does not answer".into());
        } else if line.starts_with("MSG ") {
            let answer: Value = serde_json::from_str(&next()?).map_err(|e| format!("JetStream's answer cannot be read: {e}"))?;
            return match answer["error"]["description"].as_str() {
                Some(why) => Err(format!("JetStream: {why}")),
                None => Ok(()),
            };
        }
    }
}

/// One HTTP GET of a NATS server's monitoring port.
pub(super) fn get(port: u16, path: &str) -> Result<Value, Why> {
    let mut stream = connect(&format!("127.0.0.1:{port}"))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).map_err(broken)?;
    let mut text = String::new();
    stream.take(LONGEST).read_to_string(&mut text).map_err(broken)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status == "200" { Ok(body) } else { Err(format!("{path} answers {status} {}", body["error"].as_str().unwrap_or_default())) }
}

/// Kafka: asks which brokers there are; one that is not ready yet knows none.
pub(super) fn kafka(to: &Address) -> Result<(), Why> {
    let mut stream = connect(&to.socket)?;
    let client = b"am-services";
    // Metadata, version 1, about no topic. Brokers understand it since version 0.10.
    let mut body = vec![0, 3, 0, 1, 0, 0, 0, 1, 0, 11];
    body.extend(client);
    body.extend(0_u32.to_be_bytes());
    let mut request = frame_length(body.len())?;
    request.extend(body);
    stream.write_all(&request).map_err(broken)?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).map_err(broken)?;
    match head {
        [_, _, _, _, 0, 0, 0, 1, 0, 0, 0, 0] => Err("the broker is not ready".into()),
        [_, _, _, _, 0, 0, 0, 1, ..] => Ok(()),
        _ => Err("it does not speak Kafka".into()),
    }
}

/// Redis: PING.
pub(super) fn redis(to: &Address) -> Result<(), Why> {
    let mut stream = connect(&to.socket)?;
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").map_err(broken)?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut line).map_err(broken)?;
    match line.trim() {
        "+PONG" => Ok(()),
        wants_login if wants_login.starts_with("-NOAUTH") => Ok(()),
        "" => Err("it closed the connection".into()),
        other => Err(other.trim_start_matches('-').to_owned()),
    }
}

/// Something listens there; for protocols that begin with TLS.
pub(super) fn listens(to: &Address) -> Result<(), Why> {
    connect(&to.socket).map(drop)
}

#[cfg(test)]
mod tests;
