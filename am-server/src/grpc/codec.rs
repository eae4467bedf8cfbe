//! Frames as they come off the wire: readings stay bytes until they are checked.

use std::marker::PhantomData;

use am_core::Code;
use am_schema::v1;
use am_schema::wire::{Fields, Malformed, Value, read_timestamp};
use bytes::{Buf, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// One encoded `am.v1.Reading`, unread; shares the frame's memory.
#[derive(Debug, Clone)]
pub struct RawReading(pub Bytes);

/// One encoded `am.v1.BatchRequest`, unread; `scan` reads it in place.
#[derive(Debug, Clone)]
pub struct RawBatch(pub Bytes);

/// A batch whose readings are still bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Batch {
    /// One encoded reading each; slices of the frame.
    pub(crate) items: Vec<Bytes>,
    pub(crate) batch_id: String,
    pub(crate) sent_at: Option<(i64, i32)>,
    pub(crate) boot_id: String,
    pub(crate) monotonic_ns: u64,
    pub(crate) client: String,
    pub(crate) client_version: String,
    pub(crate) origin: i32,
    pub(crate) traceparent: String,
}

/// Why a frame is not a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadFrame {
    Malformed(Malformed),
    WrongType(&'static str),
    NotText(&'static str),
    TooLong(&'static str, usize),
    TooMany(usize),
}

/// The longest of the small texts of a batch, in bytes.
const MAX_TEXT: usize = 256;

impl RawBatch {
    /// Reads the small fields and finds the readings, without copying or decoding them.
    pub(crate) fn scan(&self, max_items: usize) -> Result<Batch, BadFrame> {
        let frame = &self.0;
        let mut b = Batch { items: Vec::with_capacity((frame.len() / 64).min(512)), ..Batch::default() };
        let mut fields = Fields::new(frame);
        while let Some(f) = fields.next().map_err(BadFrame::Malformed)? {
            match (f.number, f.value) {
                (1, Value::Len(bytes)) => {
                    if b.items.len() == max_items {
                        return Err(BadFrame::TooMany(max_items));
                    }
                    b.items.push(frame.slice(f.end - bytes.len()..f.end));
                }
                (2, Value::Len(t)) => b.batch_id = text("batch_id", t)?,
                (3, Value::Len(t)) => b.sent_at = Some(read_timestamp(t).map_err(BadFrame::Malformed)?),
                (4, Value::Len(t)) => b.boot_id = text("boot_id", t)?,
                (5, Value::Varint(v)) => b.monotonic_ns = v,
                (6, Value::Len(t)) => b.client = text("client", t)?,
                (7, Value::Len(t)) => b.client_version = text("client_version", t)?,
                (8, Value::Varint(v)) => b.origin = v as i32,
                (9, Value::Len(t)) => b.traceparent = text("traceparent", t)?,
                (1, _) => return Err(BadFrame::WrongType("readings")),
                (2..=9, _) => return Err(BadFrame::WrongType("a field of the batch")),
                _ => {}
            }
        }
        Ok(b)
    }
}

fn text(field: &'static str, bytes: &[u8]) -> Result<String, BadFrame> {
    if bytes.len() > MAX_TEXT {
        return Err(BadFrame::TooLong(field, bytes.len()));
    }
    match std::str::from_utf8(bytes) {
        Ok(t) if !t.chars().any(char::is_control) => Ok(t.to_owned()),
        _ => Err(BadFrame::NotText(field)),
    }
}

impl BadFrame {
    /// The code of the table.
    pub(crate) fn code(&self) -> Code {
        match self {
            BadFrame::TooLong(..) | BadFrame::TooMany(_) => Code::TOO_LARGE,
            _ => Code::UNDECODABLE,
        }
    }

    /// The field, the value and the rule (P09).
    pub(crate) fn parts(&self) -> (&'static str, String, String) {
        match self {
            BadFrame::Malformed(m) => ("", m.to_string(), "a protobuf am.v1.BatchRequest".into()),
            BadFrame::WrongType(f) => (f, "another wire type".into(), "the wire type of am.v1.BatchRequest".into()),
            BadFrame::NotText(f) => (f, "bytes".into(), "UTF-8 text without control characters".into()),
            BadFrame::TooLong(f, n) => (f, format!("{n} bytes"), format!("at most {MAX_TEXT} bytes")),
            BadFrame::TooMany(n) => ("readings", format!("more than {n}"), format!("at most {n} readings per batch")),
        }
    }
}

/// A request message as this server takes it.
pub trait Frame: Sized + Send + 'static {
    /// From the bytes of one message.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when it cannot be read at all.
    fn from_frame(frame: Bytes) -> Result<Self, Status>;
}

impl Frame for RawReading {
    fn from_frame(frame: Bytes) -> Result<Self, Status> {
        Ok(RawReading(frame))
    }
}

impl Frame for RawBatch {
    fn from_frame(frame: Bytes) -> Result<Self, Status> {
        Ok(RawBatch(frame))
    }
}

macro_rules! by_prost {
    ($($message:ty),*) => { $(
        impl Frame for $message {
            fn from_frame(frame: Bytes) -> Result<Self, Status> {
                <$message>::decode(frame).map_err(|e| {
                    crate::grpc::status::of(&am_core::Error::new(Code::UNDECODABLE, format!("not a {}: {e}", stringify!($message))))
                })
            }
        }
    )* };
}

by_prost!(v1::DeviceInfo, v1::HealthRequest);

/// Takes requests as frames and writes responses with prost.
pub struct RawCodec<E, D>(PhantomData<fn() -> (E, D)>);

impl<E, D> Default for RawCodec<E, D> {
    fn default() -> Self {
        RawCodec(PhantomData)
    }
}

impl<E, D> std::fmt::Debug for RawCodec<E, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawCodec")
    }
}

