//! How to open a store on PostgreSQL.

use serde::{Deserialize, Serialize};

/// Whether an extension is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extension {
    /// When the server has it and lets us.
    #[default]
    Auto,
    /// The store does not open without it.
    Required,
    /// Never, even if it is there.
    Off,
}

/// Options of the PostgreSQL backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// The schema of AM's tables: 1 to 48 lower-case letters, digits and `_`.
    pub schema: String,
    /// Hypertables.
    pub timescale: Extension,
    /// Vectors.
    pub vector: Extension,
    /// Days that one chunk of the hypertable holds; counts when the tables are made.
    pub chunk_days: u16,
    /// Reads only: nothing is migrated, and writes are refused.
    pub read_only: bool,
    /// The role that every connection takes on after the tables were brought up to date, such as `am_app`. `None` stays the user of
    /// the address.
    pub role: Option<String>,
    /// Connections that read and do small writes, 2 to 200.
    pub connections: u32,
    /// Connections that take in readings at the same time, 1 to 16.
    pub writers: usize,
    /// At most so many readings in one transaction.
    pub group_max_readings: usize,
    /// So many readings in one transaction come by `COPY`, fewer as arrays.
    pub copy_from_readings: usize,
    /// A statement that takes longer is given up, milliseconds.
    pub statement_timeout_ms: u32,
    /// A transaction whose client says nothing for so long is ended by the server, milliseconds. It is also how long a client that was
    /// cut off in the middle of a write can hold back the feed.
    pub idle_in_transaction_timeout_ms: u32,
    /// A connection that cannot be made within this is given up, milliseconds.
    pub connect_timeout_ms: u32,
    /// How often rollups follow the feed and other processes' writes are looked for, milliseconds.
    pub follow_ms: u32,
    /// This process keeps rollups; one of those that do at a time works.
    pub upkeep: bool,
    /// Keeps the views for SQL users up to date, in a schema named as `schema` with `_sql` behind it.
    pub views: bool,
    /// Opens on a server that may lose acknowledged readings: `fsync` or `full_page_writes` off, or `synchronous_commit` that cannot be
    /// turned on.
    pub accept_loss: bool,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        PostgresOptions {
            schema: "am".into(),
            timescale: Extension::Auto,
            vector: Extension::Auto,
            chunk_days: 7,
            read_only: false,
            role: None,
            connections: 16,
            writers: 3,
            group_max_readings: 10_000,
            copy_from_readings: 2_000,
            statement_timeout_ms: 30_000,
            idle_in_transaction_timeout_ms: 10_000,
            connect_timeout_ms: 5_000,
            follow_ms: 250,
            upkeep: true,
            views: true,
            accept_loss: false,
        }
    }
}
