//! Servers that answer one question with given bytes.

use super::*;

/// Asks a server that sends these bytes, after it has got the first ones where it does not speak first.
fn asked(question: fn(&Address) -> Result<(), Why>, speaks_first: bool, answer: &[u8]) -> Result<(), Why> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::parse(&listener.local_addr().unwrap().to_string(), 1).unwrap();
    let answer = answer.to_vec();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        if !speaks_first {
            let _ = stream.read(&mut [0; 512]).unwrap();
        }
        // The other side may have heard enough.
        let _ = stream.write_all(&answer).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        // Until the other side is done.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let result = question(&address);
    server.join().unwrap();
    result
}

fn pg(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], frame_length(body.len() + 4).unwrap().as_slice(), body].concat()
}

#[test]
fn a_database_that_starts_up_is_not_ready_and_one_that_refuses_the_login_is() {
    let ready = [pg(b'R', &[0, 0, 0, 0]), pg(b'S', b"x\0y\0"), pg(b'Z', b"I"), pg(b'T', b"row"), pg(b'D', b"1")].concat();
    assert_eq!(asked(postgres, false, &ready), Ok(()));
    let starting = pg(b'E', b"SFATAL\0C57P03\0Mthe database system is starting up\0\0");
    assert_eq!(asked(postgres, false, &starting), Err("the database system is starting up".into()));
    assert_eq!(asked(postgres, false, &pg(b'E', b"SFATAL\0C28P01\0Mpassword\0\0")), Ok(()));
    assert_eq!(asked(postgres, false, &pg(b'R', &[0, 0, 0, 10])), Ok(()));
    assert_eq!(asked(postgres, false, b""), Err("it closed the connection".into()));
}

#[test]
fn nats_is_ready_when_jetstream_answers() {
    let of = |info: &str, rest: &str| asked(nats, true, format!("INFO {info}\r\n{rest}").as_bytes());
    let with = r#"{"jetstream":true}"#;
    assert_eq!(of(with, "PING\r\nMSG _INBOX.am.services 1 15\r\n{\"streams\": 0 }\r\n"), Ok(()));
    assert_eq!(of("{}", ""), Err("JetStream is not enabled".into()));
    let error = r#"{"error":{"description":"temporarily unavailable"}}"#;
    assert_eq!(of(with, &format!("MSG a 1 52\r\n{error}\r\n")), Err("JetStream: temporarily unavailable".into()));
    assert_eq!(of(with, "HMSG a 1 16 16\r\nNATS/1.0 503\r\n"), Err("JetStream does not answer".into()));
    assert_eq!(of(with, "-ERR 'Authorization Violation'\r\n"), Err("Authorization Violation".into()));
    assert_eq!(asked(nats, true, b"+OK\r\n"), Err("it does not speak NATS".into()));
}

#[test]
fn a_broker_that_knows_no_broker_and_a_redis_that_loads_are_not_ready() {
    let metadata = |brokers: u8| [&[0, 0, 0, 99, 0, 0, 0, 1, 0, 0, 0, brokers][..], &[0; 20]].concat();
    assert_eq!(asked(kafka, false, &metadata(1)), Ok(()));
    assert_eq!(asked(kafka, false, &metadata(0)), Err("the broker is not ready".into()));
    assert_eq!(asked(kafka, false, b"HTTP/1.1 400 Bad Request"), Err("it does not speak Kafka".into()));
    assert_eq!(asked(redis, false, b"+PONG\r\n"), Ok(()));
    assert_eq!(asked(redis, false, b"-NOAUTH Authentication required.\r\n"), Ok(()));
    assert_eq!(asked(redis, false, b"-LOADING the dataset\r\n"), Err("LOADING the dataset".into()));
}
