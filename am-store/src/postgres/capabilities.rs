//! What the server can do, found out when a store is opened.

use std::fmt;

use am_core::{Code, Error, Result};
use sqlx::{Connection, PgConnection, Row};

use super::connect::Address;
use super::errors::explain;
use super::options::{Extension, PostgresOptions};

/// Which TimescaleDB there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// PostgreSQL alone: the readings are one plain table.
    Plain,
    /// The Apache-licensed build: hypertables; no compression, no policies.
    Apache,
    /// The community build: compression and policies as well.
    Community,
}

/// What a store on PostgreSQL found, and what it does without. Prints as a few lines.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The server's version, such as `17.2`.
    pub server: String,
    /// Which TimescaleDB is used.
    pub level: Level,
    /// Its version, where it is used.
    pub timescale: Option<String>,
    /// The version of pgvector, where it is used.
    pub vector: Option<String>,
    /// Row-level security holds for this session.
    pub walled: bool,
    /// A server that takes no writes: a standby, or read-only by its settings.
    pub read_only: bool,
    /// What is off and why, for people.
    pub notes: Vec<String>,
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL {}", self.server)?;
        match (&self.timescale, self.level) {
            (Some(v), Level::Community) => write!(f, ", TimescaleDB {v}")?,
            (Some(v), _) => write!(f, ", TimescaleDB {v} (Apache)")?,
            (None, _) => write!(f, ", no TimescaleDB")?,
        }
        match &self.vector {
            Some(v) => write!(f, ", pgvector {v}")?,
            None => write!(f, ", no pgvector")?,
        }
        self.notes.iter().try_for_each(|n| write!(f, "\n  {n}"))
    }
}

struct Found {
    version: i32,
    server: String,
    recovering: bool,
    read_only: bool,
    fsync: bool,
    full_page_writes: bool,
    timescale: Option<String>,
    license: Option<String>,
    vector: Option<String>,
    has_timescale: bool,
    has_vector: bool,
}

async fn look(conn: &mut PgConnection) -> sqlx::Result<Found> {
    let r = sqlx::query(
        "SELECT current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery(),
           current_setting('transaction_read_only')::bool, current_setting('fsync')::bool, current_setting('full_page_writes')::bool,
           (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'), current_setting('timescaledb.license', true),
           (SELECT extversion FROM pg_extension WHERE extname = 'vector'),
           EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'),
           EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'vector')",
    )
    .fetch_one(conn)
    .await?;
    Ok(Found {
        version: r.try_get(0)?,
        server: r.try_get(1)?,
        recovering: r.try_get(2)?,
        read_only: r.try_get(3)?,
        fsync: r.try_get(4)?,
        full_page_writes: r.try_get(5)?,
        timescale: r.try_get(6)?,
        license: r.try_get(7)?,
        vector: r.try_get(8)?,
        has_timescale: r.try_get(9)?,
        has_vector: r.try_get(10)?,
    })
}

fn unfit(place: &str, text: impl fmt::Display) -> Error {
    Error::new(Code::STORE_UNFIT, format!("{place}: {text}")).op("postgres.open")
}

/// Adds an extension that is there but not yet in this database. In a session of its own: some libraries must come first in it.
async fn add(address: &Address, name: &'static str) -> sqlx::Result<()> {
    let mut conn = PgConnection::connect_with(&address.admin()).await?;
    let done = match name {
        "timescaledb" => sqlx::raw_sql("CREATE EXTENSION IF NOT EXISTS timescaledb").execute(&mut conn).await,
        _ => sqlx::raw_sql("CREATE EXTENSION IF NOT EXISTS vector").execute(&mut conn).await,
    };
    conn.close().await?;
    done.map(|_| ())
}

/// Looks at the server, adds extensions where that is wanted and allowed, and says what is off.
pub(super) async fn detect(address: &Address, o: &PostgresOptions) -> Result<Capabilities> {
    let place = &address.place;
    let sql = |e| explain("postgres.open", place, e);
    let mut conn = PgConnection::connect_with(&address.admin()).await.map_err(sql)?;
    let mut found = look(&mut conn).await.map_err(sql)?;
    conn.close().await.map_err(sql)?;
    if found.version < 150_000 {
        return Err(unfit(place, format_args!("the server is PostgreSQL {}, AM needs 15 or newer", found.server)));
    }
    let read_only = found.recovering || found.read_only;
    let mut notes = Vec::new();
    let wanted = [
        ("timescaledb", o.timescale, found.has_timescale, found.timescale.is_some(), "TimescaleDB"),
        ("vector", o.vector, found.has_vector, found.vector.is_some(), "pgvector"),
    ];
    let mut added = false;
    for (name, want, has, there, title) in wanted {
        let why = match (want, there, has) {
            (Extension::Off, ..) => Some("it is switched off in the options".to_owned()),
            (_, true, _) => None,
            (_, _, false) => Some("the server does not have it installed".into()),
            _ if read_only || o.read_only => Some("it is not in this database, and the store is open for reading only".into()),
            _ => match add(address, name).await {
                Ok(()) => {
                    added = true;
                    None
                }
                Err(e) => Some(format!("CREATE EXTENSION {name} failed: {}", explain("postgres.open", place, e).message())),
            },
        };
        let Some(why) = why else { continue };
        if want == Extension::Required {
            return Err(unfit(place, format_args!("{title} is required and not there: {why}; run CREATE EXTENSION {name} as a superuser")));
        }
        notes.push(format!("{title} is off: {why}"));
    }
    if added {
        // The licence shows only in a session that began with the extension.
        let mut conn = PgConnection::connect_with(&address.admin()).await.map_err(sql)?;
        found = look(&mut conn).await.map_err(sql)?;
        conn.close().await.map_err(sql)?;
    }
    let timescale = found.timescale.filter(|_| o.timescale != Extension::Off);
    let level = match (&timescale, found.license.as_deref()) {
        (None, _) => Level::Plain,
        (Some(_), Some("timescale")) => Level::Community,
        (Some(_), _) => Level::Apache,
    };
    notes.push(match level {
        Level::Plain => "readings are one plain table; rollups are AM's own job".into(),
        Level::Apache => {
            "compression and policies are off: this build of TimescaleDB has the Apache licence; rollups are AM's own job".to_owned()
        }
        Level::Community => "old chunks are compressed; readings have no row-level security, which excludes that".into(),
    });
    durable(place, o, found.fsync, found.full_page_writes, &mut notes)?;
    let vector = found.vector.filter(|_| o.vector != Extension::Off);
    Ok(Capabilities { server: found.server, level, timescale, vector, walled: false, read_only, notes })
}

/// Refuses a server that forgets what it committed.
fn durable(place: &str, o: &PostgresOptions, fsync: bool, full_page_writes: bool, notes: &mut Vec<String>) -> Result<()> {
    for (on, name) in [(fsync, "fsync"), (full_page_writes, "full_page_writes")] {
        if on {
            continue;
        }
        if !o.accept_loss {
            return Err(unfit(
                place,
                format_args!("the server runs with {name} = off and may lose what AM acknowledged; turn it on, or open with accept_loss"),
            ));
        }
        tracing::warn!(place, "the server runs with {name} = off: a power cut may take acknowledged readings or the whole database");
        notes.push(format!("ACKNOWLEDGED READINGS MAY BE LOST: the server runs with {name} = off"));
    }
    Ok(())
}
