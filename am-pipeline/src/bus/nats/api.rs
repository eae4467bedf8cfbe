//! Requests to JetStream, and its errors as ours.

use am_core::{Code, Error, Result};
use async_nats::jetstream::context::RequestErrorKind;
use async_nats::jetstream::{self, Context, ErrorCode, response::Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::link::Link;

/// The API of JetStream over one connection.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) js: Context,
    pub(super) link: Link,
}

/// The request that says nothing: some of the API wants no text, and takes an empty object for it.
#[derive(Serialize)]
pub(super) struct Nothing {}

/// What JetStream answered instead of what was asked for.
pub(super) type Refusal = jetstream::Error;

impl Api {
    /// Asks; `Ok(Err)` is what JetStream has against it.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        op: &'static str,
        subject: String,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<std::result::Result<T, Refusal>> {
        let before = self.link.state().mark();
        if !self.link.is_up() {
            return Err(down(op));
        }
        let mut link = self.link.watch();
        let mut asked = std::pin::pin!(self.js.request(subject.clone(), payload));
        let answer = loop {
            // A refused subject is reported beside the request, which then waits in vain.
            if let Some(refused) = link.borrow_and_update().refused_since(before, |s| s.ends_with(&subject)) {
                return Err(Error::new(Code::BUS_REFUSED, format!("this user may not publish to {refused}")).op(op));
            }
            tokio::select! {
                biased;
                answer = &mut asked => break answer,
                _ = link.changed() => {}
            }
        };
        answer.map(said).map_err(|e| {
            let why = match e.kind() {
                RequestErrorKind::NoResponders => format!("JetStream does not answer to {subject}: {e}"),
                _ => format!("{subject}: {e}"),
            };
            Error::new(Code::BUS_UNAVAILABLE, why).op(op).source(e)
        })
    }

    /// Asks for what must be there.
    pub(super) async fn must<T: DeserializeOwned>(
        &self,
        op: &'static str,
        subject: String,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<T> {
        self.ask(op, subject, payload).await?.map_err(|e| refusal(op, &e))
    }
}

fn said<T>(r: Response<T>) -> std::result::Result<T, Refusal> {
    match r {
        Response::Ok(v) => Ok(v),
        Response::Err { error } => Err(error),
    }
}

/// There is no connection.
pub(super) fn down(op: &'static str) -> Error {
    Error::new(Code::BUS_UNAVAILABLE, "there is no connection to NATS at the moment").op(op)
}

/// What JetStream has against a request, as one of our errors.
pub(super) fn refusal(op: &'static str, e: &Refusal) -> Error {
    let text = e.to_string();
    let code = match e.error_code() {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => Code::TOO_LARGE,
        // Discard new: the stream is full. Other failures of the store are those of the disk.
        ErrorCode::STREAM_STORE_FAILED if text.contains("maximum") => Code::OVERLOADED,
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
        | ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::MEMORY_RESOURCES_EXCEEDED => Code::OVERLOADED,
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE => Code::CAS_MISMATCH,
        ErrorCode::JETSTREAM_NOT_ENABLED
        | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
        | ErrorCode::STREAM_SUBJECT_OVERLAP
        | ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED
        | ErrorCode::CONSUMER_WQ_MULTIPLE_UNFILTERED
        | ErrorCode::CONSUMER_WQ_CONSUMER_NOT_UNIQUE
        | ErrorCode::CONSUMER_WQ_CONSUMER_NOT_DELIVER_ALL
        | ErrorCode::CONSUMER_WQ_REQUIRES_EXPLICIT_ACK => Code::BUS_MISMATCH,
        _ if e.code() == 403 => Code::BUS_REFUSED,
        _ => Code::BUS_UNAVAILABLE,
    };
    Error::new(code, format!("JetStream: {text}")).op(op)
}