impl<E: Message + 'static, D: Frame> Codec for RawCodec<E, D> {
    type Encode = E;
    type Decode = D;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        RawCodec::default()
    }

    fn decoder(&mut self) -> Self {
        RawCodec::default()
    }
}

impl<E: Message + 'static, D> Encoder for RawCodec<E, D> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, item: E, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(dst).map_err(|e| Status::internal(e.to_string()))
    }
}

impl<E, D: Frame> Decoder for RawCodec<E, D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        let n = src.remaining();
        D::from_frame(src.copy_to_bytes(n)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch() -> v1::BatchRequest {
        v1::BatchRequest {
            readings: (0..3).map(|i| v1::Reading { device_id: format!("d{i}"), ..Default::default() }).collect(),
            batch_id: "b1".into(),
            sent_at: Some(prost_types_timestamp(5, 7)),
            boot_id: "boot".into(),
            monotonic_ns: 9,
            client: "am".into(),
            client_version: "1".into(),
            origin: 2,
            traceparent: "t".into(),
        }
    }

    fn prost_types_timestamp(seconds: i64, nanos: i32) -> prost_types::Timestamp {
        prost_types::Timestamp { seconds, nanos }
    }

    #[test]
    fn a_scan_finds_what_prost_wrote_and_shares_the_frame() {
        let b = batch();
        let frame = Bytes::from(b.encode_to_vec());
        let s = RawBatch(frame.clone()).scan(10).unwrap();
        let decoded: Vec<_> = s.items.iter().map(|i| v1::Reading::decode(i.clone()).unwrap()).collect();
        assert_eq!(decoded, b.readings);
        let inside = frame.as_ptr_range();
        assert!(s.items.iter().all(|i| inside.contains(&i.as_ptr())));
        assert_eq!((s.batch_id.as_str(), s.sent_at, s.boot_id.as_str(), s.monotonic_ns), ("b1", Some((5, 7)), "boot", 9));
        assert_eq!((s.client.as_str(), s.client_version.as_str(), s.origin, s.traceparent.as_str()), ("am", "1", 2, "t"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_scan_panic_and_every_item_lies_within_them(bytes: Vec<u8>) {
            let frame = Bytes::from(bytes);
            if let Ok(b) = RawBatch(frame.clone()).scan(100) {
                prop_assert!(b.items.iter().map(Bytes::len).sum::<usize>() <= frame.len() && b.items.len() <= 100);
            }
        }

        #[test]
        fn a_scan_agrees_with_prost(bytes: Vec<u8>, ids in proptest::collection::vec("[a-z]{0,9}", 0..9), batch_id in "[a-z0-9]{0,20}") {
            let readings = ids.into_iter().map(|device_id| v1::Reading { device_id, ..Default::default() }).collect();
            let mut frame = v1::BatchRequest { readings, batch_id, ..Default::default() }.encode_to_vec();
            // Fields of newer clients are skipped.
            am_schema::wire::put_len(&mut frame, 4_000, &bytes);
            let frame = Bytes::from(frame);
            let (ours, theirs) = (RawBatch(frame.clone()).scan(100).unwrap(), v1::BatchRequest::decode(frame).unwrap());
            prop_assert_eq!(ours.batch_id, theirs.batch_id);
            let readings: Vec<_> = ours.items.iter().map(|i| v1::Reading::decode(i.clone()).unwrap()).collect();
            prop_assert_eq!(readings, theirs.readings);
        }
    }

    #[test]
    fn every_cut_of_a_frame_is_either_a_batch_or_a_bad_frame() {
        let frame = Bytes::from(batch().encode_to_vec());
        let mut bad = 0;
        for n in 0..frame.len() {
            bad += usize::from(RawBatch(frame.slice(..n)).scan(10).is_err());
        }
        assert!(bad > frame.len() / 2);
        assert_eq!(RawBatch(frame).scan(2).unwrap_err(), BadFrame::TooMany(2));
        let long = v1::BatchRequest { batch_id: "x".repeat(257), ..Default::default() };
        assert_eq!(RawBatch(long.encode_to_vec().into()).scan(2).unwrap_err().parts().0, "batch_id");
        let control = v1::BatchRequest { client: "a\0b".into(), ..Default::default() };
        assert_eq!(RawBatch(control.encode_to_vec().into()).scan(2).unwrap_err(), BadFrame::NotText("client"));
    }
}
