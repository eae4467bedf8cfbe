//! A client that sends any bytes as messages.

use bytes::{Buf, BufMut, Bytes};
use futures_util::Stream;
use prost::Message;
use std::marker::PhantomData;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// Sends bytes as they are and decodes what comes back.
pub struct BytesCodec<R>(PhantomData<R>);

impl<R> Default for BytesCodec<R> {
    fn default() -> Self {
        BytesCodec(PhantomData)
    }
}

impl<R: Message + Default + Send + 'static> Codec for BytesCodec<R> {
    type Encode = Bytes;
    type Decode = R;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self::default()
    }
    fn decoder(&mut self) -> Self {
        Self::default()
    }
}

impl<R> Encoder for BytesCodec<R> {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.put_slice(&item);
        Ok(())
    }
}

impl<R: Message + Default> Decoder for BytesCodec<R> {
    type Item = R;
    type Error = Status;
    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<R>, Status> {
        let n = src.remaining();
        R::decode(src.copy_to_bytes(n)).map(Some).map_err(|e| Status::internal(e.to_string()))
    }
}

fn path(p: &str) -> http::uri::PathAndQuery {
    p.parse().unwrap()
}

fn grpc(channel: &Channel, packed: Option<CompressionEncoding>) -> tonic::client::Grpc<Channel> {
    let g = tonic::client::Grpc::new(channel.clone());
    match packed {
        Some(e) => g.send_compressed(e).accept_compressed(e),
        None => g,
    }
}

/// One message there, one back.
pub async fn unary<R: Message + Default + Send + 'static>(
    channel: &Channel,
    to: &str,
    message: Bytes,
    packed: Option<CompressionEncoding>,
) -> Result<Response<R>, Status> {
    let mut g = grpc(channel, packed);
    g.ready().await.unwrap();
    g.unary(Request::new(message), path(to), BytesCodec::default()).await
}

/// Messages there, answers back.
pub async fn stream<R: Message + Default + Send + 'static>(
    channel: &Channel,
    to: &str,
    messages: impl Stream<Item = Bytes> + Send + 'static,
    packed: Option<CompressionEncoding>,
) -> Result<Streaming<R>, Status> {
    let mut g = grpc(channel, packed);
    g.ready().await.unwrap();
    g.streaming(Request::new(messages), path(to), BytesCodec::default()).await.map(Response::into_inner)
}
