//! What a client can be told.

use std::path::PathBuf;

use am_core::Secret;
use am_core::policy::Backoff;
use serde::{Deserialize, Serialize};

/// How a client keeps and uploads readings. Times in milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClientOptions {
    /// The outbox's folder; one process at a time.
    pub folder: PathBuf,
    /// Where to upload, such as `http://127.0.0.1:50051` or `https://am.example.org`.
    pub endpoint: String,
    /// The device's API key; never written anywhere.
    #[serde(skip)]
    pub api_key: Option<Secret<String>>,
    /// PEM of the authority that signed the server's certificate; the built-in roots without it.
    #[serde(skip)]
    pub ca_pem: Option<String>,
    /// A batch is sent as soon as it has so many readings.
    pub batch_min: usize,
    /// The most readings of a batch.
    pub batch_max: usize,
    /// The most bytes of a batch; below the server's message limit.
    pub batch_bytes: usize,
    /// How long a reading waits for company.
    pub linger_ms: u64,
    /// How many batches may be on their way at once.
    pub in_flight: usize,
    /// How long an answer may take.
    pub timeout_ms: u64,
    /// Waits between tries, with full jitter.
    pub backoff: Backoff,
    /// How long a written reading may stay unsynced.
    pub sync_ms: u64,
    /// The most bytes the outbox may take; then `push` refuses with `OUTBOX_FULL`.
    pub max_bytes: u64,
    /// How batches are compressed on the wire.
    pub compression: Compression,
    /// Marks everything as old data that is taken in late.
    pub backfill: bool,
    /// The program's name and version, for the provenance.
    pub client: String,
    /// The program's version.
    pub client_version: String,
}

/// How batches are compressed on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, for old servers.
    Gzip,
    /// zstd: a third of gzip's cost.
    #[default]
    Zstd,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            folder: PathBuf::from("outbox"),
            endpoint: "http://127.0.0.1:50051".into(),
            api_key: None,
            ca_pem: None,
            batch_min: 100,
            batch_max: 500,
            batch_bytes: 1 << 20,
            linger_ms: 200,
            in_flight: 4,
            timeout_ms: 30_000,
            backoff: Backoff::new(250, 60_000),
            sync_ms: 100,
            max_bytes: 1 << 30,
            compression: Compression::default(),
            backfill: false,
            client: "am-client".into(),
            client_version: env!("CARGO_PKG_VERSION").into(),
        }
    }
}
