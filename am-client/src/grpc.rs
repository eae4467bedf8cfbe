//! Upload over gRPC.

use std::sync::Arc;
use std::time::Duration;

use am_core::{Clock, Code, Error, Result, Retry};
use am_schema::{v1, wire};
use async_trait::async_trait;

use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use crate::options::{ClientOptions, Compression};
use crate::transport::{ItemOutcome, Transport, Upload, UploadAnswer};

const PATH: &str = "/am.v1.DataIngestionService/BatchUpload";

/// `DataIngestionService.BatchUpload`, with readings passed on as they lie in the outbox.
pub struct GrpcTransport {
    channel: Channel,
    key: Option<MetadataValue<Ascii>>,
    compression: Compression,
    backfill: bool,
    client: (String, String),
}

impl GrpcTransport {
    /// A transport that connects when the first batch leaves. Needs a tokio runtime.
    ///
    /// # Errors
    /// `BAD_CONFIG` when the endpoint, the authority's certificate or the key cannot be used.
    pub fn new(o: &ClientOptions, _clock: Arc<dyn Clock>) -> Result<Self> {
        let bad = |why: String| Error::new(Code::BAD_CONFIG, why).op("client.connect");
        let mut e = Endpoint::from_shared(o.endpoint.clone())
            .map_err(|e| bad(format!("endpoint {:?}: {e}", o.endpoint)))?
            .connect_timeout(Duration::from_secs(10))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10));
        if o.endpoint.starts_with("https:") {
            let tls = match &o.ca_pem {
                Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
                None => ClientTlsConfig::new(),
            };
            e = e.tls_config(tls).map_err(|e| bad(format!("TLS: {e}")))?;
        }
        let key = match &o.api_key {
            Some(k) => {
                let mut v: MetadataValue<Ascii> = format!("Bearer {}", k.expose())
                    .parse()
                    .map_err(|_| bad("the API key has characters that a header cannot carry".into()))?;
                v.set_sensitive(true);
                Some(v)
            }
            None => None,
        };
        Ok(GrpcTransport {
            channel: e.connect_lazy(),
            key,
            compression: o.compression,
            backfill: o.backfill,
            client: (o.client.clone(), o.client_version.clone()),
        })
    }
}

#[async_trait]
impl Transport for GrpcTransport {
    async fn upload(&self, batch: Upload) -> Result<UploadAnswer> {
        let n = batch.items.len();
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc = match self.compression {
            Compression::None => grpc,
            // Compressing a reading that travels alone makes it larger.
            _ if n < 8 => grpc,
            Compression::Gzip => grpc.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip),
            Compression::Zstd => grpc.send_compressed(CompressionEncoding::Zstd).accept_compressed(CompressionEncoding::Zstd),
        };
        grpc.ready().await.map_err(|e| Error::new(Code::UNREACHABLE, e.to_string()).op("client.upload").source(e))?;
        let mut request = Request::new(Outgoing { batch, backfill: self.backfill, client: self.client.clone() });
        if let Some(k) = &self.key {
            request.metadata_mut().insert("authorization", k.clone());
        }
        let answer = grpc.unary(request, http::uri::PathAndQuery::from_static(PATH), UploadCodec).await.map_err(from_status)?.into_inner();
        Ok(read_answer(answer, n))
    }
}

fn read_answer(a: v1::BatchResponse, n: usize) -> UploadAnswer {
    let outcomes = (0..n)
        .map(|i| match a.outcomes.get(i).map(|o| v1::Outcome::try_from(*o)) {
            Some(Ok(v1::Outcome::Stored)) => ItemOutcome::Stored,
            Some(Ok(v1::Outcome::Duplicate)) => ItemOutcome::Duplicate,
            Some(Ok(v1::Outcome::Discarded)) => ItemOutcome::Discarded,
            Some(Ok(v1::Outcome::Rejected)) => {
                let e = a.errors.iter().find(|e| e.index as usize == i);
                ItemOutcome::Rejected(e.map_or(0, |e| e.code), e.map_or_else(String::new, |e| e.message.clone()))
            }
            // Unknown to this version: not an answer to let go on.
            _ => ItemOutcome::Retry,
        })
        .collect();
    UploadAnswer { outcomes, retry_after_ms: a.retry_after_ms }
}

fn from_status(s: Status) -> Error {
    use tonic::Code as G;
    let (code, retry) = match s.code() {
        G::Unauthenticated => (Code::UNAUTHENTICATED, Retry::Safe { after_ms: 10_000 }),
        G::PermissionDenied => (Code::FORBIDDEN, Retry::Safe { after_ms: 10_000 }),
        G::ResourceExhausted => (Code::OVERLOADED, Retry::Safe { after_ms: 500 }),
        G::DeadlineExceeded => (Code::TIMED_OUT, Retry::IfIdempotent),
        G::Cancelled => (Code::CANCELLED, Retry::IfIdempotent),
        G::Unavailable | G::Unknown => (Code::UNREACHABLE, Retry::IfIdempotent),
        _ => (Code::PROTOCOL, Retry::IfIdempotent),
    };
    Error::new(code, format!("{:?}: {}", s.code(), s.message())).op("client.upload").retry(retry).source(s)
}

struct Outgoing {
    batch: Upload,
    backfill: bool,
    client: (String, String),
}

/// Writes a `BatchRequest` around readings that are encoded already.
struct UploadCodec;

impl Codec for UploadCodec {
    type Encode = Outgoing;
    type Decode = v1::BatchResponse;
    type Encoder = UploadEncoder;
    type Decoder = AnswerDecoder;

    fn encoder(&mut self) -> UploadEncoder {
        UploadEncoder
    }

    fn decoder(&mut self) -> AnswerDecoder {
        AnswerDecoder
    }
}

struct UploadEncoder;

impl Encoder for UploadEncoder {
    type Item = Outgoing;
    type Error = Status;

    fn encode(&mut self, o: Outgoing, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.reserve(o.batch.items.iter().map(|i| i.1.len() + 6).sum::<usize>() + 256);
        for (_, b) in &o.batch.items {
            wire::put_len(dst, 1, b);
        }
        let mut text = |number, s: &str| {
            if !s.is_empty() {
                wire::put_len(dst, number, s.as_bytes());
            }
        };
        text(2, &o.batch.batch_id);
        text(4, &o.batch.boot_id);
        text(6, &o.client.0);
        text(7, &o.client.1);
        wire::put_timestamp(dst, 3, o.batch.sent_at);
        wire::put_int(dst, 5, o.batch.monotonic_ns);
        if o.backfill {
            wire::put_int(dst, 8, v1::Origin::Backfill as u64);
        }
        Ok(())
    }
}

struct AnswerDecoder;

impl Decoder for AnswerDecoder {
    type Item = v1::BatchResponse;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<v1::BatchResponse>, Status> {
        prost::Message::decode(src).map(Some).map_err(|e| Status::internal(format!("the server's answer: {e}")))
    }
}
