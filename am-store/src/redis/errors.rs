//! What Redis says, as errors of the table. Addresses are never repeated: they may hold a password.

use am_core::{Code, Error, Retry};
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Characters of an answer that are repeated.
const REPEATED: usize = 200;

/// Of a call; `wrote` when it may have happened although the answer was lost.
pub(super) fn explain(op: &'static str, wrote: bool, e: &RedisError) -> Error {
    let said: String = e.detail().unwrap_or_default().chars().take(REPEATED).collect();
    let code = match (e.kind(), e.code().unwrap_or_default()) {
        (ErrorKind::AuthenticationFailed, _) | (_, "NOAUTH" | "WRONGPASS" | "NOPERM") => Code::STORE_REFUSED,
        (_, "OOM") => Code::STORE_FULL,
        (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => Code::STORE_READ_ONLY,
        (ErrorKind::InvalidClientConfig, _) => Code::BAD_STORE_URL,
        (ErrorKind::Server(ServerErrorKind::CrossSlot | ServerErrorKind::Moved | ServerErrorKind::Ask), _) => Code::STORE_UNFIT,
        (ErrorKind::UnexpectedReturnType | ErrorKind::Parse, _) => Code::PROTOCOL,
        (_, "WRONGTYPE") => Code::STORE_CORRUPT,
        // Loading, a script that runs too long, a save that fails: nothing was written.
        _ => Code::STORE_UNAVAILABLE,
    };
    let what = match code {
        Code::STORE_REFUSED => format!("Redis refuses this user, password or command: {said}"),
        Code::STORE_FULL => format!("Redis has no memory left (maxmemory): {said}"),
        Code::STORE_READ_ONLY => format!("this Redis is a replica; the address must name the primary: {said}"),
        Code::STORE_UNFIT => "this Redis is part of a cluster; the address must name a server that has all slots".into(),
        Code::STORE_CORRUPT => format!("another program wrote under the prefix of AM: {said}"),
        Code::BAD_STORE_URL => format!("the address of Redis cannot be used: {said}"),
        _ if e.is_timeout() => "Redis did not answer in time".into(),
        _ if e.is_io_error() => format!("Redis cannot be reached: {said}"),
        _ => format!("Redis answered {}: {said}", e.code().unwrap_or("something unexpected")),
    };
    let error = Error::new(code, what).op(op);
    match code == Code::STORE_UNAVAILABLE && wrote && e.is_io_error() && !e.is_connection_refusal() {
        true => error.retry(Retry::IfIdempotent),
        false => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_says_finds_its_row_of_the_table() {
        let server = |text: &str| {
            let (code, detail) = text.split_once(' ').unwrap();
            redis::make_extension_error(code.into(), Some(detail.into()))
        };
        for (said, code) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", Code::STORE_FULL),
            ("WRONGPASS invalid username-password pair", Code::STORE_REFUSED),
            ("NOAUTH Authentication required.", Code::STORE_REFUSED),
            ("MISCONF Redis is configured to save RDB snapshots", Code::STORE_UNAVAILABLE),
            ("WRONGTYPE Operation against a key", Code::STORE_CORRUPT),
        ] {
            assert_eq!(explain("t", true, &server(said)).code(), code, "{said}");
        }
        let broken = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!(explain("t", true, &broken).advice(), Retry::IfIdempotent);
        assert!(matches!(explain("t", false, &broken).advice(), Retry::Safe { .. }));
    }
}
