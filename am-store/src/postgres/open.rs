//! Opening a store.

use std::sync::Arc;
use std::time::Duration;

use am_core::{Clock, Code, Error, Result};
use am_pipeline::TokioClock;
use am_schema::Catalogue;
use parking_lot::Mutex;
use sqlx::{Connection, PgConnection, Row};
use tokio::sync::watch;

use super::bell::Bell;
use super::capabilities::{Capabilities, Level, detect};
use super::connect::{Address, identifier, pool};
use super::errors::explain;
use super::migrate::{self, Found};
use super::names::Names;
use super::options::PostgresOptions;
use super::pool::Pool;
use super::queue::Queue;
use super::rollup::Rollups;
use super::schema::{Fill, newest};
use super::views;
use super::writer::Writer;
use super::{Db, Postgres};
use crate::traits::{Backend, Vectors};

/// An open store, and what its server can do.
pub struct Opened {
    /// The store.
    pub backend: Backend,
    /// What is on, what is off and why.
    pub capabilities: Capabilities,
}

/// Opens or makes a store on a server.
///
/// # Errors
/// As [`connect`].
pub async fn open(url: &str, options: PostgresOptions, clock: Arc<dyn Clock>, catalogue: Catalogue) -> Result<Backend> {
    Ok(connect(url, options, clock, catalogue).await?.backend)
}

/// Opens or makes a store on a server, and tells what the server can do.
///
/// # Errors
/// `STORE_UNAVAILABLE` when nobody answers there, `STORE_REFUSED` for a wrong user or password, `STORE_UNFIT` for a server that lacks
/// something, `STORE_NEWER` for tables of a newer version, `BAD_STORE_URL` for a schema of another program. All say what to do.
pub async fn connect(url: &str, options: PostgresOptions, clock: Arc<dyn Clock>, catalogue: Catalogue) -> Result<Opened> {
    identifier("schema", &options.schema)?;
    if let Some(role) = &options.role {
        identifier("role", role)?;
    }
    let address = Address::parse(url)?;
    let mut capabilities = detect(&address, &options).await?;
    let read_only = options.read_only || capabilities.read_only;
    prepare(&address, &options, &capabilities, read_only).await?;
    if !read_only && options.views {
        capabilities.notes.extend(views::align(&address, &options.schema, &catalogue, capabilities.vector.is_some()).await);
    }
    let session = sessions(&address, &options, &mut capabilities, read_only).await?;
    tracing::info!(place = address.place, schema = options.schema, read_only, "{capabilities}");
    let store = Arc::new(start(&address, &options, clock, catalogue, &capabilities, read_only, session));
    let backend = Backend {
        name: "postgres",
        readings: store.clone(),
        feed: store.clone(),
        flows: store.clone(),
        derivations: store.clone(),
        text: store.clone(),
        dead_letters: store.clone(),
        key_value: store.clone(),
        devices: store.clone(),
        maintenance: store.clone(),
        vectors: capabilities.vector.is_some().then_some(store as Arc<dyn Vectors>),
    };
    Ok(Opened { backend, capabilities })
}

/// Brings the tables up to date, or sees that they are.
async fn prepare(address: &Address, o: &PostgresOptions, c: &Capabilities, read_only: bool) -> Result<()> {
    let sql = |e| explain("postgres.open", &address.place, e);
    let mut conn = PgConnection::connect_with(&address.admin()).await.map_err(sql)?;
    let found = migrate::inspect(&mut conn, &address.place, &o.schema).await?;
    conn.close().await.map_err(sql)?;
    let current = found == Found::Version(newest());
    if read_only && !current {
        let what = match found {
            Found::Empty => "holds no store yet".to_owned(),
            Found::Version(v) => format!("has version {v} and must be brought to {}", newest()),
        };
        let text = format!("{}: the schema {} {what}; open it once for writing", address.place, o.schema);
        return Err(Error::new(Code::STORE_READ_ONLY, text).op("postgres.open"));
    }
    if current {
        // Made by its owner; a role without the right to make tables opens it as it is.
        return Ok(());
    }
    migrate::migrate(address, &Fill { schema: &o.schema, level: c.level, chunk_days: o.chunk_days }).await?;
    match &o.role {
        Some(role) => migrate::grant(address, &o.schema, role).await,
        None => Ok(()),
    }
}

/// What was found out about the sessions that serve.
struct Sessions {
    /// `COPY` straight into the readings is possible.
    straight: bool,
    /// The role may write.
    writes: bool,
}

