//! The baseline of the gRPC figures: a tonic server that decodes with prost and answers; and a client that sends ready-made bytes.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use am_schema::v1;
use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Service, http};
use tonic::transport::Channel;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::served::Failed;

const PATH: &str = "/am.v1.DataIngestionService/StreamBatches";

/// Serves on a free port.
pub(crate) async fn serve() -> Result<SocketAddr, Failed> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    // The same windows as AM's server.
    let server = tonic::transport::Server::builder().initial_stream_window_size(256 << 10).initial_connection_window_size(1 << 20);
    tokio::spawn(server.serve_with_incoming(Noop, TcpIncoming::from(listener).with_nodelay(Some(true))));
    Ok(addr)
}

#[derive(Clone)]
struct Noop;

impl Service<http::Request<Body>> for Noop {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move { Ok(tonic::server::Grpc::new(ProstCodec::default()).streaming(StoredAll, request).await) })
    }
}

struct StoredAll;

impl tonic::server::StreamingService<v1::BatchRequest> for StoredAll {
    type Response = v1::BatchResponse;
    type ResponseStream = Answers;
    type Future = std::future::Ready<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<v1::BatchRequest>>) -> Self::Future {
        std::future::ready(Ok(Response::new(Answers(request.into_inner()))))
    }
}

struct Answers(Streaming<v1::BatchRequest>);

impl futures_core::Stream for Answers {
    type Item = Result<v1::BatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx).map(|next| {
            next.map(|batch| {
                let batch = batch?;
                let outcomes = vec![v1::Outcome::Stored as i32; batch.readings.len()];
                Ok(v1::BatchResponse { batch_id: batch.batch_id, outcomes, ..Default::default() })
            })
        })
    }
}

/// Sends bytes as they are, decodes what comes back.
struct Ready<R>(PhantomData<R>);

impl<R: Message + Default + Send + 'static> Codec for Ready<R> {
    type Encode = Bytes;
    type Decode = R;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Ready(PhantomData)
    }
    fn decoder(&mut self) -> Self {
        Ready(PhantomData)
    }
}

impl<R> Encoder for Ready<R> {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.put_slice(&item);
        Ok(())
    }
}

impl<R: Message + Default> Decoder for Ready<R> {
    type Item = R;
    type Error = Status;
    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<R>, Status> {
        let n = src.remaining();
        R::decode(src.copy_to_bytes(n)).map(Some).map_err(|e| Status::internal(e.to_string()))
    }
}

struct Feed(mpsc::Receiver<Bytes>);

impl futures_core::Stream for Feed {
    type Item = Bytes;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.0.poll_recv(cx)
    }
}

/// A connection.
pub(crate) async fn channel(addr: SocketAddr) -> Result<Channel, Failed> {
    Ok(Channel::from_shared(format!("http://{addr}"))?.tcp_nodelay(true).connect().await?)
}

/// Opens a `StreamBatches` that sends ready-made frames.
pub(crate) async fn stream_batches(channel: Channel, frames: mpsc::Receiver<Bytes>) -> Result<Streaming<v1::BatchResponse>, Failed> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await?;
    let path = http::uri::PathAndQuery::from_static(PATH);
    Ok(grpc.streaming(Request::new(Feed(frames)), path, Ready(PhantomData)).await?.into_inner())
}
