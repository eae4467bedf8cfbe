//! Errors as gRPC statuses.

use am_core::{Code, Error, Retry};
use tonic::metadata::MetadataValue;
use tonic::{Code as Grpc, Status};

/// The status of an error: kind as status code, `AM-nnnn` and the next step in the message, both as trailers too.
pub(crate) fn of(e: &Error) -> Status {
    let info = e.code().info();
    let mut s = Status::new(Grpc::from_i32(e.kind().grpc_status()), format!("{e}. {}", info.next_step));
    s.metadata_mut().insert("am-code", MetadataValue::from(u32::from(e.code().number())));
    if let Some(ms) = retry_after_ms(e) {
        s.metadata_mut().insert("am-retry-after-ms", MetadataValue::from(ms));
    }
    s
}

/// How long to wait before trying again, when that can help.
pub(crate) fn retry_after_ms(e: &Error) -> Option<u32> {
    match e.advice() {
        Retry::Safe { after_ms } => Some(u32::try_from(after_ms).unwrap_or(u32::MAX)),
        Retry::IfIdempotent => Some(1_000),
        _ => None,
    }
}

/// What tonic says about a frame that it could not hand over, in our words.
pub(crate) fn of_transport(s: Status, max_message: usize) -> Status {
    if s.metadata().contains_key("am-code") {
        return s;
    }
    match s.code() {
        Grpc::OutOfRange | Grpc::ResourceExhausted => {
            of(&Error::new(Code::TOO_LARGE, format!("a message has more than {max_message} bytes (unpacked)")).op("grpc.decode"))
        }
        Grpc::Internal => of(&Error::new(Code::UNDECODABLE, format!("not a gRPC message: {}", s.message())).op("grpc.decode")),
        _ => s,
    }
}