/// Looks at the database as the sessions that serve will see it.
async fn sessions(address: &Address, o: &PostgresOptions, c: &mut Capabilities, read_only: bool) -> Result<Sessions> {
    let sql = |e| explain("postgres.open", &address.place, e);
    let mut conn = match PgConnection::connect_with(&address.session(o)).await {
        Err(e) if o.role.is_some() && super::errors::state(&e).is_some_and(|s| s == "42501" || s == "22023") => {
            let role = o.role.as_deref().unwrap_or_default();
            let text = format!(
                "{}: the role {role} cannot be taken on; run as a superuser: CREATE ROLE {role} NOLOGIN; GRANT {role} TO the user of the \
                 address, and open the store once without `read_only` as the owner of the schema",
                address.place
            );
            return Err(Error::new(Code::STORE_REFUSED, text).op("postgres.open").source(e));
        }
        done => done.map_err(sql)?,
    };
    let mut r = look(&mut conn, o).await.map_err(sql)?;
    if let (Some(role), false) = (&o.role, r.usable) {
        // The tables were made without this role; the owner lets it in now.
        migrate::grant(address, &o.schema, role).await?;
        r = look(&mut conn, o).await.map_err(sql)?;
    }
    if !r.usable {
        let text = format!(
            "{}: this role may not read the tables of the schema {}; grant it the role am_app, or use its owner",
            address.place, o.schema
        );
        return Err(Error::new(Code::STORE_REFUSED, text).op("postgres.open"));
    }
    if r.commit == "off" {
        if !o.accept_loss {
            let text = format!(
                "{}: synchronous_commit is {}, so that acknowledged readings may be lost; ALTER ROLE … SET synchronous_commit = on, or open \
                 with accept_loss",
                address.place, r.commit
            );
            return Err(Error::new(Code::STORE_UNFIT, text).op("postgres.open"));
        }
        c.notes.push(format!("ACKNOWLEDGED READINGS MAY BE LOST: synchronous_commit is {}", r.commit));
    }
    c.walled = r.walled;
    if !r.walled {
        c.notes.push("row-level security does not bind this user; set `role`, such as am_app, for the second wall between people".into());
    }
    if !r.writes && !read_only {
        c.notes.push("this role may not write: the store is open for reading only".into());
    }
    if c.level != Level::Plain && !r.hypertable {
        c.notes.push("the tables were made without TimescaleDB and stay plain".into());
    }
    conn.close().await.map_err(sql)?;
    Ok(Sessions { straight: !r.walled, writes: r.writes })
}

struct Seen {
    walled: bool,
    usable: bool,
    writes: bool,
    commit: String,
    hypertable: bool,
}

async fn look(conn: &mut PgConnection, o: &PostgresOptions) -> sqlx::Result<Seen> {
    let r = sqlx::query(
        "SELECT coalesce(row_security_active(to_regclass(format('%I.reading', $1::text))), false),
           has_schema_privilege(quote_ident($1::text), 'USAGE')
             AND coalesce(has_table_privilege(to_regclass(format('%I.reading', $1::text)), 'SELECT'), false),
           has_schema_privilege(quote_ident($1::text), 'USAGE')
             AND coalesce(has_table_privilege(to_regclass(format('%I.reading', $1::text)), 'INSERT'), false)
             AND NOT current_setting('transaction_read_only')::bool,
           current_setting('synchronous_commit'),
           EXISTS (SELECT 1 FROM pg_trigger WHERE tgname = 'ts_insert_blocker' AND tgrelid = to_regclass(format('%I.reading', $1::text)))",
    )
    .bind(&o.schema)
    .fetch_one(conn)
    .await?;
    Ok(Seen { walled: r.try_get(0)?, usable: r.try_get(1)?, writes: r.try_get(2)?, commit: r.try_get(3)?, hypertable: r.try_get(4)? })
}

fn start(
    address: &Address,
    o: &PostgresOptions,
    clock: Arc<dyn Clock>,
    catalogue: Catalogue,
    c: &Capabilities,
    read_only: bool,
    session: Sessions,
) -> Postgres {
    let read_only = read_only || !session.writes;
    let connections = o.connections.clamp(2, 200);
    let writers = o.writers.clamp(1, 16);
    // Two more: one that tells other processes, one that keeps rollups; the listener is of the readers.
    let writing = pool(address.session(o), o, writers as u32 + 2);
    let watch: Arc<dyn Clock> = Arc::new(TokioClock::default());
    let db = Arc::new(Db {
        place: address.place.clone(),
        read_only,
        catalogue,
        clock,
        watch: watch.clone(),
        patience: Duration::from_millis(u64::from(o.statement_timeout_ms)) + Duration::from_secs(5),
        follow: Duration::from_millis(u64::from(o.follow_ms.max(10))),
        pool: Pool::new(pool(address.session(o), o, connections), connections, c.walled),
        names: Names::default(),
        bell: Arc::new(Bell::default()),
        shut: watch::Sender::new(false),
    });
    let queue = Arc::new(Queue::new());
    let mut writing_tasks = Vec::new();
    let mut followers = Vec::new();
    let channel = format!("am_feed_{}", o.schema);
    followers.push(tokio::spawn(db.bell.clone().hear(db.pool.plain().clone(), channel.clone(), watch.clone())));
    if !read_only {
        for _ in 0..writers {
            let writer = Writer {
                db: db.clone(),
                queue: queue.clone(),
                pool: writing.clone(),
                group_max_readings: o.group_max_readings.clamp(1, 100_000),
                copy_from_readings: o.copy_from_readings.max(1),
                straight: session.straight,
                wary: 0,
            };
            writing_tasks.push(tokio::spawn(writer.run()));
        }
        followers.push(tokio::spawn(db.bell.clone().tell(writing.clone(), channel, watch)));
        if o.upkeep {
            followers.push(tokio::spawn(Rollups::new(db.clone(), writing.clone()).follow()));
        }
    }
    Postgres { db, queue, writing, writers: Mutex::new(writing_tasks), followers: Mutex::new(followers) }
}
